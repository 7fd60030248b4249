"""Streams in Chromium: what the server rendered goes on live without a gap, over reloads, proxies and restarts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.chromium import complaints
from tests.browser.site import Site
from tests.patience import PATIENCE_MS
from tests.servers import processes
from tests.streams.site import words

SHOWN = "document.querySelector('livepush-stream')"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.new_context() as context:
        found = context.new_page()
        found.set_default_timeout(PATIENCE_MS)
        said = complaints(found)
        yield found
        assert [line for line in said if " 501 " not in line] == []  # the page's client first asks WSGI to stream


def begin(site: Site, **asked: Any) -> str:
    body = json.dumps({"json": 1, **asked}).encode()
    request = urllib.request.Request(f"{site.server.url}/streams/answer/", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request) as response:
        return str(json.load(response)["stream"])


def shows(page: Page, text: str) -> None:
    page.wait_for_function(f"(text) => {SHOWN}.textContent.includes(text)", arg=text)


def ends(page: Page, state: str) -> str:
    page.wait_for_function(f"(state) => {SHOWN}.getAttribute('state') === state", arg=state)
    return page.text_content("livepush-stream") or ""


def test_the_tag_s_text_goes_on_live_without_a_gap_also_after_a_reload(page, site):
    id = begin(site, words=60, pause=0.05)
    for word in ("word3 ", "word20 "):
        page.goto(f"{site.server.url}/streams/page/{id}/")
        shows(page, word)
    assert page.get_attribute("livepush-stream", "aria-busy") == "true"
    assert ends(page, "finished") == words(60)
    assert page.evaluate(f"{SHOWN}.childNodes.length") == 1
    page.reload()
    assert ends(page, "finished") == words(60)
    assert page.get_attribute("livepush-stream", "data-after") == str(len(words(60)))


def test_text_is_text_whatever_it_holds_and_a_page_may_render_by_itself(page, site):
    id = site.elsewhere.do("open_stream", group="room:1")
    site.elsewhere.do("write", stream=id, text="<img src=x onerror=alert(1)> 🐦")
    page.add_init_script(
        "document.addEventListener('livepush:part', (event) => {"
        " const { stream } = event.detail;"
        " if (!stream.text.includes('**')) return;"
        " event.preventDefault();"
        " const b = document.createElement('b'); b.textContent = stream.text;"
        " event.target.replaceChildren(b); })"
    )
    page.goto(f"{site.server.url}/streams/page/{id}/")
    shows(page, "🐦")
    assert page.locator("livepush-stream img").count() == 0
    site.elsewhere.do("write", stream=id, text=" and **bold**", progress=0.4)
    page.wait_for_selector("livepush-stream b")
    page.wait_for_selector("livepush-stream[progress='0.4']")
    site.elsewhere.do("finish", stream=id)
    assert ends(page, "finished") == "<img src=x onerror=alert(1)> 🐦 and **bold**"


def test_a_program_iterates_over_the_parts_and_each_says_where_to_go_on(page, site):
    id = site.elsewhere.do("open_stream", group="room:1")
    site.elsewhere.do("write", stream=id, text="🐦a", data={"n": 1})
    site.elsewhere.do("write", stream=id, text="b")
    site.elsewhere.do("finish", stream=id)
    page.goto(f"{site.server.url}/streams/page/{id}/")
    read = """async ([id, after]) => {
        const stream = livepush.stream(id, { after });
        const parts = [];
        for await (const part of stream) parts.push(part);
        const { text, state, offset } = stream;
        return { parts, text, state, offset };
    }"""
    parts = [{"text": "🐦a", "offset": 2}, {"data": {"n": 1}, "offset": 3}, {"text": "b", "offset": 4}]
    assert page.evaluate(read, [id, 0]) == {"parts": parts, "text": "🐦ab", "state": "finished", "offset": 4}
    assert page.evaluate(read, [id, 2])["parts"] == parts[1:]
    assert page.evaluate("livepush.scan === undefined") is False  # the page's client and streams share one name


def test_a_stream_that_may_not_be_read_shows_nothing(browser, site):
    id = site.elsewhere.do("open_stream", group="role:crew")
    site.elsewhere.do("write", stream=id, text="secret")
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{site.server.url}/streams/page/{id}/")
        page.wait_for_function(f"() => {SHOWN}.getAttribute('state') === 'refused'")
        assert "secret" not in page.content()
    site.elsewhere.do("finish", stream=id)


@pytest.mark.long
def test_a_reader_goes_on_when_its_server_restarts(browser, site):
    id = site.elsewhere.do("open_stream", group="room:1")
    site.elsewhere.do("write", stream=id, text="before ")
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{site.server.url}/streams/page/{id}/")
        shows(page, "before ")
        site.server.stop()
        site.elsewhere.do("write", stream=id, text="meanwhile ")
        site.server.start()
        shows(page, "meanwhile ")
        site.elsewhere.do("write", stream=id, text="after")
        site.elsewhere.do("finish", stream=id)
        assert ends(page, "finished") == "before meanwhile after"


@pytest.mark.long
@pytest.mark.parametrize("way", ["a proxy that holds streams back", "WSGI"])
def test_without_streaming_the_text_comes_by_polls(page, site, way):
    id = site.elsewhere.do("open_stream", group="room:1")
    site.elsewhere.do("write", stream=id, text="one ")
    with processes.server(processes.WSGI, site.database) as wsgi:
        url = wsgi.url if way == "WSGI" else site.server.url
        if way != "WSGI":
            held = "(url) => url.searchParams.get('format') === 'livepush'"
            page.add_init_script(
                f"const usual = fetch; const held = {held};"
                "window.fetch = (url, options) => held(new URL(url, location)) ? new Promise((done, fail) =>"
                " options.signal.addEventListener('abort', () => fail(options.signal.reason))) : usual(url, options);"
            )
        page.goto(f"{url}/streams/page/{id}/")
        shows(page, "one ")
        site.elsewhere.do("write", stream=id, text="two ")
        shows(page, "two ")
        site.elsewhere.do("write", stream=id, text="three")
        site.elsewhere.do("finish", stream=id)
        assert ends(page, "finished") == "one two three"
