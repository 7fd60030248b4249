"""Chromium, and what its pages said and suffered."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from tests.patience import PATIENCE_MS

PROGRAM = os.environ.get("LIVEPUSH_TEST_BROWSER", "chromium-headless-shell")
"""Chromium without a window: the same pages for two thirds of the CPU time. It has no back/forward cache: the tests of
that, and ``make test-all``, use the whole one."""
UNUSED_FEATURES = (
    "AimEnabled", "AvoidCorsURLLoaderRestartOnRedirect", "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose", "HttpsFirstBalancedModeAutoEnable", "HttpsUpgrades", "LensOverlay", "MediaRouter",
    "NetworkTimeServiceQuerying", "OptimizationHints", "PaintHolding", "PreconnectToSearch",
    "TcpPortRandomizationWin", "ThirdPartyStoragePartitioning",
    "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxPopup",
)  # fmt: skip
"""What Playwright turns off (only the last list counts, so it stands here again), and the address bar's popup: Chromium
draws that as two pages of its own for each window, which took more CPU time than the tests' pages."""
FLAGS = [
    "--no-sandbox",
    f"--disable-features={','.join(UNUSED_FEATURES)}",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP shop.test 127.0.0.1, MAP *.shop.test 127.0.0.1",
]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Run a Chromium that is waited for patiently; a machine without it fails the test. ``shop.test`` and its
    subdomains are this machine, and no secure context there."""
    path = shutil.which(PROGRAM)
    assert path is not None, f"{PROGRAM} is not installed: on Debian, apt-get install {PROGRAM}."
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        be_patient(browser)
        try:
            yield browser
        finally:
            browser.close()


def be_patient(browser: Browser) -> None:
    """Have a browser's pages, and what is expected of them, waited for as long as everything else."""
    expect.set_options(timeout=PATIENCE_MS)
    plain_context, plain_page = browser.new_context, browser.new_page

    def new_context(**options: Any) -> BrowserContext:
        found = plain_context(**options)
        found.set_default_timeout(PATIENCE_MS)
        return found

    def new_page(**options: Any) -> Page:
        found = plain_page(**options)
        found.set_default_timeout(PATIENCE_MS)
        return found

    browser.new_context, browser.new_page = new_context, new_page  # type: ignore[method-assign]


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
