"""The demo's front page and scenes: a cable to pull, code to copy, notifications to send, faults to make."""

from __future__ import annotations

import html
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from demo_project.__main__ import USUAL_PORTS, second_port
from demo_project.processes import free
from demo_project.showcase.scenes import SCENES
from demo_project.showcase.snippets import called, snippets
from tests.browser.demo import Demo, Visit, log_in, origin, running
from tests.browser.site import is_open
from tests.browser.test_inbox import audit
from tests.docs_blocks import ROOT
from tests.patience import PATIENCE
from tests.servers.processes import free_port

QUIET = True
PAGES = (
    "/", "/board/", "/orders/", "/messages/", "/together/", "/ask/", "/jobs/", "/metrics/", "/checks/", "/fragments/",
    "/bell/", "/terminal/", "/chaos/", "/phone/", "/online/", "/publish/", "/pusher/", "/eventstream/",
    "/webhooks/", "/figures/", "/manual/client/", "/manual/recipes/chat/",
    "/login/", "/stage/customer/", "/stage/warehouse/",
)  # fmt: skip
ANONYMOUS = ("/", "/bell/", "/chaos/", "/stage/customer/")
"""Those that are looked at without a login in the short tests."""
MAX_KILOBYTES = 120
PUSHER_KILOBYTES = 61
"""What Pusher's own library weighs."""
MAX_SHIFT = 0.05
WATCH_SHIFTS = """
    window.shift = 0;
    window.shifted = [];
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) {
            window.shift += entry.value;
            window.shifted.push(...entry.sources.map(({ node, previousRect, currentRect }) =>
                [node?.className, previousRect.y, currentRect.y]));
        }
    }).observe({ type: "layout-shift", buffered: true });
"""
NAMES = {"sse": "Block SSE", "websocket": "Block WebSocket", "slow": "Slow network"}
OF_FAULTS = re.compile("Failed to load resource|WebSocket")


def forget_faults(page: Page, visitor: Callable[[], Visit]) -> None:
    """Leave a page, and forget what its console said of a killed server and of blocked transports."""
    page.goto("about:blank")
    visitor.said[:] = [[line for line in lines if not OF_FAULTS.search(line)] for lines in visitor.said]


def entry(page: Page, title: str):
    return page.locator("livepush-bell [part~=entry]", has_text=title)


def parcel_of(page: Page) -> str:
    """Order something; return its code."""
    page.click("text=Order something")
    return str(page.locator(".order[data-status=ordered]").first.get_attribute("data-code"))


def delete_parcel(demo: Demo, code: str) -> None:
    """Clear a parcel away, in a process of its own, as the worker does."""
    line = f"from demo_project.parcels.models import Parcel; Parcel.objects.get(code={code!r}).delete()"
    subprocess.run([sys.executable, "manage.py", "shell", "-c", line], cwd=ROOT, env=demo.env, check=True, timeout=60)


@pytest.mark.long
def test_what_happened_while_the_cable_was_out_arrives_in_order(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/")
    customer = page.frame_locator("#customer")
    expect(customer.locator("#line")).to_have_text("Live")
    page.click("text=Pull the cable")
    expect(customer.locator("#line")).to_have_text("No connection")
    expect(page.locator("#count")).to_have_text(re.compile(r"^\s*4 happened while you were away\.\s*$"))
    before = customer.locator("#items").inner_text()
    page.click("text=Plug it in again")
    expect(page.locator("#count")).to_have_text(
        re.compile(r"^\s*(\d+) happened while you were away\.\s+\1 arrived\.\s+In order: 1 to \1\.\s*$")
    )
    expect(page.locator("#stage")).to_have_attribute("data-verdict", "good")
    assert customer.locator("#items").inner_text() != before
    expect(customer.locator("#line")).to_have_text("Live")


@pytest.mark.long
def test_the_movements_beside_the_cable_are_numbered_in_both_windows_and_none_is_left_out(
    visitor: Callable[[], Visit],
) -> None:
    page = visitor()("/")
    customer, warehouse = page.frame_locator("#customer"), page.frame_locator("#warehouse")
    expect(customer.locator("#line")).to_have_text("Live")
    page.click("text=Pull the cable")
    expect(customer.locator("#ticker li")).to_have_count(0)
    expect(warehouse.locator("#ticker li b", has_text="11")).to_be_visible()
    warehouse.locator("#auto").uncheck()
    page.click("text=Plug it in again")
    expect(page.locator("#stage")).to_have_attribute("data-verdict", "good")
    happened = int(page.locator("#count b").first.inner_text())
    for window in (customer, warehouse):
        expect(window.locator("#ticker li b").last).to_have_text(re.compile(rf"^\s*{happened}\s*$"))
        numbers = [int(text) for text in window.locator("#ticker li b").all_text_contents()]
        earlier = window.locator("#ticker .earlier")
        left_out = int(earlier.inner_text().removeprefix("+").removesuffix(" earlier")) if earlier.count() else 0
        assert numbers == list(range(left_out + 1, happened + 1))
    assert customer.locator("#ticker .late").count() == customer.locator("#ticker li b").count()


@pytest.mark.long
def test_on_a_phone_the_cable_and_both_windows_are_seen_at_once(demo: Demo, browser: Browser) -> None:
    with closing(browser.new_context(viewport={"width": 390, "height": 844})) as context:
        page = opened(context.new_page(), demo.url)
        expect(page.frame_locator("#customer").locator("#line")).to_have_text("Live")
        page.click("text=Pull the cable")
        expect(page.locator("#count")).to_have_text(re.compile(r"^\s*2 happened while you were away\.\s*$"))
        page.locator("#warehouse").scroll_into_view_if_needed()
        for part in ("#customer", "#cable", ".cable-wire", "#count", "#warehouse"):
            expect(page.locator(part)).to_be_in_viewport(ratio=0.95)


@pytest.mark.long
@pytest.mark.parametrize("who", ["", "demo", "admin"])
def test_each_page_is_light_still_and_silent_on_a_phone(who: str, demo: Demo, browser: Browser) -> None:
    with closing(browser.new_context(viewport={"width": 390, "height": 844})) as context:
        context.add_init_script(WATCH_SHIFTS)
        if who:
            log_in(lambda path: opened(context.new_page(), demo.url + path), who).close()
        for path in PAGES if who else ANONYMOUS:
            page, sizes, said = context.new_page(), [], []
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.clearBrowserCache")
            session.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            page.on("console", lambda message, said=said: said.append(message.text))
            answer = page.goto(demo.url + path, wait_until="load")
            assert answer.status == 200, path
            if page.locator("script[src*=livepush]").count():
                is_open(page)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is too wide"
            assert page.evaluate("shift") < MAX_SHIFT, f"{path}: {page.evaluate('shifted')}"
            most = MAX_KILOBYTES + (PUSHER_KILOBYTES if path == "/pusher/" else 0)
            assert sum(sizes) < most * 1000, f"{path}: {sizes}"
            assert said == [], path
            page.close()


def opened(page: Page, url: str) -> Page:
    page.goto(url)
    return page


@pytest.mark.long
def test_each_tile_leads_to_a_scene_that_shows_its_code(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    log_in(visit, "demo")
    page = visit("/")
    tiles = page.locator(".tile").evaluate_all("(all) => all.map((tile) => tile.getAttribute('href'))")
    assert len(tiles) == len(SCENES)
    for address, scene in zip(tiles, SCENES, strict=True):
        page = visit(address)
        shown = page.locator(".code pre code").all_text_contents()
        assert shown == [snippet.code for snippet in (*snippets(scene), *called(scene))]
        link = page.locator(".code-manual").get_attribute("href")
        answer = page.request.get(page.url.split(address)[0] + str(link))
        assert answer.status == 200
        page.close()


def test_the_copy_button_copies_the_code(demo: Demo, browser: Browser) -> None:
    with closing(browser.new_context(permissions=["clipboard-read", "clipboard-write"])) as context:
        page = opened(context.new_page(), f"{demo.url}/fragments/")
        page.locator(".code [data-copy]").first.click()
        expect(page.locator(".code [data-copy-text]").first).to_have_text("Copied")
        assert page.evaluate("navigator.clipboard.readText()") == page.locator(".code code").first.text_content()


def test_a_visitor_sends_a_notification_and_sees_the_line_that_did_it(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    log_in(visit, "demo")
    page = visit("/bell/")
    is_open(page)
    page.select_option("#language", "ar")
    page.select_option("#level", "warning")
    page.click("#letter .main")
    expect(page.locator("livepush-toasts [part=toast]", has_text="طردك عند الباب")).to_be_visible()
    expect(page.locator("#did-code")).to_have_text(
        'livepush.notify(request.user, \'طردك عند الباب\', level="warning", category="news", url="/bell/")'
    )


@pytest.mark.long
def test_a_notification_for_later_and_one_for_all_arrive_once(visitor: Callable[[], Visit]) -> None:
    visit, staff = visitor(), visitor()
    log_in(visit, "demo")
    page = visit("/bell/")
    is_open(page)
    page.fill("#title", "Don't wait for me")
    page.select_option("#delay", "5")
    page.click("#letter .main")
    expect(page.locator("#did-when")).to_contain_text("when the time has come")
    expect(page.locator("livepush-toasts [part=toast]", has_text="Don't wait for me")).to_have_count(1)
    page.locator("livepush-bell button[part=button]").click()
    expect(entry(page, "Don't wait for me")).to_have_count(1)
    page.keyboard.press("Escape")
    office = log_in(staff, "admin")
    is_open(office)
    office.goto(office.url.replace("/board/", "/bell/"))
    office.fill("#title", "The van is late")
    office.select_option("#audience", "everyone")
    office.click("#letter .main")
    expect(page.locator("livepush-toasts [part=toast]", has_text="The van is late")).to_be_visible()


@pytest.mark.long
def test_checks_turn_green_in_every_tab(visitor: Callable[[], Visit]) -> None:
    here, there = visitor()("/checks/"), visitor()("/checks/")
    for page in (here, there):
        is_open(page)
    here.click("text=Run the checks")
    expect(there.locator("[data-state=running]")).to_have_count(1)
    for page in (here, there):
        expect(page.locator("#checks [data-state=passed]")).to_have_count(5)


def test_live_html_changes_without_a_script_of_its_own(visitor: Callable[[], Visit]) -> None:
    page, warehouse = visitor()("/fragments/"), visitor()("/stage/warehouse/")
    is_open(page)
    assert page.locator("script[src*='demo/']:not([src*='copy.js'])").count() == 0
    first = page.locator("#moves li").first
    before = first.inner_text()
    warehouse.click("text=Move the next parcel")
    expect(first).not_to_have_text(before)


@pytest.mark.long
def test_the_lines_for_a_terminal_work(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    log_in(visit, "demo")
    page = visit("/terminal/")
    follow, ask, inbox = (shlex.split(line) for line in page.locator("[data-curl]").all_text_contents())
    followed = subprocess.run([*follow, "--silent", "--max-time", "2"], capture_output=True, text=True, timeout=60)
    assert "event: livepush.hello" in followed.stdout
    for line, word in ((ask, '"position"'), (inbox, '"entries"')):
        asked = subprocess.run([*line, "--silent", "--fail"], capture_output=True, text=True, timeout=60, check=True)
        assert word in asked.stdout, asked.stdout[:300]
    page.click("text=Run it here")
    expect(page.locator("#screen")).to_contain_text("livepush.hello")
    page.click("text=Stop")


@pytest.mark.long
def test_members_come_and_go_with_their_streams(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/online/")
    people = page.locator("#people b")
    expect(people).to_have_text(["Visitor"])
    page.click("#guests .main")
    expect(people).to_have_count(2)
    page.click("#send-away")
    expect(people).to_have_text(["Visitor"])


@pytest.mark.long
def test_when_everybody_is_in_nobody_else_is_let_in(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/online/")
    let_in = """async (names) => {
        const form = document.getElementById("guests");
        const fields = new FormData(form);
        for (const name of names) fields.append("in", name);
        return (await fetch(form.action, { method: "POST", body: fields })).status;
    }"""
    names = ["ines", "jonas", "maud", "piotr", "sanne", "tariq"]
    assert [page.evaluate(let_in, names[:5]), page.evaluate(let_in, names)] == [200, 409]
    visitor.said.clear()  # the console tells of the status


@pytest.mark.long
def test_the_line_for_another_program_publishes_to_its_visitor(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    log_in(visit, "demo")
    page = visit("/publish/")
    page.click("text=Make a key")
    line = shlex.split(page.locator("[data-curl]").inner_text())
    is_open(page)
    sent = subprocess.run([*line, "--silent", "--fail"], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(sent.stdout)["accepted"] == 1
    expect(page.locator("#scans li")).to_have_text(["LP-2047 was scanned in Ghent"])
    page.click("#scan")
    expect(page.locator("#scans li")).to_have_count(2)


@pytest.mark.long
def test_pushers_own_library_follows_the_board(visitor: Callable[[], Visit]) -> None:
    page, warehouse = visitor()("/pusher/"), visitor()("/stage/warehouse/")
    expect(page.locator("#state")).to_have_text("connected")
    before = page.locator("#moved").inner_text()
    warehouse.click("text=Move the next parcel")
    expect(page.locator("#moved")).not_to_have_text(before)
    expect(page.locator("#moved li").first).to_contain_text("LP-")


@pytest.mark.long
def test_an_event_source_hears_the_desk(visitor: Callable[[], Visit]) -> None:
    page, other = visitor()("/eventstream/"), visitor()("/eventstream/")
    for each in (page, other):
        expect(each.locator("#state")).to_have_text("open")
    page.click("text=Call from the desk")
    expect(other.locator("#said-at-desk li small")).to_have_text(re.compile(r"^\w+-\d+$"))


@pytest.mark.long
def test_a_partner_who_is_away_gets_the_event_later_with_the_same_id(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/webhooks/")
    is_open(page)
    page.click("text=Send one while the partner is away")
    rows = page.locator("#requests li")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("attempt 3")
    notes = rows.locator("small").all_text_contents()
    assert [note.partition(" · ")[2] for note in notes] == ["204: taken", "429: not now", "429: not now"]
    assert len({note.partition(" · ")[0] for note in notes}) == 1
    forged = page.request.post(f"{origin(page)}/webhooks/receive/", data={"type": "parcel.out"})
    assert forged.status == 401


@pytest.mark.long
def test_the_figures_count_the_page_that_shows_them(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/figures/")
    is_open(page)
    expect(page.locator(".hero a")).to_have_count(0)  # into the admin
    expect(page.locator("#clients")).to_have_text(re.compile("^[1-9]"))
    expect(page.locator("#scrape")).to_contain_text("livepush_settle_seconds_count")


@pytest.mark.long
def test_no_link_of_the_demo_leads_nowhere(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    page = log_in(visit, "demo")
    seen, left = set(), ["/"]
    while left:
        path = left.pop()
        answer = page.request.get(origin(page) + path)
        assert answer.status == 200, path
        if "text/html" in answer.headers["content-type"]:
            linked = re.findall(r'<(?:a|img|link|script|iframe)\b[^>]*?\b(?:href|src)="(/[^"#]*)', answer.text())
            new = {html.unescape(each) for each in linked if "/CODE/" not in each} - seen  # of templates
            seen |= new
            left += sorted(new)
    assert "/manual/recipes/chat/" in seen


@pytest.mark.long
def test_the_second_servers_port_is_none_that_another_demo_takes_first() -> None:
    assert [port for port in (8000, 8007, 9000) if second_port(port, ["127.0.0.1"]) in (port, *USUAL_PORTS)] == []


@pytest.mark.long
def test_nothing_of_a_killed_demo_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, quiet=True) as demo:
        demo.kill()
    assert free("127.0.0.1", demo.port)


@pytest.mark.long
def test_a_killed_server_costs_no_event_and_its_page_is_back_as_soon_as_the_next_one_answers(
    visitor: Callable[[], Visit],
) -> None:
    page, warehouse = visitor()("/chaos/"), visitor()("/stage/warehouse/")
    page.set_viewport_size({"width": 1280, "height": 800})
    is_open(page)
    page.evaluate("Math.random = () => 1e5")  # the client's own timer would come after hours
    result = page.locator("[data-fault=kill] [data-result]")
    page.click("text=Kill it")
    expect(page.locator("#outages li").first).to_contain_text("was killed.")
    expect(page.locator("#no-outages")).to_be_hidden()
    expect(result).to_have_text(re.compile(r"^No server for [\d.]+ s\. Parcels go on moving\.$"))
    expect(result).to_have_text(re.compile(r"^Back after [\d.]+ s\. Nothing happened while the server was dead\.$"))
    expect(result).to_be_in_viewport()
    expect(page.locator("#outages li")).to_have_count(1)
    expect(page.locator("#outages li")).to_contain_text("was killed. Resumed over SSE")
    is_open(page)
    warehouse.click("text=Move the next parcel")
    expect(page.locator("[data-tally=received]")).to_have_text("1")
    expect(page.locator("[data-tally=missed]")).to_have_text("0")
    expect(page.locator("[data-tally=repeated]")).to_have_text("0")
    forget_faults(page, visitor)


@pytest.mark.long
def test_blocked_transports_a_slow_line_and_a_second_server_cost_no_event(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    page = visit("/chaos/")
    is_open(page, "sse")
    for fault, transport in (("sse", "websocket"), ("websocket", "longpoll"), ("slow", "longpoll")):
        page.click(f"[data-fault={fault}] button")
        expect(page.locator("#outages li.good").first).to_contain_text(f"{NAMES[fault]}: on. Resumed")
        is_open(page, transport)
    state = page.locator("[data-fault=second] [data-result]")
    expect(state).to_have_text("It is not running.")
    page.click("[data-fault=second] button")
    expect(page.locator("#second")).to_be_visible()
    expect(page.locator("[data-fault=second] button")).to_be_hidden()
    expect(state).to_have_text(f"It runs on port {urlsplit(str(page.locator('#second').get_attribute('href'))).port}.")
    other = visit("/manual/index/")
    other.goto(f"{page.locator('#second').get_attribute('href')}stage/warehouse/")
    other.click("text=Move the next parcel")
    expect(page.locator("[data-tally=received]")).not_to_have_text("0")
    expect(page.locator("[data-tally=missed]")).to_have_text("0")
    forget_faults(page, visitor)


@pytest.mark.long
def test_a_dashboard_has_no_hole_after_a_cut(visitor: Callable[[], Visit]) -> None:
    page = visitor()("/metrics/")
    is_open(page)
    page.click("text=Cut the line for 5 seconds")
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^[1-9]\d* readings since the cut, without a hole\.$"))


@pytest.mark.long
def test_a_page_that_a_login_in_another_tab_has_outdated_says_so(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    page, other = visit("/board/"), visit("/bell/")
    page.click(".who form:has([value=demo]) button")
    expect(page.locator(".who-name[data-user=demo]")).to_be_visible()
    other.click(".who form:has([value=admin]) button")
    expect(other.locator("h1")).to_have_text("The page was out of date")
    other.click("text=Go to the front page")
    expect(other.locator(".who-name[data-user=demo]")).to_be_visible()
    forget_faults(other, visitor)


@pytest.mark.long
def test_links_in_the_bell_never_die(demo: Demo, visitor: Callable[[], Visit]) -> None:
    customer, staff = visitor(), visitor()
    orders = log_in(customer, "demo")
    code = parcel_of(orders)
    log_in(staff, "admin")
    parcel = staff(f"/parcels/{code}/")
    parcel.click("text=Advance")
    expect(parcel.locator("#movements li")).to_have_count(2)
    parcel.close()
    delete_parcel(demo, code)
    entries = orders.request.get(f"{demo.url}/livepush/inbox/entries/").json()["entries"]
    links = {each["url"] for each in entries if each.get("url")}
    assert f"/parcels/{code}/" in links
    for link in links:
        assert orders.request.get(demo.url + link).status == 200, link
    assert "/login/" in visitor()(f"/parcels/{code}/").url


@pytest.mark.long
def test_a_customer_can_not_do_what_the_staff_does(demo: Demo, visitor: Callable[[], Visit]) -> None:
    orders = log_in(visitor(), "demo")
    token = orders.locator("[name=csrfmiddlewaretoken]").first.input_value()
    code = parcel_of(orders)
    assert orders.locator("main >> text=Advance").count() == 0

    def post(path: str, **fields: str) -> int:
        form = {"csrfmiddlewaretoken": token, **fields}
        return orders.request.post(demo.url + path, form=form, max_redirects=0).status

    assert post(f"/parcels/{code}/advance/") == 403
    assert post("/announce/", title="Free kettles") == 403
    assert post("/bell/", title="Free kettles", language="en", level="info", audience="everyone", delay="0") == 422
    assert post("/bell/", title="a\u0007b\nc", language="en", level="info", audience="me", delay="0") == 200
    assert post("/stage/move/", code=code) == 302  # back to where one was: the stage has no such parcel
    orders.reload()
    expect(orders.locator(f".order[data-code={code}]")).to_have_attribute("data-status", re.compile("."))


@pytest.mark.long
def test_pages_work_without_scripts_or_say_what_needs_them(demo: Demo, browser: Browser) -> None:
    with closing(browser.new_context(java_script_enabled=False)) as context:
        page = opened(context.new_page(), demo.url)
        expect(page.locator("noscript p").first).to_contain_text("The windows are live")
        warehouse = page.frame_locator("#warehouse")
        before = warehouse.locator("#items").inner_text()
        warehouse.locator("text=Move the next parcel").click()
        expect(warehouse.locator("#items")).not_to_have_text(before)
        for path in ("/metrics/", "/checks/", "/fragments/", "/terminal/", "/chaos/"):
            opened(page, demo.url + path)
            expect(page.locator("noscript p").first).to_contain_text("cripts")


@pytest.mark.long
def test_axe_finds_nothing_in_the_scenes(visitor: Callable[[], Visit]) -> None:
    visit = visitor()
    found = []
    for path in ("/", "/login/", "/terminal/"):
        found += audit(visit(path), path)
    log_in(visit, "demo")
    for path in (
        "/metrics/",
        "/checks/",
        "/fragments/",
        "/bell/",
        "/terminal/",
        "/chaos/",
        "/phone/",
        "/pusher/",
        "/eventstream/",
        "/webhooks/",
        "/figures/",
        "/manual/rules/",
    ):
        found += audit(visit(path), path)
    assert found == []
    forget = re.compile("Applying inline style|inline style violates")  # axe's own measuring
    visitor.said[:] = [[line for line in lines if not forget.search(line)] for lines in visitor.said]


@pytest.mark.long
def test_nothing_goes_on_where_the_demo_was_killed_while_it_started(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.browser.demo_settings", "DEMO_DATABASE": str(tmp_path / "db")}
    for name in ("simulate", "serve"):
        line = [sys.executable, "manage.py", name, "--follow-parent", str(gone.pid)]
        address = [f"127.0.0.1:{free_port()}"] if name == "serve" else []
        subprocess.run(line + address, cwd=ROOT, env=env, timeout=PATIENCE)
