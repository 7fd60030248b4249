"""Whatever a browser lacks, refuses or leaves unanswered, two tabs hear each event once and nothing is uncaught."""

from __future__ import annotations

from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from tests.browser.chromium import complaints
from tests.browser.site import Site, is_open
from tests.scale import some

NOTE = """
    Math.random = ((random) => () => random() / 20)(Math.random);  // short waits
    const refuse = () => { throw new DOMException("refused", "SecurityError"); };
    const never = () => new Promise(() => {});
    const put = (object, name, value) => Object.defineProperty(object, name, { value, configurable: true });
    const guard = (object, name) => Object.defineProperty(object, name, { get: refuse });
    window.got = [];
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
"""
SHARING = {
    "no AbortSignal.any, AbortSignal.timeout or structuredClone": """
        delete AbortSignal.any; delete AbortSignal.timeout; delete window.structuredClone;
    """,
    "sessionStorage is refused": "guard(window, 'sessionStorage');",
    "sessionStorage is full": "Storage.prototype.setItem = refuse;",
    "storage is foreign": "sessionStorage.livepush = '{'; localStorage.livepush = '{';",
    "navigator.onLine is missing": "put(navigator, 'onLine', undefined);",
    "Math.random is constant": "Math.random = () => 0.02;",
}
ALONE = {
    "no locks and no localStorage": "put(navigator, 'locks', undefined); guard(window, 'localStorage');",
    "no locks, and localStorage is full": """
        put(navigator, "locks", undefined);
        put(window, "localStorage", new Proxy({}, { set: refuse }));
    """,
    "no locks, and localStorage is damaged": """
        put(navigator, "locks", undefined);
        put(window, "localStorage", new Proxy({}, { get: () => "{" }));
    """,
    "locks are guarded": "guard(navigator, 'locks');",
    "locks throw": "navigator.locks.request = refuse;",
    "locks are refused": "navigator.locks.request = async () => refuse();",
    "locks hang": "navigator.locks.request = never;",
    "locks answer nothing": "navigator.locks.request = () => {};",
    "no BroadcastChannel": "delete window.BroadcastChannel;",
    "BroadcastChannel is refused": "window.BroadcastChannel = refuse;",
    "BroadcastChannel can't post": "BroadcastChannel.prototype.postMessage = refuse;",
    "no crypto": "put(window, 'crypto', undefined);",
}
TRANSPORTS = {
    "no fetch": ("delete window.fetch;", "websocket"),
    "fetch hangs": ("window.fetch = never;", "websocket"),
    "fetch throws": ("window.fetch = refuse;", "websocket"),
    "responses have no body": ("put(Response.prototype, 'body', null);", "websocket"),
    "bodies hang": ("ReadableStreamDefaultReader.prototype.read = never;", "websocket"),
    "no TextDecoder": ("delete window.TextDecoder;", "websocket"),
    "no AbortController": ("delete window.AbortController;", "websocket"),
    "no WebSocket and no TextDecoder": ("delete window.WebSocket; delete window.TextDecoder;", "longpoll"),
    "WebSockets hang, and bodies too": (
        "window.WebSocket = class { close() {} }; ReadableStreamDefaultReader.prototype.read = never;",
        "longpoll",
    ),
}


def hear(site: Site, browser: Browser, group: str, way: str, transport: str | None = None) -> list[str]:
    """Open two tabs of a browser without something, check that both hear everything, and return their roles."""
    with browser.new_context() as context:
        context.add_init_script(f"{{ {NOTE} {way} }}")
        pages = [context.new_page() for _ in range(2)]
        said = [complaints(page) for page in pages]
        for page in pages:
            page.goto(f"{site.server.url}/live/?{urlencode({'group': group})}")
            is_open(page, transport)
        for number in range(5):
            site.elsewhere.send(group, "count", number)
        for page in pages:
            page.wait_for_function("() => got.length >= 5")
            assert page.evaluate("got") == list(range(5))
        assert said == [[], []]
        return [str(page.evaluate("livepush.role")) for page in pages]


@pytest.mark.long
@pytest.mark.parametrize("way", some(list(SHARING), 2))
def test_tabs_share_a_connection_although(site: Site, browser: Browser, group: str, way: str) -> None:
    assert hear(site, browser, group, SHARING[way], "sse") == ["leader", "follower"]


@pytest.mark.long
@pytest.mark.parametrize("way", some(list(ALONE)))
def test_each_tab_has_a_connection_if(site: Site, browser: Browser, group: str, way: str) -> None:
    assert hear(site, browser, group, ALONE[way], "sse") == ["alone", "alone"]


@pytest.mark.long
@pytest.mark.parametrize("way", some(list(TRANSPORTS)))
def test_another_transport_gets_through_if(site: Site, browser: Browser, group: str, way: str) -> None:
    hear(site, browser, group, *TRANSPORTS[way])
