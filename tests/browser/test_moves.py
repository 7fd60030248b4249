"""The inbox's elements where the browser swaps or keeps a page, or a script moves and copies them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import libraries
from tests.browser.devtools import Devtools, Tab, devtools
from tests.browser.measures import WATCH, grown, measure
from tests.browser.readers import Reader, has_badge, open_panel, press, titles, toasts
from tests.scale import some

LIST = "main livepush-list"

# View transitions

REVEALED = "addEventListener('pagereveal', ({ viewTransition }) => { window.revealed = !!viewTransition; });"


@pytest.mark.long
def test_the_elements_work_where_pages_change_by_view_transitions(reader: Reader) -> None:
    context = reader.context(bypass_csp=True)
    context.add_init_script(REVEALED)
    style = "<style>@view-transition { navigation: auto }</style>"
    libraries.give(context, [], '<body><a id="there" href="/bell/?list=1">there</a>', style)
    page = reader.open(context=context)
    reader.notify("One")
    has_badge(page, "1")
    page.click("#there")
    titles(page, "One", within=LIST)
    assert page.evaluate("revealed"), "it was a transition"
    has_badge(page, "")
    page.go_back()
    expect(page.locator(LIST)).to_have_count(0)
    page.wait_for_function("window.livepush?.state === 'open'")
    reader.notify("Two")
    has_badge(page, "1")
    expect(toasts(page).locator("a")).to_have_text(["Two"])
    open_panel(page)
    titles(page, "Two", "One")


SWAP = """async (url) => {
    const request = new XMLHttpRequest();
    request.open("GET", url);
    request.responseType = "document";
    await new Promise((resolve) => { request.onload = resolve; request.send(); });
    const transition = document.startViewTransition(() => { document.body = request.response.body; });
    await transition.finished;
}"""


@pytest.mark.long
def test_the_elements_work_where_a_script_swaps_the_body_in_a_view_transition(reader: Reader) -> None:
    page = reader.open()
    reader.notify("One", level="error")
    expect(toasts(page).locator("a")).to_have_text(["One"])
    page.evaluate(SWAP, "/bell/?list=1")
    titles(page, "One", within=LIST)
    has_badge(page, "")
    expect(toasts(page).locator("a")).to_have_text(["One"])
    page.evaluate(SWAP, "/bell/")
    reader.notify("Two")
    has_badge(page, "1")
    expect(toasts(page).locator("a")).to_have_text(["Two", "One"])
    open_panel(page)
    titles(page, "Two", "One")


# The back/forward cache


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Devtools]:
    """A whole Chromium: the one without a window has no back/forward cache."""
    with devtools(tmp_path_factory.mktemp("profile")) as found:
        yield found


BELL = "document.querySelector('livepush-bell').shadowRoot"
NOTE = """
    window.wrong = [];
    window.shown = [];
    addEventListener("error", ({ message }) => wrong.push(message));
    addEventListener("unhandledrejection", ({ reason }) => wrong.push(String(reason)));
    addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
"""


def tells(tab: Tab, text: str) -> None:
    """Wait until the badge of a tab shows a count, or is gone."""
    badge = f"{BELL}.querySelector('livepush-badge')"
    tab.until(f"{badge}.hidden ? '{text}' === '' : {badge}.querySelector('b').textContent === '{text}'")


def lists(tab: Tab, root: str, *titles: str) -> None:
    """Wait until a list shows these."""
    shown = f"[...{root}.querySelectorAll('[part~=title]')].map((each) => each.textContent.replace('Unread: ', ''))"
    tab.until(f"{shown}.join() === '{','.join(titles)}'")


@pytest.mark.parametrize("path", some(["/bell/", "/bell/?list=1"]))
def test_a_page_that_comes_out_of_the_back_forward_cache_is_up_to_date_and_goes_on(
    reader: Reader, whole: Devtools, path: str
) -> None:
    url = reader.site.server.url
    name, _, value = reader.site.elsewhere.session(reader.name).partition("=")
    whole.call("Storage.setCookies", cookies=[{"name": name, "value": value, "url": url}])
    page_list = "document.querySelector('main livepush-list').shadowRoot"
    has_list = "list" in path
    tab = whole.tab(url + path, NOTE)
    tab.until("window.livepush?.state === 'open'")
    reader.notify("One")
    if has_list:
        lists(tab, page_list, "One")
    tells(tab, "" if has_list else "1")
    tab.go(f"{url}/ready/")
    reader.notify("Two")
    reader.notify("Three")
    tab.back()
    tab.until("window.shown?.length")
    assert tab.evaluate("shown") == [False, True], "it was restored, not loaded anew"
    if has_list:
        lists(tab, page_list, "Three", "Two", "One")
    tells(tab, "" if has_list else "3")
    reader.notify("Four")
    if has_list:
        lists(tab, page_list, "Four", "Three", "Two", "One")
    tells(tab, "" if has_list else "4")
    tab.evaluate(f"{BELL}.querySelector('button').click()")
    lists(tab, f"{BELL}.querySelector('livepush-list')", "Four", "Three", "Two", "One")
    tells(tab, "")
    assert tab.evaluate("wrong") == []
    tab.close()


# Elements that a script moves and copies

PARTS = """() => {
    window.main = document.querySelector("main");
    main.querySelector("livepush-list").id = "alone";
    window.parts = ["livepush-bell", "livepush-toasts", "#alone", "main livepush-badge"].map((each) =>
        document.querySelector(each));
}"""
"""Keeps the elements at hand. Once the bell is in the main part too, only the list that stands alone has this id."""
MOVES = {
    "to another place": "(part) => document.body.append(part)",
    "within its parent": """(part) => {
        const box = document.createElement("div");
        document.body.append(box);
        box.append(part);
        main.append(box);
        box.replaceWith(part);
    }""",
    "through another document": """(part) => {
        const other = document.implementation.createHTMLDocument();
        other.body.append(part);
        main.append(document.adoptNode(part));
    }""",
    "out and in": "(part) => { part.remove(); main.append(part); }",
}


def show_parts(reader: Reader) -> Page:
    """Show a page with one of each element; it has one entry, which was seen."""
    context = reader.context()
    context.add_init_script(WATCH)
    page = reader.open("/bell/?list=1", context)
    page.evaluate(PARTS)
    reader.notify("One")
    titles(page, "One", within="#alone")
    has_badge(page, "")
    return page


def work(page: Page, reader: Reader) -> None:
    """Check that the elements do what they are for: each thing once."""
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url.split("/")[-2]))
    reader.notify("New")
    titles(page, "New", "One", within="#alone")
    has_badge(page, "")
    press(page, "archive", within="#alone")
    titles(page, "One", within="#alone")
    page.evaluate("document.querySelector('#alone').style.display = 'none'")
    reader.notify("Last")
    has_badge(page, "1")
    expect(page.locator("main > livepush-badge b, body > livepush-badge b")).to_have_text("1")
    expect(toasts(page).locator("a")).to_have_text(["Last"])
    page.keyboard.press("F8")
    expect(toasts(page).locator("button")).to_be_focused()
    page.keyboard.press("Escape")
    expect(toasts(page)).to_have_count(0)
    open_panel(page)
    titles(page, "Last", "One")
    has_badge(page, "")
    expect(page.locator("main > livepush-badge, body > livepush-badge")).to_be_hidden()
    press(page, "read", within="livepush-bell")
    expect(page.locator("livepush-bell li[data-unread]")).to_have_count(1)
    page.click("livepush-bell button")
    expect(page.locator("livepush-bell #panel")).to_be_hidden()
    assert [post for post in posts if post != "seen"] == ["archive", "read"]


@pytest.mark.parametrize("move", some(list(MOVES)))
def test_elements_that_are_moved_work_as_before_and_gather_nothing(reader: Reader, move: str) -> None:
    page = show_parts(reader)
    measures = []
    for times in (1, 20):
        page.evaluate(f"(times) => {{ for (let i = 0; i < times; i++) parts.forEach({MOVES[move]}); }}", times)
        measures.append(measure(page))
        del measures[-1]["heap"]
    assert grown(*measures) == {}, measures
    work(page, reader)


@pytest.mark.long
def test_elements_that_are_put_back_show_what_came_while_they_were_away(reader: Reader) -> None:
    page = show_parts(reader)
    heard = "document.addEventListener('livepush:inbox', ({ detail }) => { window.unseen = detail.unseen; })"
    page.evaluate(heard)
    page.evaluate("parts.forEach((part) => part.remove())")
    reader.notify("Two")
    page.wait_for_function("() => window.unseen === 1")
    page.evaluate("main.append(parts[0], parts[3])")
    has_badge(page, "1")
    expect(page.locator("main > livepush-badge b")).to_have_text("1")
    open_panel(page)
    titles(page, "Two", "One")
    page.keyboard.press("Escape")
    page.evaluate("main.append(parts[1], parts[2])")
    titles(page, "Two", "One", within="#alone")
    press(page, "archive", within="#alone")
    titles(page, "One", within="#alone")
    page.mouse.move(1, 1)
    page.evaluate("document.activeElement.blur()")
    work(page, reader)


COPIES = {
    "cloneNode": "(part) => part.cloneNode(true)",
    "importNode": "(part) => document.importNode(part, true)",
    "importNode of a template": """(part) => {
        const template = document.createElement("template");
        template.content.append(part.cloneNode(true));
        return document.importNode(template.content, true);
    }""",
    "another document": """(part) => {
        const other = document.implementation.createHTMLDocument();
        return document.adoptNode(other.importNode(part, true));
    }""",
}


@pytest.mark.long
@pytest.mark.parametrize("copy", some(list(COPIES)))
def test_copies_of_elements_work_in_their_place(reader: Reader, copy: str) -> None:
    page = show_parts(reader)
    page.evaluate(f"parts.forEach((part) => part.replaceWith(({COPIES[copy]})(part)))")
    work(page, reader)


@pytest.mark.long
def test_a_copy_beside_its_original_shows_the_same(reader: Reader) -> None:
    page = show_parts(reader)
    page.evaluate("main.append(...[0, 2].map((each) => parts[each].cloneNode(true)))")
    page.evaluate("main.lastChild.id = 'copy'")
    reader.notify("Two")
    for place in ("header", "main"):
        bell = f"{place} > livepush-bell"
        page.click(f"{bell} button")
        titles(page, "Two", "One", within=bell)
        page.keyboard.press("Escape")
        expect(page.locator(f"{bell} #panel")).to_be_hidden()
    for name in ("#alone", "#copy"):
        titles(page, "Two", "One", within=name)


# Elements that the server has put into a template, of which a library makes copies

WRAPPED = re.compile(r"<livepush-(bell|list|toasts)>.*?</livepush-\1>", re.DOTALL)
TEMPLATES = {
    "kept": "(each) => each.after(each.content.cloneNode(true))",
    "replaced": "(each) => each.replaceWith(document.importNode(each.content, true))",
    "within another": """(each) => {
        const copy = each.content.cloneNode(true);
        each.after(copy.querySelector("template").content.cloneNode(true));
    }""",
}
"""The ways in which libraries use a template."""


@pytest.mark.long
@pytest.mark.parametrize("way", some(list(TEMPLATES)))
def test_elements_that_come_out_of_a_template_work(reader: Reader, way: str) -> None:
    begin, end = '<template class="later">', "</template>"
    if way == "within another":
        begin, end = begin + "<template>", end + end

    def wrap(route: Route) -> None:
        response = route.fetch()
        route.fulfill(response=response, body=WRAPPED.sub(rf"{begin}\g<0>{end}", response.text()))

    context = reader.context()
    context.route(libraries.BELLS, wrap)
    page = reader.open("/bell/?list=1", context)
    expect(page.locator("livepush-bell")).to_have_count(0)
    reader.notify("One")
    page.evaluate(f"document.querySelectorAll('template.later').forEach({TEMPLATES[way]})")
    page.evaluate(PARTS)
    titles(page, "One", within="#alone")
    has_badge(page, "")
    work(page, reader)
