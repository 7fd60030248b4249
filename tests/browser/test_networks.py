"""Eight tabs behind proxies and bad lines: each of 500 events once, in order, in every tab."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.site import Site, is_open
from tests.integration.test_doctor import certificate
from tests.scale import some
from tests.servers import faults
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

__all__ = ["certificate"]
SETTINGS = {"HEARTBEAT": 1}
TABS = 8
EVENTS = 500
NOTE = """
    Math.random = () => 0.02;  // short waits
    Object.assign(window, { got: [], resets: [], opened: [] });
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
    document.addEventListener("livepush:reset", ({ detail }) => resets.push(detail));
    document.addEventListener("livepush:state", ({ detail }) => {
        if (detail.state === "open") opened.push(detail.transport);
    });
"""
STOCK = "server { listen 127.0.0.1:%(port)s; location / { proxy_pass http://127.0.0.1:%(upstream)s; } }"
GZIP = """
server {
    listen 127.0.0.1:%(port)s;
    gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;
    location / { proxy_pass http://127.0.0.1:%(upstream)s; proxy_http_version 1.1; proxy_set_header Connection ""; }
}
"""
HTTP2 = """
server {
    listen 127.0.0.1:%(port)s ssl http2; %(certificate)s
    location / {
        proxy_pass http://127.0.0.1:%(upstream)s; proxy_http_version 1.1; proxy_set_header Connection "";
        proxy_set_header Host $http_host;
    }
}
"""
SSE, WS = b"GET /livepush/sse/", b"GET /livepush/ws/"


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(ignore_https_errors=True) as found:
        yield found


def tabs(context: BrowserContext, url: str, group: str, count: int = TABS) -> list[Page]:
    """Open tabs, one after the other; each hears its group."""
    pages = []
    for _ in range(count):
        page = context.new_page()
        page.add_init_script(NOTE)
        page.goto(f"{url}/live/?{urlencode({'group': group})}")
        is_open(page)
        pages.append(page)
    return pages


@contextlib.contextmanager
def sending(site: Site, group: str, count: int = EVENTS, pause: float = 0.003) -> Iterator[None]:
    """Send events from another process meanwhile, and the rest at the end."""
    stop = threading.Event()

    def flow() -> None:
        for number in range(count):
            site.elsewhere.send(group, "count", number)
            stop.wait(pause)

    sender = threading.Thread(target=flow)
    sender.start()
    try:
        yield
    finally:
        stop.set()
        sender.join(60)


def has_all(pages: list[Page], count: int = EVENTS) -> None:
    """Check that each tab gets so many events, each once, in order, and no reset."""
    for page in pages:
        page.wait_for_function("(count) => got.length >= count", arg=count)
    for page in pages:
        assert page.evaluate("[got, resets]") == [list(range(count)), []]


def transports(page: Page) -> list[str]:
    """Return the transports that a tab's connection was open over, in order."""
    return list(dict.fromkeys(page.evaluate("opened")))


@pytest.mark.long
@pytest.mark.parametrize("block", some([STOCK, GZIP]), ids=["stock", "gzip"])
def test_behind_nginx(site: Site, context: BrowserContext, group: str, tmp_path: Path, block: str) -> None:
    port = free_port()
    with nginx(tmp_path, block % {"port": port, "upstream": site.server.port}, [port]):
        pages = tabs(context, f"http://127.0.0.1:{port}", group)
        with sending(site, group):
            pass
        has_all(pages)
        assert transports(pages[0]) == ["sse"]


@pytest.mark.long
def test_twelve_tabs_over_http2(
    site: Site, context: BrowserContext, group: str, tmp_path: Path, certificate: str
) -> None:
    port = free_port()
    values = {"port": port, "upstream": site.server.port, "certificate": certificate}
    with nginx(tmp_path, HTTP2 % values, [port]):
        pages = tabs(context, f"https://127.0.0.1:{port}", group, 12)
        assert pages[0].evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
        with sending(site, group):
            pass
        has_all(pages)


@pytest.mark.long
def test_where_streams_are_held_back_and_the_upgrade_is_stripped_it_polls(
    site: Site, context: BrowserContext, group: str, tmp_path: Path
) -> None:
    """The line passes the head of a stream and nothing more; nginx, as it comes, passes no upgrade on."""
    port = free_port()
    with (
        nginx(tmp_path, STOCK % {"port": port, "upstream": site.server.port}, [port]),
        faults.line(port) as line,
    ):
        line.swallow = (SSE,)
        with sending(site, group, 20):
            page = context.new_page()
            page.add_init_script(NOTE)
            page.goto(f"{line.url}/live/?{urlencode({'group': group})}")
        pages = [page, *tabs(context, line.url, group, TABS - 1)]
        is_open(page, "longpoll")
        for number in range(20, EVENTS):
            site.elsewhere.send(group, "count", number)
        for each in pages:
            each.wait_for_function("(last) => got.at(-1) === last", arg=EVENTS - 1)
        found = page.evaluate("got")
        assert found == list(range(found[0], EVENTS))
        assert transports(page) == ["longpoll"]


@pytest.mark.long
@pytest.mark.parametrize(("swallow", "expected"), some([((SSE,), "websocket"), ((SSE, WS), "longpoll")]))
def test_a_stream_that_is_held_back_and_a_socket_that_stays_silent_are_noticed(
    site: Site, context: BrowserContext, group: str, swallow: tuple[bytes, ...], expected: str
) -> None:
    with faults.line(site.server.port) as line:
        line.swallow = swallow
        pages = tabs(context, line.url, group)
        assert transports(pages[0]) == [expected]
        with sending(site, group):
            pass
        has_all(pages)


@pytest.mark.long
def test_what_there_is_shows_while_a_stream_is_held_back(site: Site, context: BrowserContext, group: str) -> None:
    with faults.line(site.server.port) as line:
        line.swallow = (SSE, WS)
        page = context.new_page()
        page.add_init_script(NOTE)
        page.route("**/livepush.js", lambda route: (site.elsewhere.send(group, "count", 0), route.continue_()))
        page.goto(f"{line.url}/live/?{urlencode({'group': group})}")
        page.wait_for_function("() => got.length === 1")
        assert page.evaluate("livepush.state") == "connecting"
        is_open(page, "longpoll")
        assert page.evaluate("got") == [0]


@pytest.mark.long
def test_a_better_transport_is_taken_without_a_gap_once_it_gets_through(
    site: Site, context: BrowserContext, group: str
) -> None:
    with faults.line(site.server.port) as line:
        line.swallow = (SSE,)
        page = context.new_page()
        page.clock.install()
        page.add_init_script(NOTE)
        page.goto(f"{line.url}/live/?{urlencode({'group': group})}")
        is_open(page, "websocket")
        with sending(site, group):
            line.swallow = ()
            page.clock.fast_forward(31_000)
            is_open(page, "sse")
        has_all([page])
        assert page.evaluate("opened") == ["websocket", "sse"]


def cut(line: faults.Line) -> None:
    line.cut()


def refuse(line: faults.Line) -> None:
    line.refuse()
    line.accept()


def stall(line: faults.Line) -> None:
    """Everything that is open hangs for ever, without a word."""
    line.abandon()


@pytest.mark.long
@pytest.mark.parametrize("fault", some([stall, cut, refuse]))
def test_on_a_line_that_fails(
    site: Site, context: BrowserContext, group: str, fault: Callable[[faults.Line], None]
) -> None:
    with faults.line(site.server.port) as line:
        pages = tabs(context, line.url, group)
        with sending(site, group):
            for end in (50, 150):
                pages[-1].wait_for_function("(count) => got.length >= count", arg=end)
                fault(line)
        has_all(pages)
        for page in pages:
            is_open(page)
