"""A month of a page in fast motion: what it holds does not grow with what it is told and where its reader goes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, expect

from tests.browser.libraries import TURBO, give
from tests.browser.measures import FAST, WATCH, grown, measure
from tests.browser.readers import Reader, has_badge, open_panel, toasts

COUNT = """
    window.heard = 0;
    window.last = 0;
    document.addEventListener("livepush:event", ({ detail: { id } }) => {
        const number = Number(id.split("-").pop());
        if (number > last) heard += 1; // a new body is told older ones again
        last = Math.max(last, number);
    });
"""
"""Counts the events that the page is told."""
GO = """(there) => new Promise((done) => {
    addEventListener("turbo:load", () => done(), { once: true });
    if (typeof there === "string") Turbo.visit(there);
    else history.go(there);
})"""


@dataclass
class Month:
    """One reader's page, through which a month passes."""

    reader: Reader
    page: Page
    batch: int
    """How many events come before each visit."""

    def send(self) -> None:
        """Notify the reader in one transaction, and mark it all as read as another device would."""
        do, name = self.reader.site.elsewhere.do, self.reader.name
        do("notify_many", to=name, titles=[str(number) for number in range(self.batch - 1)])
        do("mark", username=name, action="read")

    def hear(self) -> None:
        """Wait until the page has been told everything."""
        position = self.reader.site.elsewhere.position()
        self.page.wait_for_function("(position) => livepush.position === position", arg=position)

    def go(self, there: str | int) -> None:
        """Go to a page, or so many pages on in the history, and wait until Turbo is there."""
        self.page.evaluate(GO, there)

    def visit(self, number: int) -> None:
        """Go to another page after some events or while they come; now and then go back and forth, or open the bell."""
        self.send()
        if number % 10:
            self.hear()
        self.go(f"/bell/?page={number % 25}&list={number % 2 or ''}")
        if number % 5 == 4:
            for steps in (-1, -2, 2, 1):
                self.go(steps)
        if number % 4 == 0:
            open_panel(self.page)

    def measured(self) -> dict[str, float]:
        """Go to the page where all measures are taken, and return what it holds."""
        self.hear()
        self.go("/bell/?list=1")
        has_badge(self.page, "")
        expect(toasts(self.page)).to_have_count(0)
        return measure(self.page)


@pytest.mark.long
@pytest.mark.parametrize(
    ("events", "visits", "first"),
    [(720, 24, 12), pytest.param(100_000, 1_000, 200, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_a_month_of_notifications_and_visits_leaves_nothing_behind(
    reader: Reader, events: int, visits: int, first: int
) -> None:
    """The first measure is taken when all caches, Turbo's and the page's own, are full."""
    context = reader.context(bypass_csp=True)
    for script in (FAST, WATCH, COUNT):
        context.add_init_script(script)
    give(context, [TURBO])
    month = Month(reader, reader.open(context=context), events // visits)
    measures = []
    for number in range(visits):
        month.visit(number)
        if (number + 1) % first == 0:
            measures.append(month.measured())
            print(f"after {number + 1} visits: {measures[-1]}")
    assert month.page.evaluate("heard") > 0.8 * events  # pages that were made after an event are not told it
    assert grown(measures[0], measures[-1]) == {}, measures
