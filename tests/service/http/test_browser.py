"""/docs in a real browser, without a network beyond the server."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.service.processes import Server
from tests.service.queries import digit, picture, saved

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page()
    yield page
    page.close()


def test_the_documentation_shows_every_route_and_asks_no_other_host(demo_server: Server, page: Page) -> None:
    requested: list[str] = []
    failed: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("requestfailed", lambda request: failed.append(request.url))
    page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.on("console", lambda message: failed.append(message.text) if message.type == "error" else None)
    page.goto(f"{demo_server.url}/docs", wait_until="networkidle")

    expect(page.get_by_role("heading", name="RetrievalGuard")).to_be_visible()
    retrieve = page.locator("#operations-default-retrieve")
    expect(retrieve).to_contain_text("POST")
    expect(retrieve).to_contain_text("/retrieve")
    retrieve.get_by_role("button").first.click()
    for option in ("top_k", "guarantee", "method", "alpha", "max_samples"):
        expect(retrieve.locator(f'tr[data-param-name="{option}"]')).to_be_visible()
    paths = demo_server.client.get("/openapi.json").json()["paths"]
    assert page.locator(".opblock").count() == sum(map(len, paths.values()))
    page.wait_for_load_state("networkidle")

    assert failed == []
    assert len(requested) >= 4
    hosts = {urlsplit(url).netloc for url in requested if not url.startswith("data:")}
    assert hosts == {urlsplit(demo_server.url).netloc}


def test_a_query_can_be_tried_from_the_documentation(demo_server: Server, page: Page) -> None:
    page.goto(f"{demo_server.url}/docs", wait_until="networkidle")
    model = page.locator('.opblock:has([data-path="/model"])')
    model.get_by_role("button").first.click()
    model.get_by_role("button", name="Try it out").click()
    model.get_by_role("button", name="Execute").click()
    expect(model.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    expect(model.locator(".live-responses-table")).to_contain_text("digits-cnn")


# In what form, which of its examples, and the file that is chosen for it.
FORMS = {
    "PNG": ("image/png", None, digit(0)),
    "JPEG": ("image/jpeg", None, saved(picture(0), "JPEG")),
    "WebP": ("image/webp", None, saved(picture(0), "WEBP")),
    "octets": ("application/octet-stream", None, digit(0)),
    "multipart": ("multipart/form-data", None, digit(0)),
    "JSON with an image": ("application/json", "image", None),
    "JSON with pixels": ("application/json", "pixels", None),
}


@pytest.fixture(scope="module")
def retrieve(demo_server: Server, browser: Browser) -> Iterator[Locator]:
    """The route as the documentation shows it, to be tried."""
    page = browser.new_page()
    page.goto(f"{demo_server.url}/docs", wait_until="networkidle")
    retrieve = page.locator("#operations-default-retrieve")
    retrieve.get_by_role("button").first.click()
    retrieve.get_by_role("button", name="Try it out").click()
    yield retrieve
    page.close()


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_query_can_be_tried_from_the_documentation(retrieve: Locator, form: str) -> None:
    media, example, file = FORMS[form]
    retrieve.get_by_label("Request content type").select_option(media)
    if example is not None:
        retrieve.locator(".examples-select select").first.select_option(example)
    if file is not None:
        retrieve.locator('input[type="file"]').set_input_files(
            {"name": "a digit", "mimeType": "image/png", "buffer": file}
        )
    answered = retrieve.locator(".live-responses-table")
    expect(answered).to_have_count(0)
    retrieve.get_by_role("button", name="Execute").click()
    expect(answered.locator(".response-col_status").last).to_contain_text("200")
    expect(answered).to_contain_text('"certificate"')
    retrieve.get_by_role("button", name="Clear").click()
