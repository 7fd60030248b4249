"""Pages that Turbo morphs: the elements stay, and what they show may be another's by then."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import APIResponse, BrowserContext, Page, Route, expect

from tests.browser import libraries
from tests.browser.readers import Reader, has_badge, open_panel, press, titles
from tests.patience import wait_until

MORPH = '<meta name="turbo-refresh-method" content="morph">'
LINK = '<body><a id="other" href="/bell/?other=1">other</a>'
LOADED = "new Promise((done) => addEventListener('turbo:load', () => done(), { once: true }))"
LIST = "main livepush-list"
STREAM = "livepush-stream"


def morph(page: Page, *kept: str) -> None:
    """Have Turbo morph the page into what the server says now, and wait until it is read. Some elements must stay."""
    page.evaluate("(kept) => { window.kept = kept.map((each) => document.querySelector(each)); }", list(kept))
    page.evaluate(f"() => {{ const loaded = {LOADED}; Turbo.session.refresh(location.href); return loaded; }}")
    assert page.evaluate("kept.every((each) => each.isConnected)")


def fulfil(route: Route, response: APIResponse) -> None:
    html = libraries.dress(response.text(), [libraries.TURBO], LINK, MORPH)
    route.fulfill(response=response, body=html)


def is_page(page: Page) -> Callable[[str], bool]:
    """Return a function that knows the page's address, whatever Turbo does to the query."""
    here = page.url.partition("?")[0]
    return lambda asked: asked.partition("?")[0] == here


def becomes(page: Page, path: str) -> None:
    """Have the server answer at the page's address with another of its pages."""
    site = "/".join(page.url.split("/")[:3])
    page.route(is_page(page), lambda route: fulfil(route, route.fetch(url=site + path)))


class Late:
    """A morph whose answer the server has made, and which comes when the test says so."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.held: list[tuple[Route, APIResponse]] = []
        page.route(is_page(page), self.hold)
        page.evaluate("Turbo.session.refresh(location.href)")
        wait_until(lambda: self.held or page.wait_for_timeout(20))

    def hold(self, route: Route) -> None:
        self.held.append((route, route.fetch()))

    def comes(self) -> None:
        self.page.evaluate(f"() => {{ window.loaded = {LOADED}; }}")
        fulfil(*self.held[0])
        self.page.evaluate("loaded")


def with_turbo(reader: Reader, path: str, pages: str = libraries.BELLS) -> tuple[BrowserContext, Page]:
    """Show a page that Turbo morphs."""
    context = reader.context(bypass_csp=True)
    libraries.give(context, [libraries.TURBO], LINK, MORPH, pages)
    return context, reader.open(path, context)


# The inbox


def become(context: BrowserContext, reader: Reader) -> None:
    name, _, value = reader.site.elsewhere.session(reader.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": reader.site.server.url}])


def test_a_page_that_is_morphed_into_another_users_shows_their_inbox(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("ann's secret")
    ben.notify("ben's")
    context, page = with_turbo(ann, "/bell/?list=1")
    titles(page, "ann's secret", within=LIST)
    become(context, ben)
    morph(page, LIST, "livepush-bell")
    titles(page, "ben's", within=LIST)
    open_panel(page)
    titles(page, "ben's")
    page.keyboard.press("Escape")
    ben.notify("new")
    titles(page, "new", "ben's", within=LIST)
    press(page, "archive", within=LIST)
    titles(page, "ben's", within=LIST)


@pytest.mark.long
def test_a_page_that_was_morphed_is_up_to_date_when_it_is_brought_back(reader: Reader) -> None:
    reader.notify("One")
    _, page = with_turbo(reader, "/bell/?list=1")
    titles(page, "One", within=LIST)
    morph(page, LIST)
    press(page, "archive", within=LIST)
    titles(page, within=LIST)
    page.click("#other")
    expect(page.locator(LIST)).to_have_count(0)
    page.go_back()
    expect(page.locator(LIST)).to_have_count(1)
    titles(page, within=LIST)


@pytest.mark.long
def test_a_morph_that_comes_late_takes_back_neither_the_badge_nor_the_title(reader: Reader) -> None:
    _, page = with_turbo(reader, "/bell/?other=1")
    late = Late(page)
    reader.notify("One")
    has_badge(page, "1")
    late.comes()
    expect(page.locator("main livepush-badge b")).to_have_text("1")
    expect(page.locator("main livepush-badge")).to_be_visible()
    expect(page).to_have_title("(1) Shop")


# Streams


def stream_page(reader: Reader, id: str) -> Page:
    page = with_turbo(reader, f"/streams/page/{id}/", "**/streams/page/**")[1]
    expect(page.locator(STREAM)).to_have_attribute("aria-busy", "true")
    return page


def test_a_stream_loses_no_text_to_a_morph_that_comes_late(reader: Reader) -> None:
    do = reader.site.elsewhere.do
    id = do("open_stream", group="room:1")
    do("write", stream=id, text="one ")
    page = stream_page(reader, id)
    late = Late(page)
    do("write", stream=id, text="two ")
    expect(page.locator(STREAM)).to_have_attribute("data-after", "8")
    late.comes()
    do("write", stream=id, text="three")
    do("finish", stream=id)
    expect(page.locator(f"{STREAM}[state=finished]")).to_have_text("one two three")


@pytest.mark.long
def test_an_element_that_is_morphed_into_another_streams_goes_on_with_that(reader: Reader) -> None:
    do = reader.site.elsewhere.do
    first, second = do("open_stream", group="room:1"), do("open_stream", group="room:1")
    do("write", stream=first, text="the first")
    do("write", stream=second, text="a second ")  # as long
    page = stream_page(reader, first)
    becomes(page, f"/streams/page/{second}/")
    morph(page, STREAM)
    do("write", stream=second, text="goes on")
    do("write", stream=first, text=" is not shown")
    for each in (first, second):
        do("finish", stream=each)
    expect(page.locator(f"{STREAM}[state=finished]")).to_have_text("a second goes on")


# Presence


def test_an_element_that_is_morphed_into_another_groups_shows_who_is_there(
    new_reader: Callable[[], Reader], group: str
) -> None:
    ann, bob = new_reader(), new_reader()
    first, second = group.replace("room:", "lobby:one-"), group.replace("room:", "lobby:two-")
    page = with_turbo(ann, f"/lobby/?group={first}", "**/lobby/**")[1]
    names = page.locator("livepush-presence li span")
    expect(names).to_have_text([ann.name])
    page.wait_for_function("() => livepush.groups.length")
    becomes(page, f"/lobby/?group={second}")
    morph(page, "livepush-presence")
    bob.open(f"/lobby/?group={second}")
    expect(names.filter(has_text=bob.name)).to_have_count(1)
    expect(names).to_have_count(2)
    page.wait_for_function("(group) => livepush.groups.join() === group", arg=second)


def test_a_stream_that_has_ended_stays_so_whatever_an_older_answer_says(reader: Reader) -> None:
    do = reader.site.elsewhere.do
    id = do("open_stream", group="room:1")
    do("write", stream=id, text="one ")
    page = stream_page(reader, id)
    expect(page.locator(STREAM)).to_have_attribute("data-after", "4")
    late = Late(page)
    do("finish", stream=id)
    finished = page.locator(f"{STREAM}[state=finished]")
    expect(finished).to_have_text("one ")
    late.comes()
    expect(finished).to_have_text("one ")
