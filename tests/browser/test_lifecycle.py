"""Tabs that are frozen, thawed, put into the back/forward cache and restored: each event once, in order, in each."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.devtools import Devtools, Tab, devtools
from tests.browser.site import Site
from tests.scale import some

NOTE = """
    Object.assign(window, { got: [], resets: [], shown: [] });
    document.addEventListener("livepush:event", ({ detail }) => got.push(detail.data));
    document.addEventListener("livepush:reset", ({ detail }) => resets.push(detail));
    window.addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
"""
TABS = 8
EVENTS = 500


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devtools]:
    with devtools(tmp_path_factory.mktemp("profile")) as found:
        yield found


Open = Callable[..., list[Tab]]


@pytest.fixture
def tabs(site: Site, browser: Devtools) -> Iterator[Open]:
    """Opens some tabs, one after the other, the last in front."""
    opened: list[Tab] = []

    def more(count: int, group: str) -> list[Tab]:
        for _ in range(count):
            opened.append(browser.tab(f"{site.server.url}/live/?group={group}", NOTE))
            opened[-1].until("window.livepush?.state === 'open'")
        return list(opened)

    yield more
    for each in opened:
        with contextlib.suppress(RuntimeError):  # closed before
            each.close()


def send(site: Site, group: str, start: int, end: int) -> None:
    for number in range(start, end):
        site.elsewhere.send(group, "count", number)


def has_all(tabs: list[Tab], count: int) -> None:
    """Check that each tab gets so many events, each once, in order."""
    for tab in tabs:
        tab.until(f"got.length >= {count}")
    for tab in tabs:
        assert tab.evaluate("got") == list(range(count))
        assert tab.evaluate("resets") == []


def roles(tabs: list[Tab]) -> list[str]:
    return [tab.evaluate("livepush.role") for tab in tabs]


def leads(tab: Tab) -> None:
    tab.until("livepush.role === 'leader' && livepush.state === 'open'")


@pytest.mark.long
def test_a_leader_that_is_frozen_is_replaced_and_gets_what_it_missed_when_thawed(
    site: Site, tabs: Open, group: str
) -> None:
    pages = tabs(TABS, group)
    assert roles(pages) == ["leader"] + ["follower"] * (TABS - 1)
    send(site, group, 0, 5)
    has_all(pages, 5)
    for page, heir in itertools.pairwise(pages[:3]):
        page.freeze()
        leads(heir)
    send(site, group, 5, EVENTS)
    has_all(pages[2:], EVENTS)
    for page in pages[:2]:
        page.thaw()
    has_all(pages, EVENTS)
    send(site, group, EVENTS, EVENTS + 10)
    has_all(pages, EVENTS + 10)
    assert roles(pages).count("leader") == 1


@pytest.mark.long
def test_tabs_that_are_frozen_at_once_starve_no_other(site: Site, tabs: Open, group: str) -> None:
    """The second may be frozen while the browser hands it the lock, which it then can't let go of: it is replaced."""
    pages = tabs(3, group)
    for page in pages[:2]:
        page.freeze()
    leads(pages[2])
    send(site, group, 0, 20)
    for page in pages[:2]:
        page.thaw()
    has_all(pages, 20)


@pytest.mark.long
def test_a_page_in_the_back_forward_cache_leads_nobody_and_resumes_when_it_is_restored(
    site: Site, tabs: Open, group: str
) -> None:
    pages = tabs(TABS, group)
    send(site, group, 0, 5)
    has_all(pages, 5)
    pages[0].go(f"{site.server.url}/ready/")
    leads(pages[1])
    send(site, group, 5, EVENTS)
    has_all(pages[1:], EVENTS)
    pages[0].back()
    has_all(pages, EVENTS)
    assert pages[0].evaluate("shown") == [False, True], "it was restored, not loaded anew"
    send(site, group, EVENTS, EVENTS + 10)
    has_all(pages, EVENTS + 10)
    assert roles(pages) == ["follower", "leader"] + ["follower"] * (TABS - 2)


@pytest.mark.long
def test_the_only_tab_is_restored_from_the_cache_with_what_it_missed(site: Site, tabs: Open, group: str) -> None:
    pages = tabs(1, group)
    pages[0].go(f"{site.server.url}/ready/")
    send(site, group, 0, 20)
    pages[0].back()
    has_all(pages, 20)
    assert pages[0].evaluate("shown") == [False, True]
    assert roles(pages) == ["leader"]


@pytest.mark.long
@pytest.mark.parametrize("way", some(["crash", "close"]))
def test_hidden_tabs_go_on_where_the_leader_went(site: Site, tabs: Open, group: str, way: str) -> None:
    pages = tabs(TABS, group)
    send(site, group, 0, 5)
    has_all(pages, 5)
    getattr(pages[0], way)()
    send(site, group, 5, EVENTS)
    has_all(pages[1:], EVENTS)
    assert sorted(roles(pages[1:])) == ["follower"] * (TABS - 2) + ["leader"]


@pytest.mark.long
def test_a_tab_shows_its_state_on_the_documents_element(tabs: Open, group: str) -> None:
    (page,) = tabs(1, group)
    assert page.evaluate("document.documentElement.dataset.livepushState") == "open"
    page.evaluate("livepush.stop()")
    assert page.evaluate("document.documentElement.dataset.livepushState") == "stopped"


@pytest.mark.long
def test_where_the_user_has_blocked_a_sites_data_a_tab_connects_alone(site: Site, group: str, tmp_path: Path) -> None:
    preferences = tmp_path / "Default" / "Preferences"
    preferences.parent.mkdir()
    preferences.write_text(json.dumps({"profile": {"default_content_setting_values": {"cookies": 2}}}))
    with devtools(tmp_path) as browser:
        tab = browser.tab(f"{site.server.url}/live/?group={group}", NOTE)
        tab.until("window.livepush?.state === 'open'")
        assert tab.evaluate("livepush.role") == "alone"
        assert (
            tab.evaluate("navigator.locks.request('x', () => 0).then(() => 'granted', ({ name }) => name)") != "granted"
        )
        send(site, group, 0, 1)
        has_all([tab], 1)
