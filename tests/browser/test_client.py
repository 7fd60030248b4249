"""The client in Chromium, against a real server: each event once, in order, whatever happens to the connection."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.browser.chromium import complaints
from tests.browser.site import Site, is_open
from tests.scale import some
from tests.servers import faults

TRANSPORTS = ("sse", "websocket", "longpoll", "poll")
FULL = 100
"""As many events fill a poll's answer."""
STALE = "00000000-5"
"""A position of an epoch that never was."""
DENIED = "order:5000"
NOTE_ALL = """
    Math.random = () => 0.02;  // short waits
    Object.assign(window, { got: [], typed: [], states: [], resets: [] });
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail));
    document.addEventListener("livepush:event:moved", ({ detail }) => typed.push(detail));
    document.addEventListener("livepush:state", ({ detail }) => states.push(detail));
    document.addEventListener("livepush:reset", ({ detail }) => resets.push(detail));
"""
USE = 'document.addEventListener("DOMContentLoaded", () => livepush.use("{}"));'  # before the client connects
Visit = Callable[..., Page]


@pytest.fixture
def visit(site: Site, browser: Browser) -> Iterator[Visit]:
    """Opens a page with a tag for each of some groups, and notes all that the client dispatches."""
    contexts = []

    def opened(
        *groups: str,
        transport: str | None = None,
        url: str = site.server.url,
        cookie: str = "",
        positions: tuple[str, ...] = (),
        before: Callable[[Page], None] = lambda page: None,
    ) -> Page:
        context = browser.new_context()
        contexts.append(context)
        if cookie:
            name, value = cookie.split("=")
            context.add_cookies([{"name": name, "value": value, "url": url}])
        page = context.new_page()
        page.add_init_script(NOTE_ALL)
        if transport is not None:
            page.add_init_script(USE.format(transport))
        before(page)
        page.goto(f"{url}/live/?{urlencode({'group': groups, 'position': positions}, doseq=True)}")
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> str:
    """Each transport in turn, the only one that the client may use."""
    return str(request.param)


def has_ended(page: Page, site: Site, group: str) -> None:
    """Send a last event and wait for it: what should not have come has come by then."""
    site.elsewhere.send(group, "ended")
    page.wait_for_function("() => got.at(-1)?.type === 'ended'")


def test_events_arrive_once_and_in_order_on_a_page_with_a_strict_policy(
    site: Site, visit: Visit, group: str, transport: str
) -> None:
    said: list[str] = []
    policies: list[str | None] = []

    def watch(page: Page) -> None:
        nonlocal said
        said = complaints(page)
        page.on("response", lambda response: policies.append(response.headers.get("content-security-policy")))

    page = visit(group, transport=transport, before=watch)
    is_open(page, transport)
    site.elsewhere.send(group, "moved", {"text": 'Zürich "quoted" \u2028 line\nbreak'})
    page.wait_for_function("() => got.length === 1")
    site.elsewhere.do("send_many", groups=group, type="moved", count=FULL + 50)
    site.elsewhere.send(group, "other")
    has_ended(page, site, group)
    expected = site.envelopes(group)
    assert len(expected) == FULL + 53
    assert page.evaluate("got") == expected
    assert page.evaluate("typed") == [event for event in expected if event["type"] == "moved"]
    assert page.evaluate("livepush.position") == expected[-1]["id"]
    assert {state["transport"] for state in page.evaluate("states")} == {transport}
    strict = "default-src 'none'; script-src 'self'; connect-src 'self'; require-trusted-types-for 'script'"
    assert policies[0] == strict
    assert said == []


def test_a_function_hears_of_its_type_until_it_is_taken_off(site: Site, visit: Visit, group: str) -> None:
    page = visit(group)
    is_open(page)
    page.evaluate(
        """() => {
            window.heard = [];
            window.off = livepush.on("moved", (data, { type }) => heard.push([type, data]));
            livepush.on("*", (data, { type }) => heard.push(["*", type, data]));
        }"""
    )
    site.elsewhere.send(group, "moved", 1)
    site.elsewhere.send(group, "other", 2)
    page.wait_for_function("() => heard.length === 3")
    page.evaluate("off()")
    site.elsewhere.send(group, "moved", 3)
    has_ended(page, site, group)
    heard = [["moved", 1], ["*", "moved", 1], ["*", "other", 2], ["*", "moved", 3], ["*", "ended", None]]
    assert page.evaluate("heard") == heard


def test_a_function_that_throws_disturbs_no_other(site: Site, visit: Visit, group: str) -> None:
    page = visit(group)
    is_open(page)
    failed: list[str] = []
    page.on("pageerror", lambda error: failed.append(str(error)))
    page.evaluate(
        """() => {
            window.heard = [];
            livepush.on("moved", () => { throw new Error("mine"); });
            livepush.on("moved", (data) => heard.push(data));
        }"""
    )
    for number in range(2):
        site.elsewhere.send(group, "moved", number)
    page.wait_for_function("() => heard.length === 2")
    assert page.evaluate("livepush.state") == "open"
    assert failed == ["mine", "mine"]


def test_what_happens_between_the_page_and_its_connection_arrives(
    site: Site, visit: Visit, group: str, transport: str
) -> None:
    def send_first(route: Route) -> None:
        """Give out the client only after an event was sent, by when the page has been rendered."""
        site.elsewhere.send(group, "moved", "between")
        route.continue_()

    page = visit(group, transport=transport, before=lambda page: page.route("**/livepush.js", send_first))
    page.wait_for_function("() => got.length === 1")
    has_ended(page, site, group)
    assert page.evaluate("got") == site.envelopes(group)


@pytest.mark.parametrize("lower_first", [True, False])
def test_two_tags_add_up_to_all_groups_each_from_its_own_position(
    site: Site, visit: Visit, group: str, lower_first: bool
) -> None:
    other = f"{group}-other"
    site.elsewhere.send([group, other], "never")
    lower = site.elsewhere.position()
    site.elsewhere.send(group, "moved", 1)
    site.elsewhere.send(other, "moved", 2)
    higher = site.elsewhere.position()
    positions = (lower, higher) if lower_first else (higher, lower)
    page = visit(group, other, positions=positions)
    page.wait_for_function("() => got.length === 1")
    site.elsewhere.send([other, group], "moved", 3)
    has_ended(page, site, other)
    _, first, second, both, last = site.envelopes(group, other)
    assert page.evaluate("got") == [first if lower_first else second, both, last]
    assert page.evaluate("livepush.groups") == [group, other]


def test_a_tag_that_comes_later_brings_its_events_and_repeats_none(site: Site, visit: Visit, group: str) -> None:
    later = f"{group}-later"
    page = visit(group)
    is_open(page)
    position = site.elsewhere.position()
    site.elsewhere.send(group, "moved", 1)
    site.elsewhere.send(later, "moved", 2)
    site.elsewhere.send(group, "moved", 3)
    page.wait_for_function("() => got.length === 2")
    page.evaluate(
        """([groups, position]) => {
            const trust = trustedTypes.createPolicy("test", { createScriptURL: (address) => address });
            const src = trust.createScriptURL(document.querySelector("script").src);
            const tag = Object.assign(document.createElement("script"), { src });
            Object.assign(tag.dataset, { livepush: "", groups: JSON.stringify(groups), position });
            document.body.append(tag);
        }""",
        [[later], position],
    )
    page.wait_for_function("() => got.length === 3")
    site.elsewhere.send([group, later], "moved", 4)
    has_ended(page, site, group)
    got = page.evaluate("got")
    one, two, three, *rest = site.envelopes(group, later)
    assert got[:3] == [one, three, two]
    assert got[3:] == rest


def test_each_event_arrives_once_and_in_order_however_often_the_line_is_cut(
    site: Site, visit: Visit, group: str
) -> None:
    """A few hundred events from another process, while the connection is cut at both ends and changes transports."""
    enough = threading.Event()

    def flow() -> None:
        for number in itertools.count():
            site.elsewhere.send(group, "moved", number)
            if enough.wait(0.02):
                return

    def goes_on() -> None:
        """Wait for more than had come, over a connection that is open."""
        count = page.evaluate("got.length")
        page.wait_for_function("(count) => livepush.state === 'open' && got.length > count + 3", arg=count)

    with faults.line(site.server.port) as cable:
        page = visit(group, url=cable.url)
        is_open(page, "sse")
        sender = threading.Thread(target=flow)
        sender.start()
        try:
            for name in ("websocket", "longpoll", "sse", "poll", "websocket", None):
                page.evaluate("(name) => livepush.use(name)", name)
                goes_on()
                page.evaluate("livepush.cut()")
                goes_on()
                cable.cut()
                goes_on()
        finally:
            enough.set()
            sender.join(20)
        has_ended(page, site, group)
    expected = site.envelopes(group)
    assert len(expected) > 100
    assert [event["data"] for event in expected[:-1]] == list(range(len(expected) - 1))
    assert page.evaluate("got") == expected
    states = page.evaluate("states")
    assert {state["transport"] for state in states if state["state"] == "open"} == set(TRANSPORTS)
    reasons = [state["reason"] for state in states if state["state"] == "waiting"]
    assert reasons.count("cut") == 6
    assert len(reasons) > 6 + 3, "the line was cut, and streams and held polls did not notice"
    assert page.evaluate("resets") == []


@pytest.mark.parametrize("transport", some([None, "websocket", "poll"]))
def test_it_resumes_when_the_server_has_been_away(site: Site, visit: Visit, group: str, transport: str | None) -> None:
    page = visit(group, transport=transport)
    is_open(page, transport)
    site.elsewhere.send(group, "moved", "before")
    page.wait_for_function("() => got.length === 1")
    site.server.stop()
    page.wait_for_function("() => livepush.state !== 'open'")
    for number in range(20):
        site.elsewhere.send(group, "moved", number)
    site.server.start()
    is_open(page, transport or "sse")
    has_ended(page, site, group)
    assert page.evaluate("got") == site.envelopes(group)
    assert page.evaluate("resets") == []


def test_under_a_service_worker_that_leaves_livepush_alone_events_come(site: Site, visit: Visit, group: str) -> None:
    page = visit(group)
    page.evaluate(
        """async () => {
            const trust = trustedTypes.createPolicy("test", { createScriptURL: (address) => address });
            await navigator.serviceWorker.register(trust.createScriptURL("/worker.js"));
        }"""
    )
    page.wait_for_function("() => navigator.serviceWorker.controller")
    page.reload()
    is_open(page, "sse")
    site.elsewhere.send(group, "moved", 1)
    has_ended(page, site, group)
    assert page.evaluate("got") == site.envelopes(group)
    assert page.evaluate("performance.getEntriesByType('navigation')[0].workerStart") > 0


def test_a_group_that_is_refused_ends_the_matter(site: Site, visit: Visit, transport: str) -> None:
    page = visit(DENIED, transport=transport)
    page.wait_for_function("() => window.livepush?.state === 'denied'")
    reason = "4401" if transport == "websocket" else "403"
    assert [(state["state"], state.get("reason")) for state in page.evaluate("states")] == [
        ("connecting", None),
        ("denied", reason),
    ]
    assert page.evaluate("livepush.transport") is None


@pytest.mark.parametrize("transport", some(TRANSPORTS))
def test_a_group_that_is_refused_keeps_no_other_from_coming(
    site: Site, visit: Visit, group: str, transport: str
) -> None:
    page = visit(group, DENIED, transport=transport)
    is_open(page, transport)
    assert page.evaluate("[livepush.groups, livepush.refused]") == [[group], [DENIED]]
    site.elsewhere.send([DENIED, group], "moved", 1)
    has_ended(page, site, group)
    assert page.evaluate("got") == site.envelopes(group)


@pytest.mark.parametrize("transport", some(TRANSPORTS))
def test_a_position_of_another_epoch_makes_a_reset(site: Site, visit: Visit, group: str, transport: str) -> None:
    site.elsewhere.send(group, "never")
    now = site.elsewhere.position()
    page = visit(group, transport=transport, positions=(STALE,))
    page.wait_for_function("() => resets.length")
    has_ended(page, site, group)
    reason = "poll" if transport.endswith("poll") else "epoch"
    assert page.evaluate("resets") == [{"position": now, "reason": reason}]
    assert page.evaluate("got") == site.envelopes(group)[1:]


@pytest.mark.parametrize("transport", some(TRANSPORTS))
def test_users_hear_of_their_own_group_by_their_sessions_cookie(site: Site, visit: Visit, transport: str) -> None:
    cookie = site.elsewhere.session("ann")
    own = site.user_group("ann")
    page = visit(own, transport=transport, cookie=cookie)
    is_open(page, transport)
    count = len(site.envelopes(own))
    site.elsewhere.send(own, "moved", "for her alone")
    has_ended(page, site, own)
    assert page.evaluate("got") == site.envelopes(own)[count:]
    for other in ("", site.elsewhere.session("bob")):
        stranger = visit(own, transport=transport, cookie=other)
        stranger.wait_for_function("() => window.livepush?.state === 'denied'")


@pytest.mark.parametrize("transport", some(TRANSPORTS))
def test_a_page_whose_address_has_a_password_connects(site: Site, visit: Visit, group: str, transport: str) -> None:
    page = visit(group, transport=transport, url=site.server.url.replace("://", "://ann:secret@"))
    assert page.evaluate("document.baseURI").startswith("http://ann:secret@")
    is_open(page, transport)
    has_ended(page, site, group)


@pytest.mark.parametrize("address", ["mailto:ann@example.com", "/away/"])
def test_a_page_that_is_not_left_after_all_stays_connected(site: Site, visit: Visit, group: str, address: str) -> None:
    page = visit(group)
    page.route("**/away/", lambda route: route.fulfill(status=204))
    is_open(page)
    page.evaluate("() => { states.length = 0; window.leaving = 0; addEventListener('beforeunload', () => leaving++); }")
    page.evaluate("(address) => setTimeout(() => { location.href = address; })", address)
    page.wait_for_function("() => leaving")
    has_ended(page, site, group)
    assert page.evaluate("states") == []
