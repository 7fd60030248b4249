"""The demo's bell: what the shop notifies its customers of, and what the staff announces to all."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.demo import Demo, Visit, log_in, origin
from tests.browser.site import is_open
from tests.browser.test_inbox import audit
from tests.docs_blocks import ROOT

QUIET = True
SAME = """async (name) => {
    const counts = await (await fetch("/livepush/inbox/counts/", {cache: "no-store"})).json();
    const badge = document.querySelector("livepush-bell").shadowRoot.querySelector("livepush-badge");
    return counts.unseen === (badge.hidden ? 0 : Number(badge.querySelector("b").textContent));
}"""


def bell(page: Page):
    return page.locator("livepush-bell")


def shows(page: Page, title: str):
    return bell(page).locator("[part~=entry]", has_text=title)


@pytest.mark.long
def test_two_users_three_tabs_and_two_browsers_agree(visitor: Callable[[], Visit]) -> None:
    customer, elsewhere, staff = visitor(), visitor(), visitor()
    orders, away, board = log_in(customer, "demo"), log_in(elsewhere, "demo"), log_in(staff, "admin")
    tabs = [orders, customer("/board/"), customer("/livepush/inbox/"), away]
    for page in (*tabs, board):
        is_open(page)
    tabs[2].close()  # it looks at the list, and so sees everything

    board.fill("#announce-title", "Snow in the north")
    board.click("text=Announce")
    tabs = [orders, tabs[1], away]
    for page in (*tabs, board):
        expect(bell(page).locator("livepush-badge")).to_be_visible()
    for page in tabs:
        page.wait_for_function(SAME, polling=100)
    bell(orders).locator("button[part=button]").click()
    expect(shows(orders, "Snow in the north")).to_be_visible()
    for page in tabs:
        expect(bell(page).locator("livepush-badge")).to_be_hidden()
    expect(bell(board).locator("livepush-badge b")).to_have_text("1")

    shows(orders, "Snow in the north").hover()
    shows(orders, "Snow in the north").locator("[data-f=archive]").click()
    bell(away).locator("button[part=button]").click()
    expect(bell(away).locator("[part~=entry]").first).to_be_visible()
    expect(shows(away, "Snow in the north")).to_have_count(0)
    bell(orders).locator("[data-f=undo]").click()
    expect(shows(away, "Snow in the north")).to_have_count(1)


@pytest.mark.long
def test_a_parcel_that_moves_tells_its_customer_in_one_entry(visitor: Callable[[], Visit]) -> None:
    orders, board = log_in(visitor(), "demo"), log_in(visitor(), "admin")
    orders.click("text=Order something")
    code = orders.locator(".order[data-status=ordered]").first.get_attribute("data-code")
    bell(orders).locator("button[part=button]").click()
    board.goto(f"{origin(board)}/parcels/{code}/")
    for status in (": packed", ": on the way", ": out for delivery", ": delivered"):
        board.click("text=Advance")
        expect(shows(orders, code)).to_contain_text(status)
        expect(shows(orders, code)).to_have_count(1)
    expect(shows(orders, code)).to_have_attribute("data-level", "success")
    shows(orders, code).locator("[data-f=title]").click()
    orders.wait_for_url(f"**/parcels/{code}/")


@pytest.mark.long
def test_toasts_cover_no_button_of_the_panel(visitor: Callable[[], Visit]) -> None:
    page = log_in(visitor(), "demo")
    page.set_viewport_size({"width": 1280, "height": 800})
    is_open(page)
    token = page.locator("[name=csrfmiddlewaretoken]").first.input_value()
    for title in ("One", "Two", "Three"):
        form = {"csrfmiddlewaretoken": token, "title": title, "language": "en", "level": "info", "audience": "me"}
        assert page.request.post(f"{origin(page)}/bell/", form={**form, "delay": "0"}).status == 200
    toasts = page.locator("livepush-toasts [part=toast]")
    expect(toasts).to_have_count(3)
    top = min(box["y"] for box in (toast.bounding_box() for toast in toasts.all()) if box)
    controls = page.locator(".panel-body button, .panel-body label").all()
    assert len(controls) == 7
    assert all(box["y"] + box["height"] <= top for box in (control.bounding_box() for control in controls) if box)


@pytest.mark.long
def test_a_simulated_day_notifies_its_customer_now_and_then(demo: Demo, visitor: Callable[[], Visit]) -> None:
    page = log_in(visitor(), "demo")
    latest = page.locator("#panel[data-latest]").get_attribute("data-latest")
    lines = (
        "from demo_project.parcels import pace, simulation\npace.SECONDS = 3600\nfor _ in range(80): simulation.tick()"
    )
    subprocess.run([sys.executable, "manage.py", "shell", "-c", lines], cwd=ROOT, env=demo.env, check=True, timeout=60)
    moved = page.request.get(f"{origin(page)}/movements/mine/?after={latest}").json()["numbers"]
    told = page.request.get(f"{origin(page)}/livepush/inbox/entries/").json()["entries"]
    by_simulation = [entry for entry in told if entry["url"].startswith("/parcels/")]
    assert len(moved) > 5
    assert len(by_simulation) <= 3  # one of the first orders, one of the worker's, one of these


@pytest.mark.long
def test_the_bell_speaks_the_visitors_language_and_right_to_left(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    log_in(visit, "demo")
    page = visit("/bell/")
    for language, heading in (("Deutsch", "Benachrichtigungen"), ("العربيّة", "الإشعارات")):
        page.locator(".languages button", has_text=language).click()
        is_open(page)
        bell(page).locator("button[part=button]").click()
        expect(bell(page).locator("[part=heading]")).to_have_text(heading)
        page.keyboard.press("Escape")
    assert bell(page).evaluate("(bell) => getComputedStyle(bell).direction") == "rtl"
    expect(page.locator("html")).to_have_attribute("lang", "en")  # the pages are English, and so they say
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.long
def test_axe_finds_nothing_in_the_demo(visitor: Callable[[], Visit]) -> None:
    staff, customer = visitor(), visitor()
    board, orders = log_in(staff, "admin"), log_in(customer, "demo")
    board.fill("#announce-title", "Hello")
    board.click("text=Announce")
    expect(orders.locator("livepush-toasts [part=toast]", has_text="Hello")).to_be_visible()
    found = []
    for name, page in (("board", board), ("orders", orders)):
        bell(page).locator("button[part=button]").click()
        expect(shows(page, "Hello")).to_be_visible()
        found += audit(page, name)
    inbox = customer("/livepush/inbox/")
    found += audit(inbox, "inbox")
    assert found == []
    forget = re.compile("Applying inline style|inline style violates")  # axe's own measuring
    visitor.said[:] = [[line for line in lines if not forget.search(line)] for lines in visitor.said]
