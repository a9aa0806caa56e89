"""Pictures of the page for the documents: every screen, light and dark.

python -m tests.service.http.screens docs
"""

import io
import sys
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from bench.server import demo_server

CHROMIUM = Path("/usr/bin/chromium")
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
# As tall as the tallest screen: a browser loads pictures when they come into view.
WIDTH, HEIGHT = 1200, 1500


def take(browser: Browser, url: str, folder: Path, scheme: Literal["light", "dark"]) -> None:
    """The screens of the page at `url`, as PNG files in `folder`."""
    page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
    page.goto(url)
    ask(page, SCHEMES.index(scheme))
    save(page, folder / f"page-ask-{scheme}.png")
    page.goto(f"{url}#gallery")
    page.locator(".items img").first.wait_for()
    while not page.evaluate("[...document.images].every((image) => image.complete)"):
        page.wait_for_timeout(100)
    save(page, folder / f"page-gallery-{scheme}.png")
    page.goto(f"{url}#model")
    page.get_by_role("heading", name="Limits").wait_for()
    save(page, folder / f"page-model-{scheme}.png")
    page.close()


def ask(page: Page, example: int) -> None:
    """Ask with an example: another each time, as what was asked before has no rounds to show."""
    page.locator(".examples button").nth(example).click()
    page.get_by_role("heading", name="What a change of that size looks like").wait_for(timeout=60_000)
    page.wait_for_load_state("networkidle")
    page.get_by_label("going straight").wait_for()
    page.mouse.move(0, 0)


def save(page: Page, path: Path) -> None:
    """The whole screen, in 256 colours."""
    image = Image.open(io.BytesIO(page.screenshot(full_page=True, animations="disabled"))).convert("RGB")
    image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(folder: Path) -> None:
    """Take them of a server of its own."""
    with demo_server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        for scheme in SCHEMES:
            take(browser, url, folder, scheme)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
