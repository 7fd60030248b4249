"""Draws ``docs/images/demo.png``, the moving picture of the README, from the demo's front page.

    python -m scripts.picture

It starts the demo, pulls the cable, lets parcels move, and plugs it in again.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from playwright.sync_api import FloatRect, Page

from scripts import apng
from tests.browser.chromium import chromium
from tests.browser.demo import running

MADE = Path(__file__).resolve().parents[1] / "docs" / "images" / "demo.png"
WIDTH = 900
MARGIN = 24
MOVES = 5
"""Parcels that move while the cable is out."""


class Film:
    """The pictures so far, and for how long each is shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.clip = clip(page)
        self.pictures: list[bytes] = []
        self.seconds: list[float] = []

    def show(self, seconds: float) -> None:
        """Take a picture of the page as it is."""
        self.pictures.append(self.page.screenshot(clip=self.clip))
        self.seconds.append(seconds)


def clip(page: Page) -> FloatRect:
    """Return the part of the page from the cable's switch to the end of the two windows."""
    first, last = page.locator("#cable").bounding_box(), page.locator("#customer").bounding_box()
    assert first
    assert last
    top, bottom = first["y"] - MARGIN, last["y"] + last["height"] + MARGIN
    return {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}


def move(page: Page, is_in: bool) -> None:
    """Press the warehouse's button, and wait until each window that is connected shows what has come of it."""
    windows = [page.frame_locator("#warehouse"), *([page.frame_locator("#customer")] if is_in else [])]
    before = [window.locator("#items").inner_html() for window in windows]
    windows[0].locator("#next-move button").click()
    for window, text in zip(windows, before, strict=True):
        while window.locator("#items").inner_html() == text:
            page.wait_for_timeout(50)
    page.wait_for_timeout(100)


def play(page: Page) -> Film:
    """Pull the cable, and plug it in again."""
    film = Film(page)
    film.show(1.2)
    for _ in range(2):
        move(page, is_in=True)
        film.show(1)
    page.click("#cable")
    page.mouse.move(5, 5)
    page.wait_for_timeout(300)
    film.show(1.2)
    for _ in range(MOVES):
        move(page, is_in=False)
        film.show(0.6)
    page.click("#cable")
    page.mouse.move(5, 5)
    page.wait_for_selector("#stage[data-verdict=good]")
    page.wait_for_timeout(300)
    film.show(4)
    return film


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running(Path(folder), quiet=True) as demo, chromium() as browser:
        context = browser.new_context(viewport={"width": WIDTH, "height": 860}, reduced_motion="reduce")
        page = context.new_page()
        page.goto(demo.url)
        page.wait_for_selector("#cable:enabled")
        film = play(page)
        browser.close()
        demo.interrupt()
    MADE.write_bytes(apng.join(film.pictures, film.seconds))
    print(f"{MADE}: {len(film.pictures)} pictures, {MADE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
