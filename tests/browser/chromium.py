"""Chromium, and what its pages said and suffered."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP shop.test 127.0.0.1",
]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run Chromium; a machine without it fails the test. ``shop.test`` is this machine, and no secure context there."""
    path = shutil.which("chromium")
    assert path is not None, "Chromium is not installed: on Debian, apt-get install chromium."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def complaints(page: Page) -> list[str]:
    """Return a list that fills with what the page's console says and with errors that nobody catches.

    Left out: the icon that a browser asks every site for, and that a new project does not have.
    """
    found: list[str] = []

    def note(said: ConsoleMessage) -> None:
        address = said.location.get("url", "")
        if not address.endswith("/favicon.ico"):
            found.append(f"{said.type}: {said.text} {address}".rstrip())

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(f"uncaught: {error}"))
    return found
