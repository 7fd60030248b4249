"""What is kept about a user goes with the user, and nothing of others'."""

from __future__ import annotations

import json
import threading
import uuid
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connections, models, transaction
from django.test import Client
from django.utils import timezone

import livepush
from livepush import exceptions, log
from livepush.bridges.relays.models import DeadLetter
from livepush.inbox import filing, forgetting, marking
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.models import ChannelGroup, Event, LogHead
from livepush.publish import deliver, pipeline
from livepush.rights.watch import RIGHTS_TYPE
from livepush.roster.models import Presence
from livepush.streams.models import Stream, StreamChunk
from livepush.tenants import active
from livepush.wire import FORGOTTEN, RIGHTS
from tests.conftest import ALIASES, Thread, kind
from tests.inbox.conftest import Reader
from tests.patience import PATIENCE

pytestmark = pytest.mark.long_on("mariadb", "sqlite")


def letter(user):
    """Return what is kept of an event to a user that a target has not taken."""
    return json.dumps({"number": 1, "group": f"user:{user.pk}", "body": json.dumps({"group": f"user:{user.pk}"})})


MODELS = (Event, ChannelGroup, Notification, NotificationState, InboxState, Membership)


@pytest.fixture
def kept(using, ann, ben):
    """Something of every kind about two users, and something about both."""
    for user in (ann, ben):
        livepush.join(user, "order:7", using=using)
        livepush.send(user, "moved", {"who": user.username}, using=using)
        livepush.notify(user, f"to {user.username}", using=using)
        livepush.notify(user, f"again {user.username}", using=using)
        Presence.objects.using(using).create(group="lobby:a", member=user.pk, process="p", info="{}", since=0)
        Stream.objects.using(using).create(
            id=user.username, group=f"user:{user.pk}", format="text", created=timezone.now()
        )
        StreamChunk.objects.using(using).create(stream=user.username, start=0, end=1, body='["a"]')
        DeadLetter.objects.using(using).create(relay="hook", offset="e-1", content=letter(user), reason="no")
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
        "presence": Presence.objects.using(using).filter(member=pk).count(),
        "streams": Stream.objects.using(using).filter(group=own).count(),
        "dead letters": DeadLetter.objects.using(using).filter(content__contains=own).count(),
    }


def of_others(using):
    events = Event.objects.using(using).exclude(type__startswith="livepush.").exclude(type="presence.leave")
    return events.exclude(group__startswith="user:").count()


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


@pytest.mark.parametrize("way", ["forget", "by key", "the command", "the command by key"])
def test_a_user_who_stays_gets_the_notifications_to_auth_groups_from_then_on(using, ann, staff, way):
    livepush.notify(staff, "before", using=using)
    ann.groups.add(staff)
    livepush.notify(staff, "a member's", using=using)
    assert Reader(ann).titles() == ["a member's"]
    WAYS[way](ann)
    assert Reader(ann).titles() == []
    livepush.notify(staff, "after", using=using)
    assert Reader(ann).titles() == ["after"]


@pytest.mark.parametrize("way", ["forget", "by key"])
def test_a_user_who_stays_sees_nothing_again_of_groups_that_livepush_did_not_see_the_user_get(using, ann, staff, way):
    User.groups.through.objects.bulk_create([User.groups.through(user=ann, group=staff)])
    livepush.notify(staff, "before", using=using)
    assert Reader(ann).titles() == ["before"]
    WAYS[way](ann)
    assert Reader(ann).titles() == []
    assert Event.objects.using(using).filter(group=RIGHTS, type=RIGHTS_TYPE).count() == 1
    livepush.notify(staff, "after", using=using)
    assert Reader(ann).titles() == ["after"]


@pytest.mark.parametrize("way", ["delete", "a set's delete"])
def test_nothing_of_a_deleted_users_auth_groups_is_left(using, ann, staff, way):
    ann.groups.add(staff)
    WAYS[way](ann)
    assert not Membership.objects.using(using).exists()


def test_the_rules_are_asked_again_for_the_open_streams_of_a_user_who_stays(using, kept, ann):
    livepush.forget(ann)
    (told,) = Event.objects.using(using).filter(group=RIGHTS, type=RIGHTS_TYPE)
    assert json.loads(told.data) == {"user": str(ann.pk), "reason": "permission", "ask": True}


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
    log.append(log.Content((f"user:{ann.pk}", "board"), "t", "1"), None, using)
    livepush.forget(ann)
    assert list(Event.objects.using(using).filter(type="t").values_list("group", flat=True)) == ["board"]


def test_what_waits_is_deleted_though_the_process_dies_that_forgot_the_user(using, ann, monkeypatch):
    """Whoever files next does it, so the next user with the primary key polls nothing of it."""
    pk, start = ann.pk, str(log.state(using).position)
    log.append(log.Content((f"user:{pk}",), "t", "1"), None, using)
    with monkeypatch.context() as dying:
        dying.setattr(pipeline, "on_settled", [])
        ann.delete()
        deliver(using)
    filing.file(using)
    client = Client()
    client.force_login(User.objects.create_user("somebody else", pk=pk))
    assert client.get("/livepush/poll/", {"group": f"user:{pk}", "since": start}).json()["events"] == []


@pytest.mark.parametrize("using", [a for a in ALIASES if kind(a) != "sqlite"], indirect=True, ids=kind)
def test_what_waits_is_deleted_though_another_process_is_settling(using, ann):
    log.state(using)
    locked, done = threading.Event(), threading.Event()

    def settle():
        with transaction.atomic(using=using):
            LogHead.objects.using(using).select_for_update().get()
            locked.set()
            assert done.wait(PATIENCE)

    other = Thread(settle)
    assert locked.wait(PATIENCE)
    log.append(log.Content((f"user:{ann.pk}",), "t", "1"), None, using)
    livepush.forget(ann)
    done.set()
    other.join()
    deliver(using)
    assert not about(ann, using)["events"]


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True, ids=kind)
def test_what_the_next_one_gets_in_the_same_transaction_stays(using, kept, ann):
    pk = ann.pk
    with transaction.atomic():
        ann.delete()
        again = User.objects.create_user("somebody else", pk=pk)
        livepush.notify(again, "welcome")
    assert Reader(again).titles() == ["welcome"]


def test_an_entry_of_the_next_one_is_not_collapsed_into_one_that_waited(using, ann, monkeypatch):
    monkeypatch.setattr(pipeline, "on_settled", [])
    pk = ann.pk
    log.append(log.Content((f"user:{pk}",), "livepush.notification", '{"title": "old", "collapse": "c"}'), None, using)
    ann.delete()
    again = User.objects.create_user("somebody else", pk=pk)
    livepush.notify(again, "new", collapse="c", using=using)
    filing.file(using)
    assert [(row.title, row.count) for row in Notification.objects.using(using)] == [("new", 1)]


def test_a_tenants_inbox_is_deleted_though_the_log_was_pruned(using, ann, settings):
    settings.MIDDLEWARE = ["tests.shop.subdomains.middleware", *settings.MIDDLEWARE]
    settings.LIVEPUSH = {"DATABASE": using, "TENANT": "tests.shop.subdomains.Subdomains"}
    for tenant in ("a", "b"):
        with active(tenant):
            livepush.notify(ann, "secret", using=using)
            deliver(using)
    while log.prune(using, timezone.now() + timedelta(minutes=1)):
        pass
    ann.delete()
    assert not Notification.objects.using(using).exists()


@pytest.mark.parametrize("given", [str, lambda pk: pk])
def test_a_key_may_be_no_number(using, given, monkeypatch):
    monkeypatch.setattr(User._meta, "pk", models.UUIDField(primary_key=True))
    monkeypatch.setattr(forgetting, "roles_of", lambda user: [])  # the table has no such keys
    pk = uuid.uuid4()
    livepush.send(f"user:{pk}", "t", using=using)
    deliver(using)
    assert livepush.forget(given(pk))["events"] == 1


def test_one_deleted_without_a_signal_is_forgotten_by_hand(using, kept, ann):
    pk, gone = ann.pk, User.objects.filter(pk=ann.pk)
    gone._raw_delete(gone.db)
    assert all(about(pk, using).values())
    call_command("livepush_forget", pk=str(pk), verbosity=0)
    assert not any(about(pk, using).values())


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


def test_forgetting_and_marking_wait_for_each_other_and_nothing_stays(using, kept, ann, monkeypatch):
    if kind(using) == "sqlite":
        pytest.skip("one writer at a time")
    is_locked, is_forgetting = threading.Event(), threading.Event()
    lock, delete = marking._locked, forgetting._delete

    def locked(inbox):
        state = lock(inbox)
        is_locked.set()
        assert is_forgetting.wait(PATIENCE)
        return state

    def deleted(rows):
        if rows.model is InboxState:
            is_forgetting.set()
        return delete(rows)

    monkeypatch.setattr(marking, "_locked", locked)
    monkeypatch.setattr(forgetting, "_delete", deleted)
    marker = Thread(mark, ann, Action.UNREAD, [Reader(ann).number("to ann")])
    assert is_locked.wait(PATIENCE)
    livepush.forget(ann)
    marker.join()
    for model in (InboxState, NotificationState):
        assert not model.objects.using(using).filter(reader=ann.pk).exists()
