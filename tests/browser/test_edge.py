"""The browser's client behind Pushpin, which holds the streams of a WSGI site."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.bridges.edge import running
from tests.browser.chromium import complaints
from tests.browser.site import is_open
from tests.patience import PATIENCE_MS
from tests.servers.fresh import Databases

RECORD = """
window.got = [];
document.addEventListener("livepush:event", ({ detail }) => window.got.push(detail.type));
"""


@pytest.mark.long
def test_a_page_gets_everything_over_sse_also_while_the_proxy_restarts(databases: Databases, browser: Browser) -> None:
    with running(databases) as site:
        context = browser.new_context(bypass_csp=True)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(RECORD)
        page = context.new_page()
        said = complaints(page)
        page.goto(f"{site.url}/live/?group=board&group=order:1")
        page.wait_for_function("window.livepush?.state === 'open' && livepush.transport === 'sse'")
        for name in ("one", "two"):
            site.shop.send(["board", "order:1"], name)
        page.wait_for_function("got.length >= 2")
        assert said == []
        site.pushpin.kill()
        page.wait_for_function("livepush.state !== 'open'")
        site.shop.send("board", "three")
        site.pushpin.start()
        page.wait_for_function("livepush.state === 'open'")
        site.shop.send("order:1", "four")
        page.wait_for_function("got.length >= 4")
        assert page.evaluate("got") == ["one", "two", "three", "four"]
        context.close()


@pytest.mark.long
def test_where_sse_is_blocked_a_websocket_brings_everything_and_a_long_poll_what_is_too_large_for_it(
    databases: Databases, browser: Browser
) -> None:
    with running(databases) as site:
        context = browser.new_context(bypass_csp=True)
        context.set_default_timeout(PATIENCE_MS)
        context.add_init_script(RECORD)
        page = context.new_page()
        page.route("**/livepush/sse/**", lambda route: route.abort())
        page.goto(f"{site.url}/live/?group=board&group=order:1")
        is_open(page, "websocket")
        for name in ("one", "two"):
            site.shop.send(["board", "order:1"], name)
        page.wait_for_function("got.length >= 2")
        site.pushpin.kill()
        page.wait_for_function("livepush.state !== 'open'")
        site.shop.send("board", "three")
        site.pushpin.start()
        page.wait_for_function("got.length >= 3")
        is_open(page, "websocket")
        site.shop.send("order:1", "large", "x" * 40_000)
        page.wait_for_function("got.length >= 4")
        assert page.evaluate("got") == ["one", "two", "three", "large"]
        is_open(page, "longpoll")
        context.close()
