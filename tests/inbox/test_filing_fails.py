"""Where filing fails: pages show what was filed before, and an event that can't be filed holds up no other."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from django.utils import timezone

import livepush
from livepush import log
from livepush.inbox import entries, filing
from livepush.inbox.kinds import Snapshot
from livepush.notes import Rarely
from tests.conftest import append
from tests.inbox.test_filing import SOON, head

pytestmark = pytest.mark.long_on("mariadb")

BROKEN = "[]"
"""What no notification says."""


@pytest.fixture(autouse=True)
def first_failure(monkeypatch):
    """What fails is logged once in a while: as if nothing had failed yet."""
    monkeypatch.setattr(filing, "_failures", Rarely())


def fails_with(monkeypatch, error, title=""):
    """Let filing fail, for the events of one title if one is given."""
    write = entries.write

    def failing(using, events):
        if any(title in event.data for event in events):
            raise error
        return write(using, events)

    monkeypatch.setattr(entries, "write", failing)


def broken(using, *users, data=BROKEN):
    """Send what can't be filed."""
    append(using, *(f"user:{user.pk}" for user in users), type="inbox.notification", data=data)


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OperationalError("read-only")], ids=["bug", "database"])
def test_a_page_shows_what_was_filed_before_and_the_rest_when_filing_works_again(
    using, ann, reader, monkeypatch, caplog, error
):
    livepush.notify(ann, "Filed")
    client = Client()
    client.force_login(ann)
    with monkeypatch.context() as failing:
        fails_with(failing, error)
        for title in ("Two", "Three"):
            livepush.notify(ann, title)
        page = client.get("/bell/?list=1")
        assert page.status_code == 200
        assert ("Filed" in page.text, "Two" in page.text) == (True, False)
        assert reader(ann).titles() == ["Filed"]
        assert caplog.text.count(f"Filing failed for {using!r} (1 times)") == 1
    assert reader(ann).titles() == ["Three", "Two", "Filed"]


def test_while_filing_fails_the_log_is_pruned_of_what_was_filed(using, ann, reader, monkeypatch):
    livepush.notify(ann, "Filed")
    with monkeypatch.context() as failing:
        fails_with(failing, RuntimeError("a bug"))
        livepush.notify(ann, "Two")
        assert log.prune(using, timezone.now() + SOON) == 1
    assert reader(ann).titles() == ["Two", "Filed"]


def test_an_event_that_can_not_be_filed_is_left_out_when_a_later_one_can(using, ann, ben, reader, caplog):
    livepush.notify(ann, "Before")
    broken(using, ann, ben)
    assert reader(ann).titles() == ["Before"]
    assert head(using) == 1
    livepush.notify([ann, ben], "After")
    assert (reader(ann).titles(), reader(ben).titles()) == (["After", "Before"], ["After"])
    assert caplog.text.count("What was sent at 2 can't be filed") == 1


@pytest.mark.parametrize("batch", [2, 5, 100])
def test_those_that_can_be_filed_are_filed_around_the_others(using, ann, ben, reader, monkeypatch, batch):
    monkeypatch.setattr(filing, "BATCH", batch)
    monkeypatch.setattr(filing.publish, "on_settled", [])
    broken(using, ann, ben, *(User(pk=number) for number in range(1_000, 1_004)))
    for title in ("One", "Two"):
        livepush.notify([ann, ben], title, collapse="c")
        broken(using, ann, data=f'{{"title": "{title}", "collapse": [{{}}]}}')
    livepush.forget(ben)
    livepush.notify(ann, "Three")
    broken(using, ann)
    assert reader(ann).titles() == ["Three", "Two"]
    assert [entry.notification.count for entry in reader(ann).inbox.page().entries] == [1, 2]
    assert reader(ben).titles() == []


def test_an_error_of_the_database_leaves_nothing_out(using, ann, reader, monkeypatch):
    with monkeypatch.context() as failing:
        fails_with(failing, OperationalError("gone away"), "One")
        for title in ("One", "Two"):
            livepush.notify(ann, title)
        assert reader(ann).titles() == []
    assert reader(ann).titles() == ["Two", "One"]


def test_an_actor_without_a_name_is_collapsed(using, ann, ben):
    for _ in range(2):
        livepush.notify(ann, "Hello", actor=Snapshot("", url="/bot/"), collapse="c")
    for user in (ann, ben):
        client = Client()
        client.force_login(user)
        assert client.get("/bell/").status_code == 200
    (row,) = filing.Notification.objects.using(using).all()
    assert (row.count, [actor["url"] for actor in row.people]) == (2, ["/bot/"])


def test_an_actor_whose_name_was_never_stored_is_collapsed(using, ann, reader):
    for title in ("One", "Two"):
        broken(using, ann, data=f'{{"title": "{title}", "collapse": "c", "actor": {{"url": "/bot/"}}}}')
    assert reader(ann).titles() == ["Two"]
