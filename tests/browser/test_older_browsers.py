"""The inbox in browsers that lack what the newest have: each thing taken away, and all of them together."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.libraries import BELLS
from tests.browser.readers import Reader, has_badge, open_panel, press, titles, toasts
from tests.browser.site import is_open
from tests.scale import some

LACKS = {
    "popover": """
        const { prototype } = HTMLElement;
        for (const name of ["showPopover", "hidePopover", "togglePopover", "popover"]) delete prototype[name];
        for (const name of ["popoverTargetElement", "popoverTargetAction"]) delete HTMLButtonElement.prototype[name];
        delete window.ToggleEvent;
    """,
    "declarative shadow trees": """
        delete HTMLTemplateElement.prototype.shadowRootMode;
        addEventListener("readystatechange", () => {
            for (const template of document.querySelectorAll("template[data-mode]")) {
                template.setAttribute("shadowrootmode", template.dataset.mode);
                delete template.dataset.mode;
            }
        }, { capture: true, once: true });
    """,
    "checkVisibility": "delete Element.prototype.checkVisibility;",
    "locks": "delete Navigator.prototype.locks;",
    "BroadcastChannel": "delete window.BroadcastChannel;",
}
"""What a browser lacks, and a script that takes it away before a page's own scripts run."""
MARKUP = {
    "popover": (" popover ", " data-popover "),
    "declarative shadow trees": ("<template shadowrootmode=", "<template data-mode="),
}
"""What such a browser takes no notice of in a page. The second one's script puts the attribute back, which by then the
parser does not see."""
CASES = (*LACKS, "everything")


def without(context: BrowserContext, lacking: str) -> None:
    """Take something away from a browser."""
    names = list(LACKS) if lacking == "everything" else [lacking]
    for name in names:
        context.add_init_script(LACKS[name])

    def answer(route: Route) -> None:
        response = route.fetch()
        html = response.text()
        for name in names:
            before, after = MARKUP.get(name, ("", ""))
            assert before in html
            html = html.replace(before, after) if before else html
        route.fulfill(response=response, body=html)

    context.route(BELLS, answer)


@pytest.fixture(params=some(CASES[::-1]))
def page(request: pytest.FixtureRequest, reader: Reader) -> Page:
    """A page in a browser that lacks something; there is one entry."""
    reader.notify("One")
    context = reader.context()
    without(context, request.param)
    return reader.open(context=context)


def is_closed(page: Page) -> None:
    expect(page.locator("livepush-bell #panel")).to_be_hidden()


@pytest.mark.long
def test_the_bell_opens_and_closes(page: Page) -> None:
    button = page.locator("livepush-bell button[part=button]")
    is_closed(page)
    open_panel(page)
    button.click()
    is_closed(page)
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("livepush-bell form")).to_be_visible()
    page.keyboard.press("Escape")
    is_closed(page)
    expect(button).to_be_focused()
    open_panel(page)
    page.locator("livepush-bell [data-f=all]").focus()
    page.keyboard.press("Escape")
    is_closed(page)
    expect(button).to_be_focused()
    open_panel(page)
    page.locator("livepush-bell [part=heading]").click()
    expect(page.locator("livepush-bell form")).to_be_visible()
    page.mouse.click(20, 650)
    is_closed(page)


def test_a_bell_that_is_moved_while_its_panel_is_open_has_closed_it(page: Page) -> None:
    open_panel(page)
    page.evaluate("document.querySelector('main').prepend(document.querySelector('livepush-bell'))")
    is_closed(page)
    open_panel(page)
    page.mouse.click(20, 650)
    is_closed(page)


@pytest.mark.long
def test_the_panel_lies_below_its_button_within_the_page(page: Page) -> None:
    open_panel(page)
    panel = page.locator("livepush-bell #panel").bounding_box()
    button = page.locator("livepush-bell button[part=button]").bounding_box()
    heading = page.locator("h1").bounding_box()
    assert panel is not None
    assert button is not None
    assert panel["x"] >= 0
    assert panel["x"] + panel["width"] <= 1000
    assert panel["y"] >= button["y"] + button["height"]
    page.click("livepush-bell button[part=button]")
    is_closed(page)
    assert page.locator("h1").bounding_box() == heading, "the panel lay over the page, and took no place in it"


@pytest.mark.long
def test_the_badge_the_list_and_the_toasts_follow_what_comes_and_what_is_done(reader: Reader, page: Page) -> None:
    has_badge(page, "1")
    reader.notify("Two")
    has_badge(page, "2")
    expect(toasts(page).locator("a")).to_have_text(["Two"])
    open_panel(page)
    titles(page, "Two", "One")
    has_badge(page, "")
    reader.notify("Three")
    titles(page, "Three", "Two", "One")
    press(page, "archive", 1)
    titles(page, "Three", "One")
    page.click("livepush-bell button[part=button]")
    is_closed(page)
    reader.notify("Four")
    has_badge(page, "1")


@pytest.mark.long
def test_another_tab_follows_too(reader: Reader, page: Page) -> None:
    other = page.context.new_page()
    other.goto(page.url)
    is_open(other)
    reader.notify("Two")
    for each in (page, other):
        has_badge(each, "2")
