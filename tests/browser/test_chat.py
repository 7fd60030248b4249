"""The AI SDK's chat for React in Chromium: answers go on after a reload and elsewhere, and stop."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.site import Site
from tests.patience import PATIENCE_MS
from tests.servers.fresh import ROOT
from tests.streams.nodes import HERE
from tests.streams.site import words
from tests.streams.test_clients import PARTS

MAY_FAIL = True


@pytest.fixture(scope="module")
def chat(node_clients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chat's program, bundled as a project would."""
    folder = tmp_path_factory.mktemp("chat")
    (folder / "chat.jsx").write_text((HERE / "chat.jsx").read_text())
    (folder / "node_modules").symlink_to(node_clients / "node_modules")
    command = [
        ROOT / "node_modules" / ".bin" / "esbuild", folder / "chat.jsx", "--bundle", f"--outfile={folder / 'chat.js'}",
        "--log-level=error", "--jsx-factory=createElement", '--define:process.env.NODE_ENV="production"',
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=folder)
    return folder / "chat.js"


@pytest.fixture
def page(site: Site, browser: Browser, chat: Path) -> Iterator[Page]:
    """A tab of a user who may stop streams."""
    name, value = site.elsewhere.session("ann").split("=")
    cookies = [{"name": name, "value": value}, {"name": "csrftoken", "value": "x" * 32}]
    html = '<!doctype html><div id="app"></div><script defer src="/chat.js"></script>'
    with browser.new_context() as context:
        context.add_cookies([{**each, "url": site.server.url} for each in cookies])
        context.route("**/one/**", lambda route: route.fulfill(body=html, content_type="text/html"))
        context.route("**/chat.js", lambda route: route.fulfill(path=chat, content_type="text/javascript"))
        found = context.new_page()
        found.set_default_timeout(PATIENCE_MS)
        yield found


def ask(page: Page, site: Site, name: str, **asked: Any) -> None:
    page.goto(f"{site.server.url}/one/?chat={name}")
    page.wait_for_function("() => window.chatStatus === 'ready'")
    page.evaluate("(text) => ask(text)", json.dumps(asked))


def text(page: Page) -> str:
    return page.text_content("main") or ""


@pytest.mark.long
@pytest.mark.long
def test_use_chat_goes_on_after_a_reload_in_mid_answer_and_on_a_second_device(page, site):
    ask(page, site, "reload", words=60, pause=0.05)
    page.wait_for_function("() => document.querySelector('main').textContent.includes('word10 ')")
    page.reload()
    page.wait_for_function("() => document.querySelector('main')?.dataset.answers === '1'")
    assert text(page).startswith("word0 word1 ")
    assert page.evaluate("window.chatStatus") == "streaming"
    other = page.context.new_page()
    other.goto(f"{site.server.url}/one/?chat=reload")
    for each in (page, other):
        each.wait_for_function("() => document.querySelector('main').textContent.includes('word59 ')")
        each.wait_for_function("() => window.chatStatus === 'ready'")
        assert text(each) == words(60)
        assert each.evaluate("parts.map(({ type }) => type)") == ["text"]
    page.reload()
    page.wait_for_function("() => window.chatStatus === 'ready'")
    assert page.get_attribute("main", "data-answers") == "0"  # nothing runs any more: the project shows what it kept


@pytest.mark.long
def test_use_chat_stops_an_answer_on_the_server(page, site):
    ask(page, site, "stop", words=10_000, pause=0.02)
    page.wait_for_function("() => document.querySelector('main').textContent.includes('word10 ')")
    assert page.evaluate("stop().then(({ status }) => status)") == 204
    page.wait_for_function("() => window.chatStatus === 'ready'")
    kept = text(page)
    assert kept == words(kept.count("word"))


@pytest.mark.long
def test_use_chat_shows_that_an_answer_failed(page, site):
    ask(page, site, "fail", words=10, fail=4)
    page.wait_for_function("() => window.chatStatus === 'error'")
    assert (text(page), page.evaluate("chatError")) == (words(4), "The stream failed.")


@pytest.mark.long
def test_use_chat_shows_reasoning_and_a_tool_also_after_a_reload(page, site):
    ask(page, site, "tool", words=40, pause=0.05, parts=PARTS)
    for _ in range(2):
        page.wait_for_function("() => document.querySelector('main').textContent.includes('word9 ')")
        kinds = page.evaluate("parts.map(({ type, text, state, output }) => [type, text ?? output, state])")
        assert kinds[:2] == [["reasoning", "Where is it?", "done"], ["tool-track", "on its way", "output-available"]]
        assert (kinds[2][0], kinds[2][2], len(kinds)) == ("text", "streaming", 3)
        page.reload()
    page.wait_for_function("() => document.querySelector('main').textContent.includes('word39 ')")
    assert text(page) == words(40)
