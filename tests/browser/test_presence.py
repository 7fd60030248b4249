"""Who is there, in real pages: the element, and `livepush.presence` in scripts."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser import libraries
from tests.browser.readers import Reader

SETTINGS = {"PRESENCE_GRACE": 3.0, "PRESENCE_LEASE": 6.0}


@pytest.fixture
def lobby(group: str) -> str:
    return group.replace("room:", "lobby:")


def shown(page: Page, *names: str) -> None:
    """Wait until the element shows these, in any order."""
    page.wait_for_function(
        """(names) => [...document.querySelectorAll("livepush-presence li")]
            .map((li) => li.title).sort().join() === names""",
        arg=",".join(sorted(names)),
    )
    expect(page.locator("livepush-presence > b")).to_have_text(str(len(names)))


def open_lobby(reader: Reader, lobby: str, **options) -> Page:
    return reader.open(f"/lobby/?group={lobby}", **options)


def told(reader: Reader, lobby: str) -> list[str]:
    return [event["type"] for event in reader.site.elsewhere.rows([lobby])]


@pytest.mark.long
def test_the_element_shows_who_comes_and_goes(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    page = open_lobby(ann, lobby)
    shown(page, ann.name)
    other = open_lobby(bob, lobby)
    for each in (page, other):
        shown(each, ann.name, bob.name)
    other.close()
    shown(page, ann.name)
    expect(page.locator("livepush-presence [role=status]")).to_have_text("Here now: 1")


@pytest.mark.long
def test_a_reload_is_no_leave(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    page, other = open_lobby(ann, lobby), open_lobby(bob, lobby)
    shown(page, ann.name, bob.name)
    for _ in range(3):
        other.reload()
        shown(other, ann.name, bob.name)
    assert "presence.leave" not in told(ann, lobby)


@pytest.mark.long
def test_a_tab_that_follows_counts_and_leaves_when_it_is_closed(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    page = open_lobby(ann, lobby)
    context = bob.context()
    bob.open("/live/?group=board", context)
    second = open_lobby(bob, lobby, context=context)
    assert second.evaluate("livepush.role") == "follower"
    shown(page, ann.name, bob.name)
    shown(second, ann.name, bob.name)
    second.close()
    shown(page, ann.name)


@pytest.mark.long
def test_a_page_from_which_htmx_swaps_the_element_leaves(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    page = open_lobby(ann, lobby)
    other = open_lobby(bob, lobby, context=bob.context(bypass_csp=True))
    for each in (page, other):
        shown(each, ann.name, bob.name)
    other.add_script_tag(path=libraries.MODULES / libraries.HTMX2)
    other.evaluate(
        """() => {
            const { parentElement } = document.querySelector("livepush-presence");
            htmx.swap(parentElement, "<p>elsewhere</p>", { swapStyle: "innerHTML" });
        }"""
    )
    shown(page, ann.name)


@pytest.mark.long
def test_a_page_without_scripts_lists_who_is_there(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    shown(open_lobby(ann, lobby), ann.name)
    page = bob.visit(f"/lobby/?group={lobby}", java_script_enabled=False)
    expect(page.locator("livepush-presence li span")).to_have_text([ann.name])
    expect(page.locator("livepush-presence > b")).to_have_text("1")


@pytest.mark.long
def test_a_script_follows_says_and_leaves(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann, bob = new_reader(), new_reader()
    page = open_lobby(ann, lobby)
    shown(page, ann.name)
    other = open_lobby(bob, f"{lobby}-else")
    other.evaluate(
        """(group) => {
            window.room = livepush.presence(group);
            room.on("change", (members) => { window.seen = members.map(({ info }) => info.name).sort().join(); });
        }""",
        lobby,
    )
    other.wait_for_function("(names) => window.seen === names", arg=",".join(sorted([ann.name, bob.name])))
    other.evaluate("room.update({ away: true })")
    expect(page.locator(f"livepush-presence li[title={bob.name}][data-away]")).to_have_count(1)
    token = {"name": "csrftoken", "value": "x" * 32, "url": bob.site.server.url}
    other.context.add_cookies([token])  # as after a login in another tab
    other.evaluate("room.update({ away: false })")
    expect(page.locator(f"livepush-presence li[title={bob.name}]:not([data-away])")).to_have_count(1)
    other.evaluate("room.leave()")
    shown(page, ann.name)
    assert other.evaluate("livepush.groups.length") == 1


@pytest.mark.long
def test_after_a_reset_the_members_are_those_of_a_new_snapshot(new_reader: Callable[[], Reader], lobby: str) -> None:
    ann = new_reader()
    page = open_lobby(ann, lobby)
    shown(page, ann.name)
    page.evaluate(
        """() => {
            const { room } = document.querySelector("livepush-presence");
            room.on("change", () => { window.changes = (window.changes ?? 0) + 1; });
        }"""
    )
    page.evaluate("document.dispatchEvent(new CustomEvent('livepush:reset', { detail: {} }))")
    page.wait_for_function("() => window.changes >= 2")
    shown(page, ann.name)


@pytest.mark.long
def test_members_outlive_a_restart_of_the_server_without_a_flicker(
    new_reader: Callable[[], Reader], lobby: str
) -> None:
    ann, bob = new_reader(), new_reader()
    page, other = open_lobby(ann, lobby), open_lobby(bob, lobby)
    shown(page, ann.name, bob.name)
    before = told(ann, lobby)
    ann.site.server.stop()
    ann.site.server.start()
    page.wait_for_function("() => livepush.state === 'open'")
    other.wait_for_function("() => livepush.state === 'open'")
    end = time.monotonic() + 7  # the old process's lease has ended by then
    while time.monotonic() < end:
        page.wait_for_timeout(200)
    assert told(ann, lobby) == before
    shown(page, ann.name, bob.name)
    for lines in (*ann.said, *bob.said):
        lines.clear()  # the browser says that the server was away
