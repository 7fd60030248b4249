"""Tabs of one browser share a connection: each event once, in order, in every tab, whatever becomes of the leader."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Error, Page, Route

from tests.browser.chromium import complaints
from tests.browser.site import Site, is_open
from tests.scale import FULL, some

EVENTS = 500
SOON = 1300 if FULL else 6300
"""How soon (milliseconds) a tab must lose what it may not read; the short form runs beside others."""
TABS = 8
LIVE = ("sse", "websocket", "longpoll")
NOTE = """
    Object.assign(window, { got: [], resets: [] });
    document.addEventListener("livepush:event", ({ detail: { id, data, group, groups } }) =>
        got.push([id, data, group, groups]));
    document.addEventListener("livepush:reset", ({ detail }) => resets.push(detail));
"""


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    found = browser.new_context()
    yield found
    found.close()


def tab(context: BrowserContext, url: str, *groups: str) -> Page:
    """Open one more tab, and wait until it hears its groups."""
    page = context.new_page()
    page.add_init_script(NOTE)
    page.goto(f"{url}/live/?{urlencode({'group': groups}, doseq=True)}")
    is_open(page)
    return page


def role(page: Page) -> str:
    return str(page.evaluate("livepush.role"))


def leads(page: Page) -> None:
    """Wait until a tab has the connection."""
    page.wait_for_function("() => livepush.role === 'leader' && livepush.state === 'open'")


def has_all(pages: list[Page], count: int) -> None:
    """Check that each tab gets so many events, each once, in order."""
    for page in pages:
        page.wait_for_function("(count) => got.length >= count", arg=count)
    for page in pages:
        assert page.evaluate("got.map(([, data]) => data)") == list(range(count))


def requests_of(context: BrowserContext, endpoint: str) -> list[str]:
    """Return a list that fills with the requests to an endpoint from all tabs."""
    found: list[str] = []
    context.on("request", lambda request: found.append(request.url) if endpoint in request.url else None)
    return found


def send(site: Site, group: str, start: int, end: int) -> None:
    for number in range(start, end):
        site.elsewhere.send(group, "count", number)


@pytest.mark.long
def test_eight_tabs_have_one_connection_and_each_event_once(site: Site, context: BrowserContext, group: str) -> None:
    streams = requests_of(context, "/sse/")
    pages = [tab(context, site.server.url, group) for _ in range(TABS)]
    assert [role(page) for page in pages] == ["leader"] + ["follower"] * (TABS - 1)
    send(site, group, 0, EVENTS)
    has_all(pages, EVENTS)
    assert len(streams) == 1


def close(pages: list[Page]) -> None:
    pages[0].close()


def crash(pages: list[Page]) -> None:
    """Kill the process behind the tab that leads."""
    with contextlib.suppress(Error):
        session = pages[0].context.new_cdp_session(pages[0])
        session.send("Page.crash", timeout=500)  # which nobody is left to answer


def go_elsewhere(pages: list[Page]) -> None:
    pages[0].goto("about:blank")


@pytest.mark.parametrize("goes", some([crash, close, go_elsewhere]))
def test_another_tab_takes_over_where_the_leader_went(
    site: Site, context: BrowserContext, group: str, goes: Callable[[list[Page]], None]
) -> None:
    pages = [tab(context, site.server.url, group) for _ in range(3)]
    send(site, group, 0, 50)
    has_all(pages, 50)
    goes(pages)
    send(site, group, 50, 60)
    rest = pages[1:]
    has_all(rest, 60)
    leads(next(page for page in rest if role(page) == "leader"))
    send(site, group, 60, 70)
    has_all(rest, 70)
    assert sorted(role(page) for page in rest) == ["follower", "leader"]


@pytest.mark.long
def test_a_leader_that_hangs_is_replaced_and_follows_when_it_is_back(
    site: Site, context: BrowserContext, group: str
) -> None:
    pages = [tab(context, site.server.url, group) for _ in range(2)]
    pages[0].evaluate("setTimeout(() => { const end = Date.now() + 14_000; while (Date.now() < end); })")
    leads(pages[1])
    send(site, group, 0, 20)
    has_all(pages, 20)
    pages[0].wait_for_function("() => livepush.role === 'follower' && livepush.state === 'open'")
    send(site, group, 20, 30)
    has_all(pages, 30)


def test_each_tab_gets_a_send_once_with_its_own_groups_alone(site: Site, context: BrowserContext, group: str) -> None:
    one, two = f"{group}-one", f"{group}-two"
    streams = requests_of(context, "/sse/")
    pages = [tab(context, site.server.url, *groups) for groups in ((one,), (two,), (one, two))]
    site.elsewhere.send([one, two], "both", 0)
    for group in (one, two, one):
        site.elsewhere.send(group, "single", group)
    site.elsewhere.send([two, one], "both", "end")
    for page in pages:
        page.wait_for_function("() => got.at(-1)?.[1] === 'end'")
    found = [page.evaluate("got.map(([, data, group, groups]) => [data, group, groups ?? null])") for page in pages]
    singles = [[name, name, None] for name in (one, two, one)]
    assert found == [
        [[0, one, None], singles[0], singles[2], ["end", one, None]],
        [[0, two, None], singles[1], ["end", two, None]],
        [[0, one, [one, two]], *singles, ["end", one, [one, two]]],
    ]
    assert len(streams) == 2, "the third tab's groups were there"


def test_a_tab_that_opens_late_gets_what_came_since_its_page_was_made(
    site: Site, context: BrowserContext, group: str
) -> None:
    first = tab(context, site.server.url, group)
    sent = False

    def send_first(route: Route) -> None:
        nonlocal sent
        if not sent:
            send(site, group, 0, 5)
            first.wait_for_function("() => got.length === 5")
        sent = True
        route.continue_()

    context.route("**/livepush.js", send_first)
    second = tab(context, site.server.url, group)
    has_all([first, second], 5)
    assert [role(first), role(second)] == ["leader", "follower"]


def test_who_logs_in_anew_in_another_tab_hears_nothing_of_who_was_there(site: Site, browser: Browser) -> None:
    ann, bob = site.elsewhere.session("ann"), site.elsewhere.session("bob")
    groups = site.user_group("ann"), site.user_group("bob")
    with browser.new_context() as context:
        for cookie in (ann, bob):
            name, value = cookie.split("=")
            context.add_cookies([{"name": name, "value": value, "url": site.server.url}])
            tab(context, site.server.url, groups[0] if cookie == ann else groups[1])
        old, new = context.pages
        site.elsewhere.send(groups[0], "count", "for ann")
        site.elsewhere.send(groups[1], "count", "for bob")
        for page, text in ((old, "for ann"), (new, "for bob")):
            page.wait_for_function("() => got.length")
            assert page.evaluate("got.map(([, data]) => data)") == [text]
        assert [role(old), role(new)] == ["leader", "leader"]


@pytest.mark.parametrize(
    ("transport", "shared"), some([(name, shared) for shared in (False, True) for name in LIVE], 2)
)
def test_a_right_that_ends_reaches_a_tab_that_follows_within_a_second(
    site: Site, browser: Browser, group: str, transport: str, shared: bool
) -> None:
    """The leader's connection brings the private group: for the follower alone, or for both."""
    ann = f"ann-{group.removeprefix('room:')}"
    name, value = site.elsewhere.session(ann).split("=")
    private = site.user_group(ann)
    with browser.new_context() as context:
        context.add_cookies([{"name": name, "value": value, "url": site.server.url}])
        leader = tab(context, site.server.url, group, *([private] if shared else []))
        follower = tab(context, site.server.url, group, private)
        assert [role(leader), role(follower)] == ["leader", "follower"]
        leader.evaluate("(name) => livepush.use(name)", transport)
        is_open(leader, transport)
        site.elsewhere.send(private, "count", "before")
        follower.wait_for_function("() => got.length === 1")
        follower.evaluate(
            "document.addEventListener('livepush:revoked', ({ detail }) => { window.lost = [detail, Date.now()] })"
        )
        begun = follower.evaluate("Date.now()")
        site.elsewhere.do("end_session", cookie=f"{name}={value}", how="logout")
        follower.wait_for_function("() => window.lost")
        detail, at = follower.evaluate("lost")
        assert detail["groups"] == [private]
        print(f"{transport}: {at - begun} ms")
        assert at - begun < SOON
        site.elsewhere.send(private, "count", "private")
        site.elsewhere.send(group, "count", "public")
        for page in (leader, follower):
            page.wait_for_function("() => got.some(([, data]) => data === 'public')")
            assert not page.evaluate("got.some(([, data]) => data === 'private')")


def test_without_web_locks_a_lease_elects_the_leader(site: Site, context: BrowserContext, group: str) -> None:
    url = site.server.url.replace("127.0.0.1", "shop.test")
    streams = requests_of(context, "/sse/")
    pages = [tab(context, url, group) for _ in range(3)]
    assert pages[0].evaluate("[isSecureContext, navigator.locks === undefined]") == [False, True]
    send(site, group, 0, 20)
    has_all(pages, 20)
    assert len(streams) == 1
    pages[0].close()
    send(site, group, 20, 30)
    has_all(pages[1:], 30)
    assert sorted(role(page) for page in pages[1:]) == ["follower", "leader"]


def test_the_pages_console_stays_empty_under_a_strict_policy(site: Site, context: BrowserContext, group: str) -> None:
    said = []
    context.on("page", lambda page: said.append(complaints(page)))
    pages = [tab(context, site.server.url, group) for _ in range(2)]
    pages[0].goto("about:blank")
    send(site, group, 0, 5)
    has_all(pages[1:], 5)
    assert said == [[], []]
