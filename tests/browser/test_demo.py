"""The demo, as a stranger starts it: pages that move, a line to cut, and a clean end."""

from __future__ import annotations

import re
import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.demo import Demo, Visit, command, log_in, running
from tests.docs_blocks import ROOT

NAMES = {"sse": "SSE", "websocket": "WebSocket", "longpoll": "Long poll", "poll": "Poll"}
PLACES = """(root) => Object.fromEntries([...root.querySelectorAll(".card")].map(
    (card) => [card.dataset.code, card.closest("[data-status]").dataset.status]))"""


def is_live(page: Page, transport: str = "sse") -> None:
    """Wait until the panel says that the page is live over a transport."""
    expect(figure(page, "transport")).to_have_text(NAMES[transport])
    expect(figure(page, "state")).to_have_text("Live")


def figure(page: Page, name: str):
    return page.locator(f".panel-body [data-show={name}]")


def use(page: Page, transport: str) -> None:
    """Press the panel's button for a transport; the one of no name is for whichever gets through."""
    page.click(f".transports label:has(input[value='{transport}'])")


def go_on(*pages: Page) -> None:
    """Wait until each of some pages has had an event more."""
    counts = [page.evaluate("moved.length") for page in pages]
    for page, count in zip(pages, counts, strict=True):
        page.wait_for_function("(count) => moved.length > count", arg=count)


def resumed(page: Page, transport: str) -> int:
    """Wait for the verdict of a cut, that nothing was missed; return how much was caught up."""
    verdict = page.locator("#verdict")
    expect(verdict).to_contain_text("Resumed")
    found = re.fullmatch(
        r"Resumed over (.*): (?:(\d+) movements? caught up|nothing had moved meanwhile), 0 missed\.",
        verdict.inner_text(),
    )
    assert found, verdict.inner_text()
    assert found[1] == NAMES[transport]
    return int(found[2] or 0)


def nothing_missed(page: Page) -> None:
    """Hold what a board received against its figures, and against the book, whose numbers have no holes."""
    proof = figure(page, "proof")
    expect(proof).to_have_text(re.compile(r"^Compared with the shop’s database at [\d:]{8}: nothing is missing\.$"))
    expect(figure(page, "missed")).to_have_text("0")
    expect(figure(page, "repeated")).to_have_text("0")
    moved = page.evaluate("moved")
    assert moved == list(range(moved[0], moved[0] + len(moved)))
    assert moved[0] <= int(page.locator("#panel").get_attribute("data-latest")) + 1


def is_up_to_date(page: Page) -> None:
    """Wait until a board that was left open shows what one shows that is made now."""
    page.wait_for_function(
        f"""async () => {{
            const places = {PLACES};
            const text = await (await fetch("/board/", {{ cache: "no-store" }})).text();
            const now = places(new DOMParser().parseFromString(text, "text/html"));
            const then = places(document);
            const codes = new Set([...Object.keys(now), ...Object.keys(then)]);
            return [...codes].every((code) => now[code] === then[code]);
        }}""",
        polling=200,
    )


def test_it_prints_where_to_begin(demo: Demo) -> None:
    assert demo.printed().splitlines() == [
        "",
        "  Larkpost is open: the demo of livepush.",
        "",
        f"    Begin here    {demo.url}/",
        "",
        f"  To log in, press a button on a page. The admin is at {demo.url}/admin/ (admin / admin).",
        "  Ctrl-C stops the demo.",
        "",
    ]
    for path in ("/", "/board/", "/orders/", "/messages/", "/together/", "/admin/"):
        with urllib.request.urlopen(demo.url + path, timeout=10) as response:
            assert response.status == 200


@pytest.mark.long
def test_the_board_moves_by_itself(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/board/")
    is_live(page)
    before = page.evaluate(f"({PLACES})(document)")
    assert set(before.values()) <= {"ordered", "packed", "transit", "out", "delivered"}
    assert len(set(before.values())) > 2  # by chance none may be at one of the places
    page.evaluate("window.same = true")
    page.wait_for_function(
        f"""(before) => {{
            const now = ({PLACES})(document);
            return Object.keys(now).filter((code) => before[code] !== now[code]).length >= 2;
        }}""",
        arg=before,
    )
    assert page.evaluate("same"), "the page was loaded again"
    nothing_missed(page)
    is_up_to_date(page)


@pytest.mark.long
def test_the_board_shows_the_whole_name_of_each_city(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/board/")
    for width in (390, 820, 1024, 1280, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        cut_off = page.evaluate("""() => {
            for (const city of document.querySelectorAll(".card-city")) city.textContent = "Ljubljana";
            return [...document.querySelectorAll(".card *")].filter(
                (each) => !each.closest(".sr") && each.scrollWidth > each.clientWidth && each.clientWidth).length;
        }""")
        assert cut_off == 0, f"{cut_off} at a width of {width}"


@pytest.mark.long
def test_every_transport_delivers_and_comes_back_with_nothing_missed(visitor: Callable[[], Visit]) -> None:
    pages = {transport: visitor()("/board/") for transport in NAMES}
    for transport, page in pages.items():
        use(page, transport)
    for transport, page in pages.items():
        is_live(page, transport)
    go_on(*pages.values())
    for page in pages.values():
        page.click("button:has-text('Cut now')")
    for transport, page in pages.items():
        resumed(page, transport)
    for page in pages.values():
        page.click("text=Cut for 5 s")
        expect(page.locator("#verdict")).to_have_text("The connection is cut. Parcels go on moving meanwhile.")
        expect(figure(page, "state")).to_have_text("Cut")
    for transport, page in pages.items():
        assert resumed(page, transport) > 0
        is_live(page, transport)
    go_on(*pages.values())
    use(pages["poll"], "")
    is_live(pages["poll"], "sse")
    for page in pages.values():
        nothing_missed(page)
        is_up_to_date(page)


@pytest.mark.long
def test_the_panel_says_which_tab_has_the_connection(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    first, second = visit("/board/"), visit("/board/")
    for page in (first, second):
        is_live(page)
    expect(figure(first, "tab")).to_have_text("This tab holds the connection for all tabs")
    expect(figure(second, "tab")).to_have_text("Another tab holds the connection")
    expect(second.locator(".transports")).to_have_js_property("disabled", True)
    go_on(first, second)
    first.click("text=Cut for 5 s")
    expect(figure(second, "tab")).to_have_text("This tab holds the connection for all tabs")
    resumed(first, "sse")
    expect(figure(first, "tab")).to_have_text("Another tab holds the connection")
    expect(figure(first, "resumed")).to_have_text(re.compile(r"^\d+ movements?, over SSE$"))
    go_on(first, second)
    for page in (first, second):
        nothing_missed(page)


@pytest.mark.long
def test_an_admins_change_reaches_the_customer(visitor: Callable[[], Visit]) -> None:
    customer, staff = visitor(), visitor()
    orders = log_in(customer, "demo")
    is_live(orders)
    there = set(orders.locator(".order").evaluate_all("(all) => all.map((order) => order.dataset.code)"))
    orders.click("text=Order something")
    orders.wait_for_function(
        "(there) => !there.includes(document.querySelector('.order').dataset.code)", arg=list(there)
    )
    code = orders.locator(".order").first.get_attribute("data-code")
    parcel = customer(f"/parcels/{code}/")
    is_live(parcel)

    log_in(staff, "admin")
    admin = staff(f"/admin/parcels/parcel/?q={code}")
    admin.select_option("[name=form-0-status]", "transit")
    admin.click("[name=_save]")

    orders.wait_for_selector(f".order[data-code={code}][data-status=transit]")
    parcel.wait_for_selector(".parcel[data-status=transit]")
    expect(parcel.locator("#movements li").first).to_contain_text("In transit")


def test_a_press_on_advance_moves_the_parcel_on_everyones_board(visitor: Callable[[], Visit]) -> None:
    everyone = visitor()("/board/")
    is_live(everyone)
    staff = log_in(visitor(), "admin")
    is_live(staff)
    code = staff.locator("[data-status=ordered] .card").first.get_attribute("data-code")
    with staff.expect_response(f"**/parcels/{code}/advance/") as answer:
        staff.click(f".card[data-code={code}] button")
    assert answer.value.status == 204
    for board in (staff, everyone):
        board.wait_for_function(f"""(code) => ![undefined, "ordered"].includes(({PLACES})(document)[code])""", arg=code)


def test_a_port_that_can_not_be_had_gives_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        lines = {
            port: f"Port {port} is taken or not allowed: choose another, or leave it out to get a free one.\n",
            "http": "'http' is not a port: expected a number from 1 to 65535.\n",
        }
        for given, line in lines.items():
            done = subprocess.run(command(given), cwd=ROOT, capture_output=True, text=True, timeout=30)
            assert (done.returncode, done.stdout, done.stderr) == (1, "", line)


@pytest.mark.long
def test_ctrl_c_ends_it_while_a_page_is_open(tmp_path: Path, browser: Browser) -> None:
    with running(tmp_path) as demo:
        page = browser.new_page()
        page.goto(f"{demo.url}/board/")
        page.wait_for_function("() => livepush.state === 'open'")
        banner = demo.printed()
        assert demo.interrupt() == 0
        assert demo.printed() == f"{banner}\n  Stopped.\n"
        page.close()
