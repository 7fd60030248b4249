"""The manual's JavaScript runs in Chromium, with the real client and made-up endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, Route

from livepush import wire
from tests.docs_blocks import PAGES, ROOT, blocks
from tests.scale import some

ADDRESS = "http://livepush.example/"
STATIC = ROOT / "livepush" / "static" / "livepush"
SCRIPTS = ("livepush.js", "livepush-send.js", "livepush-presence.js")
ANSWER = '{"offset":3,"parts":["a ",[{"progress":0.5}]],"state":"finished","error":"","metadata":{}}'
POSITION = wire.Position("k3x9", 1041)
IN_HTML = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def scripts() -> list[tuple[str, str]]:
    """Return where each script is and its text: blocks of JavaScript, and scripts in templates."""
    return [
        (str(block), text)
        for page in PAGES
        for block in blocks(page)
        for text in ([block.text] if block.language == "javascript" else IN_HTML.findall(block.text))
    ]


def script_of(name: str) -> Callable[[Route], None]:
    """Return what answers with one of livepush's scripts."""
    body = (STATIC / name).read_bytes()
    return lambda route: route.fulfill(body=body, content_type="text/javascript")


def serve(page: Page, elements: set[str], type: str) -> None:
    """Answer a page's requests: the page itself, the client, and endpoints that have one event of a type."""
    data, sender = '{"status":"shipped","text":"shipped"}', '{"id":"7","name":"Ada"}'
    event = wire.Event(1042, ("order:7",), type, data, "2026-01-31T12:00:00.000000Z", sender)
    tag = (
        '<form id="write"><input></form>'
        '<script defer src="/livepush.js" data-livepush data-url="/livepush/" data-send="/livepush-send.js"'
        f""" data-groups='["order:7"]' data-position="{POSITION}"></script>"""
        '<script defer src="/livepush-presence.js"></script>'
    )
    tag += '<script defer src="/livepush-streams.js"></script>'
    html = "<!doctype html>" + "".join(f'<p id="{name}"></p>' for name in elements - {"write"}) + tag

    def stream(route: Route) -> None:
        format = wire.Format.SSE_ENVELOPE if "format=envelope" in route.request.url else wire.Format.SSE
        hello = wire.hello(POSITION, format, heartbeat=15, retry=60_000, groups=("order:7",), refused=())
        frames = [*hello, wire.encode(event, POSITION.epoch, format).encode()]
        route.fulfill(body=b"".join(map(bytes, frames)), content_type="text/event-stream")

    def poll(route: Route) -> None:
        route.fulfill(body=wire.poll_answer([event], POSITION), content_type="application/json")

    page.route("**/*", lambda route: route.fulfill(body="", content_type="text/plain"))
    page.route(ADDRESS, lambda route: route.fulfill(body=html, content_type="text/html"))
    for name in SCRIPTS:
        page.route(f"**/{name}", script_of(name))
    page.route(
        "**/send/", lambda route: route.fulfill(body='{"ok":true,"reply":null}', content_type="application/json")
    )
    page.route(
        "**/livepush-streams.js",
        lambda route: route.fulfill(path=STATIC / "livepush-streams.js", content_type="text/javascript"),
    )
    page.route("**/streams/**", lambda route: route.fulfill(body=ANSWER, content_type="application/json"))
    page.route("**/sse/**", stream)
    page.route("**/poll/**", poll)


@pytest.mark.parametrize("script", some([text for _, text in scripts()], 8), ids=[where for where, _ in scripts()])
def test_the_script_runs_and_takes_an_event(browser: Browser, script: str) -> None:
    elements = set(re.findall(r'querySelector\("#(\w+)"\)', script)) | set(re.findall(r"(\w+)\.textContent", script))
    types = re.findall(r"livepush:event:([\w.]+)", script) or re.findall(r'livepush\.on\("(\w+)"', script)
    page = browser.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))
    serve(page, elements, types[0] if types else "status")
    page.add_init_script("document.addEventListener('livepush:event', () => { window.seen = true })")
    if "livepush." in script or "await" in script:  # for a deferred script or a module
        page.goto(ADDRESS)
        page.wait_for_function("window.seen")
        page.evaluate(f"async () => {{ {script} }}")
    else:
        page.add_init_script(script)
        page.goto(ADDRESS)
        page.wait_for_function("window.seen")
        if "livepush:inbox" in script:
            detail = "{ detail: { unseen: 2, unread: 5 } }"
            page.evaluate(f"document.dispatchEvent(new CustomEvent('livepush:inbox', {detail}))")
        for name in elements:
            page.wait_for_function("(id) => document.getElementById(id).textContent", arg=name)
    assert failures == []
    page.close()
