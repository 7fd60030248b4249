"""The client in Firefox: each transport, tabs that share a connection, and a page that one goes back to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.firefox import Firefox, Tab, firefox
from tests.browser.site import Site

pytestmark = pytest.mark.long
NOTE = """
    Object.assign(window, { got: [], resets: [] });
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
    document.addEventListener("livepush:reset", ({ detail }) => resets.push(detail));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    with firefox(tmp_path_factory.mktemp("firefox"), NOTE) as found:
        yield found
        complaints = [line for line in found.said if line.startswith(("warn", "error"))]
        assert [line for line in complaints if "favicon" not in line] == []


def tabs(site: Site, browser: Firefox, group: str, count: int) -> list[Tab]:
    """Open tabs, one after the other; each hears its group."""
    found = []
    for _ in range(count):
        found.append(browser.tab(f"{site.server.url}/live/?group={group}"))
        found[-1].until("window.livepush?.state === 'open'")
    return found


def has_all(found: list[Tab], count: int) -> None:
    """Check that each tab gets so many events, each once, in order, and no reset."""
    for tab in found:
        tab.until(f"got.length >= {count}")
    for tab in found:
        assert tab.evaluate("[got, resets]") == [list(range(count)), []]


def test_eight_tabs_have_one_connection_and_go_on_when_its_tab_is_closed(
    site: Site, browser: Firefox, group: str
) -> None:
    found = tabs(site, browser, group, 8)
    assert [tab.evaluate("livepush.role") for tab in found] == ["leader"] + ["follower"] * 7
    for number in range(250):
        site.elsewhere.send(group, "count", number)
    has_all(found, 250)
    found[0].close()
    for number in range(250, 500):
        site.elsewhere.send(group, "count", number)
    has_all(found[1:], 500)
    assert sorted(tab.evaluate("livepush.role") for tab in found[1:]) == ["follower"] * 6 + ["leader"]
    for tab in found[1:]:
        tab.close()


def test_every_transport_delivers_and_resumes(site: Site, browser: Firefox, group: str) -> None:
    (tab,) = tabs(site, browser, group, 1)
    sent = 0
    for name in ("websocket", "longpoll", "poll", "sse"):
        tab.evaluate(f"livepush.use('{name}') ?? null")
        tab.until(f"livepush.state === 'open' && livepush.transport === '{name}'")
        for _ in range(5):
            site.elsewhere.send(group, "count", sent)
            sent += 1
        has_all([tab], sent)
        tab.evaluate("livepush.cut() ?? null")
        site.elsewhere.send(group, "count", sent)
        sent += 1
        has_all([tab], sent)
    tab.close()


def test_a_page_that_one_goes_back_to_gets_what_came_since_it_was_made(
    site: Site, browser: Firefox, group: str
) -> None:
    found = tabs(site, browser, group, 2)
    found[0].go(f"{site.server.url}/ready/")
    found[1].until("livepush.role === 'leader' && livepush.state === 'open'")
    for number in range(20):
        site.elsewhere.send(group, "count", number)
    has_all(found[1:], 20)
    found[0].back()
    has_all(found, 20)
    found[0].until("livepush.role === 'follower' && livepush.state === 'open'")
    for tab in found:
        tab.close()


def test_the_bell_counts_opens_and_agrees_in_two_tabs(site: Site, browser: Firefox) -> None:
    name, _, value = site.elsewhere.session("fox").partition("=")
    cookie = {"name": name, "value": {"type": "string", "value": value}, "domain": "127.0.0.1", "path": "/"}
    browser.call("storage.setCookie", cookie=cookie)
    found = [browser.tab(f"{site.server.url}/bell/") for _ in range(2)]
    bell = "document.querySelector('livepush-bell').shadowRoot"
    badge = f"{bell}.querySelector('livepush-badge')"
    for tab in found:
        tab.until("window.livepush?.state === 'open'")
    site.elsewhere.do("notify", to="fox", title="Look")
    for tab in found:
        tab.until(f"!{badge}.hidden && {badge}.querySelector('b').textContent === '1'")
    found[1].evaluate(f"{bell}.querySelector('button').click() ?? null")
    found[1].until(f"{bell}.querySelector('[part~=title]')?.textContent === 'Unread: Look'")
    for tab in found:
        tab.until(f"{badge}.hidden")
    found[1].evaluate(f"{bell}.querySelector('[data-f=archive]').click() ?? null")
    found[1].until(f"{bell}.querySelector('.empty') && {bell}.querySelector('[data-f=undo]') !== null")
    found[1].evaluate(f"{bell}.querySelector('[data-f=undo]').click() ?? null")
    found[1].until(f"{bell}.querySelectorAll('li').length === 1")
    for tab in found:
        tab.close()
