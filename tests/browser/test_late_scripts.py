"""Scripts that the client imports come late, after a release, or not at all: nothing is lost, repeated or blocked."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser.site import Site, is_open
from tests.patience import wait_until

NOTE = """
    Math.random = ((random) => () => random() / 20)(Math.random);  // short waits
    window.got = [];
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
"""
SWAP = """(position) => {
    const old = document.querySelector("script[data-livepush]");
    const tag = old.cloneNode();
    for (const name in tag.dataset) tag.dataset[name] = tag.dataset[name].replace(".0ld", "");
    tag.dataset.position = position;
    const place = document.createElement("p");
    place.dataset.livepushOn = "*";
    old.remove();
    document.body.replaceChildren(place, tag);
    livepush.scan();
    window.there = [];
    place.addEventListener("livepush:event", ({ detail }) => there.push(detail.data));
}"""
"""Give the page another body, with a tag from a position and an element that hears every event."""
FALLBACK, ATTRIBUTES = (re.compile(rf"livepush-{name}\.js") for name in ("fallback", "attributes"))
HIDDEN = "Object.defineProperty(document, 'hidden', { value: true });"


@pytest.fixture
def context(browser: Browser):
    with browser.new_context() as found:
        found.add_init_script(NOTE)
        yield found


@pytest.fixture
def address(site: Site, group: str) -> str:
    return f"{site.server.url}/live/?{urlencode({'group': group})}"


def hold(context: BrowserContext, script: re.Pattern[str]) -> Callable[[Page], None]:
    """Hold a script back; return what lets it come."""
    held: list[Route] = []
    context.route(script, lambda route: held.append(route))

    def let_go(page: Page) -> None:
        wait_until(lambda: held or page.wait_for_timeout(20))
        while held:
            held.pop().continue_()

    return let_go


def test_a_page_that_lives_over_a_release_finds_the_scripts_where_its_new_body_says(
    site: Site, context: BrowserContext, group: str, address: str
) -> None:
    page = context.new_page()

    def of_before(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=re.sub(r"livepush-(\w+)\.js", r"livepush-\1.0ld.js", response.text()))

    page.route("**/live/**", of_before)
    page.route("**/*.0ld.js", lambda route: route.fulfill(status=404))
    page.goto(address)
    is_open(page, "sse")
    page.evaluate(SWAP, page.evaluate("livepush.position"))
    site.elsewhere.send(group, "moved", 1)
    page.wait_for_function("() => there.includes(1)")


@pytest.mark.parametrize("rendered", ["before", "after"])
def test_an_element_of_a_new_body_hears_what_comes_after_it_was_rendered_and_once(
    site: Site, context: BrowserContext, group: str, address: str, rendered: str
) -> None:
    let_go = hold(context, ATTRIBUTES)
    page = context.new_page()
    page.goto(address)
    is_open(page, "sse")
    before = page.evaluate("livepush.position")
    page.evaluate(SWAP, before)
    site.elsewhere.send(group, "moved", 1)
    page.wait_for_function("() => got.includes(1)")
    page.evaluate(SWAP, before if rendered == "before" else page.evaluate("livepush.position"))
    if rendered == "before":
        page.wait_for_function("() => got.length === 2")
    let_go(page)
    site.elsewhere.send(group, "moved", 2)
    page.wait_for_function("() => there.includes(2)")
    assert page.evaluate("there") == ([1, 2] if rendered == "before" else [2])


@pytest.mark.long
def test_many_who_wait_for_the_script_that_polls_poll_once(context: BrowserContext, address: str) -> None:
    let_go = hold(context, FALLBACK)
    page = context.new_page()
    polls: list[str] = []
    page.on("request", lambda request: polls.append(request.url) if "/poll/" in request.url else None)
    page.goto(address)
    is_open(page, "sse")
    page.evaluate("() => { for (let number = 0; number < 20; number++) dispatchEvent(new Event('online')); }")
    with page.expect_response("**/poll/**"):
        let_go(page)
    page.evaluate("() => new Promise((done) => setTimeout(done))")
    assert len(polls) == 1


@pytest.mark.long
def test_tabs_that_can_not_follow_leave_the_site_its_connections(
    site: Site, context: BrowserContext, group: str, address: str
) -> None:
    """Over HTTP/1.1 a browser has six connections to a host: as many tabs in the background must not hold them all."""
    context.route(FALLBACK, lambda route: route.fulfill(status=404))
    for number in range(7):
        page = context.new_page()
        if number:
            page.add_init_script(HIDDEN)
        page.goto(address)
        page.wait_for_function("(role) => livepush.role === role", arg="follower" if number else "leader")
    page.wait_for_function("() => performance.now() > 1500")  # they would connect by themselves by now
    last = context.new_page()
    last.goto(address)
    is_open(last, "sse")
    site.elsewhere.send(group, "moved", 1)
    last.wait_for_function("() => got.includes(1)")
    context.unroute(FALLBACK)
    for page in context.pages[1:-1]:
        page.wait_for_function("() => got.includes(1)")
