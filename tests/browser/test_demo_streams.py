"""The demo's streams: ask about a parcel, reload half-way, look from elsewhere, stop; and an import with its log."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.demo import Visit, log_in
from tests.browser.site import is_open

QUIET = True


def answer(page: Page):
    return page.locator("#streams livepush-stream").first


def a_parcel(page: Page) -> str:
    """Return the path of one of the customer's parcels."""
    return str(page.locator("main a[href^='/parcels/']").first.get_attribute("href"))


@pytest.mark.long
def test_an_answer_goes_on_over_a_reload_and_shows_on_another_device(visitor: Callable[[], Visit]) -> None:
    home, away = visitor(), visitor()
    path = a_parcel(log_in(home, "demo"))
    log_in(away, "demo")
    page, other = home(path), away(path)
    is_open(page)
    is_open(other)
    page.click("text=Ask >> nth=-1")
    for each in (page, other):
        expect(answer(each)).to_have_attribute("state", "running")
        expect(answer(each)).to_contain_text(re.compile(r"(\w+\W+){5}"))
    before = answer(page).text_content() or ""
    page.reload()
    expect(answer(page)).to_contain_text(before)
    for each in (page, other):
        expect(answer(each)).to_have_attribute("state", "finished")
        expect(answer(each)).to_contain_text("when you come back.")
        expect(each.locator("#streams article")).to_have_count(1)
    assert answer(page).text_content() == answer(other).text_content()


@pytest.mark.long
def test_a_stranger_is_one_click_away_from_an_answer_and_reads_that_it_is_prepared(
    visitor: Callable[[], Visit],
) -> None:
    page = visitor()("/ask/")
    expect(page.locator(".hero")).to_contain_text("The text is prepared: no AI model is called.")
    page.get_by_role("button", name="Ask as Ada").click()
    page.wait_for_url(re.compile(r"/parcels/[\w-]+/#ask$"))
    expect(page.locator(".ask")).to_contain_text("The text is prepared: no AI model is called.")
    page.click("text=Ask >> nth=-1")
    expect(answer(page)).to_have_attribute("state", re.compile("running|finished"))


@pytest.mark.long
def test_an_answer_stops_when_asked(visitor: Callable[[], Visit]) -> None:
    home = visitor()
    page = home(a_parcel(log_in(home, "demo")))
    is_open(page)
    page.fill("#question", "Will it rain?")
    page.click("text=Ask >> nth=-1")
    expect(answer(page)).to_contain_text(re.compile(r"\w+"))
    page.click("[data-stop] >> visible=true")
    expect(page.locator("#streams [data-slot=state]").first).to_have_text("Stopped.")
    expect(page.locator("#streams [data-slot=title]").first).to_have_text("Will it rain?")
    expect(answer(page)).not_to_contain_text("when you come back.")
    page.reload()
    expect(page.locator("#streams [data-slot=state]").first).to_have_text("Stopped.")


@pytest.mark.long
def test_the_staff_follows_an_import_and_others_see_none(visitor: Callable[[], Visit]) -> None:
    office, home = visitor(), visitor()
    log_in(office, "admin")
    board = office("/jobs/")
    is_open(board)
    board.click("button:has-text('Import')")
    bar = board.locator("#streams progress").first
    expect(bar).to_be_visible()
    expect(answer(board)).to_contain_text("Gdańsk  (its name has letters that the old scanner can't print)")
    board.reload()
    expect(answer(board)).to_contain_text("Done: nothing was lost.")
    expect(bar).to_have_js_property("value", 1)
    log_in(home, "demo")
    assert home("/jobs/").locator("#streams").count() == 0
