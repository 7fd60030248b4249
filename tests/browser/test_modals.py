"""Toasts on a page with a modal dialog, which makes everything outside of it inert: a click there goes through."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser import libraries
from tests.browser.readers import Reader, toasts
from tests.scale import some

AREA = "livepush-toasts [part=toasts]"
DIALOG = """
    <style>
        dialog { position: fixed; inset: 0; width: 100%; height: 100%; max-width: none; max-height: none; padding: 0; }
        #under { width: 100%; height: 100%; }
    </style>
    <dialog><button id="under">Delete everything</button></dialog>
"""


@pytest.fixture
def page(reader: Reader) -> Page:
    """A page with a dialog that is one large button."""
    context = reader.context(bypass_csp=True)
    libraries.give(context, [], f"<body>{DIALOG}")
    page = reader.open(context=context)
    page.evaluate("() => { under.onclick = () => { window.pressed = true; }; }")
    return page


def show(page: Page) -> None:
    page.evaluate("document.querySelector('dialog').showModal()")


def test_a_toast_waits_until_a_modal_dialog_has_closed(reader: Reader, page: Page) -> None:
    show(page)
    reader.notify("Look", level="error")
    expect(toasts(page)).to_have_count(1)
    expect(page.locator(AREA)).to_be_hidden()
    page.evaluate("document.querySelector('dialog').close()")
    toasts(page).locator("button").click()
    expect(toasts(page)).to_have_count(0)
    assert page.evaluate("window.pressed") is None


@pytest.mark.parametrize("how", ["a dialog in a shadow tree", "inert"])
def test_a_toast_waits_as_long_as_it_could_not_be_pressed(reader: Reader, page: Page, how: str) -> None:
    if how == "inert":
        page.evaluate("document.body.inert = true")
    else:
        page.evaluate("""() => {
            const dialog = document.querySelector("dialog");
            const host = document.body.appendChild(document.createElement("div"));
            host.attachShadow({mode: "open"}).append(dialog);
            dialog.showModal();
        }""")
    reader.notify("Look", level="error")
    expect(toasts(page)).to_have_count(1)
    expect(page.locator(AREA)).to_be_hidden()
    page.evaluate("document.body.inert = false")
    page.evaluate("document.querySelector('body > div')?.shadowRoot.firstChild.close()")
    toasts(page).locator("button").click()
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
def test_the_time_of_a_toast_stands_still_under_a_modal_dialog(reader: Reader) -> None:
    context = reader.context(bypass_csp=True)
    libraries.give(context, [], f"<body>{DIALOG}")
    page = context.new_page()
    page.clock.install()
    page.goto(reader.site.server.url + "/bell/")
    page.wait_for_function("window.livepush?.state === 'open'")
    reader.notify("Before")
    expect(toasts(page).locator("a")).to_have_text(["Before"])
    show(page)
    reader.notify("Meanwhile")
    expect(toasts(page).locator("a")).to_have_text(["Meanwhile", "Before"])
    page.clock.run_for(20_000)
    expect(toasts(page)).to_have_count(2)
    page.evaluate("document.querySelector('dialog').close()")
    page.clock.run_for(20_000)
    expect(toasts(page)).to_have_count(0)


@pytest.mark.long
@pytest.mark.parametrize("where", some(["in the dialog", "on a page that fills the screen"]))
def test_a_toast_that_can_be_pressed_is_shown_at_once(reader: Reader, page: Page, where: str) -> None:
    if where == "in the dialog":
        page.evaluate("document.querySelector('dialog').append(document.querySelector('livepush-toasts'))")
        show(page)
    else:
        page.evaluate("document.querySelector('h1').onclick = () => document.documentElement.requestFullscreen()")
        page.click("h1")
        page.wait_for_function("() => document.fullscreenElement?.matches(':modal')")
    reader.notify("Look", level="error")
    toasts(page).locator("button").click()
    expect(toasts(page)).to_have_count(0)
