"""Filing: from the log's notifications to the inbox's entries, each once, in the log's order, whoever does it."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import call_command
from django.db import DatabaseError, connections, transaction
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

import livepush
from livepush import log
from livepush.inbox import entries, filing
from livepush.inbox.marking import Action, mark
from livepush.inbox.models import InboxHead, InboxState, Notification, NotificationState
from livepush.inbox.reading import Inbox, Tab
from livepush.models import Event
from livepush.page import positions
from livepush.process.database_log import DatabaseLog
from livepush.publish import pipeline
from livepush.signals import marked, notified
from tests.conftest import ALIASES, Thread, append, kind
from tests.patience import PATIENCE

pytestmark = pytest.mark.long_on("mariadb")

SOON = timedelta(minutes=1)
servers = pytest.mark.parametrize(
    "using", [alias for alias in ALIASES if kind(alias) != "sqlite"], indirect=True, ids=kind
)


@pytest.fixture
def nobody_files(monkeypatch):
    """As if each process that sends died between settle and filing."""
    monkeypatch.setattr(pipeline, "on_settled", [])


def rows(using):
    """Return title, count and actors of each entry, the newest first."""
    found = Notification.objects.using(using).order_by("-position")
    return [(row.title, row.count, [actor["name"] for actor in row.people]) for row in found]


def head(using):
    return InboxHead.objects.using(using).values_list("position", flat=True).get()


@contextmanager
def heard(signal):
    """Collect what a signal sends in a block."""
    found = []

    def receive(sender, signal, **what):
        found.append(what)

    signal.connect(receive)
    try:
        yield found
    finally:
        signal.disconnect(receive)


@contextmanager
def deaf(signal):
    """Let a receiver of a signal fail in a block."""

    def receive(sender, **what):
        raise RuntimeError("a receiver that fails")

    signal.connect(receive)
    try:
        yield
    finally:
        signal.disconnect(receive)


@contextmanager
def another_process_files(using):
    """Hold the lock that who files holds, elsewhere, in a block."""
    held, release = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=using):
            InboxHead.objects.using(using).select_for_update().get(pk=1)
            held.set()
            assert release.wait(PATIENCE)

    holder = Thread(hold)
    assert held.wait(PATIENCE)
    try:
        yield
    finally:
        release.set()
        holder.join()


# Collapsing


def test_what_is_collapsed_is_one_entry_that_counts_and_moves_up(using, ann, ben, reader):
    livepush.notify(ann, "Ben liked it", actor=ben, collapse="likes")
    livepush.notify(ann, "Another")
    livepush.notify(ann, "Ann liked it", actor=ann, collapse="likes")
    livepush.notify(ann, "A robot liked it", actor="A robot", collapse="likes")
    livepush.notify(
        ann, "Ben liked it again", body="Twice", url="/likes/", actor=ben, collapse="likes", level="success"
    )
    assert rows(using) == [("Ben liked it again", 4, ["ben", "A robot", "Ann Li"]), ("Another", 1, [])]
    (entry, _) = reader(ann).inbox.page().entries
    first, *_, last = Event.objects.using(using).filter(type="inbox.notification").order_by("position")
    row = entry.notification
    assert (row.body, row.url, row.level, row.position) == ("Twice", "/likes/", "success", last.position)
    assert (row.first, row.created) == (first.created, last.created)
    assert reader(ann).counts() == (2, 2)


def test_actors_are_told_apart_by_who_they_are(using, ann, ben):
    User.objects.filter(pk=ben.pk).update(first_name="Ann", last_name="Li")
    ben.refresh_from_db()
    for actor in (ann, ben, "Ann Li", Group.objects.create(pk=ann.pk, name="Ann Li"), ann):
        livepush.notify(ann, "Liked", actor=actor, collapse="likes")
    (row,) = Notification.objects.using(using).all()
    assert [(actor.get("model"), actor.get("id")) for actor in row.people] == [
        ("auth.user", str(ann.pk)), ("auth.group", str(ann.pk)), (None, None), ("auth.user", str(ben.pk)),
    ]  # fmt: skip


def test_a_hundred_actors_are_kept_and_all_are_counted(using, ann, nobody_files):
    for number in range(110):
        livepush.notify(ann, "Liked", actor=f"Robot {number}", collapse="likes")
    filing.file(using)
    (row,) = Notification.objects.using(using).all()
    assert (row.count, len(row.people), row.people[0]["name"]) == (110, 100, "Robot 109")


def test_as_many_actors_are_kept_as_have_room(using, ann, nobody_files):
    for number in range(4):
        livepush.notify(ann, "Liked", actor=f"{number}" * 15_000, collapse="likes")
    livepush.notify(ann, "Seen", actor="5" * 50_000, collapse="seen")
    filing.file(using)
    seen, likes = Notification.objects.using(using).order_by("-position")
    assert (likes.count, [actor["name"][0] for actor in likes.people]) == (4, ["3", "2"])
    assert [len(actor["name"]) for actor in seen.people] == [50_000]


def test_who_sends_without_an_actor_leaves_those_there_are(using, ann, ben):
    livepush.notify(ann, "Ben liked it", actor=ben, collapse="likes", target="A thing", data={"n": 1})
    livepush.notify(ann, "Somebody liked it", collapse="likes")
    assert rows(using) == [("Somebody liked it", 2, ["ben"])]
    assert Notification.objects.using(using).get().details == {}


def test_what_is_collapsed_is_unread_again_for_everyone_and_nothing_is_written_for_that(using, ann, ben, reader):
    livepush.notify(livepush.everyone, "Once", collapse="news")
    livepush.notify(livepush.everyone, "Another")
    reader(ann).do("archive", "Once")
    reader(ben).all("read")
    assert (reader(ann).titles(), reader(ben).counts()) == (["Another"], (0, 0))

    def states():
        return (
            list(InboxState.objects.using(using).order_by("reader").values()),
            list(NotificationState.objects.using(using).order_by("id").values()),
        )

    before = states()
    livepush.notify(livepush.everyone, "Twice", collapse="news")
    for user in (ann, ben):
        entry = reader(user).inbox.page().entries[0]
        assert (entry.notification.title, entry.seen, entry.read, entry.archived) == ("Twice", False, False, False)
    assert (reader(ann).counts(), reader(ben).counts()) == ((2, 2), (1, 1))
    assert reader(ann).titles("archived") == []
    assert states() == before


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_it_makes_no_difference_in_how_many_batches_it_is_filed(using, ann, nobody_files, monkeypatch, batch):
    monkeypatch.setattr(filing, "BATCH", batch)
    for number, (actor, collapse) in enumerate([("x", "a"), ("y", "b"), ("x", "a"), ("z", ""), ("w", "a"), ("y", "b")]):
        livepush.notify(ann, str(number), actor=actor, collapse=collapse)
    filing.file(using)
    assert rows(using) == [("5", 2, ["y"]), ("4", 3, ["w", "x"]), ("3", 1, ["z"])]
    assert head(using) == log.state(using).position.number


def test_the_same_key_in_two_groups_is_two_entries(using, ann, ben, reader, nobody_files):
    for title in ("One", "Two"):
        livepush.notify([ann, ben], title, collapse="same")
        livepush.notify(livepush.everyone, f"{title} for all", collapse="same")
        livepush.notify(ann, f"{title} in capitals", collapse="SAME")
    filing.file(using)
    assert [(title, count) for title, count, _ in rows(using)] == [
        ("Two in capitals", 2), ("Two for all", 2), ("Two", 2), ("Two", 2),
    ]  # fmt: skip
    assert reader(ann).titles() == ["Two in capitals", "Two for all", "Two"]
    assert reader(ben).titles() == ["Two for all", "Two"]


def test_without_a_key_nothing_is_collapsed(using, ann):
    for _ in range(3):
        livepush.notify(ann, "Same")
    assert [count for _, count, _ in rows(using)] == [1, 1, 1]


# Who files, and when


def test_what_a_process_that_died_left_is_filed_by_the_next_reader(using, ann, ben, reader, nobody_files):
    for number in range(3):
        livepush.notify([ann, ben], str(number))
    assert rows(using) == []
    assert reader(ann).titles() == ["2", "1", "0"]
    assert reader(ben).counts() == (3, 3)
    assert Inbox(ann).position == log.state(using).position


def test_what_a_process_that_died_left_is_filed_by_the_next_who_sends(using, ann, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(pipeline, "on_settled", [])
        livepush.notify(ann, "Left")
    livepush.notify(ann, "Next")
    assert [title for title, _, _ in rows(using)] == ["Next", "Left"]


def test_who_sends_other_events_files_nothing(using, ann, nobody_files, monkeypatch):
    livepush.notify(ann, "Left")
    monkeypatch.setattr(pipeline, "on_settled", [filing.follow])
    livepush.send("board", "status", using=using)
    assert rows(using) == []


def test_entries_are_in_the_order_of_the_log(using, ann, ben):
    livepush.notify(ann, "warm")  # the log has begun
    late, done = threading.Event(), threading.Event()

    def slow():
        with transaction.atomic(using=using):
            livepush.notify(ann, "first to be sent, last to be committed")
            late.set()
            assert done.wait(PATIENCE)

    if kind(using) == "sqlite":  # one writer at a time
        livepush.notify(ann, "second")
        livepush.notify(ann, "first to be sent, last to be committed")
    else:
        thread = Thread(slow)
        assert late.wait(PATIENCE)
        livepush.notify(ann, "second")
        assert Inbox(ann).counts() == (2, 2)
        done.set()
        thread.join()
    assert [title for title, _, _ in rows(using)] == ["first to be sent, last to be committed", "second", "warm"]


def swept(using):
    """Settle as a hub's sweep does."""
    DatabaseLog(using, 60.0, threads=None)._sweep()


def polled(using):
    """Settle as a poll under WSGI does."""
    assert Client().get(reverse("livepush:poll"), {"group": "board"}).status_code == 200


def noted(using):
    """Settle as a request does that notes the log's position."""
    positions.current()


@pytest.mark.parametrize("settle", [swept, polled, noted])
def test_whoever_settles_a_notification_files_it_and_says_so(using, ann, monkeypatch, settle):
    """The sender is between its commit and its own settle."""
    with heard(notified) as told:
        with monkeypatch.context() as sender:
            sender.setattr(pipeline, "deliver", lambda *args: None)
            with transaction.atomic(using=using):
                livepush.notify(ann, "Hello")
        assert rows(using) == []
        settle(using)
        assert [title for title, _, _ in rows(using)] == ["Hello"]
        pipeline.deliver(using)  # now the sender
        assert [each["notification"].title for each in told] == ["Hello"]


def test_a_notification_to_more_audiences_than_a_batch_is_filed_whole(using, nobody_files, monkeypatch):
    monkeypatch.setattr(filing, "BATCH", 3)
    everybody = [User.objects.create_user(f"user {number}") for number in range(8)]
    livepush.notify(everybody[0], "One")
    livepush.notify(everybody, "All")
    filing.file(using)
    assert len(rows(using)) == 9
    assert head(using) == log.state(using).position.number == 2


def test_a_failure_to_file_fails_nobody_and_the_next_reader_makes_up_for_it(using, ann, reader, monkeypatch, caplog):
    def fail(using):
        raise DatabaseError("filing fails")

    with monkeypatch.context() as failing:
        failing.setattr(filing, "file", fail)
        livepush.notify(ann, "Hello")
    assert rows(using) == []
    assert f"livepush.inbox.filing.follow failed for {using!r}" in caplog.text
    assert reader(ann).titles() == ["Hello"]


def test_filing_again_files_nothing_again(using, ann, nobody_files):
    livepush.notify(ann, "Hello", collapse="c")
    for _ in range(3):
        filing.file(using)
        filing.catch_up(using)
    assert rows(using) == [("Hello", 1, [])]


def test_two_at_once_file_each_once(using, ann, nobody_files, monkeypatch):
    monkeypatch.setattr(filing, "BATCH", 3)
    for number in range(30):
        livepush.notify(ann, str(number), collapse="" if number % 5 else "fifth")
    start = threading.Barrier(2)

    def work():
        start.wait(PATIENCE)
        filing.file(using)

    with heard(notified) as told:
        for thread in [Thread(work), Thread(work)]:
            thread.join()
    assert [count for _, count, _ in rows(using)] == [6 if title == "25" else 1 for title, _, _ in rows(using)]
    assert sum(count for _, count, _ in rows(using)) == 30
    assert len(rows(using)) == 25
    positions = [each["notification"].position for each in told]
    assert len(positions) == len(set(positions))


@servers
def test_what_is_sent_while_another_process_files_is_filed_by_that_process(using, ann, monkeypatch):
    write = entries.write

    def slow(*given):
        if not Notification.objects.using(using).exists():
            Thread(livepush.notify, ann, "Sent meanwhile").join()
        return write(*given)

    monkeypatch.setattr(entries, "write", slow)
    with heard(notified) as told:
        livepush.notify(ann, "One")
    assert [title for title, *_ in rows(using)] == ["Sent meanwhile", "One"]
    assert [each["notification"].title for each in told] == ["One", "Sent meanwhile"]


@servers
def test_of_processes_that_file_the_first_notifications_none_leaves_one(using, ann, ben):
    for turn in range(1, 4):
        InboxHead.objects.using(using).all().delete()
        Notification.objects.using(using).all().delete()  # so all are filed again
        for thread in [Thread(livepush.notify, user, "First") for user in (ann, ben, ann, ben)]:
            thread.join()
        assert len(rows(using)) == 4 * turn


def test_what_was_filed_is_not_filed_again_when_the_head_is_gone(using, ann, reader):
    livepush.notify(ann, "One")
    InboxHead.objects.using(using).all().delete()
    livepush.notify(ann, "Two")
    assert reader(ann).titles() == ["Two", "One"]
    assert [count for _, count, _ in rows(using)] == [1, 1]


@servers
def test_who_reads_while_another_process_files_waits_for_nobody(using, ann, reader, monkeypatch):
    livepush.notify(ann, "Filed")
    filed = Inbox(ann).position
    with monkeypatch.context() as dying:
        dying.setattr(pipeline, "on_settled", [])
        livepush.notify(ann, "Being filed")
    with another_process_files(using):
        inbox = Inbox(ann)
        assert inbox.position == filed
        assert log.state(using).position.number == filed.number + 1
        assert [entry.notification.title for entry in inbox.page().entries] == ["Filed"]
        assert inbox.counts() == (1, 1)
        livepush.notify(ann, "Sent meanwhile")
        assert Inbox(ann).position == filed
    assert reader(ann).titles() == ["Sent meanwhile", "Being filed", "Filed"]
    assert Inbox(ann).position == log.state(using).position


@servers
def test_a_mark_up_to_now_covers_nothing_that_is_still_to_be_filed(using, ann, reader, nobody_files):
    livepush.notify(ann, "Filed")
    reader(ann).inbox  # noqa: B018
    livepush.notify(ann, "Being filed")
    with another_process_files(using):
        mark(ann, Action.READ, upto=log.state(using).position.number)
    assert reader(ann).titles("unread") == ["Being filed"]


@pytest.mark.parametrize(("others", "moves"), [(5, False), (6, True)])
def test_the_cursor_moves_past_many_other_events(using, ann, monkeypatch, others, moves):
    monkeypatch.setattr(filing, "MOVE_ON_AFTER", 5)
    livepush.notify(ann, "Hello")
    filed = head(using)
    for _ in range(others):
        append(using, "board")
    position = Inbox(ann).position
    assert position.number == filed + others
    assert head(using) == (position.number if moves else filed)


def test_the_cursor_moves_past_no_notification(using, ann, nobody_files, monkeypatch):
    monkeypatch.setattr(filing, "MOVE_ON_AFTER", 5)
    monkeypatch.setattr(filing, "file", lambda using: None)  # another process is at it
    Inbox(ann)
    InboxHead.objects.using(using).get_or_create(pk=1)
    for _ in range(4):
        append(using, "board")
    livepush.notify(ann, "Hello")
    for _ in range(4):
        append(using, "board")
    log_head = log.state(using).position
    assert Inbox(ann).position == log_head._replace(number=0)
    assert head(using) == 0
    monkeypatch.undo()
    assert [entry.notification.title for entry in Inbox(ann).page().entries] == ["Hello"]


def test_in_a_transaction_the_inbox_is_what_was_committed_before(using, ann, reader):
    livepush.notify(ann, "Before")
    with transaction.atomic(using=using):
        livepush.notify(ann, "In it")
        assert reader(ann).titles() == ["Before"]
    assert reader(ann).titles() == ["In it", "Before"]


def test_who_reads_in_a_transaction_that_fails_leaves_the_filing_to_others(using, ann, reader, nobody_files):
    livepush.notify(ann, "Hello")
    with heard(notified) as told:
        with pytest.raises(RuntimeError), transaction.atomic(using=using):
            reader(ann).titles()
            raise RuntimeError
        assert reader(ann).titles() == ["Hello"]
    assert len(told) == 1


@servers
def test_who_reads_in_a_long_transaction_keeps_nobody_from_reading(using, ann, reader, nobody_files):
    livepush.notify(ann, "Hello")
    reader(ann).titles()
    livepush.notify(ann, "New")
    with transaction.atomic(using=using):
        reader(ann).titles()
        assert Thread(lambda: reader(ann).titles()).join() == ["New", "Hello"]


# Pruning


def test_the_log_is_pruned_of_no_notification_that_is_not_in_the_inbox(using, ann, reader, nobody_files):
    livepush.notify(ann, "Hello")
    livepush.send("board", "status", using=using)
    livepush.notify(ann, "Again")
    assert log.prune(using, timezone.now() + SOON) == 3
    assert not Event.objects.using(using).exists()
    assert reader(ann).titles() == ["Again", "Hello"]


def test_the_log_keeps_what_another_process_is_still_filing(using, ann, reader, nobody_files, monkeypatch):
    livepush.send("board", "status", using=using)
    livepush.notify(ann, "Filed")
    filing.file(using)
    livepush.notify(ann, "Being filed")
    livepush.send("board", "status", using=using)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(filing, "file", lambda using: None)
        assert log.prune(using, timezone.now() + SOON) == 2
        assert log.prune(using, timezone.now() + SOON) == 0
    assert reader(ann).titles() == ["Being filed", "Filed"]
    assert log.prune(using, timezone.now() + SOON) == 2


def test_the_log_keeps_what_is_not_filed_of_one_send(using, ann, ben, reader, nobody_files, monkeypatch):
    with monkeypatch.context() as dying:
        dying.setattr(filing, "BATCH", 1)
        dying.setattr(filing, "MAX_BATCHES", 1)
        livepush.notify([ann, ben], "Hello")
        filing.file(using)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(filing, "file", lambda using: None)
        log.prune(using, timezone.now() + SOON)
    assert (reader(ann).titles(), reader(ben).titles()) == (["Hello"], ["Hello"])


def test_old_notifications_go_with_what_is_kept_of_their_readers(using, ann, reader):
    for title in ("a", "b", "c"):
        livepush.notify(ann, title)
    mine = reader(ann)
    for title in ("a", "c"):
        mine.do("archive", title)
    Notification.objects.using(using).exclude(title="c").update(created=timezone.now() - timedelta(days=91))
    with override_settings(LIVEPUSH={"DATABASE": using, "INBOX_RETENTION": 90 * 86_400}):
        call_command("livepush_prune", verbosity=0)
    assert [title for title, _, _ in rows(using)] == ["c"]
    assert [state.position for state in NotificationState.objects.using(using).all()] == [mine.number("c")]
    assert (mine.titles(), mine.titles("archived"), mine.counts()) == ([], ["c"], (0, 0))


def test_notifications_are_pruned_in_batches_the_oldest_first(using, ann, reader):
    for number in range(5):
        livepush.notify(ann, str(number))
    reader(ann).do("read", "4")
    before = timezone.now() + SOON
    assert filing.prune(using, before, batch=2) == 2
    assert reader(ann).titles() == ["4", "3", "2"]
    assert [filing.prune(using, before, batch=2) for _ in range(3)] == [2, 2, 0], "the state counts too"
    assert reader(ann).titles() == []
    assert not NotificationState.objects.using(using).exists()


def test_states_are_pruned_a_part_at_a_time_also_when_their_notifications_are_gone(using, ann, monkeypatch):
    monkeypatch.setattr(filing, "STATES_AT_ONCE", 4)
    livepush.notify(ann, "Old")
    position = Notification.objects.using(using).get().position
    states = NotificationState.objects.using(using)
    states.bulk_create(NotificationState(reader=str(number), position=position, read=True) for number in range(12))
    left = []
    while filing.prune(using, timezone.now() + SOON):
        left.append(states.count())
    assert left == [8, 4, 0]
    assert not Notification.objects.using(using).exists()


def test_states_of_what_is_kept_are_kept_when_nothing_is_old(using, ann, reader):
    for title in ("a", "b"):
        livepush.notify(ann, title)
    reader(ann).do("archive", "a", "b")
    assert filing.prune(using, timezone.now() - SOON) == 0
    assert NotificationState.objects.using(using).count() == 2


def test_what_was_pruned_is_not_filed_again_and_the_next_is(using, ann, reader):
    livepush.notify(ann, "Old", collapse="c")
    filing.prune(using, timezone.now() + SOON)
    assert reader(ann).titles() == []
    livepush.notify(ann, "New", collapse="c")
    assert rows(using) == [("New", 1, [])]


def test_a_collapsed_entry_is_as_old_as_the_last_of_it(using, ann):
    livepush.notify(ann, "Old", collapse="c")
    Notification.objects.using(using).update(created=timezone.now() - timedelta(days=91))
    livepush.notify(ann, "New", collapse="c")
    assert filing.prune(using, timezone.now() - timedelta(days=90)) == 0
    assert rows(using) == [("New", 2, [])]


# Signals


def test_the_signals_are_public():
    assert (livepush.notified, livepush.marked) == (notified, marked)


def test_each_that_was_filed_is_told_once_when_it_is_committed(using, ann, ben):
    with heard(notified) as told:
        with transaction.atomic(using=using):
            livepush.notify([ann, ben], "Hello")
            assert told == []
        livepush.notify(ann, "One", collapse="c")
        livepush.notify(ann, "Two", collapse="c")
        with pytest.raises(RuntimeError), transaction.atomic(using=using):
            livepush.notify(ann, "Never")
            raise RuntimeError
    assert [(each["notification"].group, each["notification"].title, each["using"]) for each in told] == [
        (f"user:{ann.pk}", "Hello", using),
        (f"user:{ben.pk}", "Hello", using),
        (f"user:{ann.pk}", "One", using),
        (f"user:{ann.pk}", "Two", using),
    ]
    assert [each["notification"].count for each in told] == [1, 1, 1, 2]


def test_what_is_told_can_be_looked_up(using, ann):
    def look(sender, notification, using, **more):
        found.append(Notification.objects.using(using).get(position=notification.position).title)

    found = []
    notified.connect(look)
    try:
        livepush.notify(ann, "Hello")
    finally:
        notified.disconnect(look)
    assert found == ["Hello"]


def test_a_receiver_that_fails_keeps_nobody_else_from_hearing(using, ann, reader, nobody_files):
    livepush.notify(ann, "One")
    livepush.notify(ann, "Two")
    with deaf(notified), heard(notified) as told:
        assert reader(ann).titles() == ["Two", "One"]
    assert [each["notification"].title for each in told] == ["One", "Two"]


def test_a_receiver_may_notify(using, ann, ben, reader):
    def forward(sender, notification, using, **more):
        if notification.group == f"user:{ann.pk}":
            livepush.notify(ben, f"Ann got {notification.title!r}")

    notified.connect(forward)
    try:
        livepush.notify(ann, "Hello")
    finally:
        notified.disconnect(forward)
    assert reader(ben).titles() == ["Ann got 'Hello'"]


def test_a_mark_is_told_when_it_is_committed(using, ann, reader):
    for title in "abc":
        livepush.notify(ann, title, category="x")
    mine = reader(ann)
    a, b, c = (mine.number(title) for title in "abc")
    with heard(marked) as told:
        with transaction.atomic(using=using):
            mark(ann, Action.READ, [a, b])
            assert told == []
        mark(ann, Action.READ, [a, b])
        undone = mark(ann, Action.ARCHIVE, upto=c)
        mark(ann, Action.UNDO, version=undone.version)
        mark(ann, Action.ARCHIVE, upto=c, tab=Tab.UNREAD)
        mark(ann, Action.ARCHIVE, upto=c, category="x")
        with pytest.raises(RuntimeError), transaction.atomic(using=using):
            mark(ann, Action.UNREAD, [a])
            raise RuntimeError
    who = {"reader": str(ann.pk), "using": using, "category": "", "tab": "all"}
    assert [{**each, "numbers": each["numbers"] and sorted(each["numbers"])} for each in told] == [
        {**who, "action": "read", "numbers": [a, b], "upto": None},
        {**who, "action": "archive", "numbers": None, "upto": c},
        {**who, "action": "undo", "numbers": None, "upto": None},
        {**who, "action": "archive", "numbers": None, "upto": c, "tab": "unread"},
        {**who, "action": "archive", "numbers": None, "upto": c, "category": "x"},
    ]


def test_a_receiver_of_marks_that_fails_breaks_no_mark(using, ann, reader):
    livepush.notify(ann, "a")
    with deaf(marked), heard(marked) as told:
        assert reader(ann).do("read", "a").changed
    assert reader(ann).counts() == (0, 0)
    assert len(told) == 1


@pytest.mark.django_db(transaction=True, databases=ALIASES)
def test_databases_know_nothing_of_each_other(using, ann, reader):
    for other in set(ALIASES) - {using}:
        with override_settings(LIVEPUSH={"DATABASE": other}):
            livepush.notify(ann, f"In {other}")
    livepush.notify(ann, "Here")
    assert reader(ann).titles() == ["Here"]
    assert len(reader(ann).inbox.page(Tab.UNREAD).entries) == 1
    assert {alias for alias in connections if Notification.objects.using(alias).exists()} == set(ALIASES)
