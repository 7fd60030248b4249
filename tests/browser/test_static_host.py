"""The static files are on another host, which lets no page import its scripts, and still all of the client works."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, Page

import livepush
from tests.browser.chromium import complaints
from tests.browser.readers import Reader, has_badge, open_panel, titles
from tests.browser.site import Site, is_open
from tests.servers import processes
from tests.servers.fresh import Databases


class Files(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    files = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(Path(livepush.__file__).parent)))
    threading.Thread(target=files.serve_forever, daemon=True).start()
    env = {"LIVEPUSH_TEST_STATIC": f"http://localhost:{files.server_port}/static/"}
    try:
        with (
            databases.fresh("postgresql") as database,
            processes.publisher(database) as elsewhere,
            processes.server("uvicorn", database, {"DRAIN": 0.2}, env=env) as server,
        ):
            yield Site(database, elsewhere, server)
    finally:
        files.shutdown()
        files.server_close()


def address(site: Site, group: str) -> str:
    return f"{site.server.url}/guarded/?{urlencode({'group': group})}"


def hears(page: Page) -> None:
    page.evaluate("() => { window.got = []; livepush.on('*', (data) => got.push(data)); }")


@pytest.mark.long
def test_a_second_tab_follows_the_first(site: Site, browser: Browser, group: str) -> None:
    with browser.new_context() as context:
        pages = [context.new_page() for _ in range(2)]
        said = [complaints(page) for page in pages]
        for page in pages:
            page.goto(address(site, group))
            is_open(page, "sse")
            hears(page)
        assert [page.evaluate("livepush.role") for page in pages] == ["leader", "follower"]
        site.elsewhere.send(group, "moved", 1)
        for page in pages:
            page.wait_for_function("() => got.includes(1)")
        assert said == [[], []]


@pytest.mark.long
def test_another_transport_gets_through(site: Site, browser: Browser, group: str) -> None:
    with browser.new_context() as context:
        context.add_init_script("delete window.fetch;")
        page = context.new_page()
        said = complaints(page)
        page.goto(address(site, group))
        is_open(page, "websocket")
        hears(page)
        site.elsewhere.send(group, "moved", 1)
        page.wait_for_function("() => got.includes(1)")
        assert said == []


def test_attributes_are_served(site: Site, browser: Browser, group: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        said = complaints(page)
        page.goto(address(site, group))
        is_open(page)
        page.evaluate("""() => {
            document.body.insertAdjacentHTML("beforeend", '<p data-livepush-on="moved"></p>');
            const place = document.querySelector("p");
            place.addEventListener("moved", ({ detail }) => { place.textContent = JSON.stringify(detail); });
            place.addEventListener("livepush:event", ({ detail }) => { place.textContent = detail.data; });
        }""")
        site.elsewhere.send(group, "moved", "there")
        page.wait_for_function("() => document.querySelector('p').textContent.includes('there')")
        assert said == []


def test_a_message_goes_out_and_the_panel_shows_the_list(reader: Reader, group: str) -> None:
    reader.notify("One")
    page = reader.open(f"/guarded/?{urlencode({'group': group})}")
    has_badge(page, "1")
    open_panel(page)
    titles(page, "One")
    hears(page)
    page.evaluate("group => livepush.send(group, 'said', 1)", group)
    page.wait_for_function("() => got.includes(1)")
