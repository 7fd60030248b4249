"""Somebody who reads their inbox, and what the tests see and do in their pages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from tests.browser.chromium import complaints
from tests.browser.site import Site, is_open


@dataclass
class Reader:
    """Somebody who is logged in, in a browser of their own."""

    name: str
    site: Site
    browser: Browser
    contexts: list[BrowserContext]
    said: list[str]

    def context(self, **options: Any) -> BrowserContext:
        """Return one more of their browsers."""
        found = self.browser.new_context(**{"viewport": {"width": 1000, "height": 700}, **options})
        name, _, value = self.site.elsewhere.session(self.name).partition("=")
        found.add_cookies([{"name": name, "value": value, "url": self.site.server.url}])
        self.contexts.append(found)
        return found

    def open(self, path: str = "/bell/", context: BrowserContext | None = None, **options: Any) -> Page:
        """Open a page, and wait until it is live."""
        page = self.visit(path, context, **options)
        is_open(page)
        return page

    def visit(self, path: str = "/bell/", context: BrowserContext | None = None, **options: Any) -> Page:
        page = (context or self.context(**options)).new_page()
        self.said.append(complaints(page))
        page.goto(self.site.server.url + path)
        return page

    def notify(self, title: str = "", **more: Any) -> None:
        self.site.elsewhere.do("notify", to=self.name, title=title, **more)


def badge(page: Page) -> Locator:
    return page.locator("livepush-bell livepush-badge")


def has_badge(page: Page, text: str) -> None:
    """Wait until the badge shows a count, or is gone."""
    if text:
        expect(badge(page).locator("b")).to_have_text(text)
    else:
        expect(badge(page)).to_be_hidden()


def open_panel(page: Page) -> None:
    page.click("livepush-bell button")
    expect(page.locator("livepush-bell form")).to_be_visible()


def entries(page: Page, within: str = "livepush-bell") -> Locator:
    return page.locator(f"{within} [part~=entry]")


def titles(page: Page, *expected: str, within: str = "livepush-bell") -> None:
    """Wait until the list shows these."""
    shown = page.locator(f"{within} [part~=title]")
    expect(shown).to_have_text([re.compile(rf"^(Unread: )?{re.escape(title)}$") for title in expected])


OF_AN_ENTRY = {"title", "read", "upto", "archive"}
"""The controls that entries have."""


def press(page: Page, control: str, number: int = 0, within: str = "livepush-bell") -> None:
    """Press a control of the list; of the entries', that of one."""
    place = entries(page, within).nth(number) if control in OF_AN_ENTRY else page.locator(within)
    place.locator(f"[data-f={control}]").click()


def news(page: Page, within: str = "livepush-bell"):
    """The button behind which new entries wait while somebody is at the list."""
    return page.locator(f"{within} [data-f=news]")


def toasts(page: Page) -> Locator:
    return page.locator("livepush-toasts [part=toast]")


def is_not_complained_of(reader: Reader, *words: str) -> None:
    """The console may say what the test itself has caused, also from now on."""
    said = [line for lines in reader.said for line in lines if not any(word in line for word in words)]
    reader.said[:] = [said]
