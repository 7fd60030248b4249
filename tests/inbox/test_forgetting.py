"""What is kept about a user goes with the user, and nothing of others'."""

from __future__ import annotations

import json

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections, transaction

import livepush
from livepush import exceptions, log
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.models import ChannelGroup, Event
from livepush.publish import deliver
from livepush.wire import FORGOTTEN
from tests.inbox.conftest import Reader

MODELS = (Event, ChannelGroup, Notification, NotificationState, InboxState, Membership)


@pytest.fixture
def kept(using, ann, ben):
    """Something of every kind about two users, and something about both."""
    for user in (ann, ben):
        livepush.join(user, "order:7", using=using)
        livepush.send(user, "moved", {"who": user.username}, using=using)
        livepush.notify(user, f"to {user.username}", using=using)
        livepush.notify(user, f"again {user.username}", using=using)
        deliver(using)
        mark(user, Action("read"), [Reader(user).number(f"to {user.username}")])
    livepush.send([f"user:{ann.pk}", "board"], "both", 1, using=using)
    livepush.notify(livepush.everyone, "to all", using=using)
    livepush.notify("order:7", "to members", using=using)
    deliver(using)


def about(user, using):
    """Return how many rows of each kind concern a user."""
    own = f"user:{user if isinstance(user, int) else user.pk}"
    pk = own.removeprefix("user:")
    return {
        "events": Event.objects.using(using).filter(group=own).count(),
        "channel groups": ChannelGroup.objects.using(using).filter(name=own).count(),
        "notifications": Notification.objects.using(using).filter(group=own).count(),
        "memberships": Membership.objects.using(using).filter(reader=pk).count(),
        "states of notifications": NotificationState.objects.using(using).filter(reader=pk).count(),
        "states of the inbox": InboxState.objects.using(using).filter(reader=pk).count(),
    }


def of_others(using):
    return Event.objects.using(using).exclude(type__startswith="livepush.").exclude(group__startswith="user:").count()


WAYS = {
    "forget": lambda user: livepush.forget(user),
    "by key": lambda user: livepush.forget(str(user.pk)),
    "delete": lambda user: user.delete(),
    "a set's delete": lambda user: User.objects.filter(pk=user.pk).delete(),
    "the command": lambda user: call_command("livepush_forget", user.username, verbosity=0),
    "the command by key": lambda user: call_command("livepush_forget", pk=str(user.pk), verbosity=0),
}


@pytest.mark.parametrize("way", WAYS)
def test_all_about_a_user_is_deleted_and_nothing_about_others(using, kept, ann, ben, way):
    pk, before, others = ann.pk, about(ben, using), of_others(using)
    assert all(about(ann, using).values())
    head = log.state(using).position.number
    WAYS[way](ann)
    assert not any(about(pk, using).values()), about(pk, using)
    assert about(ben, using) == before
    assert of_others(using) == others
    assert log.state(using).position.number > head
    assert Reader(ben).titles() == ["to members", "to all", "again ben", "to ben"]


def test_what_it_returns_is_what_was_there(using, kept, ann):
    before = about(ann, using)
    assert livepush.forget(ann) == before
    assert not any(livepush.forget(ann).values())


def test_it_happens_in_the_callers_transaction(using, kept, ann):
    before = about(ann, using)
    with transaction.atomic(using=using):
        livepush.forget(ann)
        assert not any(about(ann, using).values())
        transaction.set_rollback(True, using=using)
    assert about(ann, using) == before
    assert not Event.objects.using(using).filter(type=FORGOTTEN).exists()


def test_what_waits_for_a_position_is_deleted_after_the_commit(using, ann):
    log.append((f"user:{ann.pk}", "board"), "t", "1", None, using)
    livepush.forget(ann)
    assert list(Event.objects.using(using).filter(type="t").values_list("group", flat=True)) == ["board"]


def test_one_who_gets_the_primary_key_later_begins_with_nothing(using, kept, ann):
    pk = ann.pk
    ann.delete()
    again = User.objects.create_user("somebody else", pk=pk)
    livepush.notify(again, "welcome", using=using)
    deliver(using)
    assert Reader(again).titles() == ["welcome"]


def test_an_export_holds_what_would_be_deleted(using, kept, ann, capsys):
    found = livepush.export(ann)
    assert {kind: len(rows) for kind, rows in found.items()} == about(ann, using)
    assert {"who": "ann"} in [event["data"] for event in found["events"]]
    assert {row["title"] for row in found["notifications"]} == {"to ann", "again ann"}
    call_command("livepush_export", "ann")
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found))


def test_a_dry_run_only_says_what_there_is(using, kept, ann, capsys):
    before = about(ann, using)
    call_command("livepush_forget", "ann", dry_run=True)
    assert "Would delete of the user ann: 6 events" in capsys.readouterr().out
    assert about(ann, using) == before


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (["nobody"], {}, "There is no user 'nobody'"),
        ([], {}, "expected a name, or --pk PK"),
        (["ann"], {"pk": "1"}, "expected a name, or --pk PK"),
        ([], {"pk": "x"}, "'x' is no primary key"),
    ],
)
def test_a_command_for_nobody_says_what_is_expected(using, ann, arguments, options, said):
    with pytest.raises(CommandError, match=said):
        call_command("livepush_forget", *arguments, **options)


@pytest.mark.parametrize("nobody", [None, User(username="not saved")])
def test_nobody_can_not_be_forgotten(using, nobody):
    with pytest.raises(exceptions.InvalidGroup):
        livepush.forget(nobody)


async def test_it_has_an_async_twin(ann):
    assert await livepush.aforget(ann)
    await sync_to_async(connections.close_all)()
