"""The manual's pages that take HTML from a stream: the real htmx 2 and 4, and Turbo 8, resume over a cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape

import pytest
from django.template import engines
from django.test import RequestFactory
from playwright.sync_api import Browser, Page, Request, expect

from livepush import wire
from livepush.page import positions
from tests.browser import libraries
from tests.browser.site import Site
from tests.docs_blocks import PAGES, blocks
from tests.scale import some
from tests.servers import faults

SETTINGS = {"RETRY": 0.2}
LIBRARIES = {
    "htmx2": ([libraries.HTMX2, libraries.HTMX2_SSE], "sse-connect="),
    "htmx4": ([libraries.HTMX4, libraries.HTMX4_SSE], "hx-sse:connect="),
    "turbo": ([libraries.TURBO], "<turbo-stream-source "),
}
"""Each library's scripts, and what its example in the manual contains."""
STALE = "00000000-5"
"""A position of an epoch that never was."""
ODD = 'Zürich "q" & <b>\u2028\\n'


@pytest.fixture(params=some(list(LIBRARIES)))
def library(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def line(site: Site) -> Iterator[faults.Line]:
    """The way to the site, which can be cut."""
    with faults.line(site.server.port) as found:
        yield found


@pytest.fixture
def recipe(site: Site, browser: Browser, library: str, group: str) -> Iterator[Callable[[faults.Line, str], Page]]:
    """Opens the manual's example for a library, with a group of the test's own, from a position."""
    scripts, mark = LIBRARIES[library]
    (source,) = [
        block.text
        for page in PAGES
        if page.name == "client.md"
        for block in blocks(page)
        if block.language == "html" and mark in block.text
    ]
    template = engines["django"].from_string(source.replace('"board"', f'"{group}"'))
    how = "" if library == "htmx4" else "defer "  # a deferred htmx 4 begins before its extensions are there
    tags = "".join(f'<script {how}src="/modules/{script}"></script>' for script in scripts)
    contexts = []

    def open_page(line: faults.Line, position: str) -> Page:
        def html() -> str:
            request = RequestFactory().get("/recipe/")
            request.environ[positions.KEY] = positions.Start(
                wire.parse_position(asked.pop() if asked else site.elsewhere.position())
            )
            return f"<!doctype html><html><head>{tags}</head><body>{template.render({}, request)}</body></html>"

        asked = [position]
        context = browser.new_context()
        contexts.append(context)
        context.route("**/recipe/", lambda route: route.fulfill(body=html(), content_type="text/html"))
        context.route(
            "**/modules/**",
            lambda route: route.fulfill(path=libraries.MODULES / route.request.url.split("/modules/")[1]),
        )
        page = context.new_page()
        with page.expect_response("**/livepush/sse/**"):
            page.goto(f"{line.url}/recipe/")
        return page

    yield open_page
    for context in contexts:
        context.unroute_all(behavior="ignoreErrors")
        context.close()


def row(library: str, name: str, text: str) -> str:
    """Return the HTML that adds a row to the page."""
    html = f'<li id="{name}">\r\n  {escape(text)}\r</li>\n'
    if library == "turbo":
        return f'<turbo-stream action="append" target="orders">\n<template>{html}</template>\n</turbo-stream>'
    return html


def rows(page: Page) -> list[str]:
    return page.locator("#orders > li").evaluate_all("(rows) => rows.map((row) => row.id + row.textContent)")


def test_html_arrives_as_it_was_sent_and_goes_on_after_cuts(
    site: Site, line: faults.Line, recipe: Callable[..., Page], library: str, group: str
) -> None:
    before = site.elsewhere.position()
    site.elsewhere.send(group, "message", row(library, "r0", "while the page was made"))
    page = recipe(line, before)
    asked: list[Request] = []
    page.on("request", lambda request: "/livepush/sse/" in request.url and asked.append(request))
    expected = ["r0\n  while the page was made\n"]
    expect(page.locator("#orders > li")).to_have_count(1)
    for number in range(1, 4):
        site.elsewhere.send(group, "message", row(library, f"r{number}", f"{ODD} live {number}"))
        expect(page.locator("#orders > li")).to_have_count(len(expected) + 1)
        line.refuse()
        site.elsewhere.send(group, "message", row(library, f"c{number}", "during a cut"))
        line.accept()
        expected += [f"r{number}\n  {ODD} live {number}\n", f"c{number}\n  during a cut\n"]
        expect(page.locator("#orders > li")).to_have_count(len(expected))
    assert rows(page) == expected  # from the address's own position each row would come once more
    assert len(asked) >= 3


def test_data_that_is_no_string_makes_no_markup(
    site: Site, line: faults.Line, recipe: Callable[..., Page], library: str, group: str
) -> None:
    page = recipe(line, site.elsewhere.position())
    site.elsewhere.send(group, "message", {"text": "<img src=x onerror=alert(1)>"})
    site.elsewhere.send(group, "message", row(library, "last", "last"))
    expect(page.locator("#last")).to_be_visible()
    assert page.locator("img").count() == 0


def test_the_page_is_loaded_again_when_its_history_is_lost(
    site: Site, line: faults.Line, recipe: Callable[..., Page], library: str, group: str
) -> None:
    page = recipe(line, STALE)
    page.wait_for_function("(stale) => !document.body.innerHTML.includes(stale)", arg=STALE)
    site.elsewhere.send(group, "message", row(library, "fresh", "fresh"))
    expect(page.locator("#fresh")).to_be_visible()
