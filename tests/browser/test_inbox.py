"""The bell, the list, the badge and the toasts in Chromium: live, agreeing, accessible, and without scripts too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import APIResponse, Browser, Page, Route, expect

from tests.browser.chromium import complaints
from tests.browser.readers import Reader, badge, entries, has_badge, news, open_panel, press, titles, toasts
from tests.browser.site import Site, is_open
from tests.docs_blocks import ROOT
from tests.patience import wait_until
from tests.scale import some

ENV = {"LIVEPUSH_TEST_LOCALE": "1"}
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"


# Live, and the same everywhere


@pytest.mark.long
def test_the_badge_of_three_tabs_and_two_browsers_follows_what_comes_and_what_is_done(new_reader) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("Before the page")
    here, there = ann.context(), ann.context()
    pages = [ann.open(context=here) for _ in range(3)] + [ann.open(context=there) for _ in range(2)]
    other = ben.open()
    for page in pages:
        has_badge(page, "1")
    has_badge(other, "")
    ann.notify("While it is open")
    ann.site.elsewhere.do("notify", to="inbox:all", title="To everyone")
    for page in pages:
        has_badge(page, "3")
    has_badge(other, "1")
    open_panel(pages[0])
    titles(pages[0], "To everyone", "While it is open", "Before the page")
    for page in pages:
        has_badge(page, "")
    has_badge(other, "1")
    expect(pages[0].locator("livepush-bell li[data-unread]")).to_have_count(3)
    open_panel(pages[4])
    press(pages[4], "read-all")
    for page in (pages[0], pages[4]):
        expect(page.locator("livepush-bell li[data-unread]")).to_have_count(0)


@pytest.mark.long
def test_a_page_that_is_made_while_something_comes_counts_it_once(reader: Reader) -> None:
    page = reader.visit()
    for number in range(20):
        reader.notify(str(number))
    has_badge(page, "20")
    again = reader.open(context=reader.contexts[0])
    has_badge(again, "20")


@pytest.mark.long
def test_a_hundred_is_shown_as_99_and_more(reader: Reader) -> None:
    page = reader.open()
    reader.site.elsewhere.do("begin")
    for number in range(101):
        reader.notify(str(number))
    reader.site.elsewhere.do("commit")
    has_badge(page, "99+")
    has_badge(reader.open(context=reader.contexts[0]), "99+")


def test_what_comes_while_the_line_is_cut_is_counted_when_it_is_back(reader: Reader) -> None:
    page = reader.open()
    page.evaluate("livepush.stop()")
    reader.notify("One")
    reader.notify("Two")
    has_badge(page, "")
    page.evaluate("livepush.start()")
    has_badge(page, "2")


def test_what_is_done_on_another_device_while_the_line_is_cut_is_there_when_it_is_back(reader: Reader) -> None:
    page = reader.open()
    reader.notify("One")
    has_badge(page, "1")
    page.evaluate("livepush.stop()")
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")
    reader.notify("Two")
    page.evaluate("livepush.start()")
    has_badge(page, "1")
    expect(page).to_have_title("(1) Shop")


def test_what_is_notified_to_a_group_comes_to_who_joins_it_while_the_page_is_open(reader: Reader) -> None:
    page = reader.open()
    do = reader.site.elsewhere.do
    do("notify", to="order:700", title="Before")
    do("join", username=reader.name, group="order:700")
    page.wait_for_function("() => livepush.groups.includes('inbox:of:order:700')")
    do("notify", to="order:700", title="After")
    has_badge(page, "1")
    open_panel(page)
    titles(page, "After")
    do("leave", username=reader.name, group="order:700")
    titles(page)
    do("notify", to="order:700", title="Gone")
    reader.notify("Still here")
    titles(page, "Still here")


def test_the_title_and_the_icon_say_that_there_is_something_new(reader: Reader) -> None:
    page = reader.open()
    icon = page.locator("link[rel=icon]")
    expect(page).to_have_title("Shop")
    reader.notify("One")
    expect(page).to_have_title("(1) Shop")
    expect(icon).to_have_attribute("href", re.compile("bell-new.svg$"))
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")
    expect(page).to_have_title("Shop")
    expect(icon).to_have_attribute("href", re.compile("bell.svg$"))


def test_a_pages_own_title_keeps_its_own_number(reader: Reader) -> None:
    page = reader.open()
    page.evaluate("document.title = '(2024) Report'")
    reader.notify("One")
    expect(page).to_have_title("(1) (2024) Report")
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")
    expect(page).to_have_title("(2024) Report")


def test_a_page_without_a_title_shows_the_count_alone(reader: Reader) -> None:
    page = reader.open()
    page.evaluate("document.title = ''")
    for count in (1, 2):
        reader.notify(f"n{count}")
        expect(page).to_have_title(f"({count})")
    open_panel(page)
    expect(page).to_have_title("")


def test_a_title_that_a_script_has_changed_has_the_count_when_another_tab_is_looked_at(reader: Reader) -> None:
    reader.notify("One")
    page = reader.open()
    expect(page).to_have_title("(1) Shop")
    page.evaluate("document.title = 'Settings'")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    expect(page).to_have_title("(1) Settings")


def test_a_title_that_shows_often_is_known_again_after_many_others(reader: Reader) -> None:
    reader.notify("One")
    page = reader.open()
    expect(page).to_have_title("(1) Shop")
    for number in range(120):
        title = "(1) Shop" if number % 10 == 9 else f"Page {number}"
        page.evaluate("(title) => { document.title = title; livepush.scan(); }", title)
    expect(page).to_have_title("(1) Shop")


def test_one_script_serves_the_bell_and_the_tags_of_the_page(reader: Reader) -> None:
    context = reader.context()
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    page = reader.open("/bell/?group=room:1", context)
    scripts = [name for name in asked if name.endswith(".js")]
    assert [name for name in scripts if name != "livepush-send.js"] == ["inbox.js"]  # clients may send to the room
    page.wait_for_function("() => livepush.groups.includes('room:1') && livepush.groups.includes('inbox:all')")
    page = reader.open("/bell/?early=room:1", context)
    page.wait_for_function("() => livepush.groups.includes('room:1') && livepush.groups.includes('inbox:all')")
    reader.notify("One")
    has_badge(page, "1")


# The list


def test_entries_are_read_archived_and_taken_back(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title, url=f"#{title}")
    page = reader.open()
    open_panel(page)
    titles(page, "c", "b", "a")
    press(page, "read", 1)
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(2)
    press(page, "read", 1)
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(3)
    entries(page).nth(1).hover()
    press(page, "upto", 1)
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(1)
    press(page, "archive", 0)
    titles(page, "b", "a")
    press(page, "undo")
    titles(page, "c", "b", "a")
    expect(page.locator("livepush-bell [data-f=undo]")).to_have_count(0)
    press(page, "archive", 2)
    press(page, "archived")
    titles(page, "a")
    press(page, "archive", 0)
    expect(page.locator("livepush-bell .empty")).to_have_text("Nothing is archived.")
    press(page, "unread")
    titles(page, "c")
    press(page, "all")
    press(page, "archive-all")
    expect(page.locator("livepush-bell .empty")).to_have_text("Nothing new. What happens will be here.")
    press(page, "undo")
    titles(page, "c", "b", "a")


@pytest.mark.long
def test_who_follows_an_entry_has_read_it(reader: Reader) -> None:
    reader.notify("To a page", url="/live/")
    page = reader.open()
    open_panel(page)
    page.click("livepush-bell [data-f=title]")
    page.wait_for_url("**/live/")
    page.wait_for_function("async () => !(await (await fetch('/livepush/inbox/counts/')).json()).unread", polling=100)


@pytest.mark.long
def test_categories_filter_the_list(reader: Reader) -> None:
    reader.notify("news", category="news")
    reader.notify("talk", category="talk")
    page = reader.open()
    open_panel(page)
    press(page, "c-news")
    titles(page, "news")
    press(page, "unread")
    titles(page, "news")
    press(page, "c-news")
    titles(page, "talk", "news")


@pytest.mark.long
def test_older_entries_come_as_the_end_is_reached_and_stay_when_something_new_comes(reader: Reader) -> None:
    reader.site.elsewhere.do("begin")
    for number in range(45):
        reader.notify(str(number))
    reader.site.elsewhere.do("commit")
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(20)
    for before in (20, 40):
        page.locator("livepush-bell #panel").evaluate("(panel) => panel.scrollTo(0, panel.scrollHeight)")
        expect(entries(page)).not_to_have_count(before)  # a busy browser may tell twice of the end, so two pages come
    expect(entries(page)).to_have_count(45)
    expect(page.locator("livepush-bell [rel=next]")).to_have_count(0)
    reader.notify("new")
    news(page).click()
    titles(page, "new", *(str(number) for number in range(44, 0, -1)))  # as many as there were


TWO_MOMENTS = """
const Real = IntersectionObserver;
IntersectionObserver = class extends Real {
  constructor(tell, options) {
    super((told, self) => tell([{ isIntersecting: false, target: told[0].target }, ...told], self), options);
  }
};
"""
"""A browser that is busy tells of what was and of what is in one call."""


@pytest.mark.long
def test_the_end_is_noticed_by_a_browser_that_is_busy(reader: Reader) -> None:
    reader.site.elsewhere.do("begin")
    for number in range(45):
        reader.notify(str(number))
    reader.site.elsewhere.do("commit")
    context = reader.context()
    context.add_init_script(TWO_MOMENTS)
    page = reader.open("/livepush/inbox/", context)
    expect(entries(page, "livepush-list")).to_have_count(20)
    for count in (40, 45):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(entries(page, "livepush-list").nth(count - 1)).to_be_attached()  # it may have loaded two parts at once
    expect(entries(page, "livepush-list")).to_have_count(45)


NO_OBSERVER = "IntersectionObserver = class { observe() {} disconnect() {} };"
"""A browser that never tells that the end of the list is reached."""


def test_who_asks_for_older_entries_by_keyboard_goes_on_at_the_first_of_them(reader: Reader) -> None:
    reader.site.elsewhere.do("begin")
    for number in range(45):
        reader.notify(str(number))
    reader.site.elsewhere.do("commit")
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")  # else the list is fetched again soon
    context = reader.context()
    context.add_init_script(NO_OBSERVER)
    page = reader.open("/bell/", context)
    open_panel(page)
    for count, first_added in ((40, 20), (45, 40)):
        page.focus("livepush-bell [data-f=older]")
        page.keyboard.press("Enter")
        expect(entries(page)).to_have_count(count)
        expect(entries(page).nth(first_added).locator("[data-f=title]")).to_be_focused()


HOMES = {
    "bell": ("/bell/", "livepush-bell"),
    "alone": ("/bell/?list=1", "main livepush-list"),
    "page": ("/livepush/inbox/", "livepush-list"),
}
"""Where a list may be: the page, and the element within which it is."""


@pytest.mark.parametrize("home", some(list(HOMES)))
def test_the_list_works_in_each_of_its_homes(reader: Reader, home: str) -> None:
    path, within = HOMES[home]
    reader.site.elsewhere.do("begin")
    for number in range(45):
        reader.notify(str(number), category=("talk", "news")[number % 2])
    reader.site.elsewhere.do("commit")
    page = reader.open(path)
    if home == "bell":
        open_panel(page)
    expect(entries(page, within)).to_have_count(20)
    press(page, "older", within=within)
    expect(entries(page, within).nth(39)).to_be_attached()
    entries(page, within).last.evaluate("(entry) => entry.scrollIntoView({ block: 'start' })")  # and what follows it
    expect(entries(page, within)).to_have_count(45)
    expect(page.locator(f"{within} [data-f=older]")).to_have_count(0)
    newest = page.locator(f"{within} [part~=title]").first
    press(page, "archive", within=within)
    expect(newest).to_have_text("Unread: 43")
    press(page, "undo", within=within)
    expect(newest).to_have_text("Unread: 44")
    press(page, "c-news", within=within)
    expect(entries(page, within)).to_have_count(22)
    press(page, "c-news", within=within)
    expect(newest).to_have_text("Unread: 44")
    press(page, "upto", 1, within=within)
    expect(page.locator(f"{within} [data-unread]")).to_have_count(1)
    press(page, "unread", within=within)
    titles(page, "44", within=within)
    press(page, "read-all", within=within)
    expect(page.locator(f"{within} .empty")).to_be_visible()
    expect(page.locator(f"{within} .error")).to_be_hidden()


def test_a_kind_is_worded_in_the_readers_language_and_collapses_into_one_entry(new_reader) -> None:
    ann, ben = new_reader(), new_reader()
    pages = {"en": ann.open(locale="en-GB"), "de": ben.open(locale="de-DE")}
    for page in pages.values():
        open_panel(page)
    for name in (ann, ben):
        name.notify("Other")
        name.notify(kind="shop.commented", actor="Cleo", collapse="c1", data={"thing": "lamp"})
    titles(pages["en"], "Cleo commented on lamp", "Other")
    expect(pages["de"].locator("livepush-bell [part~=title]").first).to_contain_text("Cleo kommentierte lamp")
    for name in (ann, ben):
        name.notify("Between")
        name.notify(kind="shop.commented", actor="Dan", collapse="c1", data={"thing": "lamp"})
    titles(pages["en"], "2 comments: lamp", "Between", "Other")
    expect(pages["de"].locator("livepush-bell [part~=title]").first).to_contain_text("2 Kommentare: lamp")
    expect(entries(pages["de"]).first.locator("[part=actors]")).to_have_text("Dan, Cleo")
    expect(pages["de"].locator("livepush-bell [part=heading]")).to_have_text("Benachrichtigungen")


@pytest.mark.long
def test_collapsed_ones_count_as_one(reader: Reader) -> None:
    page = reader.open()
    for name in ("Cleo", "Dan", "Eve"):
        reader.notify(kind="shop.commented", actor=name, collapse="c1", data={"thing": "lamp"})
    has_badge(page, "1")
    again = reader.open(context=reader.contexts[0])
    reader.notify(kind="shop.commented", actor="Flo", collapse="c1", data={"thing": "lamp"})
    for each in (page, again):
        expect(each.locator("livepush-bell b")).to_have_text("1")


@pytest.mark.long
def test_a_server_that_does_not_answer_is_told_and_tried_again(reader: Reader) -> None:
    reader.notify("There")
    page = reader.open()
    fail = "**/livepush/inbox/?tab*"
    page.route(fail, lambda route: route.fulfill(status=503))
    page.click("livepush-bell button")
    error = page.locator("livepush-bell .error")
    expect(error).to_be_visible()
    expect(error).to_contain_text("The notifications could not be loaded.")
    page.unroute(fail)
    error.locator("a").click()
    titles(page, "There")
    expect(error).to_be_hidden()
    reader.said[-1][:] = [line for line in reader.said[-1] if "503" not in line]


@pytest.mark.long
def test_a_change_that_fails_is_told_and_loses_nothing(reader: Reader) -> None:
    reader.notify("There")
    page = reader.open()
    open_panel(page)

    def fail(route: Route) -> None:
        route.abort()

    page.route("**/livepush/inbox/archive/", fail)
    press(page, "archive", 0)
    expect(page.locator("livepush-bell .error")).to_be_visible()
    reader.notify("Since")
    news(page).click()
    titles(page, "Since", "There")
    expect(page.locator("livepush-bell .error")).to_be_visible()
    page.unroute("**/livepush/inbox/archive/")
    page.locator("livepush-bell .error [data-f=again]").click()
    titles(page, "Since")
    expect(page.locator("livepush-bell .error")).to_be_hidden()
    reader.said[-1][:] = [line for line in reader.said[-1] if "ERR_FAILED" not in line]


@pytest.mark.long
def test_times_stay_true(reader: Reader) -> None:
    reader.notify("There")
    context = reader.context()
    page = context.new_page()
    page.clock.install()
    page.goto(reader.site.server.url + "/bell/")
    is_open(page)
    open_panel(page)
    time = page.locator("livepush-bell time")
    expect(time).to_have_text("now")
    context.set_offline(True)  # or it would come back after the heartbeats that it misses, and ask the server's clock
    page.clock.run_for(130_000)
    expect(time).to_have_text("2 minutes ago")


@pytest.mark.long
@pytest.mark.parametrize("lang", ["en_US", "", "no such language"])
def test_a_documents_language_that_no_browser_knows_breaks_nothing(reader: Reader, lang: str) -> None:
    reader.notify("There")
    page = reader.open(f"/bell/?lang={lang}")
    open_panel(page)
    expect(page.locator("livepush-bell time")).to_have_text("now")
    has_badge(page, "")


# Toasts, and what is said aloud


def test_toasts_are_shown_in_the_visible_tab_and_go(reader: Reader) -> None:
    context = reader.context()
    page = context.new_page()
    page.clock.install()
    page.goto(reader.site.server.url + "/bell/")
    is_open(page)
    reader.notify("Look", body="More of it", url="/live/", level="success")
    expect(toasts(page)).to_have_count(1)
    expect(toasts(page).locator("a")).to_have_text("Look")
    expect(toasts(page).locator("p")).to_have_text("More of it")
    assert toasts(page).locator("a").get_attribute("href") == "/live/"
    assert toasts(page).get_attribute("data-level") == "success"
    page.clock.run_for(9_000)
    expect(toasts(page)).to_have_count(0)
    reader.notify("Stays", level="error")
    expect(toasts(page)).to_have_count(1)
    page.clock.run_for(60_000)
    expect(toasts(page)).to_have_count(1)
    toasts(page).locator("button").click()
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("hours", [-2, 2])
def test_a_clock_that_is_wrong_silences_nothing(reader: Reader, hours: int) -> None:
    page = reader.context().new_page()
    page.clock.install(time=datetime.now(UTC) + timedelta(hours=hours))
    page.goto(reader.site.server.url + "/bell/")
    is_open(page)
    reader.notify("One")
    page.clock.run_for(2000)
    expect(toasts(page)).to_have_count(1)
    expect(page.locator("livepush-bell [role=status]")).to_have_text("One")
    page.click("livepush-bell button")
    page.clock.run_for(1000)
    expect(page.locator("livepush-bell time")).to_have_text("now")


def test_a_tab_that_nobody_sees_shows_no_toasts(reader: Reader) -> None:
    page = reader.open()
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    reader.notify("Unseen")
    has_badge(page, "1")
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
def test_toasts_wait_while_somebody_is_at_them(reader: Reader) -> None:
    page = reader.context().new_page()
    page.clock.install()
    page.goto(reader.site.server.url + "/bell/")
    is_open(page)
    reader.notify("Look")
    toasts(page).hover()
    page.clock.run_for(30_000)
    expect(toasts(page)).to_have_count(1)
    page.mouse.move(0, 0)
    page.keyboard.press("F8")
    expect(toasts(page).locator("button")).to_be_focused()
    page.clock.run_for(30_000)
    expect(toasts(page)).to_have_count(1)
    page.keyboard.press("Escape")
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
def test_a_storm_collapses_to_a_count(reader: Reader) -> None:
    page = reader.open()
    reader.site.elsewhere.do("begin")
    for number in range(12):
        reader.notify(str(number))
    reader.site.elsewhere.do("commit")
    expect(toasts(page)).to_have_count(3)
    expect(page.locator("livepush-toasts [part=more]")).to_have_text("and 9 more")
    status = page.locator("livepush-bell [role=status]")
    expect(status).to_have_text("12 new notifications")


@pytest.mark.parametrize("home", some(list(HOMES)))
def test_what_was_done_is_said_aloud_by_a_region_that_was_there_before(reader: Reader, home: str) -> None:
    path, within = HOMES[home]
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open(path)
    if home == "bell":
        open_panel(page)
    titles(page, "b", "a", within=within)
    region = page.locator(f"{within} [aria-live=polite]").element_handle()
    for title, left in (("b", ["a"]), ("a", [])):
        press(page, "archive", within=within)
        titles(page, *left, within=within)
        expect(page.locator(f"{within} [part=undo]")).to_contain_text(f"Archived: {title}")
        assert (region.text_content() or "").startswith(f"Archived: {title}")  # it is the same element
    press(page, "unread", within=within)
    expect(page.locator(f"{within} [part=undo]")).to_have_count(0)
    assert region.evaluate("(region) => region.isConnected && region.textContent") == ""


def test_what_comes_is_said_aloud_without_taking_the_focus(reader: Reader) -> None:
    page = reader.open()
    status = page.locator("livepush-bell [role=status]")
    expect(status).to_be_attached()
    expect(status).to_have_text("")
    page.focus("#field")
    reader.notify("Look")
    expect(status).to_have_text("Look")
    expect(page.locator("#field")).to_be_focused()
    page.keyboard.type("typed on")
    expect(page.locator("#field")).to_have_value("typed on")


@pytest.mark.long
def test_what_comes_is_said_where_it_can_be_heard(reader: Reader) -> None:
    page = reader.open()
    bell = page.locator("livepush-bell")
    bell.evaluate("(bell) => { bell.style.display = 'none'; }")  # a menu that is closed, say
    reader.notify("One")
    expect(page.locator("livepush-toasts [role=status]")).to_have_text("One")
    expect(bell.locator("[role=status]")).to_have_text("")
    bell.evaluate("(bell) => { bell.style.display = ''; }")
    reader.notify("Two")
    expect(bell.locator("[role=status]")).to_have_text("Two")


def test_in_another_elements_shadow_tree_the_elements_say_and_show_what_comes(reader: Reader) -> None:
    page = reader.open()
    page.evaluate("""() => {
        for (const element of document.querySelectorAll("livepush-bell,livepush-toasts")) {
            const host = document.body.appendChild(document.createElement("div"));
            host.attachShadow({mode: "open"}).append(element);
        }
    }""")
    reader.notify("One", level="error")
    expect(page.locator("livepush-bell [role=status]")).to_have_text("One")
    expect(toasts(page)).to_have_count(1)
    has_badge(page, "1")
    open_panel(page)
    titles(page, "One")


def test_names_without_spaces_stay_in_a_narrow_list(reader: Reader) -> None:
    reader.notify("t" * 300, body="b" * 90, category="c" * 50, actor="a" * 200)
    page = reader.open("/livepush/inbox/", viewport={"width": 320, "height": 700})
    inbox = page.locator("main livepush-list")
    press(page, "archive", within="main livepush-list")
    expect(inbox.locator("[part=undo]")).to_be_visible()
    press(page, "archived", within="main livepush-list")
    expect(inbox.locator("[part~=entry]")).to_have_count(1)
    assert (
        inbox.evaluate("""(list) => {
        const { right } = list.getBoundingClientRect();
        const parts = list.shadowRoot.querySelectorAll("[part]");
        return [...parts].filter((each) => each.getBoundingClientRect().right > right).map((each) => each.part.value);
    }""")
        == []
    )


OVERFLOWING = """(undo) => {
    const { right } = undo.getBoundingClientRect();
    return [...undo.querySelectorAll("[part]")].filter((each) => each.getBoundingClientRect().right > right)
        .map((each) => each.part.value);
}"""
"""What runs out of a line that offers to undo something."""


def test_a_long_title_leaves_the_button_undo_in_view(reader: Reader) -> None:
    reader.notify("t" * 2000)
    page = reader.open()
    open_panel(page)
    press(page, "archive")
    undo = page.locator("livepush-bell [part=undo]")
    expect(undo.get_by_role("button")).to_be_in_viewport(ratio=1)
    assert undo.evaluate(OVERFLOWING) == []
    assert undo.evaluate("(undo) => undo.offsetHeight") < 150


SHOUTING = """body {
    white-space: nowrap; text-transform: uppercase; letter-spacing: 0.3em; word-spacing: 1em; text-indent: 2em;
    text-shadow: 0 0 2px red; word-break: break-all; line-break: anywhere; text-align-last: right; cursor: wait;
    hyphens: auto; -webkit-text-fill-color: red;
}"""
"""How a page may set its text: many bars do it so in part."""
SET_AS = """(element, rules) => {
    const style = getComputedStyle(element);
    return rules.match(/[a-z-]+(?=:)/g).map((name) => `${name}: ${style.getPropertyValue(name)}`);
}"""
USE = """(rules) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(rules);
    document.adoptedStyleSheets = [sheet];
}"""


@pytest.mark.parametrize("part", ["livepush-bell [part=title]", "livepush-toasts [part=toast-title]"])
def test_how_a_page_sets_its_text_does_not_reach_into_the_elements(reader: Reader, part: str) -> None:
    page = reader.open()
    if part.startswith("livepush-bell"):
        open_panel(page)
    reader.notify("A title of some words", level="error")
    shown = page.locator(part)
    expect(shown).to_be_visible()
    page.mouse.move(1, 699)
    before = shown.evaluate(SET_AS, SHOUTING)
    page.evaluate(USE, SHOUTING)
    assert page.locator("h1").evaluate(SET_AS, SHOUTING) != before
    assert shown.evaluate(SET_AS, SHOUTING) == before


@pytest.mark.long
def test_where_the_list_is_looked_at_no_toast_covers_it(reader: Reader) -> None:
    page = reader.open()
    open_panel(page)
    reader.notify("Look")
    titles(page, "Look")
    expect(page.locator("livepush-bell [role=status]")).to_have_text("Look")
    expect(toasts(page)).to_have_count(0)


LIST = "document.querySelector('livepush-bell').shadowRoot.querySelector('livepush-list')"
WATCH_FOR_NEWS_LOST = f"""() => {{
    window.lost = false;
    new MutationObserver(() => {{ lost ||= !{LIST}.textContent.includes("New"); }})
        .observe({LIST}, {{ childList: true, subtree: true }});
}}"""


def test_an_answer_that_comes_late_does_not_replace_a_newer_list(reader: Reader) -> None:
    page = reader.open()
    open_panel(page)
    late: list[tuple[Route, APIResponse]] = []

    def hold_the_first(route: Route) -> None:
        if late:
            route.fallback()
        else:
            late.append((route, route.fetch()))

    page.route("**/livepush/inbox/?*limit=*", hold_the_first)
    page.evaluate(f"{LIST}.refresh(0)")
    wait_until(lambda: late or page.wait_for_timeout(20))
    reader.notify("New")
    titles(page, "New")
    ((route, answer),) = late
    assert "New" not in answer.text()
    page.evaluate(WATCH_FOR_NEWS_LOST)
    with page.expect_event("requestfinished", lambda request: request.url == answer.url):
        route.fulfill(response=answer)
    page.evaluate("fetch(location.href)")  # what came before it has been handed to the page
    page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 0))")
    assert not page.evaluate("lost")
    titles(page, "New")


def test_a_list_that_was_fetched_before_the_news_were_filed_shows_them_once_they_are(reader: Reader) -> None:
    reader.notify("Old")
    page = reader.open()
    open_panel(page)
    titles(page, "Old")
    with (
        page.expect_response("**/livepush/inbox/?*limit=*"),
        reader.site.database.held("SELECT * FROM livepush_inboxhead FOR UPDATE"),
    ):
        reader.notify("New")
        has_badge(page, "1")
    titles(page, "New", "Old")


def test_a_badge_that_was_counted_before_the_news_were_filed_is_right_once_they_are(reader: Reader) -> None:
    collapsed = {"kind": "shop.commented", "collapse": "c1", "data": {"thing": "lamp"}}
    reader.notify(actor="Cleo", **collapsed)
    page = reader.open()
    has_badge(page, "1")
    with (
        page.expect_response("**/livepush/inbox/counts/"),
        reader.site.database.held("SELECT * FROM livepush_inboxhead FOR UPDATE"),
    ):
        reader.notify(actor="Dan", **collapsed)
        has_badge(page, "2")
    has_badge(page, "1")


@pytest.mark.long
def test_a_button_that_is_down_while_news_come_is_pressed(reader: Reader) -> None:
    reader.notify("Old")
    page = reader.open()
    open_panel(page)
    page.locator("livepush-bell [data-f=archive]").hover()
    page.mouse.down()
    with page.expect_response("**/livepush/inbox/?*limit=*"):
        reader.notify("New")
    page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(done), 0))")
    page.mouse.up()
    titles(page, "New")


@pytest.mark.long
def test_a_menu_that_is_opened_over_the_list_does_not_hold_back_news(reader: Reader) -> None:
    """A browser's menu may swallow the release of the button."""
    reader.notify("Old")
    page = reader.open()
    open_panel(page)
    page.locator("livepush-bell [data-f=archive]").hover()
    page.mouse.down(button="right")
    reader.notify("New")
    news(page).click()
    titles(page, "New", "Old")


# Keyboard, scripts that are off, other ways into the page


def test_everything_can_be_done_by_keyboard(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title, url=f"#{title}")
    page = reader.open()
    page.focus("livepush-bell button")
    page.keyboard.press("Enter")
    titles(page, "b", "a")
    for expected in (None, "read-all", "archive-all", "all", "unread", "archived", "c-talk", "title"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.shadowRoot.activeElement.dataset.f ?? null") == expected
    page.keyboard.press("ArrowRight")
    expect(page.locator("livepush-bell li").first.locator("[data-f=read]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(1)
    expect(page.locator("livepush-bell li").first.locator("[data-f=read]")).to_be_focused()
    expect(page.locator("livepush-bell li").first.locator("[data-f=read]")).to_have_text("Mark as unread: b")
    page.keyboard.press("Escape")
    expect(page.locator("livepush-bell #panel")).to_be_hidden()
    expect(page.locator("livepush-bell button[part=button]")).to_be_focused()


def test_without_scripts_the_inbox_is_a_plain_page(reader: Reader) -> None:
    for number in range(23):
        reader.notify(f"n{number}", category="talk")
    page = reader.visit("/livepush/inbox/", java_script_enabled=False)
    shown = page.locator("livepush-list li")
    expect(shown).to_have_count(20)
    page.click("livepush-list [data-f=older]")
    expect(shown).to_have_count(3)
    page.click("livepush-list [data-f=unread]")
    shown.first.locator("[data-f=read]").click()
    expect(shown.first).to_contain_text("n21")
    page.click("livepush-list [data-f=all]")
    shown.first.hover()
    shown.first.locator("[data-f=archive]").click()
    expect(shown.first).to_contain_text("n21")
    page.click("livepush-list [data-f=undo]")
    expect(shown.first).to_contain_text("n22")
    page.click("livepush-list [data-f=archive-all]")
    expect(page.locator("livepush-list .empty")).to_be_visible()
    page.click("livepush-list [data-f=archived]")
    expect(shown).to_have_count(20)


def test_without_scripts_the_bell_leads_to_the_inbox(reader: Reader) -> None:
    reader.notify("There")
    page = reader.visit(java_script_enabled=False)
    expect(badge(page).locator("b")).to_have_text("1")
    page.get_by_role("link", name="Notifications").click()
    expect(page.locator("livepush-list li")).to_have_count(1)


def test_the_list_as_a_page_is_live_and_marks_what_is_seen(reader: Reader) -> None:
    reader.notify("One")
    page = reader.open("/livepush/inbox/")
    titles(page, "One", within="livepush-list")
    reader.notify("Two")
    titles(page, "Two", "One", within="livepush-list")
    page.wait_for_function("async () => !(await (await fetch('/livepush/inbox/counts/')).json()).unseen", polling=100)
    press(page, "archive", 0, within="livepush-list")
    titles(page, "One", within="livepush-list")


def test_a_bell_that_a_script_puts_into_the_page_works(reader: Reader) -> None:
    page = reader.open()
    page.evaluate(
        """async () => {
            const request = new XMLHttpRequest();
            request.open("GET", location.href);
            request.responseType = "document";
            await new Promise((resolve) => { request.onload = resolve; request.send(); });
            document.querySelector("livepush-bell").replaceWith(request.response.querySelector("livepush-bell"));
        }"""
    )
    reader.notify("One")
    has_badge(page, "1")
    open_panel(page)
    titles(page, "One")


def test_nobody_who_is_not_logged_in_gets_a_bell(site: Site, browser: Browser) -> None:
    page = browser.new_page()
    said = complaints(page)
    page.goto(f"{site.server.url}/bell/")
    expect(page.locator("h1")).to_have_text("Shop")
    expect(page.locator("livepush-bell, livepush-toasts, script")).to_have_count(0)
    assert said == []
    page.close()


@pytest.mark.long
def test_the_panel_stays_in_the_page_in_both_directions(reader: Reader) -> None:
    reader.notify("One")
    for query in ("", "?dir=rtl"):
        for width in (1000, 360):
            page = reader.open(f"/bell/{query}", viewport={"width": width, "height": 640})
            open_panel(page)
            box = page.locator("livepush-bell #panel").bounding_box()
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert page.evaluate("document.documentElement.scrollWidth") <= width


# Accessibility


def audit(page: Page, where: str) -> list[str]:
    """Return what axe finds wrong with a page."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then(({violations}) => violations)")
    return [f"{where}: {each['id']} {[node['target'] for node in each['nodes']]}" for each in found]


@pytest.mark.parametrize("scheme", some(["light", "dark"]))
def test_axe_finds_nothing(new_reader, scheme: str) -> None:
    reader = new_reader()
    page = reader.context(color_scheme=scheme, reduced_motion="reduce").new_page()  # else it looks mid-fade
    page.goto(reader.site.server.url + "/bell/?dir=ltr")
    page.evaluate("document.documentElement.style.colorScheme = 'light dark'")
    is_open(page)
    found = audit(page, "closed")
    for level in ("info", "success", "warning", "error"):
        reader.notify(f"A {level}", body="More of it", level=level, url="/live/", actor="Cleo", category="talk")
    expect(toasts(page)).to_have_count(3)
    found += audit(page, "toasts")
    open_panel(page)
    expect(entries(page)).to_have_count(4)
    found += audit(page, "panel")
    page.locator("livepush-bell [part=keys] summary").click()
    reader.notify("Long", body="word " * 60)
    page.locator("livepush-bell [part=body] summary").click()
    reader.notify("New", category="talk")
    expect(news(page)).to_be_visible()
    found += audit(page, "keys, a long text, and something new")
    press(page, "archive", 0)
    expect(page.locator("livepush-bell [data-f=undo]")).to_be_visible()
    found += audit(page, "undo")
    press(page, "unread")
    expect(page.locator('livepush-bell [data-f=unread][aria-current="page"]')).to_be_visible()
    press(page, "read-all")
    expect(page.locator("livepush-bell .empty")).to_be_visible()
    found += audit(page, "empty")
    page.route("**/livepush/inbox/?tab*", lambda route: route.abort())
    press(page, "all")
    expect(page.locator("livepush-bell .error")).to_be_visible()
    found += audit(page, "error")
    page.unroute("**/livepush/inbox/?tab*")
    cookies = page.context.cookies()
    page.context.clear_cookies()
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page.locator("livepush-bell .error a")).to_have_text("Log in again")
    found += audit(page, "logged out")
    page.context.add_cookies(cookies)
    page.goto(reader.site.server.url + "/livepush/inbox/")
    found += audit(page, "page")
    assert found == []


@pytest.mark.long
def test_a_page_whose_base_is_another_host_shows_a_tab_that_is_pressed(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open("/livepush/inbox/")
    page.evaluate(
        "document.head.append(Object.assign(document.createElement('base'), {href: 'https://elsewhere.example/app/'}))"
    )
    press(page, "unread", within="main livepush-list")
    expect(page.locator("main livepush-list [data-f=unread]")).to_have_attribute("aria-current", "page")
    expect(page).to_have_url(f"{reader.site.server.url}/livepush/inbox/?tab=unread")


def test_a_page_whose_base_is_another_host_sends_it_nothing(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open()
    page.evaluate(
        "document.head.append(Object.assign(document.createElement('base'), {href: 'https://elsewhere.example/app/'}))"
    )
    asked: list[str] = []
    page.context.on("request", lambda request: asked.append(request.url))
    open_panel(page)
    titles(page, "a")
    press(page, "read")
    expect(entries(page).nth(0)).not_to_have_attribute("data-unread", "")
    reader.notify("b")
    has_badge(page, "1")
    assert asked
    assert not [url for url in asked if not url.startswith(reader.site.server.url)], asked
