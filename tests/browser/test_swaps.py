"""The inbox's elements in pages whose bodies a library swaps, copies and brings back."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser import libraries
from tests.browser.measures import WATCH, grown, measure
from tests.browser.readers import Reader, has_badge, open_panel, press, titles, toasts
from tests.scale import some

LIST = "main livepush-list"
LINKS = '<nav><a id="with" href="/bell/?list=1">with</a> <a id="without" href="/bell/?other=1">without</a></nav>'
LIBRARIES = {
    "turbo": ([libraries.TURBO], ""),
    "htmx2": ([libraries.HTMX2], ' hx-boost="true"'),
    "htmx4": ([libraries.HTMX4], ' hx-boost:inherited="true"'),
    "htmx4-cache": ([libraries.HTMX4, libraries.HTMX4_CACHE], ' hx-boost:inherited="true"'),
}
"""Each library's scripts, and what its pages say in the body's tag."""
ICON = '<link rel="icon" href="/static/livepush/bell.svg?small">'
"""A second icon of the pages."""


@pytest.fixture(params=some(["turbo", "htmx4", "htmx2", "htmx4-cache"]))
def page(request: pytest.FixtureRequest, reader: Reader) -> Page:
    """A page with a list, a bell and toasts, and links to itself and to a page without the list."""
    scripts, attribute = LIBRARIES[request.param]
    context = reader.context(bypass_csp=True)
    context.add_init_script(WATCH)
    libraries.give(context, scripts, f"<body{attribute}>{LINKS}", ICON)
    page = reader.open("/bell/?list=1", context)
    page.evaluate("window.same = true")
    return page


def follow(page: Page, name: str) -> None:
    page.click(f"#{name}")
    arrived(page, name)


def arrived(page: Page, name: str) -> None:
    """Wait until the page with or without the list is there for good, in the same document."""
    expect(page.locator(LIST)).to_have_count(1 if name == "with" else 0)
    expect(page.locator("html[data-turbo-preview]")).to_have_count(0)
    assert page.evaluate("window.same")


def test_the_elements_are_up_to_date_wherever_the_reader_goes(reader: Reader, page: Page) -> None:
    for number in range(3):
        there = [str(each) for each in range(number, -1, -1)]
        follow(page, "without")
        reader.notify(str(number))
        has_badge(page, "1")
        expect(toasts(page).locator("a")).to_have_text([str(number)])
        toasts(page).locator("button").click()
        page.go_back()
        arrived(page, "with")
        titles(page, *there, within=LIST)
        has_badge(page, "")
        open_panel(page)
        titles(page, *there)
        page.keyboard.press("Escape")
    page.go_forward()
    arrived(page, "without")
    reader.notify("last")
    has_badge(page, "1")
    expect(toasts(page).locator("a")).to_have_text(["last"])
    open_panel(page)
    titles(page, "last", "2", "1", "0")
    has_badge(page, "")


@pytest.mark.long
def test_what_is_done_elsewhere_shows_in_a_page_that_is_brought_back(reader: Reader, page: Page) -> None:
    reader.notify("One", level="error")
    titles(page, "One", within=LIST)
    follow(page, "without")
    open_panel(page)
    press(page, "archive")
    expect(page.locator("livepush-bell .empty")).to_be_visible()
    page.go_back()
    arrived(page, "with")
    titles(page, within=LIST)


def says(page: Page, title: str, icon: str) -> None:
    """Wait until the page has this title, and this icon in place of each of its own."""
    expect(page).to_have_title(title)
    icons = "[...document.querySelectorAll('link[rel~=icon]')].map((link) => link.getAttribute('href'))"
    page.wait_for_function(f"(icon) => {icons}.every((href) => href.includes(icon))", arg=icon)
    assert page.evaluate(f"{icons}.length") == 2


@pytest.mark.long
def test_the_title_and_the_icons_are_right_wherever_the_reader_goes(reader: Reader, page: Page) -> None:
    follow(page, "without")
    reader.notify("One")
    says(page, "(1) Shop", "bell-new.svg")
    follow(page, "with")
    titles(page, "One", within=LIST)
    says(page, "Shop", "bell.svg")
    page.go_back()
    arrived(page, "without")
    says(page, "Shop", "bell.svg")
    reader.notify("Two")
    says(page, "(1) Shop", "bell-new.svg")


@pytest.mark.long
def test_the_list_in_the_page_stays_its_own_master(reader: Reader, page: Page) -> None:
    """The library takes over neither its forms nor its links."""
    for title in ("a", "b"):
        reader.notify(title)
    titles(page, "b", "a", within=LIST)
    has_badge(page, "")  # it is at rest: else the library's form would soon be replaced
    follow(page, "without")
    follow(page, "with")
    posts: list[str] = []
    page.on("request", lambda request: request.method == "POST" and posts.append(request.url))
    page.locator("main h1").evaluate("(heading) => { heading.same = true; }")
    press(page, "archive", within=LIST)
    titles(page, "a", within=LIST)
    press(page, "archived", within=LIST)
    titles(page, "b", within=LIST)
    assert page.url.endswith("/bell/?list=1")
    assert page.locator("main h1").evaluate("(heading) => heading.same")
    assert len([url for url in posts if "archive" in url]) == 1


@pytest.mark.long
def test_nothing_piles_up_as_the_reader_goes_back_and_forth(reader: Reader, page: Page) -> None:
    reader.notify("One")
    titles(page, "One", within=LIST)
    measures = []
    for rounds in (4, 8):
        for _ in range(rounds):
            follow(page, "without")
            open_panel(page)
            page.go_back()
            arrived(page, "with")
        measures.append(measure(page))
    assert grown(*measures) == {}, measures


@pytest.mark.long
def test_a_toast_outlives_the_body_that_it_came_to(reader: Reader, page: Page) -> None:
    follow(page, "without")
    reader.notify("Goes")
    reader.notify("Stays", level="error")
    expect(toasts(page).locator("a")).to_have_text(["Stays", "Goes"])
    page.evaluate("document.body.append(document.querySelector('livepush-toasts'))")  # it may move, too
    expect(toasts(page).locator("text=Stays")).to_be_visible()
    follow(page, "with")
    expect(toasts(page).locator("text=Stays")).to_be_visible()
    toasts(page).evaluate_all(
        "(all) => all.forEach((toast) => { if (toast.seconds > 0) toast.seconds = 1; })"
    )  # its time is nearly up
    expect(toasts(page).locator("a")).to_have_text(["Stays"])
    page.go_back()
    arrived(page, "without")
    toasts(page).locator("button").click()
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("script", some([libraries.TURBO, libraries.HTMX2, libraries.HTMX4]))
def test_a_tag_in_a_part_that_is_swapped_is_read_below_a_bell_too(reader: Reader, group: str, script: str) -> None:
    one, two = f"{group}-one", f"{group}-two"
    link = (
        f'<a id="go" href="/bell/?group={two}" data-turbo-frame="part" hx-get="/bell/?group={two}" '
        'hx-select="#part" hx-target="#part" hx-swap="outerHTML">go</a>'
    )

    def answer(route: Route) -> None:
        response = route.fetch()
        html = libraries.dress(response.text(), [script], f"<body>{link}")
        start = html.rindex("<script")  # the tag of the group
        part = html[start:].replace("</body>", "</turbo-frame></body>")
        route.fulfill(response=response, body=f'{html[:start]}<turbo-frame id="part">{part}')

    context = reader.context(bypass_csp=True)
    libraries.give(context, [script])
    context.route(libraries.BELLS, answer)
    page = reader.open(f"/bell/?group={one}", context)
    page.wait_for_function("(group) => livepush.groups.includes(group)", arg=one)
    page.click("#go")
    page.wait_for_function("(group) => livepush.groups.includes(group)", arg=two)
    page.wait_for_function("(group) => !livepush.groups.includes(group)", arg=one)
