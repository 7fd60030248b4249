"""The list, the bell and the toasts where things happen at once, answer late or fail, and where the user changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser import libraries
from tests.browser.readers import (
    Reader,
    entries,
    has_badge,
    is_not_complained_of,
    news,
    open_panel,
    press,
    titles,
    toasts,
)
from tests.browser.test_list import ERROR, PANEL, Held, fill
from tests.patience import wait_until
from tests.scale import some

BELL = "livepush-bell"
ALONE = "main livepush-list"
CURRENT = f"{BELL} [part~=tab][aria-current]"
SHOWN = f"{BELL} li:not([hidden])"
FOCUS = """() => {
    let found = document.activeElement;
    while (found?.shadowRoot?.activeElement) found = found.shadowRoot.activeElement;
    return found.localName;
}"""


def is_asked(page: Page, held: Held) -> None:
    wait_until(lambda: page.evaluate("1") and held.routes)


def is_at_its_top(page: Page) -> None:
    page.locator(PANEL).evaluate(
        "(panel) => new Promise((done) => (function look() { panel.scrollTop ? setTimeout(look, 20) : done(); })())"
    )


# Presses that meet


@pytest.mark.long
def test_a_tab_that_is_pressed_while_a_change_fails_is_shown(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    press(page, "read", 0)
    expect(page.locator(f"{BELL} li[data-unread]")).to_have_count(1)
    held: list[Route] = []
    page.route("**/livepush/inbox/archive/", lambda route: held.append(route))
    press(page, "archive", 0)
    wait_until(lambda: page.evaluate("1") and held)
    with page.expect_response("**/livepush/inbox/?tab=unread*"):
        press(page, "unread")
    held[0].abort()
    expect(page.locator(CURRENT)).to_have_text("Unread")
    expect(page.locator(ERROR)).to_contain_text("taken back")
    press(page, "read-all")
    expect(page.locator(f"{BELL} .empty")).to_be_visible()
    is_not_complained_of(reader, "ERR_FAILED")


@pytest.mark.long
def test_undo_that_is_pressed_while_a_tab_loads_undoes(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    press(page, "archive", 0)
    expect(page.locator(f"{BELL} [part=undo]")).to_contain_text("Archived: b")
    held = Held(page, "**/livepush/inbox/?tab=unread*")
    press(page, "unread")
    is_asked(page, held)
    press(page, "undo")
    held.let_go()
    expect(page.locator(CURRENT)).to_have_text("Unread")
    press(page, "all")
    titles(page, "b", "a")


def test_a_change_that_is_answered_after_the_panel_has_closed_is_not_offered_when_it_opens(reader: Reader) -> None:
    fill(reader, 2)
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(2)
    archiving = Held(page, "**/inbox/archive/")
    press(page, "archive")
    page.keyboard.press("Escape")
    archiving.let_go()
    undo = page.locator("livepush-bell [part=undo]")
    expect(undo).to_be_attached()
    listing = Held(page, "**/livepush/inbox/?tab=all*")
    open_panel(page)
    expect(undo).not_to_be_attached(timeout=1000)
    listing.let_go()
    expect(entries(page)).to_have_count(1)


@pytest.mark.long
def test_what_comes_while_the_panel_opens_is_not_archived_with_what_it_shows(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open()
    open_panel(page)
    titles(page, "a")
    page.keyboard.press("Escape")
    page.mouse.move(2, 2)
    reader.notify("not shown yet")
    has_badge(page, "1")
    held = Held(page, "**/livepush/inbox/?tab=all*")
    page.click(f"{BELL} button")
    is_asked(page, held)
    press(page, "archive-all")
    expect(page.locator(SHOWN)).to_have_count(0)
    held.let_go()
    titles(page, "not shown yet")


@pytest.mark.long
def test_a_bulk_button_after_a_tab_and_an_entry_acts_on_the_tab(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    has_badge(page, "")
    tab, archive = Held(page, "**/livepush/inbox/?tab=unread*"), Held(page, "**/livepush/inbox/archive/")
    press(page, "unread")
    is_asked(page, tab)
    press(page, "archive", 0)
    is_asked(page, archive)
    press(page, "read-all")
    tab.let_go()
    archive.let_go()
    expect(page.locator(CURRENT)).to_have_text("Unread")
    expect(page.locator(f"{BELL} .empty")).to_be_visible()


@pytest.mark.long
def test_an_entry_whose_reading_fails_stays_away_if_it_is_archived_meanwhile(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    has_badge(page, "")
    read: list[Route] = []
    page.route("**/livepush/inbox/read/", lambda route: read.append(route))
    archive = Held(page, "**/livepush/inbox/archive/")
    press(page, "read", 0)
    press(page, "archive", 0)
    wait_until(lambda: page.evaluate("1") and read)
    read[0].abort()
    is_asked(page, archive)
    expect(page.locator(SHOWN)).to_have_count(1)
    archive.let_go()
    titles(page, "a")
    is_not_complained_of(reader, "ERR_FAILED")


@pytest.mark.long
def test_a_double_click_is_one_press_and_a_key_that_is_held_down_too(reader: Reader) -> None:
    for title in ("a", "b", "c", "d"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    with page.expect_response("**/livepush/inbox/read/"):
        entries(page).first.locator("[data-f=read]").last.dblclick()
    expect(page.locator(f"{BELL} li[data-unread]")).to_have_count(3)
    entries(page).first.locator("[data-f=title]").focus()
    for _ in range(3):
        page.keyboard.down("e")
    page.keyboard.up("e")
    assert page.locator(SHOWN).count() == 3
    titles(page, "c", "b", "a")


@pytest.mark.long
def test_older_entries_that_answer_after_a_change_show_it(reader: Reader) -> None:
    fill(reader, 40)
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(20)
    has_badge(page, "")
    late: list[tuple[Route, object]] = []

    def hold(route: Route) -> None:
        if late:
            route.continue_()
        else:
            late.append((route, route.fetch()))

    page.route("**/livepush/inbox/?tab=all&before*", hold)
    page.locator(PANEL).evaluate("(panel) => { panel.scrollTop = 99999; }")
    wait_until(lambda: page.evaluate("1") and late)
    page.locator(f"{BELL} [data-f=read-all]").evaluate("(button) => button.click()")
    expect(page.locator(f"{BELL} [data-f=read-all]")).to_be_hidden()
    route, response = late[0]
    route.fulfill(response=response)  # type: ignore[arg-type]
    expect(entries(page)).to_have_count(40)
    expect(page.locator(f"{BELL} li[data-unread]")).to_have_count(0)


@pytest.mark.long
def test_trying_again_uses_the_token_of_now(reader: Reader) -> None:
    reader.notify("a")
    context = reader.context()
    page = reader.open(context=context)
    open_panel(page)
    has_badge(page, "")
    page.route("**/livepush/inbox/archive/", lambda route: route.fulfill(status=403), times=1)
    with page.expect_response("**/livepush/inbox/?*"):  # it sets the token of before once more
        press(page, "archive", 0)
    expect(page.locator(ERROR)).to_be_visible()
    context.add_cookies([{"name": "csrftoken", "value": "x" * 32, "url": reader.site.server.url}])
    page.locator(f"{ERROR} a").click()
    expect(page.locator(f"{BELL} .empty")).to_be_visible()
    expect(page.locator(ERROR)).to_be_hidden()
    is_not_complained_of(reader, "403")


@pytest.mark.long
def test_a_template_may_leave_buttons_out(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open("/livepush/inbox/")
    page.locator("livepush-list [part=actions] [data-f=read]").evaluate_all(
        "(all) => { for (const each of all) each.remove(); }"
    )
    press(page, "archive", 0, within="livepush-list")
    titles(page, "a", within="livepush-list")


def test_in_a_field_that_a_template_adds_the_lists_keys_are_text(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    context = reader.context()

    def with_fields(route: Route) -> None:
        response = route.fetch()
        fields = '<select name="year"><option>1<option>2</select><textarea name="note"></textarea>'
        head = '<div part="header">'
        route.fulfill(response=response, body=response.text().replace(head, f'{head}<input name="q">{fields}'))

    context.route("**/livepush/inbox/?*", with_fields)
    page = reader.open(context=context)
    open_panel(page)
    titles(page, "b", "a")
    for field in ("input[name=q]", "textarea"):
        page.locator(f"{BELL} {field}").focus()
        page.keyboard.type("joke?")
        expect(page.locator(f"{BELL} {field}")).to_have_value("joke?")
    page.locator(f"{BELL} select").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"{BELL} select")).to_have_value("2")
    titles(page, "b", "a")


@pytest.mark.long
def test_a_bulk_press_is_not_lost_if_another_tab_is_pressed_before_its_own_has_come(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    titles(page, "b", "a")
    has_badge(page, "")
    held = Held(page, "**/livepush/inbox/?tab=*")
    press(page, "unread")
    is_asked(page, held)
    press(page, "read-all")
    press(page, "all")
    held.let_go()
    expect(page.locator(CURRENT)).to_have_text("All")
    expect(page.locator(f"{BELL} li[data-unread]")).to_have_count(0)
    titles(page, "b", "a")


@pytest.mark.long
def test_a_bulk_press_whose_tab_does_not_come_says_so_and_can_be_tried_again(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open()
    open_panel(page)
    titles(page, "a")
    has_badge(page, "")
    asked: list[Route] = []
    page.route("**/livepush/inbox/?tab=unread*", lambda route: asked.append(route))
    press(page, "unread")
    wait_until(lambda: page.evaluate("1") and asked)
    press(page, "archive-all")
    press(page, "all")
    wait_until(lambda: page.evaluate("1") and len(asked) == 2)
    for route in asked:
        route.abort()
    expect(page.locator(ERROR)).to_contain_text("was not saved")
    page.unroute("**/livepush/inbox/?tab=unread*")
    page.locator(f"{ERROR} a").click()
    expect(page.locator(f"{BELL} .empty")).to_be_visible()
    expect(page.locator(ERROR)).to_be_hidden()
    is_not_complained_of(reader, "ERR_FAILED")


@pytest.mark.long
def test_trying_again_repeats_all_that_has_failed(reader: Reader) -> None:
    for title in ("a", "b", "c", "d"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    has_badge(page, "")
    held: list[Route] = []
    page.route("**/livepush/inbox/archive/", lambda route: held.append(route))
    for _ in range(3):
        page.locator(SHOWN).first.locator("[data-f=archive]").click()
    for number in range(3):
        wait_until(lambda count=number + 1: page.evaluate("1") and len(held) == count)
        held[number].abort()
    expect(page.locator(ERROR)).to_contain_text("taken back")
    titles(page, "d", "c", "b", "a")
    page.unroute("**/livepush/inbox/archive/")
    page.locator(f"{ERROR} a").click()
    titles(page, "a")
    expect(page.locator(ERROR)).to_be_hidden()
    is_not_complained_of(reader, "ERR_FAILED")


# Places


@pytest.mark.long
def test_what_was_behind_the_button_is_in_view_once_it_is_pressed(reader: Reader) -> None:
    fill(reader, 60)
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(20)
    page.locator(PANEL).evaluate("(panel) => { panel.scrollTop = 900; }")
    page.mouse.move(2, 2)
    reader.notify("brand new")
    news(page).click()
    expect(entries(page).first).to_contain_text("brand new")
    is_at_its_top(page)


@pytest.mark.long
def test_a_panel_that_is_opened_again_begins_at_its_top(reader: Reader) -> None:
    fill(reader, 40)
    page = reader.open()
    open_panel(page)
    expect(entries(page)).to_have_count(20)
    page.locator(PANEL).evaluate("(panel) => { panel.scrollTop = 600; }")
    page.keyboard.press("Escape")
    reader.notify("brand new")
    has_badge(page, "1")
    open_panel(page)
    expect(entries(page).first).to_contain_text("brand new")
    is_at_its_top(page)


@pytest.mark.long
def test_entries_that_are_gone_turn_grey_and_leave_with_the_pointer(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    entries(page).nth(1).hover()
    reader.site.elsewhere.do("mark", username=reader.name, action="archive")
    expect(page.locator(f"{BELL} li[inert]")).to_have_count(3)
    titles(page, "c", "b", "a")
    page.mouse.move(5, 5)
    expect(page.locator(f"{BELL} .empty")).to_be_visible()


@pytest.mark.long
def test_what_comes_back_elsewhere_waits_like_what_is_new(reader: Reader) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page, other = reader.open(), reader.open()
    for each in (page, other):
        open_panel(each)
    press(other, "archive", 1)
    titles(page, "c", "a")
    press(other, "archived")
    titles(other, "b")
    entries(page).nth(1).hover()
    press(other, "archive", 0)
    expect(news(page)).to_have_text("1 new")
    titles(page, "c", "a")
    page.mouse.move(5, 5)
    titles(page, "c", "b", "a")


@pytest.mark.long
def test_a_pointer_that_leaves_while_the_list_is_on_its_way_holds_nothing(reader: Reader) -> None:
    for title in ("a", "b"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    has_badge(page, "")
    entries(page).nth(0).hover()
    held = Held(page, "**/livepush/inbox/?tab=all*")
    reader.notify("c")
    is_asked(page, held)
    page.mouse.move(5, 5)
    held.let_go()
    titles(page, "c", "b", "a")


@pytest.mark.long
def test_without_popovers_the_panel_is_above_what_the_page_positions(reader: Reader) -> None:
    fill(reader, 5)
    context = reader.context(bypass_csp=True)
    context.add_init_script("delete HTMLElement.prototype.showPopover;")
    page = reader.open(context=context)
    page.evaluate(
        """() => {
            const card = document.createElement("div");
            card.style.cssText = "position: absolute; inset: 60px 0 auto 0; height: 500px";
            document.querySelector("main").append(card);
            document.querySelector("livepush-bell").shadowRoot.querySelector("#panel").removeAttribute("popover");
        }"""
    )
    button = page.locator(f"{BELL} button[part=button]")
    button.click()
    press(page, "unread")  # nothing covers it
    expect(page.locator(CURRENT)).to_have_text("Unread")
    expect(button).to_have_attribute("aria-expanded", "true")


@pytest.mark.long
def test_a_click_leaves_no_listener_behind(reader: Reader) -> None:
    reader.notify("a")
    page = reader.open()
    open_panel(page)
    devtools = page.context.new_cdp_session(page)

    def listeners() -> int:
        window = devtools.send("Runtime.evaluate", {"expression": "window"})["result"]["objectId"]
        found = devtools.send("DOMDebugger.getEventListeners", {"objectId": window})["listeners"]
        return len([each for each in found if each["type"] in ("pointerup", "pointercancel")])

    before = listeners()
    for _ in range(10):
        page.locator(f"{BELL} h2").click()
    wait_until(lambda: listeners() == before)


# The focus


def take_the_last(page: Page, reader: Reader) -> None:
    press(page, "archive-all")
    expect(page.locator(f"{BELL} .empty")).to_be_visible()


def read_all(page: Page, reader: Reader) -> None:
    page.locator(f"{BELL} [data-f=read-all]").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"{BELL} [data-f=read-all]")).to_be_hidden()


def undo(page: Page, reader: Reader) -> None:
    press(page, "archive", 0)
    page.locator(f"{BELL} [data-f=undo]").focus()
    page.keyboard.press("Enter")
    titles(page, "c", "b", "a")


def show_news(page: Page, reader: Reader) -> None:
    page.locator(f"{BELL} li [data-f=title]").first.focus()
    reader.notify("d")
    expect(news(page)).to_be_visible()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    titles(page, "d", "c", "b", "a")


def try_again(page: Page, reader: Reader) -> None:
    page.route("**/livepush/inbox/archive/", lambda route: route.abort())
    press(page, "archive", 0)
    expect(page.locator(ERROR)).to_be_visible()
    page.unroute("**/livepush/inbox/archive/")
    page.locator(f"{ERROR} a").focus()
    page.keyboard.press("Enter")
    expect(page.locator(ERROR)).to_be_hidden()
    is_not_complained_of(reader, "ERR_FAILED")


def elsewhere(page: Page, reader: Reader) -> None:
    page.locator(f"{BELL} li [data-f=title]").nth(1).focus()
    other = reader.open()
    open_panel(other)
    press(other, "archive", 1)
    titles(page, "c", "a")


@pytest.mark.parametrize("do", some([take_the_last, read_all, undo, show_news, try_again, elsewhere]))
def test_the_focus_stays_in_the_list(reader: Reader, do: Callable[[Page, Reader], None]) -> None:
    for title in ("a", "b", "c"):
        reader.notify(title)
    page = reader.open()
    open_panel(page)
    titles(page, "c", "b", "a")
    do(page, reader)
    page.bring_to_front()
    page.wait_for_function(f"() => ({FOCUS})() !== 'body'")
    page.keyboard.press("Escape")
    expect(page.locator(f"{BELL} button[part=button]")).to_be_focused()


@pytest.mark.long
def test_the_focus_goes_back_to_where_f8_took_it_from(reader: Reader) -> None:
    page = reader.open()
    page.focus("main input")
    for title in ("one", "two"):
        reader.notify(title, level="error")
    expect(toasts(page)).to_have_count(2)
    page.keyboard.press("F8")
    page.keyboard.press("F8")
    for _ in range(2):
        page.keyboard.press("Escape")
    expect(toasts(page)).to_have_count(0)
    expect(page.locator("main input")).to_be_focused()


# Another user


def become(context: BrowserContext, reader: Reader) -> None:
    name, _, value = reader.site.elsewhere.session(reader.name).partition("=")
    context.add_cookies([{"name": name, "value": value, "url": reader.site.server.url}])


def with_turbo(reader: Reader, path: str = "/bell/") -> tuple[BrowserContext, Page]:
    context = reader.context(bypass_csp=True)
    libraries.give(context, [libraries.TURBO], "<body>")
    page = reader.open(path, context)
    page.evaluate("window.same = true")
    return context, page


def visit(page: Page, path: str) -> None:
    """Go to a page, and wait until its body is there and read: the address changes before."""
    loaded = "new Promise(done => addEventListener('turbo:load', () => done(), {once: true}))"
    page.evaluate(f"path => {{ const loaded = {loaded}; Turbo.visit(path); return loaded; }}", path)


@pytest.mark.long
def test_toasts_and_what_was_said_do_not_go_to_the_next_user(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    context, page = with_turbo(ann)
    ann.notify("ann's secret", level="error")
    expect(toasts(page)).to_have_count(1)
    become(context, ben)
    visit(page, "/bell/?other=1")
    ben.notify("ben's", level="error")
    expect(toasts(page).filter(has_text="ben's")).to_have_count(1)
    assert page.evaluate("window.same")
    expect(toasts(page)).to_have_count(1)
    assert "ann" not in page.locator("livepush-toasts [role=status]").inner_text()


def test_what_waits_to_be_announced_is_not_told_to_the_next_user(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    ann.site.elsewhere.do("join", username=ann.name, group="staff")
    context, page = with_turbo(ann)
    page.evaluate("Math.random = () => 0.3")
    ann.site.elsewhere.do("notify", to="staff", title="staff secret", level="error")
    has_badge(page, "1")
    become(context, ben)
    visit(page, "/bell/?other=1")
    ben.site.elsewhere.do(
        "notify", to="inbox:all", title="to everyone", level="error"
    )  # announced after as long a wait
    expect(toasts(page).locator("a")).to_have_text(["to everyone"])
    assert page.evaluate("window.same")


@pytest.mark.long
def test_a_list_that_is_brought_back_is_not_the_last_users(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    ann.notify("ann's secret")
    ben.notify("ben's")
    context, page = with_turbo(ann, "/bell/?list=1")
    titles(page, "ann's secret", within=ALONE)
    become(context, ben)
    page.evaluate("Turbo.cache.clear()")
    visit(page, "/bell/?list=1&x=1")
    titles(page, "ben's", within=ALONE)
    visit(page, "/bell/?other=1")
    expect(page.locator(ALONE)).to_have_count(0)
    held = Held(page, "**/livepush/inbox/?tab*")
    page.go_back()
    titles(page, "ben's", within=ALONE)
    held.let_go()
    assert page.evaluate("window.same")


@pytest.mark.long
def test_what_was_said_goes_when_another_user_is_noticed(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    context = ann.context()
    page = ann.open(context=context)
    ann.notify("ann's secret")
    status = page.locator(f"{BELL} [role=status]")
    expect(status).to_have_text("ann's secret")
    become(context, ben)
    page.evaluate("dispatchEvent(new Event('focus'))")
    has_badge(page, "")
    expect(status).to_have_text("")


def with_toast(reader: Reader, context: BrowserContext) -> Page:
    """Open a page with an entry in its list, and a toast."""
    reader.notify("in the list")
    page = reader.open("/bell/?list=1", context)
    titles(page, "in the list", within=ALONE)
    page.locator(ALONE).evaluate("(list) => list.style.display = 'none'")  # so that toasts come
    reader.notify("ann's", level="error")
    expect(toasts(page)).to_have_count(1)
    page.locator(ALONE).evaluate("(list) => list.style.display = ''")
    titles(page, "ann's", "in the list", within=ALONE)
    return page


def detach(page: Page) -> None:
    page.evaluate(
        """() => {
            window.away = [...document.querySelectorAll("main livepush-list, livepush-toasts")];
            for (const element of away) element.remove();
        }"""
    )


def attach(page: Page) -> None:
    page.evaluate("() => document.querySelector('main').append(...away)")


@pytest.mark.long
def test_what_enters_the_page_while_another_user_is_logged_in_shows_nothing(new_reader: Callable[[], Reader]) -> None:
    ann, ben = new_reader(), new_reader()
    context = ann.context()
    page = with_toast(ann, context)
    detach(page)
    become(context, ben)
    page.evaluate("dispatchEvent(new Event('focus'))")
    page.click(f"{BELL} button")
    expect(page.locator(ERROR)).to_contain_text("Somebody else is logged in now.")
    attach(page)
    expect(page.locator(f"{ALONE} .error")).to_contain_text("Somebody else is logged in now.")
    expect(page.locator(f"{ALONE} form")).to_be_hidden()
    expect(toasts(page)).to_have_count(0)
    is_not_complained_of(ann, "409", "400", "403")


@pytest.mark.long
def test_what_comes_back_after_the_page_has_become_another_users_shows_nothing_of_the_first(
    new_reader: Callable[[], Reader],
) -> None:
    ann, ben = new_reader(), new_reader()
    context = ann.context()
    page = with_toast(ann, context)
    detach(page)
    become(context, ben)
    page.evaluate("async () => livepush.inbox(await (await fetch('/livepush/inbox/counts/')).json(), '')")
    ben.notify("ben's", level="error")
    held = Held(page, "**/livepush/inbox/?tab*")
    attach(page)
    is_asked(page, held)
    expect(page.locator(f"{ALONE} form")).to_be_hidden()
    expect(toasts(page).filter(has_text="ann's")).to_have_count(0)
    held.let_go()
    titles(page, "ben's", within=ALONE)
    is_not_complained_of(ann, "409", "400", "403")
