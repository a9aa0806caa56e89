"""The moving picture of the page: the radius grows, a slider goes over it, an attack fails, one succeeds.

python -m tests.service.http.moving docs/page.gif
"""

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, sync_playwright

from bench.server import demo_server

CHROMIUM = Path("/usr/bin/chromium")
WIDTH, HEIGHT, SHOWN = 1120, 700, 800
COLOURS = 64
# Milliseconds: of a frame in which something moves, and of one that is to be read.
MOVING, READ = 120, 2200
# The slider goes in so many of its steps from 0 to twice the radius.
SLIDE = range(0, 201, 10)


class Film:
    """The frames of `page` so far."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self._frames: list[Image.Image] = []
        self._times: list[int] = []

    def take(self, milliseconds: int = MOVING) -> None:
        """What is seen now; as the last frame, if nothing changed."""
        shot = Image.open(io.BytesIO(self.page.screenshot(animations="disabled"))).convert("RGB")
        frame = shot.resize((SHOWN, SHOWN * HEIGHT // WIDTH), Image.Resampling.LANCZOS)
        if self._frames and frame == self._frames[-1]:
            self._times[-1] += milliseconds
        else:
            self._frames.append(frame)
            self._times.append(milliseconds)

    def until(self, seen: Locator) -> None:
        """Frames until `seen` is visible."""
        while not seen.is_visible():
            self.take()
            self.page.wait_for_timeout(20)
        self.take(READ)

    def scroll_to(self, target: Locator) -> None:
        """Frames until `target` is at the top."""
        end = target.evaluate("node => scrollY + node.getBoundingClientRect().top - 16")
        begin = self.page.evaluate("scrollY")
        for step in range(1, 6):
            self.page.evaluate("top => scrollTo(0, top)", begin + (end - begin) * step / 5)
            self.take()

    def save(self, path: Path) -> None:
        """Write them as a GIF that goes on for ever."""
        palette = self._frames[-1].quantize(COLOURS, dither=Image.Dither.NONE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=self._times, loop=0)


def record(page: Page, path: Path) -> None:
    """Ask with a digit, and record what is seen until the answer is broken, outside of its radius."""
    film = Film(page)
    film.take(READ // 2)
    page.get_by_role("button", name="A handwritten 3").click()
    film.until(page.get_by_role("heading", name="Try to break it"))
    film.scroll_to(page.locator(".size"))
    slider = page.get_by_role("slider", name="Size of the change")
    for step in SLIDE:
        slider.fill(str(step))
        film.take()
    film.take(READ)
    film.scroll_to(page.locator(".attack"))
    for number in range(2):
        button = page.locator(".attack button").nth(number)
        button.focus()
        film.take(MOVING * 4)
        button.click()
        film.until(page.locator(".attack figure").nth(number))
    film.scroll_to(page.locator(".attack"))
    film.take(READ)
    film.save(path)


def main(path: Path) -> None:
    """Record the page of a server of its own, with the digits."""
    with demo_server() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(url)
        page.locator(".examples img").first.wait_for()
        page.wait_for_load_state("networkidle")
        record(page, path)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
