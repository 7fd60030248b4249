"""When pages load the script of the list, and what they do without it."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.readers import (
    Reader,
    entries,
    has_badge,
    is_not_complained_of,
    news,
    open_panel,
    press,
    titles,
    toasts,
)
from tests.patience import wait_until
from tests.scale import some

SCRIPT = re.compile(r"/livepush-list\.js")
ALONE = "main livepush-list"
LINK = "livepush-bell .empty a"


def asked_for(context: BrowserContext) -> list[str]:
    """Return a list that fills with the requests for the list's script."""
    found: list[str] = []
    context.on("request", lambda request: found.append(request.url) if SCRIPT.search(request.url) else None)
    return found


def hold(page: Page | BrowserContext) -> list[Route]:
    """Hold the list's script back; return a list that fills with the requests that wait."""
    held: list[Route] = []
    page.route(SCRIPT, lambda route: held.append(route))
    return held


def arrives(page: Page, held: list[Route]) -> None:
    wait_until(lambda: held or page.wait_for_timeout(20))
    held.pop().continue_()


@pytest.mark.parametrize(
    "approach", some([lambda bell: bell.hover(), lambda bell: bell.focus()]), ids=["pointer", "focus"]
)
def test_the_bell_loads_it_when_its_panel_is_about_to_open(reader: Reader, approach: Callable) -> None:
    context = reader.context()
    asked = asked_for(context)
    reader.notify("One")
    page = reader.open("/bell/", context)
    has_badge(page, "1")
    assert asked == []
    with page.expect_request(SCRIPT):
        approach(page.locator("livepush-bell button"))
    open_panel(page)
    titles(page, "One")
    assert len(asked) == 1


@pytest.mark.long
def test_a_page_that_stays_open_loads_it_before_the_sites_next_release_may_take_it_away(reader: Reader) -> None:
    context = reader.context()
    asked = asked_for(context)
    context.clock.install()
    page = reader.open("/bell/", context)
    page.clock.fast_forward(25_000)
    assert asked == []
    with page.expect_response(SCRIPT):
        page.clock.fast_forward(10_000)
    page.route(SCRIPT, lambda route: route.abort())
    reader.notify("One")
    open_panel(page)
    titles(page, "One")


def test_a_panel_whose_script_does_not_come_says_so_and_can_be_tried_again(new_reader) -> None:
    reader = new_reader()
    reader.notify("One")
    page = reader.open()
    page.route(SCRIPT, lambda route: route.fulfill(status=200, content_type="text/html", body="<p>maintenance"))
    page.click("livepush-bell button")
    error = page.locator("livepush-bell .error")
    expect(error).to_contain_text("The notifications could not be loaded. Try again")
    expect(page.locator(LINK)).to_be_visible()
    page.unroute(SCRIPT)
    page.click("livepush-bell [data-f=again]")
    titles(page, "One")
    expect(error).to_be_hidden()
    press(page, "archive")
    titles(page)
    for said in reader.said:
        assert all("module script" in line.lower() for line in said)  # the browser complains of the wrong type
        said.clear()


@pytest.mark.long
def test_a_panel_that_was_closed_before_the_script_came_has_shown_nothing(reader: Reader) -> None:
    reader.notify("One")
    page = reader.open()
    held = hold(page)
    page.click("livepush-bell button")
    expect(page.locator(LINK)).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(LINK)).to_be_hidden()
    with page.expect_response(SCRIPT):
        arrives(page, held)
    page.wait_for_function("() => livepush.state === 'open'")
    has_badge(page, "1")
    open_panel(page)
    titles(page, "One")
    has_badge(page, "")


@pytest.mark.long
def test_what_comes_before_the_script_is_shown_with_it(reader: Reader) -> None:
    reader.notify("One")
    context = reader.context()
    held = hold(context)
    page = reader.open("/bell/?list=1", context)
    titles(page, "One", within=ALONE)
    reader.notify("Two")
    expect(toasts(page)).to_have_count(1)
    titles(page, "One", within=ALONE)
    arrives(page, held)
    titles(page, "Two", "One", within=ALONE)
    expect(news(page, ALONE)).to_be_hidden()
    has_badge(page, "")


def test_until_it_comes_the_lists_buttons_work_as_without_scripts(reader: Reader) -> None:
    for title in ("One", "Two"):
        reader.notify(title)
    context = reader.context()
    held = hold(context)
    page = reader.open("/bell/?list=1", context)
    page.evaluate("window.same = true")
    press(page, "archive", within=ALONE)
    page.wait_for_function("() => !window.same")
    titles(page, "One", within="livepush-list")
    held.clear()
    page.unroute_all(behavior="ignoreErrors")


def test_entries_hide_from_the_next_user_before_it_has_come(new_reader) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("for Ann")
    context = ann.context()
    held = hold(context)
    page = ann.open("/bell/?list=1", context)
    expect(entries(page, ALONE)).to_have_count(1)
    name, _, value = ben.site.elsewhere.session(ben.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": ann.site.server.url}])
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator(f"{ALONE} form")).to_be_hidden()
    expect(page.locator(f"{ALONE} .error")).to_contain_text("Somebody else is logged in now.")
    arrives(page, held)
    expect(page.locator(f"{ALONE} form")).to_be_hidden()
    is_not_complained_of(ann, "409")  # the page may have told that Ann's entry was seen, and the server refused it


@pytest.mark.long
def test_it_comes_under_a_policy_that_allows_only_the_tags_nonce(reader: Reader) -> None:
    def strict(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace("<script ", '<script nonce="n0" ')
        policy = "script-src 'nonce-n0'; object-src 'none'; base-uri 'none'; require-trusted-types-for 'script'"
        route.fulfill(response=response, body=body, headers={**response.headers, "content-security-policy": policy})

    reader.notify("One")
    context = reader.context()
    context.route("**/bell/", strict)
    page = reader.open("/bell/", context)
    open_panel(page)
    titles(page, "One")
