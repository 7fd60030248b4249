"""The demo's pages on which visitors send: the conversations, and the field on which all cursors move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.demo import Demo, Visit, log_in, speak, visitors
from tests.browser.site import STORED, is_open
from tests.browser.test_inbox import audit

QUIET = True
LONG = "LonglonglongwordŁ" * 60 + "\n👩‍👩‍👧 שלום"


@pytest.fixture(scope="module")
def logins(demo: Demo, browser: Browser) -> dict[str, Any]:
    """The cookies of the two accounts."""
    with visitors(demo, browser) as visitor:
        return {name: log_in(visitor(), name).context.storage_state() for name in ("demo", "admin")}


@pytest.fixture(scope="module")
def codes(demo: Demo, browser: Browser, logins: dict[str, Any]) -> Iterator[str]:
    """Parcels that nobody has written about."""
    with visitors(demo, browser) as visitor:
        page = visitor(logins["demo"])("/orders/")
        for _ in range(5):  # the simulator may have delivered one
            with page.expect_response("**/orders/new/"):
                page.click("text=Order something")
        page.goto(demo.url + "/messages/")
        return iter(page.locator(".talks-code .mono").all_text_contents())


@pytest.fixture
def talk(visitor: Callable[..., Visit], logins: dict[str, Any], codes: Iterator[str]) -> Iterator[tuple[Page, Page]]:
    """The page of a conversation, as its customer and the staff have it.

    The consoles may say that a message was refused or did not get through.
    """
    path = f"/parcels/{next(codes)}/messages/"
    customer, staff = visitor(logins["demo"])(path), visitor(logins["admin"])(path)
    for page in (customer, staff):
        is_open(page)
    yield customer, staff
    visitor.said[:] = [[line for line in lines if not line.endswith("/send/")] for lines in visitor.said]


def write(page: Page, text: str) -> None:
    page.fill("#text", text)
    page.press("#text", "Enter")


def texts(page: Page) -> list[str]:
    return page.locator(".message [data-slot=text]").all_text_contents()


def state(page: Page, text: str):
    return page.locator(".message", has_text=text).locator("[data-slot=state]")


def test_a_customer_and_the_staff_write_and_see_who_types_and_what_was_read(talk) -> None:
    customer, staff = talk
    for page in (customer, staff):
        for name in ("Ada Lindqvist", "Noor Haddad"):
            expect(page.locator("livepush-presence li", has_text=name)).to_be_visible()
    staff.bring_to_front()
    write(customer, LONG)
    expect(staff.locator(".message [data-slot=text]")).to_have_text(LONG)
    expect(staff.locator(".message [data-slot=name]")).to_have_text("Ada Lindqvist")
    expect(state(customer, "שלום")).to_have_text("Read")
    assert staff.evaluate(
        "scroll => scroll.scrollWidth === scroll.clientWidth", staff.locator("#scroll").element_handle()
    )

    staff.locator("#text").press_sequentially("It is")
    expect(customer.locator("#typing")).to_have_text("Noor Haddad is typing")
    staff.press("#text", "Enter")
    expect(customer.locator(".message").last).to_contain_text("It is")
    expect(customer.locator("#typing")).to_be_hidden()
    expect(customer.locator(".message .badge").last).to_be_visible()
    expect(staff.locator("#typing")).to_be_hidden()

    staff.goto(staff.url.rpartition("/parcels/")[0] + "/messages/")
    is_open(staff)
    write(customer, "Thank you")
    expect(staff.locator(".talks-row.unread")).to_contain_text("Thank you")
    expect(staff.locator(".talks-unread")).to_have_text("Unread: 1")


@pytest.mark.long
def test_a_customers_other_parcels_change_no_page_of_this_one(
    visitor: Callable[..., Visit], logins: dict[str, Any], codes: Iterator[str]
) -> None:
    here, there = next(codes), next(codes)
    customer, staff = visitor(logins["demo"]), visitor(logins["admin"])
    parcel, conversation = customer(f"/parcels/{here}/"), customer(f"/parcels/{here}/messages/")
    for page in (parcel, conversation):
        is_open(page)
    for code in (there, here):
        page = staff(f"/parcels/{code}/")
        page.click("text=Advance")
        expect(page.locator("#movements li")).to_have_count(2)
        page.goto(page.url + "messages/")
        is_open(page)
        write(page, f"About {code}")
        expect(page.locator(".message")).to_have_count(1)
    expect(conversation.locator(".message [data-slot=text]")).to_have_text([f"About {here}"])
    expect(parcel.locator("#movements li")).to_have_count(2)


@pytest.mark.long
def test_what_is_refused_says_why_and_can_be_edited_or_discarded(talk) -> None:
    customer, staff = talk
    write(customer, "   ")
    expect(customer.locator("#problem")).to_have_text("Write something first.")
    customer.fill("#text", "x" * 10_000)
    expect(customer.locator("#count")).to_have_text("10,000 of 2,000")
    customer.press("#text", "Enter")
    refusal = customer.locator(".refusal")
    expect(refusal.locator("p")).to_have_text("A message has at most 2000 characters. Yours has 10000.")
    expect(state(customer, "xxx")).to_have_text("Not sent")
    refusal.locator("text=Edit").click()
    expect(customer.locator("#text")).to_have_value("x" * 10_000)
    customer.press("#text", "Enter")
    refusal.locator("text=Discard").click()
    write(customer, "y" * 2000)
    expect(staff.locator(".message [data-slot=text]")).to_have_text("y" * 2000)
    assert texts(customer) == ["y" * 2000]


@pytest.mark.long
def test_a_refusal_speaks_the_visitors_language_over_a_websocket_too(talk) -> None:
    customer, _ = talk
    speak(customer, "de")
    is_open(customer)
    customer.click(".transports label:has(input[value='websocket'])")
    is_open(customer, "websocket")
    write(customer, "x" * 2001)
    expect(customer.locator(".refusal p")).to_have_text("Eine Nachricht hat höchstens 2000 Zeichen. Ihre hat 2001.")


@pytest.mark.long
def test_what_is_written_offline_outlives_a_reload_and_goes_out_once_in_order(talk) -> None:
    page, staff = talk
    write(page, "first")
    expect(staff.locator(".message")).to_have_count(1)
    lost = []

    def lose(route: Route) -> None:
        lost.append(route.request)
        route.abort()

    page.context.route("**/send/", lose)
    for text in ("second", "z" * 2001, "third"):
        write(page, text)
    expect(state(page, "third")).to_have_text("Sending…")
    page.fill("#text", "A draft")
    page.wait_for_function(f"async () => await ({STORED})() === 3")
    page.reload()
    is_open(page)
    expect(state(page, "third")).to_have_text("Sending…")
    expect(page.locator("#text")).to_have_value("A draft")
    tab = page.context.new_page()
    tab.goto(page.url)
    expect(state(tab, "third")).to_have_text("Sending…")
    assert lost
    page.context.unroute("**/send/")

    expect(staff.locator(".message [data-slot=text]")).to_have_text(["first", "second", "third"])
    for each in (page, tab):
        expect(state(each, "third")).to_have_text(re.compile("Sent|Read"))
        expect(state(each, "zzz")).to_have_text("Not sent")
        expect(each.locator(".message")).to_have_count(4)
    page.reload()
    is_open(page)
    assert texts(page) == ["first", "second", "third"]


@pytest.mark.long
def test_over_polling_messages_come_and_typing_does_not(talk) -> None:
    customer, staff = talk
    customer.click(".transports label:has(input[value='poll'])")
    expect(customer.locator("#line")).to_have_text("Over polling, nobody sees who is typing.")
    write(staff, "Your parcel is here")
    expect(customer.locator(".message")).to_contain_text("Your parcel is here")
    write(customer, "Thank you")
    expect(staff.locator(".message").last).to_contain_text("Thank you")
    expect(customer.locator("#typing")).to_be_hidden()


@pytest.mark.long
def test_it_works_without_scripts(demo: Demo, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(demo.url + "/messages/")
    page.click("main form:has([value=demo]) button")
    page.locator(".talks-row").first.click()
    page.fill("#text", "x" * 2001)
    page.click("#send")
    expect(page.locator("#problem")).to_have_text("A message has at most 2000 characters. Yours has 2001.")
    expect(page.locator("#text")).to_have_value("x" * 2001)
    page.fill("#text", "<b>No scripts</b>")
    page.click("#send")
    expect(page.locator(".message [data-slot=text]").last).to_have_text("<b>No scripts</b>")
    expect(page.locator(".message").last).to_contain_text("Sent")
    context.close()


def others(page: Page):
    return page.locator(".visitor:not(.own)")


def name_of(page: Page) -> str:
    return page.locator(".visitor.own [data-slot=name]").inner_text()


def place(page: Page) -> list[float]:
    """Return where another visitor is, in hundredths of the field."""
    return others(page).evaluate_all("all => all.flatMap(({style}) => [parseFloat(style.left), parseFloat(style.top)])")


def point(page: Page, x: float, y: float) -> None:
    box = page.locator("#field").bounding_box()
    page.mouse.move(box["x"] + box["width"] * x, box["y"] + box["height"] * y)


def is_at(page: Page, x: float, y: float) -> None:
    page.wait_for_function(
        """([x, y]) => [...document.querySelectorAll('.visitor:not(.own)')].some(({style}) =>
            Math.abs(parseFloat(style.left) - x) < 1 && Math.abs(parseFloat(style.top) - y) < 1)""",
        arg=[x, y],
    )


@pytest.mark.long
def test_strangers_and_users_see_each_other_move_by_mouse_and_by_keys(
    visitor: Callable[..., Visit], logins: dict[str, Any]
) -> None:
    stranger, user = visitor()("/together/"), visitor(logins["demo"])("/together/")
    for page in (stranger, user):
        is_open(page)
    expect(others(user)).to_have_text(name_of(stranger))
    expect(others(stranger)).to_have_text("Ada Lindqvist")
    expect(stranger.locator("#here li")).to_have_text([f"{name_of(stranger)} (you)", "Ada Lindqvist"])
    point(stranger, 0.25, 0.5)
    is_at(user, 25, 50)
    before = place(stranger)
    user.focus("#field")
    user.press("#field", "Shift+ArrowUp")
    user.press("#field", "Space")
    is_at(stranger, before[0], max(0, before[1] - 8))
    expect(others(stranger)).to_have_class("visitor waving")
    second = user.context.new_page()
    second.goto(user.url)
    expect(others(second)).to_have_count(2)
    assert set(others(second).all_inner_texts()) == {name_of(stranger), "Ada Lindqvist"}
    second.close()
    expect(others(stranger)).to_have_count(1)
    user.goto("about:blank")
    expect(others(stranger)).to_have_count(0)


@pytest.mark.long
def test_a_finger_moves_a_dot_on_a_phone(demo: Demo, browser: Browser, visitor: Callable[[], Visit]) -> None:
    page = visitor()("/together/")
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    phone = context.new_page()
    phone.goto(demo.url + "/together/")
    is_open(phone)
    box = phone.locator("#field").bounding_box()
    phone.touchscreen.tap(box["x"] + box["width"] / 4, box["y"] + box["height"] / 4)
    is_at(page, 25, 25)
    expect(others(page)).to_have_attribute("data-via", "touch")
    assert phone.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


@pytest.mark.long
def test_over_polling_the_page_has_no_cursors_and_says_so(visitor: Callable[[], Visit]) -> None:
    page, other = visitor()("/together/"), visitor()("/together/")
    expect(others(page)).to_have_count(1)
    page.click(".transports label:has(input[value='poll'])")
    expect(page.locator("#no-stream")).to_have_text(
        "Over polling this page shows no cursors: they need a stream. Choose another transport."
    )
    expect(others(page)).to_have_count(0)
    page.click(".transports label:has(input[value='websocket'])")
    expect(page.locator("#no-stream")).to_be_hidden()
    expect(others(page)).to_have_text(name_of(other))


@pytest.mark.long
def test_what_a_hostile_visitor_sends_shows_nothing(visitor: Callable[[], Visit]) -> None:
    page, hostile = visitor()("/together/"), visitor()("/together/")
    expect(others(page)).to_have_count(1)
    good = {"by": "guest", "x": 0.1, "y": 0.9, "via": "<b>", "waves": 0, "turn": 2, "name": "admin"}
    bad = [None, 7, {**good, "by": 1}, {**good, "by": "a" * 41}, {**good, "x": "1"}, {**good, "y": None}]
    for data in (*bad, good, {**good, "x": 0.5, "turn": 1}, {**good, "by": "the last"}):
        hostile.evaluate("data => livepush.send('together', 'cursor', data, {ephemeral: true})", data)
        hostile.wait_for_timeout(40)  # else only the newest would leave the page
    expect(others(page)).to_have_count(3)
    is_at(page, 10, 90)
    spots = place(page)
    assert (50, 90) not in zip(spots[::2], spots[1::2], strict=True)
    assert "admin" not in page.locator("#field").inner_text()


@pytest.mark.long
def test_axe_finds_nothing(talk, visitor: Callable[[], Visit]) -> None:
    customer, staff = talk
    write(customer, "x" * 2001)
    expect(customer.locator(".refusal")).to_be_visible()
    write(staff, "Hello")
    expect(customer.locator(".message")).to_have_count(2)
    field, _ = visitor()("/together/"), visitor()("/together/")
    expect(others(field)).to_have_count(1)
    staff.goto(staff.url.rpartition("/parcels/")[0] + "/messages/")
    found = []
    for scheme in ("light", "dark"):
        for where, page in (("talk", customer), ("list", staff), ("field", field)):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            found += audit(page, f"{where}, {scheme}")
    assert found == []
    expect(field.locator("#said")).to_have_text("1 other visitor is here.")
    visitor.said.clear()  # axe's own styles are against the policy
