"""The list under somebody's hands in Chromium: entries stay where they are, changes show at once or are taken back."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.readers import (
    Reader,
    badge,
    entries,
    has_badge,
    is_not_complained_of,
    news,
    open_panel,
    press,
    titles,
    toasts,
)
from tests.browser.site import is_open
from tests.patience import wait_until
from tests.scale import some

PANEL = "livepush-bell #panel"
ERROR = "livepush-bell .error"


def fill(reader: Reader, number: int, **more: str) -> None:
    reader.site.elsewhere.do("begin")
    for each in range(number):
        reader.notify(f"n{each:03}", **more)
    reader.site.elsewhere.do("commit")


class Held:
    """Requests that wait until they are let go. Those that come afterwards do not wait."""

    def __init__(self, where: Page | BrowserContext, url: str) -> None:
        self.routes: list[Route] = []
        self.is_over = False
        where.route(url, self._hold)

    def _hold(self, route: Route) -> None:
        if self.is_over:
            route.continue_()
        else:
            self.routes.append(route)

    def let_go(self) -> None:
        self.is_over = True
        for route in self.routes:
            route.continue_()


def is_in_view(page: Page, selector: str) -> bool:
    found: bool = page.locator(selector).evaluate(
        """(element) => {
            const { left, right, top, bottom, width, height } = element.getBoundingClientRect();
            return width * height > 0 && left >= 0 && top >= 0 && right <= innerWidth && bottom <= innerHeight;
        }"""
    )
    return found


# Where entries are


def test_no_entry_moves_under_the_pointer(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    titles(page, "c", "b", "a")
    entries(page).nth(1).hover()
    reader.notify("d")
    reader.notify("e")
    expect(news(page)).to_have_text("2 new")
    titles(page, "c", "b", "a")
    has_badge(page, "2")
    press(page, "archive", 1)
    titles(page, "c", "a")
    news(page).click()
    titles(page, "e", "d", "c", "a")
    expect(news(page)).to_be_hidden()
    has_badge(page, "")


@pytest.mark.parametrize("home", some(["panel", "page"]))
def test_what_is_new_shows_by_itself_once_the_pointer_has_left(reader: Reader, home: str) -> None:
    reader.notify("a")
    page = reader.open("/livepush/inbox/" if home == "page" else "/bell/")
    within = "livepush-list" if home == "page" else "livepush-bell"
    if home == "panel":
        open_panel(page)
    entries(page, within).first.hover()
    reader.notify("b")
    expect(news(page, within)).to_be_visible()
    page.mouse.move(2, 2)
    titles(page, "b", "a", within=within)


def test_a_page_of_older_entries_stays_one_and_marks_nothing_that_it_does_not_show(reader: Reader) -> None:
    fill(reader, 45)
    page = reader.open("/livepush/inbox/")
    expect(page).to_have_title("Notifications")  # all are seen
    older = page.locator("a[data-f=older]").get_attribute("href")
    page.goto(f"{reader.site.server.url}{older}")
    expected = [f"n{number:03}" for number in range(24, 4, -1)]
    titles(page, *expected, within="livepush-list")
    reader.notify("new")
    expect(page).to_have_title("(1) Notifications")
    with page.expect_response(re.compile("before=.*limit=")):
        page.evaluate("dispatchEvent(new Event('focus'))")
    titles(page, *expected, within="livepush-list")
    expect(page).to_have_title("(1) Notifications")


@pytest.mark.long
def test_what_is_archived_elsewhere_leaves_no_gap_under_the_pointer(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page, other = reader.open(), reader.open()
    for each in (page, other):
        open_panel(each)
    entries(page).nth(2).hover()
    press(other, "archive", 0)
    expect(entries(page).first).to_have_attribute("inert", "")
    titles(page, "c", "b", "a")
    page.mouse.move(5, 5)
    reader.notify("d")
    titles(page, "d", "b", "a")


@pytest.mark.long
@pytest.mark.parametrize("home", some(["panel", "page"]))
def test_a_long_list_stays_at_its_place(reader: Reader, home: str) -> None:
    fill(reader, 130)
    page = reader.open("/livepush/inbox/" if home == "page" else "/bell/")
    within = "livepush-list" if home == "page" else "livepush-bell"
    if home == "panel":
        open_panel(page)
    for count in (20, 40, 60, 80, 100, 120, 130):
        expect(entries(page, within)).to_have_count(count)
        entries(page, within).last.evaluate("(entry) => entry.scrollIntoView({ block: 'start' })")
    shown = entries(page, within).filter(has_text="n030")
    shown.evaluate("(entry) => entry.scrollIntoView({ block: 'start' })")
    page.mouse.move(1, 1)
    before = shown.bounding_box()
    reader.notify("new")
    expect(news(page, within)).to_have_text("1 new")
    expect(entries(page, within)).to_have_count(130)
    reader.site.elsewhere.do("mark", username=reader.name, action="read")
    expect(page.locator(f"{within} li[data-unread]")).to_have_count(0)
    assert shown.bounding_box() == before
    expect(entries(page, within)).to_have_count(130)


def test_a_list_that_a_component_of_the_page_scrolls_stays_at_its_place(reader: Reader) -> None:
    fill(reader, 20)
    page = reader.open("/bell/?list=1")
    page.evaluate("""() => {
        const drawer = document.createElement("div");
        const scroller = document.createElement("div");
        scroller.style.cssText = "height: 300px; overflow: auto";
        scroller.append(document.createElement("slot"));
        drawer.attachShadow({ mode: "open" }).append(scroller);
        document.querySelector("main").append(drawer);
        drawer.append(document.querySelector("main > livepush-list"));
    }""")
    shown = entries(page, "main livepush-list").filter(has_text="n005")
    shown.evaluate("(entry) => entry.scrollIntoView({ block: 'start' })")
    page.mouse.move(999, 1)
    before = shown.bounding_box()
    reader.notify("new")
    expect(news(page, "main livepush-list")).to_have_text("1 new")
    assert shown.bounding_box() == before


@pytest.mark.long
def test_an_entrys_own_link_is_not_the_one_to_older_entries(reader: Reader) -> None:
    fill(reader, 25, url="/bell/?of-an-entry")
    context = reader.context()

    def marked(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace('data-f="title"', 'data-f="title" rel="nofollow"')
        route.fulfill(response=response, body=body)

    context.route("**/livepush/inbox/*", marked)
    page = reader.open("/livepush/inbox/", context)
    expect(entries(page, "livepush-list")).to_have_count(20)
    entries(page, "livepush-list").last.scroll_into_view_if_needed()
    expect(entries(page, "livepush-list")).to_have_count(25)
    entries(page, "livepush-list").last.hover()
    reader.notify("new")
    expect(news(page, "livepush-list")).to_have_text("1 new")
    expect(entries(page, "livepush-list")).to_have_count(25)
    context.unroute_all(behavior="ignoreErrors")


# What is hidden for a while


@pytest.mark.long
@pytest.mark.parametrize("home", ["details", "dialog"])
def test_a_list_shows_what_came_while_it_was_hidden(reader: Reader, home: str) -> None:
    reader.notify("before")
    page = reader.open("/bell/?list=1")
    titles(page, "before", within="main livepush-list")
    has_badge(page, "")
    page.evaluate(
        """(home) => {
            window.home = document.createElement(home);
            const list = document.querySelector("main livepush-list");
            list.replaceWith(window.home);
            window.home.append(list);
        }""",
        home,
    )
    for title in ("first", "second"):
        expect(page.locator("main livepush-list form")).to_be_hidden()
        reader.notify(title)
        expect(toasts(page).filter(has_text=title)).to_have_count(1)
        has_badge(page, "1")
        page.evaluate("home.open = true")
        expect(entries(page, "main livepush-list").first).to_contain_text(title)
        has_badge(page, "")
        page.evaluate("home.open = false")


def test_what_a_hidden_list_has_is_seen_when_it_is_shown(reader: Reader) -> None:
    reader.notify("before")
    context = reader.context()

    def hidden(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace("<livepush-list>", "<details><livepush-list>", 1)
        route.fulfill(response=response, body=body.replace("</main>", "</details></main>"))

    context.route("**/bell/*", hidden)
    page = reader.open("/bell/?list=1", context)
    has_badge(page, "1")
    with page.expect_response("**/livepush/inbox/seen/"):
        page.locator("main > details").evaluate("(details) => details.open = true")
    has_badge(page, "")
    context.unroute_all(behavior="ignoreErrors")


# What a button does


@pytest.mark.long
def test_what_is_filtered_out_stays_new_and_is_not_touched(reader: Reader) -> None:
    reader.notify("talk", category="talk")
    reader.notify("old news", category="news")
    page = reader.open()
    open_panel(page)
    press(page, "c-talk")
    titles(page, "talk")
    reader.notify("news", category="news")
    has_badge(page, "1")
    press(page, "archive-all")
    expect(page.locator("livepush-bell .empty")).to_be_visible()
    has_badge(page, "1")
    expect(page.locator("livepush-bell [part~=category][aria-current]")).to_have_text("Talk")
    press(page, "c-talk")
    titles(page, "news", "old news")
    has_badge(page, "")


def test_an_open_bell_shows_what_its_badge_counts(reader: Reader) -> None:
    reader.notify("talk", category="talk")
    page = reader.open()
    open_panel(page)
    press(page, "c-talk")
    titles(page, "talk")
    page.keyboard.press("Escape")
    reader.notify("news", category="news")
    has_badge(page, "1")
    open_panel(page)
    titles(page, "news", "talk")
    has_badge(page, "")


@pytest.mark.long
def test_a_category_may_have_any_name(reader: Reader) -> None:
    reader.notify("odd", category="\"a' & #b]")
    reader.notify("other")
    page = reader.open()
    open_panel(page)
    page.locator("livepush-bell [part~=category]", has_text=re.compile('^"a')).click()
    titles(page, "odd")
    reader.notify("odd too", category="\"a' & #b]")
    titles(page, "odd too", "odd")


@pytest.mark.long
def test_a_button_that_is_pressed_while_a_tab_loads_does_it_to_that_tab(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    press(page, "read", 0)
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(1)
    held = Held(page, "**/livepush/inbox/?tab=unread*")
    press(page, "unread")
    press(page, "archive-all")
    wait_until(lambda: page.evaluate("1") and held.routes)
    held.let_go()
    expect(page.locator("livepush-bell .empty")).to_be_visible()
    press(page, "all")
    titles(page, "b")


@pytest.mark.long
def test_the_inboxs_own_page_shows_what_was_chosen_after_a_reload_and_after_back(reader: Reader) -> None:
    reader.notify("a", category="orders")
    reader.notify("b", category="news", url="/bell/")
    page = reader.open("/livepush/inbox/")
    press(page, "c-news", within="livepush-list")
    titles(page, "b", within="livepush-list")
    page.reload()
    titles(page, "b", within="livepush-list")
    entries(page, "livepush-list").get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("/bell/$"))
    page.go_back()
    titles(page, "b", within="livepush-list")
    page.goto(page.url.replace("/livepush/inbox/", "/bell/"))
    open_panel(page)
    before = page.url
    press(page, "archived")
    expect(page.locator("livepush-bell .empty")).to_be_visible()
    assert page.url == before


# Changes that wait, and that fail


@pytest.mark.long
def test_a_change_shows_at_once_and_each_waits_for_the_one_before(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    held = Held(page, "**/livepush/inbox/archive/")
    press(page, "archive", 0)
    shown = page.locator("livepush-bell li:not([hidden])")
    expect(shown).to_have_count(2)
    expect(page.locator("livepush-bell form")).to_have_attribute("aria-busy", "true")
    shown.first.locator("[data-f=archive]").click()
    expect(shown).to_have_count(1)
    wait_until(lambda: page.evaluate("1") and held.routes)
    assert len(held.routes) == 1
    held.let_go()
    titles(page, "a")
    expect(page.locator("livepush-bell form")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("livepush-bell [part=undo]")).to_contain_text("Archived: b")


@pytest.mark.parametrize("comes_back", [False, True], ids=["for good", "for a while"])
def test_changes_that_the_server_has_not_answered_when_the_page_goes_are_made(reader: Reader, comes_back: bool) -> None:
    page, other = two_pages(reader)
    held: list[Route] = []
    page.route(
        "**/livepush/inbox/archive/",
        lambda route: held.append(route) if route.request.resource_type == "xhr" else route.continue_(),
    )
    for left in (2, 1):
        page.locator("livepush-bell li:not([hidden]) [data-f=archive]").first.click()
        expect(page.locator("livepush-bell li:not([hidden])")).to_have_count(left)
    wait_until(lambda: page.evaluate("1") and held)
    if not comes_back:
        page.goto("about:blank")
        titles(other, "a")
        return
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    titles(other, "a")
    held[0].abort()  # as the browser may have done while the page was away
    expect(page.locator("livepush-bell form")).not_to_have_attribute("aria-busy", "true")
    titles(page, "a")
    expect(page.locator(ERROR)).to_be_hidden()
    assert len(held) == 1
    is_not_complained_of(reader, "net::ERR_FAILED")


def test_of_two_changes_of_an_entry_that_are_not_answered_when_the_page_goes_only_the_second_is_sent(
    reader: Reader,
) -> None:
    reader.notify("a", url="/live/")
    page = reader.open()
    open_panel(page)
    held: list[Route] = []
    page.route(
        "**/livepush/inbox/read/",
        lambda route: held.append(route) if route.request.resource_type == "xhr" else route.continue_(),
    )
    entry, sent = page.locator("livepush-bell li"), []
    for _ in ("read", "unread"):
        entry.locator("[data-f=read]").click()
    wait_until(lambda: page.evaluate("1") and held)
    page.on("request", lambda request: sent.append(request.url.split("/")[-2]) if request.method == "POST" else None)
    page.evaluate("dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))")
    wait_until(lambda: page.evaluate("1") and sent)
    held[0].abort()  # as the browser may have done while the page was away
    expect(page.locator("livepush-bell form")).not_to_have_attribute("aria-busy", "true")
    assert sent == ["unread"]
    is_not_complained_of(reader, "net::ERR_FAILED")


def test_a_link_that_is_followed_while_changes_wait_marks_its_entry_after_them(reader: Reader) -> None:
    reader.notify("a", url="/live/")
    page = reader.open()
    open_panel(page)
    held = Held(page, "**/livepush/inbox/read/")
    entry = page.locator("livepush-bell li")
    for _ in ("read", "unread"):
        entry.locator("[data-f=read]").click()
    wait_until(lambda: page.evaluate("1") and held.routes)
    entry.locator("[data-f=title]").click(button="middle")
    held.let_go()
    expect(page.locator("livepush-bell form")).not_to_have_attribute("aria-busy", "true")
    page.reload()
    open_panel(page)
    titles(page, "a")
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(0)


def two_pages(reader: Reader) -> tuple[Page, Page]:
    """Return two pages whose open panels list three notifications: c, b, a."""
    for title in ("a", "b", "c"):
        reader.notify(title)
    page, other = reader.open(), reader.open()
    for each in (page, other):
        open_panel(each)
        titles(each, "c", "b", "a")
    return page, other


def test_a_change_that_fails_is_taken_back_and_told_in_view(reader: Reader) -> None:
    fill(reader, 20)
    page = reader.open()
    open_panel(page)
    press(page, "archive", 0)
    expect(page.locator("livepush-bell [part=undo]")).to_contain_text("Archived: n019")
    page.route("**/livepush/inbox/archive/", lambda route: route.abort())
    last = entries(page).filter(has_text="n010")
    last.scroll_into_view_if_needed()
    last.locator("[data-f=archive]").click()
    expect(page.locator(ERROR)).to_contain_text("taken back")
    assert is_in_view(page, ERROR)
    expect(last).to_be_visible()
    expect(last).to_have_attribute("data-unread", "")
    expect(page.locator("livepush-bell [part=undo]")).to_have_count(0)
    page.unroute("**/livepush/inbox/archive/")
    page.locator(f"{ERROR} [data-f=again]").click()
    expect(last).to_have_count(0)
    expect(page.locator(ERROR)).to_be_hidden()
    expect(page.locator("livepush-bell [part=undo]")).to_contain_text("Archived: n010")
    page.keyboard.press("Escape")
    open_panel(page)
    expect(page.locator("livepush-bell [part=undo]")).to_have_count(0)
    is_not_complained_of(reader, "ERR_FAILED")


@pytest.mark.long
@pytest.mark.parametrize("body", ["<h1>Back soon</h1>", "<form><input type=search></form>", ""])
def test_an_answer_that_is_no_list_changes_nothing(reader: Reader, body: str) -> None:
    reader.notify("a")
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")  # else the list is fetched again soon
    page = reader.open()
    open_panel(page)
    titles(page, "a")
    page.mouse.move(5, 5)
    page.route("**/livepush/inbox/**", lambda route: route.fulfill(body=body, content_type="text/html"))
    reader.notify("b")
    expect(page.locator(ERROR)).to_be_visible()
    titles(page, "a")
    has_badge(page, "1")
    page.unroute("**/livepush/inbox/**")
    page.locator(f"{ERROR} a").evaluate("(link) => link.click()")  # the list may have tried again by itself
    titles(page, "b", "a")
    expect(page.locator(ERROR)).to_be_hidden()


def test_a_login_page_in_place_of_the_list_is_called_what_it_is(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open()
    form = "<form><input type=password></form>"
    page.route("**/livepush/inbox/?tab*", lambda route: route.fulfill(body=form, content_type="text/html"))
    page.click("livepush-bell button")
    expect(page.locator(ERROR)).to_contain_text("You are no longer logged in.")
    page.unroute("**/livepush/inbox/?tab*")
    page.evaluate("dispatchEvent(new Event('focus'))")
    titles(page, "a")
    expect(page.locator(ERROR)).to_be_hidden()


@pytest.mark.long
def test_a_change_that_changes_nothing_offers_to_undo_nothing(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    press(page, "archive", 0)
    expect(page.locator("livepush-bell [part=undo]")).to_contain_text("Archived: b")
    answers: list[str] = []
    page.on("response", lambda response: response.request.method == "POST" and answers.append(response.url))
    upto = page.locator("livepush-bell [data-f=upto]")
    old_id = upto.get_attribute("value")
    reader.site.elsewhere.do("mark", username=reader.name, action="read")
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(0)
    page.locator("livepush-bell form").evaluate(
        """(form, id) => {
            const button = form.querySelector("[data-f=read-all]");
            Object.assign(button, { value: id, hidden: false });
            button.click();
        }""",
        old_id,
    )
    wait_until(lambda: page.evaluate("1") and answers)
    expect(page.locator("livepush-bell form")).not_to_have_attribute("aria-busy", "true")
    expect(page.locator("livepush-bell [data-f=read-all]")).to_be_hidden()
    expect(page.locator("livepush-bell [part=undo]")).to_have_count(0)


# Whose inbox


HEAR_COUNTS = "document.addEventListener('livepush:inbox', ({ detail }) => { window.counts = detail; })"


def counts_nothing(page: Page) -> None:
    """Wait until the page's scripts have heard that there is nothing."""
    page.wait_for_function("() => window.counts?.unseen === 0 && window.counts.unread === 0")


@pytest.mark.long
@pytest.mark.parametrize("has_noticed", [False, True])
def test_a_page_whose_user_changed_shows_nothing_and_touches_nothing(
    new_reader: Callable[[], Reader], has_noticed: bool
) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("ann's")
    ben.notify("ben's")
    context = ann.context()
    page = ann.open(context=context)
    open_panel(page)
    titles(page, "ann's")
    page.evaluate(HEAR_COUNTS)
    name, _, value = ben.site.elsewhere.session(ben.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": ann.site.server.url}])
    if has_noticed:
        page.evaluate("dispatchEvent(new Event('focus'))")
        expect(page.locator(ERROR)).to_be_visible()
    page.locator("livepush-bell [data-f=archive-all]").evaluate("(button) => button.click()")
    page.wait_for_function("() => !document.querySelector('livepush-bell').shadowRoot.querySelector('[aria-busy]')")
    expect(page.locator(ERROR)).to_contain_text("Somebody else is logged in now.")
    expect(page.locator("livepush-bell form")).to_be_hidden()
    has_badge(page, "")
    counts_nothing(page)
    ann.notify("ann's second")
    ben.notify("ben's second")
    other = ben.open()
    open_panel(other)
    titles(other, "ben's second", "ben's")
    expect(toasts(page)).to_have_count(0)
    has_badge(page, "")
    page.locator(f"{ERROR} a").click()
    open_panel(page)
    titles(page, "ben's second", "ben's")
    is_not_complained_of(ann, "409", "400", "403")


def test_a_page_that_is_looked_at_again_notices_who_is_logged_in(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("ann's")
    context = ann.context()
    page = ann.open(context=context)
    has_badge(page, "1")
    name, _, value = ben.site.elsewhere.session(ben.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": ann.site.server.url}])
    page.evaluate("dispatchEvent(new Event('focus'))")
    has_badge(page, "")
    expect(page).to_have_title("Shop")


def test_after_a_logout_elsewhere_nothing_new_shows(reader: Reader) -> None:
    reader.notify("before")
    context = reader.context()
    page = reader.open(context=context)
    has_badge(page, "1")
    page.evaluate(HEAR_COUNTS)
    context.clear_cookies()
    asked: list[int] = []
    page.on("response", lambda response: "/entries/" in response.url and asked.append(response.status))
    reader.notify("secret")
    wait_until(lambda: page.evaluate("1") and asked)
    assert asked == [401]
    has_badge(page, "")
    counts_nothing(page)
    expect(toasts(page)).to_have_count(0)
    assert "secret" not in page.locator("livepush-bell [role=status]").inner_text()
    page.click("livepush-bell button")
    expect(page.locator(ERROR)).to_contain_text("You are no longer logged in.")
    expect(page.locator(f"{ERROR} a")).to_have_text("Log in again")
    bell, panel = (page.locator(f"livepush-bell [part={part}]").bounding_box() for part in ("button", "panel"))
    assert bell
    assert panel
    assert panel["y"] >= bell["y"] + bell["height"]
    is_not_complained_of(reader, "401")


@pytest.mark.parametrize("next_user", some(["nobody", "another"]))
def test_a_page_that_nobody_looks_at_again_counts_nothing_after_a_logout_elsewhere(
    new_reader: Callable[[], Reader], next_user: str
) -> None:
    reader = new_reader()
    reader.notify("One")
    context = reader.context()
    page = reader.open(context=context)
    has_badge(page, "1")
    page.evaluate(HEAR_COUNTS)
    (cookie,) = [each for each in context.cookies() if each["name"] == "sessionid"]
    context.clear_cookies()
    if next_user == "another":
        other = new_reader()
        name, _, value = other.site.elsewhere.session(other.name).partition("=")
        context.add_cookies([{"name": name, "value": value, "url": reader.site.server.url}])
    reader.site.elsewhere.do("end_session", cookie=f"sessionid={cookie['value']}", how="logout")
    has_badge(page, "")
    counts_nothing(page)
    is_not_complained_of(reader, "401", "403")


def test_who_logs_in_again_elsewhere_is_told_live_again(reader: Reader) -> None:
    context = reader.context()
    page = reader.open(context=context)
    (cookie,) = [each for each in context.cookies() if each["name"] == "sessionid"]
    context.clear_cookies()
    reader.site.elsewhere.do("end_session", cookie=f"sessionid={cookie['value']}", how="logout")
    page.wait_for_function("() => livepush.state === 'denied'")
    name, _, value = reader.site.elsewhere.session(reader.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": reader.site.server.url}])
    page.evaluate("dispatchEvent(new Event('focus'))")
    is_open(page)
    reader.notify("One")
    has_badge(page, "1")
    is_not_complained_of(reader, "401", "403")


# Keyboard and reading


@pytest.mark.long
def test_the_keys_of_the_list(reader: Reader) -> None:
    for title in ("a", "b", "c", "d"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    titles(page, "d", "c", "b", "a")
    entries(page).first.locator("[data-f=title]").focus()
    page.keyboard.press("j")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("k")
    expect(entries(page).nth(1).locator("[data-f=title]")).to_be_focused()
    page.keyboard.press("u")
    expect(entries(page).nth(1)).not_to_have_attribute("data-unread", "")
    page.keyboard.press("e")
    titles(page, "d", "b", "a")
    expect(entries(page).nth(1).locator("[data-f=title]")).to_be_focused()
    page.keyboard.press("Enter")
    expect(entries(page).nth(1)).not_to_have_attribute("data-unread", "")
    page.keyboard.press("j")
    expect(entries(page).nth(2).locator("[data-f=title]")).to_be_focused()
    page.keyboard.press("?")
    expect(page.locator("livepush-bell [part=keys] dl")).to_be_visible()
    page.keyboard.press("e")
    titles(page, "d", "b")
    expect(entries(page).nth(1).locator("[data-f=title]")).to_be_focused()
    page.focus("main input")
    page.keyboard.type("jke?")
    expect(page.locator("main input")).to_have_value("jke?")


@pytest.mark.parametrize("how", some(["middle", "ctrl", "toast", "no link"]))
def test_whoever_opens_an_entry_has_read_it(reader: Reader, how: str) -> None:
    page = reader.open()
    if how == "toast":
        reader.notify("a", url="#a")
        toasts(page).locator("a").click()
    else:
        reader.notify("a", url="" if how == "no link" else "#a")
        open_panel(page)
        title = entries(page).locator("[data-f=title]")
        if how == "middle":
            title.click(button="middle")
        else:
            title.click(modifiers=["ControlOrMeta"] if how == "ctrl" else [])
    page.wait_for_function("async () => !(await (await fetch('/livepush/inbox/counts/')).json()).unread", polling=100)


@pytest.mark.long
def test_a_long_text_can_be_read_to_its_end(reader: Reader) -> None:
    reader.notify("a", body="word " * 100 + "END")
    page = reader.open()
    open_panel(page)
    text = page.locator("livepush-bell [part=body] summary")
    low = text.bounding_box()
    text.click()
    high = text.bounding_box()
    assert low
    assert high
    assert high["height"] > 2 * low["height"]
    reader.site.elsewhere.do("mark", username=reader.name, action="read")
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(0)
    expect(page.locator("livepush-bell [part=body]")).to_have_attribute("open", "")


@pytest.mark.long
def test_a_picture_that_does_not_come_leaves_the_sign(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title, icon=f"/no/{title}.png")
    reader.notify("c", icon="/static/livepush/bell.svg")
    page = reader.open("/livepush/inbox/")
    expect(page.locator("livepush-list img")).to_have_count(1)
    reader.notify("d")
    titles(page, "d", "c", "b", "a", within="livepush-list")
    expect(page.locator("livepush-list img")).to_have_count(1)
    assert page.locator("livepush-list img").evaluate("(picture) => picture.decode().then(() => picture.naturalWidth)")
    is_not_complained_of(reader, "404")


@pytest.mark.long
def test_the_age_of_an_entry_that_something_is_collapsed_into_begins_anew(reader: Reader) -> None:
    context = reader.context()
    page = context.new_page()
    page.clock.install()
    page.goto(reader.site.server.url + "/bell/")
    is_open(page)
    reader.notify(kind="shop.commented", actor="Ann", collapse="c1", data={"thing": "lamp"})
    has_badge(page, "1")
    reader.site.elsewhere.do("mark", username=reader.name, action="seen")  # else the list is fetched again soon
    has_badge(page, "")
    open_panel(page)
    time = page.locator("livepush-bell time")
    expect(time).to_have_text("now")
    page.clock.run_for(130_000)
    expect(time).to_have_text("2 minutes ago")
    reader.notify(kind="shop.commented", actor="Ben", collapse="c1", data={"thing": "lamp"})
    expect(page.locator("livepush-bell [part=count]")).to_have_text("×2")
    expect(time).to_have_text("now")
    page.clock.run_for(31_000)
    expect(time).to_have_text("now")


# Toasts and the panel


@pytest.mark.long
def test_sixty_notifications_are_few_requests(reader: Reader) -> None:
    page = reader.open()
    asked: list[str] = []
    page.on("request", lambda request: "/livepush/inbox/" in request.url and asked.append(request.url))
    for number in range(60):
        reader.notify(kind="shop.commented", actor=f"A{number}", data={"thing": "lamp"})
    has_badge(page, "60")
    expect(page.locator("livepush-toasts [part=more]")).to_have_text("and 57 more")
    open_panel(page)
    for number in range(60):
        reader.notify(kind="shop.commented", actor=f"B{number}", data={"thing": "lamp"}, collapse=f"c{number}")
    expect(entries(page).first).to_contain_text("B59")
    assert len(asked) < 80, len(asked)


def test_a_list_that_is_not_in_view_neither_takes_the_toasts_nor_counts_as_seen(reader: Reader) -> None:
    context = reader.context()

    def pushed_down(route: Route) -> None:
        response = route.fetch()
        body = response.text().replace("<main>", "<main>" + "<p>More</p>" * 100, 1)
        route.fulfill(response=response, body=body)

    context.route("**/bell/*", pushed_down)
    page = reader.open("/bell/?list=1", context)
    reader.notify("Below")
    expect(toasts(page)).to_have_count(1)
    has_badge(page, "1")
    page.locator("main livepush-list").scroll_into_view_if_needed()
    titles(page, "Below", within="main livepush-list")
    has_badge(page, "")
    context.unroute_all(behavior="ignoreErrors")


def test_the_keys_pass_over_what_is_gone_elsewhere(reader: Reader) -> None:
    page, other = two_pages(reader)
    entries(page).first.locator("[data-f=title]").focus()
    press(other, "archive", 1)
    expect(entries(page).nth(1)).to_have_attribute("inert", "")
    page.keyboard.press("j")
    expect(entries(page).nth(2).locator("[data-f=title]")).to_be_focused()
    page.keyboard.press("k")
    page.keyboard.press("e")
    expect(page.locator("livepush-bell li:not([hidden], [inert]) [data-f=title]").first).to_be_focused()


@pytest.mark.long
def test_long_errors_leave_the_newest_toast_in_view(reader: Reader) -> None:
    page = reader.open(viewport={"width": 390, "height": 500})
    for number in range(3):
        reader.notify("long " * 60 + str(number), body="text " * 80, level="error")
        expect(toasts(page)).to_have_count(number + 1)
    assert is_in_view(page, "livepush-toasts li:first-child button")


@pytest.mark.long
def test_toasts_are_above_the_open_panel(reader: Reader) -> None:
    reader.notify("a", category="talk")
    page = reader.open(viewport={"width": 390, "height": 500})
    fill(reader, 20)
    open_panel(page)
    press(page, "c-talk")
    expect(page.locator("livepush-bell [part~=category][aria-current]")).to_be_visible()
    reader.notify("elsewhere", category="news")
    expect(toasts(page)).to_have_count(1)
    toasts(page).locator("button").click(trial=True)  # nothing covers it


@pytest.mark.long
def test_the_panel_follows_its_bell(reader: Reader) -> None:
    fill(reader, 20)
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(20)
    for width, height in ((390, 700), (320, 400), (1000, 700)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_function(
            """() => {
                const panel = document.querySelector("livepush-bell").shadowRoot.querySelector("#panel");
                const { left, right, top, bottom } = panel.getBoundingClientRect();
                return left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
            }"""
        )


@pytest.mark.parametrize("zoom", [2, 0.5])
def test_the_panel_is_below_its_bell_in_a_page_that_is_zoomed_by_its_style(reader: Reader, zoom: float) -> None:
    fill(reader, 1)
    page = reader.open()
    page.evaluate("(zoom) => { document.body.style.zoom = zoom; }", zoom)
    page.locator("header").evaluate("(header) => { header.style.textAlign = 'end'; }")
    open_panel(page)
    expect(entries(page)).to_have_count(1)
    page.wait_for_function(
        """() => {
            const { shadowRoot } = document.querySelector("livepush-bell");
            const { right, top } = shadowRoot.querySelector("#panel").getBoundingClientRect();
            const bell = shadowRoot.querySelector("button").getBoundingClientRect();
            return Math.abs(right - Math.min(bell.right, innerWidth - 8)) < 2 && Math.abs(top - bell.bottom - 8) < 2;
        }"""
    )


def test_the_panel_and_the_toasts_stay_in_the_window_of_a_page_that_is_zoomed_by_its_style(reader: Reader) -> None:
    fill(reader, 5)
    page = reader.open(viewport={"width": 500, "height": 500})
    page.evaluate("document.body.style.zoom = 2")
    reader.notify("Toast", level="error")
    expect(toasts(page)).to_be_in_viewport(ratio=1)
    open_panel(page)
    expect(entries(page)).to_have_count(6)
    expect(page.locator("livepush-bell #panel")).to_be_in_viewport(ratio=1)


def test_a_stylesheet_that_comes_late_holds_nothing_back(reader: Reader) -> None:
    context = reader.context()
    held = Held(context, "**/inbox.css")
    page = context.new_page()
    page.goto(reader.site.server.url + "/bell/", wait_until="commit")
    page.wait_for_function("() => performance.getEntriesByName('first-contentful-paint')[0]", polling=50)
    assert held.routes
    expect(page.locator("main h1")).to_be_visible()
    expect(badge(page)).to_be_hidden()
    held.let_go()
    expect(page.locator("livepush-bell button[part=button]")).to_be_visible()


def test_an_entry_that_came_while_the_server_read_the_list_is_seen(reader: Reader) -> None:
    page = reader.open()
    open_panel(page)
    before = page.locator("livepush-bell form").get_attribute("data-position")

    def made_earlier(route: Route) -> None:
        response = route.fetch()
        body = re.sub(r'(?<=data-position=")[^"]+', str(before), response.text())
        route.fulfill(response=response, body=body)

    page.route("**/livepush/inbox/?*limit=*", made_earlier)
    reader.notify("One")
    titles(page, "One")
    has_badge(page, "")
    page.unroute_all(behavior="ignoreErrors")
