"""The documents as a site: built without a warning, all of it there, and read without a network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.service.processes import Server

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make docs` builds it; a link that leads nowhere, or a page that no list names, is a failure."""
    folder = tmp_path_factory.mktemp("site")
    (command,) = re.findall(r"\$\(BIN\)/(sphinx-build .*) build/docs$", (ROOT / "Makefile").read_text(), re.M)
    words = [Path(sys.executable).with_name("sphinx-build"), *command.split()[1:], folder]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return folder


class Loaded(HTMLParser):
    """What a page loads by itself, which is all that it names but its links."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        if tag != "a":
            self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset") and value]


def test_every_document_is_a_page_that_loads_nothing_from_elsewhere(site: Path) -> None:
    for document in DOCS.glob("*.md"):
        page = (site / document.with_suffix(".html").name).read_text()
        loaded = Loaded()
        loaded.feed(page)
        assert loaded.addresses
        assert [address for address in loaded.addresses if "//" in address] == []


def test_every_formula_is_set_and_none_of_it_is_left_as_text(site: Path) -> None:
    written = (DOCS / "certificate.md").read_text().count("```math\n")
    page = (site / "certificate.html").read_text()
    assert written >= 5
    assert len(re.findall(r'<math [^>]*display="block"', page)) == written
    assert "\\lambda" not in page
    assert "MathJax" not in page
    assert page.count("<mfrac>") >= 2


def test_the_routes_are_those_that_the_service_has(site: Path, demo_server: Server) -> None:
    document = demo_server.client.get("/openapi.json").json()
    page = (site / "routes.html").read_text()
    titles = re.findall(r"<h2>(.+?)<a", page)
    operations = [
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    ]
    assert titles == [*operations, "Shapes"]
    assert re.findall(r"<h3>(.+?)<a", page) == sorted(document["components"]["schemas"])


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")
def test_it_is_searched_without_a_network(site: Path) -> None:
    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_placeholder("Search").fill("supermartingale")
        page.keyboard.press("Enter")
        expect(page.locator("#search-results a").first).to_contain_text("The certificate", timeout=20_000)
        browser.close()
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked)
