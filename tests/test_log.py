"""The log on every database: append, settle, read, prune."""

from __future__ import annotations

import threading
import time
import tracemalloc
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from math import inf
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, OperationalError, connections, transaction
from django.db.transaction import TransactionManagementError
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import livepush
from livepush import log, publish
from livepush.inbox import filing
from livepush.inbox.models import InboxHead
from livepush.log import delete_sql, planning, reading, settling
from livepush.log import groups as group_rows
from livepush.log.dialects import base, postgresql, sqlite
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.wire import Position
from tests.conftest import ALIASES, Thread, append, events_of, kind, settle
from tests.patience import PATIENCE, wait_until


def test_an_event_has_no_position_until_it_is_settled(using):
    append(using)
    assert Event.objects.using(using).get().position is None
    settle(using)
    assert Event.objects.using(using).get().position == 1


def test_positions_are_contiguous_and_in_the_order_of_sending(using):
    for n in range(5):
        append(using, data=str(n))
    settle(using)
    append(using, data="5")
    settle(using)
    assert [(event.number, event.data) for event in events_of(using)] == [(n + 1, str(n)) for n in range(6)]


def test_settle_returns_what_the_log_holds(using):
    append(using, "a", "b", data='{"é":"🚀"}', type="x.y")
    append(using, "c")
    assert tuple(settle(using)) == events_of(using)


def test_settle_works_in_batches(using, monkeypatch):
    monkeypatch.setattr(planning, "BATCH", 10)
    for _ in range(25):
        append(using)
    assert [len(batch.events) for batch in log.settle(using)] == [10, 10, 5]


def test_settle_leaves_the_rest_to_the_next_caller_after_some_passes(using, monkeypatch):
    monkeypatch.setattr(planning, "BATCH", 10)
    for _ in range(25):
        append(using)
    with monkeypatch.context() as patch:
        patch.setattr(settling, "PASSES", 1)
        assert [len(batch.events) for batch in log.settle(using)] == [10]
    assert log.state(using).waiting
    assert len(settle(using)) == 15
    assert not log.state(using).waiting


def test_a_send_to_several_groups_gets_one_position_and_is_never_split(using, monkeypatch):
    monkeypatch.setattr(planning, "BATCH", 3)
    append(using, "z")
    append(using, "a", "b", "c", "d")
    append(using, "z")
    batches = [[event.groups for event in batch.events] for batch in log.settle(using)]
    assert batches == [[("z",), ("a", "b", "c", "d")], [("z",)]]


def test_groups_get_a_row_when_they_are_first_seen(using):
    append(using, "a", "b")
    publish.settle(using)
    append(using, "b", "c")
    publish.settle(using)
    assert sorted(ChannelGroup.objects.using(using).values_list("name", flat=True)) == ["a", "b", "c"]


def test_an_uncommitted_row_of_a_group_holds_up_nobody(concurrent, announced):
    """Not the sender, not the log; the row is made by a later send."""
    made, go = threading.Event(), threading.Event()

    def leave_open():
        with transaction.atomic(using=concurrent):
            ChannelGroup.objects.using(concurrent).create(name="a")
            made.set()
            assert go.wait(PATIENCE)
            transaction.set_rollback(True, using=concurrent)

    thread = Thread(leave_open)
    assert made.wait(PATIENCE)
    try:
        for send in (partial(livepush.send, ["a", "b"], "t", using=concurrent), partial(in_transaction, concurrent)):
            Thread(send).join()
        assert [event.groups for event in events_of(concurrent)] == [("a", "b"), ("a", "c")]
    finally:
        go.set()
    thread.join()
    group_rows._known.clear()
    livepush.send(["a", "b", "c"], "t", using=concurrent)
    assert sorted(ChannelGroup.objects.using(concurrent).values_list("name", flat=True)) == ["a", "b", "c"]


def in_transaction(using):
    with transaction.atomic(using=using):
        livepush.send(["a", "c"], "t", using=using)


def test_the_row_of_a_group_goes_with_its_last_event(using):
    for names in (["a", "b"], ["b"]):
        livepush.send(names, "t", using=using)
    publish.settle(using)
    Event.objects.using(using).filter(position=1).update(created=timezone.now() - timedelta(days=8))
    assert log.prune(using, timezone.now() - timedelta(days=7)) == 2
    assert list(ChannelGroup.objects.using(using).values_list("name", flat=True)) == ["b"]
    livepush.send("a", "t", using=using)
    assert sorted(ChannelGroup.objects.using(using).values_list("name", flat=True)) == ["a", "b"]


def test_names_that_differ_in_case_are_different_groups(using):
    append(using, "doc:abc")
    append(using, "doc:ABC")
    publish.settle(using)
    assert [event.groups for event in events_of(using, {"doc:abc"})] == [("doc:abc",)]
    assert ChannelGroup.objects.using(using).count() == 2


def test_data_is_read_back_as_it_was_encoded(using):
    data = '{"b":1,"a":[1.50,"é🚀\\u2028"],"b2":null}'
    append(using, data=data)
    assert settle(using)[0].data == data == events_of(using)[0].data


@pytest.mark.long_on("mariadb", "sqlite")
def test_a_send_to_very_many_groups_is_settled_without_its_data_for_each(using):
    """It is in the database for each group; a process that settles holds it once, and no more than a batch of rows."""
    count, data = 4 * planning.BATCH, f'"{"x" * 20_000}"'
    log.append(log.Content([f"g:{number}" for number in range(count)], "t", data), None, using)
    tracemalloc.start()
    (event,) = settle(using)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(event.groups), event.data) == (count, data)
    assert most < 2 * planning.BATCH * len(data)


@pytest.mark.parametrize("is_settled", [False, True])
def test_a_send_to_very_many_groups_that_repeats_a_key_is_dropped(using, is_settled, monkeypatch):
    monkeypatch.setattr(delete_sql, "IDS_AT_ONCE", 3)
    monkeypatch.setattr(base, "ROWS_AT_ONCE", 3)
    append(using, *(f"g:{number}" for number in range(10)), key="k")
    if is_settled:
        settle(using)
    append(using, *(f"g:{number}" for number in range(10)), key="k")
    settle(using)
    assert Event.objects.using(using).count() == 10


def test_of_one_key_in_a_group_the_first_is_kept(using):
    append(using, "a", key="k", data="1")
    append(using, "a", key="k", data="2")
    append(using, "b", key="k", data="3")
    settle(using)
    append(using, "a", key="k", data="4")
    append(using, "a", key="K", data="5")
    settle(using)
    assert [(event.number, event.data) for event in events_of(using)] == [(1, "1"), (2, "3"), (3, "5")]
    assert Event.objects.using(using).count() == 3


def test_keys_that_differ_in_case_or_by_spaces_at_their_end_are_different(using):
    for key in ("k", "k ", "K", "k"):
        append(using, "a", key=key, data=f'"{key}"')
        settle(using)
    assert [event.data for event in events_of(using)] == ['"k"', '"k "', '"K"']


def test_a_repeat_in_one_group_of_a_send_leaves_the_other_groups_their_event(using):
    append(using, "a", key="k", data="1")
    append(using, "a", "b", key="k", data="2")
    settle(using)
    assert [(event.groups, event.data) for event in events_of(using, {"a", "b"})] == [(("a",), "1"), (("b",), "2")]


@pytest.mark.parametrize("at_once", [500, 1])
def test_the_last_events_after_a_number_are_those_that_wait_or_come_after_it(using, monkeypatch, at_once):
    monkeypatch.setattr(reading, "GROUPS_AT_ONCE", at_once)
    for group in ("a", "b", "a", "A", "c"):
        append(using, group)
    settle(using)
    for group in ("c", "d"):
        append(using, group)
    groups = ["a", "b", "c", "d", "e"]
    assert log.last_after(using, groups, 0) == {"a": 3, "b": 2, "c": inf, "d": inf}
    assert log.last_after(using, groups, 2) == {"a": 3, "c": inf, "d": inf}
    assert log.last_after(using, groups, 5) == {"c": inf, "d": inf}
    assert log.last_after(using, [], 0) == {}


def test_reading_goes_on_behind_a_position_and_up_to_another(using):
    for n in range(10):
        append(using, "ab"[n % 2], data=str(n))
    settle(using)
    page = log.read(using, ["a"], 3, 8)
    assert [event.number for event in page.events] == [5, 7]
    assert page.upto == 8


def test_a_full_page_says_how_far_it_goes(using):
    for _ in range(10):
        append(using)
    settle(using)
    seen, cursor = [], 0
    while cursor < 10:
        page = log.read(using, ["a"], cursor, 10, limit=4)
        seen += [event.number for event in page.events]
        cursor = page.upto
    assert seen == list(range(1, 11))


def test_a_send_to_several_groups_is_read_once_wherever_a_page_is_cut(using):
    for _ in range(4):
        append(using, "a", "b", "c")
    settle(using)
    for groups in (["a", "b", "c"], ["c", "a"]):
        for limit in range(1, 8):
            seen, cursor = [], 0
            while cursor < 4:
                page = log.read(using, groups, cursor, 4, limit=limit)
                seen += [(event.number, event.groups) for event in page.events]
                cursor = page.upto
            assert seen == [(number, tuple(groups)) for number in range(1, 5)]


def test_a_page_of_all_groups_never_ends_within_a_send(using):
    append(using)
    append(using, "c", "b", "a")
    append(using)
    settle(using)
    for limit in range(1, 6):
        seen, cursor = [], 0
        while cursor < 3:
            page = log.read(using, None, cursor, 3, limit)
            seen += [(event.number, event.groups) for event in page.events]
            cursor = page.upto
        assert seen == [(1, ("a",)), (2, ("c", "b", "a")), (3, ("a",))]


def test_a_send_to_many_groups_is_one_event(using):
    groups = tuple(f"g:{number}" for number in range(1234))
    append(using, *groups)
    append(using, "a")
    assert [(event.number, event.groups) for event in settle(using)] == [(1, groups), (2, ("a",))]
    assert [event.groups for event in events_of(using)] == [groups, ("a",)]
    assert [event.groups for event in events_of(using, ["g:1000"])] == [("g:1000",)]


def test_prune_deletes_the_oldest_and_moves_the_floor(using):
    for _ in range(10):
        append(using)
    settle(using)
    Event.objects.using(using).filter(position__lte=6).update(created=timezone.now() - timedelta(days=8))
    before = timezone.now() - timedelta(days=7)
    assert [log.prune(using, before, batch=4) for _ in range(3)] == [4, 2, 0]
    assert [event.number for event in events_of(using)] == [7, 8, 9, 10]
    assert log.state(using).floor == 6


def test_prune_deletes_a_prefix_alone(using):
    for _ in range(4):
        append(using)
    settle(using)
    Event.objects.using(using).filter(position__in=[1, 3]).update(created=timezone.now() - timedelta(days=8))
    assert log.prune(using, timezone.now() - timedelta(days=7)) == 1
    assert [event.number for event in events_of(using)] == [2, 3, 4]


def test_prune_leaves_what_is_not_settled(using):
    append(using)
    Event.objects.using(using).update(created=timezone.now() - timedelta(days=8))
    assert log.prune(using, timezone.now()) == 0
    assert len(settle(using)) == 1


def date(using, dates):
    """Set back (days, by position) when events were made."""
    for number, days in dates.items():
        created = timezone.now() - timedelta(days=days)
        Event.objects.using(using).filter(position=number).update(created=created)


def test_events_are_dated_by_the_clock_that_hosts_share(concurrent, monkeypatch):
    before = timezone.now() - timedelta(seconds=5)
    monkeypatch.setattr(timezone, "now", lambda: before + timedelta(days=8))
    append(concurrent)
    append(concurrent, "a", "b")
    monkeypatch.undo()
    for event in Event.objects.using(concurrent).all():
        assert before < event.created < timezone.now() + timedelta(seconds=5)


@pytest.mark.parametrize("aware", [True, False])
def test_events_are_dated_in_the_zone_that_the_project_stores(concurrent, aware, settings):
    settings.USE_TZ, settings.TIME_ZONE = aware, "Asia/Kolkata"
    append(concurrent)
    assert abs(Event.objects.using(concurrent).get().created - timezone.now()) < timedelta(seconds=30)


@pytest.mark.parametrize("days", [8, -8, 4000, -4000])
def test_prune_deletes_nothing_early_where_a_host_has_the_wrong_time(concurrent, days, monkeypatch):
    append(concurrent)
    settle(concurrent)
    wrong = timezone.now() + timedelta(days=days)
    monkeypatch.setattr(timezone, "now", lambda: wrong)
    assert log.prune(concurrent, timezone.now() - timedelta(days=7)) == 0


def test_prune_deletes_nothing_early_where_the_database_has_the_wrong_time(concurrent, monkeypatch):
    append(concurrent)
    settle(concurrent)
    # As a database whose clock is 8 days ahead of this host's sees it.
    now = timezone.now() - timedelta(days=8)
    date(concurrent, {1: 8 - 3})
    monkeypatch.setattr(timezone, "now", lambda: now)
    assert log.prune(concurrent, now - timedelta(days=2)) == 0


def test_prune_passes_over_events_that_are_dated_in_the_future(using):
    for _ in range(6):
        append(using)
    settle(using)
    date(using, {1: -3000, 2: -3000, 3: 8, 4: -3000, 5: 0, 6: 8})
    week = timezone.now() - timedelta(days=7)
    assert [log.prune(using, week, batch=2) for _ in range(3)] == [2, 1, 0]
    assert log.state(using).floor == 3
    date(using, {5: 8})
    assert log.prune(using, week) == 3
    assert log.state(using).floor == 6


def test_prune_finds_what_is_old_behind_more_misdated_events_than_a_batch(using):
    for _ in range(10):
        append(using)
    settle(using)
    date(using, {**dict.fromkeys(range(1, 8), -3000), 8: 8})
    week = timezone.now() - timedelta(days=7)
    assert [log.prune(using, week, batch=3) for _ in range(4)] == [3, 3, 2, 0]
    assert [event.number for event in events_of(using, after=8)] == [9, 10]


def test_an_event_that_is_dated_in_the_past_takes_no_newer_one_with_it(using):
    for _ in range(4):
        append(using)
    settle(using)
    date(using, {3: 4000})
    assert log.prune(using, timezone.now() - timedelta(days=7)) == 0
    assert [event.number for event in events_of(using)] == [1, 2, 3, 4]


def test_a_log_without_rows_begins_an_epoch_of_its_own(using):
    first = log.state(using)
    assert first.position.number == first.floor == 0
    assert not first.waiting
    assert log.state(using) == first


def test_a_glance_leaves_a_transaction_as_it_was(using, django_assert_num_queries, monkeypatch):
    position = log.state(using).position
    with transaction.atomic(using=using):
        ChannelGroup.objects.using(using).create(name="a")
        with django_assert_num_queries(0, connection=connections[using]):
            assert log.glance(using) == position
        with monkeypatch.context() as broken, pytest.raises(DatabaseError):
            broken.setattr(type(log.dialect(using)), "state_sql", lambda self: "SELECT nothing FROM nowhere")
            log.glance(using)
        assert log.glance(using) == position
    assert ChannelGroup.objects.using(using).count() == 1


def test_a_missing_head_is_made_and_positions_go_on(using):
    append(using)
    settle(using)
    LogHead.objects.using(using).all().delete()
    append(using)
    assert [event.number for event in settle(using)] == [2]


@pytest.fixture(params=["with JSON", "without JSON"])
def reads_json(request, monkeypatch):
    """SQLite that reads JSON, and one that does not."""
    monkeypatch.setattr(sqlite, "has_json", lambda driver: request.param == "with JSON")


@pytest.mark.usefixtures("reads_json")
def test_the_rows_of_a_send_are_written_in_the_order_of_its_groups(using):
    groups = ["c", "a", "b\u00fc\U0001f600'%s", *map(str, range(1200))]
    data = r"""{"text": "100 % of it's \"here\""}"""
    log.append(log.Content(groups, "made", data, '{"id": "5"}'), "k", using)
    rows = Event.objects.using(using).order_by("id")
    assert [row.group for row in rows] == groups
    assert {(row.type, row.data, row.sender, row.key) for row in rows} == {("made", data, '{"id": "5"}', "k")}
    assert len({row.send for row in rows}) == len({row.created for row in rows}) == 1
    assert abs(timezone.now() - rows[0].created) < timedelta(minutes=1)
    (event,) = settle(using)
    assert list(event.groups) == groups


@pytest.mark.usefixtures("reads_json")
def test_rows_that_can_not_be_written_end_the_transaction(using):
    missing: Any = None
    with pytest.raises(TransactionManagementError), transaction.atomic(using=using):
        with pytest.raises(IntegrityError):
            log.append(log.Content(["a", "b"], missing, "1"), None, using)
        Event.objects.using(using).count()


def test_sqlite_and_postgresql_take_the_data_once_for_all_groups(using):
    with CaptureQueriesContext(connections[using]) as queries:
        append(using, "a", "b", "c", data='"unmistakable"')
    times = sum(query["sql"].count("unmistakable") for query in queries)
    assert times == (1 if kind(using) in ("sqlite", "postgresql") else 3)


def test_positions_go_on_behind_what_was_pruned_where_the_head_is_missing(using):
    for _ in range(3):
        append(using)
    settle(using)
    assert log.prune(using, timezone.now() + timedelta(days=1)) == 3
    LogHead.objects.using(using).all().delete()
    state = log.state(using)
    assert (state.floor, state.position.number) == (3, 3)
    append(using)
    assert [event.number for event in settle(using)] == [4]


@pytest.mark.parametrize("pruned", [2, 4])
def test_a_missing_floor_lies_before_the_oldest_event_that_is_there(using, pruned):
    for _ in range(4):
        append(using)
    settle(using)
    epoch = log.state(using).position.epoch
    date(using, dict.fromkeys(range(1, pruned + 1), 8))
    assert log.prune(using, timezone.now() - timedelta(days=7)) == pruned
    LogFloor.objects.using(using).all().delete()
    state = log.state(using)
    assert (state.position, state.floor) == (Position(epoch, 4), pruned)


def test_heads_that_are_made_at_once_are_one(concurrent):
    threads = [Thread(log.state, concurrent) for _ in range(6)]
    assert len({thread.join() for thread in threads}) == 1


def test_a_new_epoch_begins_only_where_the_head_lies_before_what_was_seen(using):
    append(using)
    settle(using)
    epoch = log.state(using).position.epoch
    assert not log.new_epoch(using, Position(epoch, 1))
    assert not log.new_epoch(using, Position("other", 99))
    assert log.new_epoch(using, Position(epoch, 2))
    assert log.state(using).position.epoch != epoch


def test_the_state_says_what_waits(using):
    assert not log.state(using).waiting
    append(using)
    assert log.state(using).waiting


def test_a_rolled_back_event_was_never_there(using):
    with pytest.raises(IntegrityError), transaction.atomic(using=using):
        append(using)
        raise IntegrityError
    assert settle(using) == []
    append(using)
    assert [event.number for event in settle(using)] == [1]


def test_a_late_commit_gets_a_late_position(concurrent):
    inserted, go = threading.Event(), threading.Event()

    def late():
        with transaction.atomic(using=concurrent):
            append(concurrent, data='"late"')
            inserted.set()
            assert go.wait(PATIENCE)

    thread = Thread(late)
    assert inserted.wait(PATIENCE)
    append(concurrent, data='"early"')
    assert [event.data for event in settle(concurrent)] == ['"early"']
    go.set()
    thread.join()
    assert [(event.number, event.data) for event in settle(concurrent)] == [(2, '"late"')]


@contextmanager
def lock_held(alias, model=LogHead):
    """Hold the lock of a model's one row, as a rule the head's, in another thread."""
    held, go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=alias):
            model.objects.using(alias).select_for_update().get()
            held.set()
            assert go.wait(PATIENCE)

    thread = Thread(hold)
    try:
        assert held.wait(PATIENCE)
        yield
    finally:
        go.set()
        thread.join()


def test_who_finds_the_lock_taken_leaves_at_once(concurrent):
    append(concurrent)
    log.state(concurrent)
    with lock_held(concurrent):
        assert settle(concurrent) == []
        assert log.state(concurrent).waiting
    assert len(settle(concurrent)) == 1


UNDER_A_LOCK = {
    "settle": (LogHead, settle),
    "prune": (LogFloor, lambda using: log.prune(using, timezone.now() - timedelta(days=1))),
    "file": (InboxHead, filing.file),
}


@pytest.mark.parametrize("concurrent", [each for each in ALIASES if kind(each) == "mariadb"], indirect=True, ids=kind)
@pytest.mark.parametrize("work", UNDER_A_LOCK)
def test_where_there_is_no_skip_locked_whoever_finds_the_lock_taken_waits_for_it(concurrent, work, monkeypatch):
    model, do = UNDER_A_LOCK[work]

    def impatient():
        with connections[concurrent].cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
        do(concurrent)

    log.state(concurrent)  # makes the log's rows
    filing.file(concurrent)  # makes the inbox's
    monkeypatch.setattr(type(connections[concurrent].features), "has_select_for_update_skip_locked", False)
    with lock_held(concurrent, model), pytest.raises(OperationalError, match="Lock wait timeout"):
        Thread(impatient).join()
    Thread(impatient).join()


def test_an_event_committed_while_the_lock_is_held_is_settled_by_its_holder(concurrent, monkeypatch):
    append(concurrent)
    plain, done = base.Dialect.plan, []

    def meanwhile(self, epoch, last, rows):
        if not done:
            done.append(True)

            def other():
                append(concurrent)
                return settle(concurrent)

            assert Thread(other).join() == []
        return plain(self, epoch, last, rows)

    monkeypatch.setattr(base.Dialect, "plan", meanwhile)
    assert [event.number for event in settle(concurrent)] == [1, 2]


def test_settle_waits_for_no_open_transaction(concurrent):
    """Rows that others have inserted and not committed, before, between and behind those to settle."""
    opened, go = threading.Barrier(6), threading.Event()

    def leave_open():
        with transaction.atomic(using=concurrent):
            append(concurrent)
            opened.wait(PATIENCE)
            assert go.wait(PATIENCE)

    threads = []
    for _ in range(5):
        threads.append(Thread(leave_open))
        for _ in range(40):
            append(concurrent)
    opened.wait(PATIENCE)
    try:
        assert len(Thread(settle, concurrent).join()) == 200
    finally:
        go.set()
    for thread in threads:
        thread.join()
    assert len(settle(concurrent)) == 5


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
def test_settle_works_whatever_isolation_the_project_uses(concurrent, level):
    def work():
        connection = connections[concurrent]
        with connection.cursor() as cursor:
            if kind(concurrent) == "postgresql":
                cursor.execute(f"SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL {level}")
            else:
                cursor.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
                connection.isolation_level = level
        append(concurrent)
        return settle(concurrent)

    threads = [Thread(work) for _ in range(8)]
    found = [event.number for thread in threads for event in thread.join()] + [
        event.number for event in settle(concurrent)
    ]
    assert sorted(found) == list(range(1, 9))


def test_concurrent_settles_give_each_event_one_position(concurrent):
    def work():
        found = []
        for _ in range(20):
            append(concurrent, "a", "b")
            found += settle(concurrent)
        return found

    threads = [Thread(work) for _ in range(6)]
    found = [event for thread in threads for event in thread.join()] + settle(concurrent)
    assert sorted(event.number for event in found) == list(range(1, 121))
    assert sorted(found) == list(events_of(concurrent))


def test_concurrent_prunes_do_not_hold_each_other_up(concurrent):
    append(concurrent)
    settle(concurrent)
    log.prune(concurrent, timezone.now() - timedelta(days=1))
    held, go = threading.Event(), threading.Event()

    def hold():
        with transaction.atomic(using=concurrent):
            LogFloor.objects.using(concurrent).select_for_update().get()
            held.set()
            assert go.wait(PATIENCE)

    thread = Thread(hold)
    assert held.wait(PATIENCE)
    assert log.prune(concurrent, timezone.now() + timedelta(days=1)) == 0
    go.set()
    thread.join()
    assert log.prune(concurrent, timezone.now() + timedelta(days=1)) == 1


def test_settle_gives_the_callers_session_back_as_it_was(concurrent):
    if kind(concurrent) == "postgresql":
        names, change, value = ("statement_timeout", "idle_in_transaction_session_timeout"), "SET {} = '77s'", "77s"
        show = "SHOW {}"
    else:
        names, change, value = ("wait_timeout", "max_statement_time"), "SET SESSION {} = 77", 77
        show = "SELECT @@SESSION.{}"

    def limits():
        found = []
        with connections[concurrent].cursor() as cursor:
            for name in names:
                cursor.execute(show.format(name))
                found += cursor.fetchone()
        return found

    def work(fail=None):
        with connections[concurrent].cursor() as cursor:
            for name in names:
                cursor.execute(change.format(name))
        append(concurrent)
        assert len(settle(concurrent)) == 1
        log.prune(concurrent, timezone.now())
        found = limits()
        with pytest.raises(IntegrityError), log.dialect(concurrent).transaction():
            assert limits() != found
            raise IntegrityError
        return [found, limits()]

    assert Thread(work).join() == [[value, value]] * 2


def test_the_lock_is_taken_from_a_process_that_falls_silent_while_it_holds_it(concurrent, monkeypatch):
    monkeypatch.setattr(base, "TIME_LIMIT_MS", 1000)
    append(concurrent)
    log.state(concurrent)
    held, go = threading.Event(), threading.Event()
    plain = base.Dialect.plan

    def fall_silent(*args):
        if threading.current_thread() is not threading.main_thread():
            held.set()
            assert go.wait(PATIENCE)
        return plain(*args)

    monkeypatch.setattr(base.Dialect, "plan", fall_silent)
    thread = Thread(settle, concurrent)
    assert held.wait(PATIENCE)
    assert settle(concurrent) == []
    end = time.monotonic() + 20
    while not (found := settle(concurrent)):
        assert time.monotonic() < end, "the lock is never freed"
        time.sleep(0.1)
    assert [event.number for event in found] == [1]
    go.set()
    with pytest.raises(DatabaseError):
        thread.join()
    append(concurrent)
    assert [event.number for event in settle(concurrent)] == [2]


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "sqlite"])
def test_on_sqlite_nothing_fails_for_a_lock_where_transactions_begin_without_one(using):
    def work():
        connections[using].ensure_connection()
        connections[using].transaction_mode = None  # what Django does where OPTIONS says nothing
        for _ in range(25):
            append(using)
            settle(using)
            log.prune(using, timezone.now() - timedelta(days=7))
            LogFloor.objects.using(using).all().delete()
            LogHead.objects.using(using).all().delete()

    for thread in [Thread(work) for _ in range(4)]:
        thread.join(60)
    settle(using)
    assert [event.number for event in events_of(using)] == list(range(1, 101))


def test_prune_never_parts_what_one_send_made(using):
    append(using, "a", "b", "c")
    append(using, "a")
    settle(using)
    later = timezone.now() + timedelta(hours=1)
    Event.objects.using(using).update(created=timezone.now() - timedelta(days=9))
    assert log.prune(using, later - timedelta(hours=2), batch=1) == 3
    assert log.state(using).floor == 1
    assert [event.number for event in events_of(using)] == [2]


# A send outside of any transaction, which PostgreSQL settles as it appends


def send(using, *groups, data="1", key=None):
    """Return the events that have their positions at once."""
    batch = log.append_settled(log.Content(groups or ("a",), "t", data), key, using).batch
    return list(batch.events) if batch else []


def test_what_is_sent_alone_is_settled_or_waits(using):
    found = [*send(using, "a", "b", data="1"), *send(using, "c", data="2"), *send(using, key="k"), *settle(using)]
    assert tuple(found) == events_of(using)
    assert [(event.number, event.groups, event.data) for event in found] == [
        (1, ("a", "b"), "1"),
        (2, ("c",), "2"),
        (3, ("a",), "1"),
    ]


def test_the_rows_of_a_send_have_its_position_each_group_once(using):
    send(using, "a", "b")
    settle(using)
    assert list(Event.objects.using(using).order_by("id").values_list("position", "group")) == [(1, "a"), (1, "b")]
    if kind(using) != "mariadb":  # which would lock the gap that every insert needs
        with pytest.raises(IntegrityError), transaction.atomic(using=using):
            Event.objects.using(using).filter(group="b").update(group="a")


on_postgresql = pytest.mark.parametrize(
    "concurrent", [alias for alias in ALIASES if kind(alias) == "postgresql"], indirect=True, ids=kind
)


@on_postgresql
def test_a_lone_send_takes_one_round_trip(concurrent, announced, django_assert_num_queries):
    log.state(concurrent)
    livepush.send("a", "t", 0, using=concurrent)  # makes the group's row
    with django_assert_num_queries(1, using=concurrent):
        livepush.send("a", "t", 1, using=concurrent)
    assert [event.number for batch in announced for event in batch.events] == [1, 2]


@on_postgresql
def test_a_send_settles_what_came_while_it_held_the_lock(concurrent, announced, monkeypatch):
    """Whoever finds the lock taken leaves, so the last statement of a send looks for what they left."""
    log.state(concurrent)
    monkeypatch.setattr(postgresql, "MOVE_HEAD", f"{postgresql.MOVE_HEAD}, (SELECT pg_advisory_xact_lock(7))::text")
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )

    def holds_the_head():
        cursor.execute(waiting)
        return cursor.fetchone()[0]

    with connections[concurrent].cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7)")
        thread = Thread(lambda: livepush.send("a", "t", "first", using=concurrent))
        wait_until(holds_the_head)
        append(concurrent, data='"second"')
        assert settle(concurrent) == []
        cursor.execute("SELECT pg_advisory_unlock(7)")
    thread.join()
    assert [event.data for event in events_of(concurrent)] == ['"first"', '"second"']
    assert [event.number for batch in announced for event in batch.events] == [1, 2]


@on_postgresql
def test_of_senders_who_find_something_waiting_one_settles(concurrent):
    """Also where each looks at the same time: who is told that another is at it may rely on that."""
    log.state(concurrent)
    append(concurrent)
    barrier = threading.Barrier(8)

    def work():
        connections[concurrent].ensure_connection()
        barrier.wait(PATIENCE)
        return log.append_settled(log.Content(("a",), "t", "1"), None, concurrent).must_settle

    told = [thread.join() for thread in [Thread(work) for _ in range(8)]]
    assert any(told)


@on_postgresql
def test_a_send_that_is_committed_does_not_fail_where_the_look_behind_it_does(concurrent, announced, monkeypatch):
    log.state(concurrent)
    monkeypatch.setattr(postgresql, "LOOK", "SELECT 1 / 0")
    livepush.send("a", "t", 1, using=concurrent)
    monkeypatch.undo()
    assert [event.number for event in events_of(concurrent)] == [1]


@on_postgresql
def test_a_send_that_fails_in_its_script_is_not_taken_for_the_one_before(concurrent, monkeypatch):
    log.state(concurrent)
    send(concurrent)
    monkeypatch.setattr(postgresql, "BEGIN", "SELECT 1 / 0")
    with pytest.raises(DatabaseError):
        send(concurrent)
    assert Event.objects.using(concurrent).count() == 1


@on_postgresql
def test_a_send_does_not_overtake_what_waits(concurrent):
    append(concurrent, data='"before"')
    assert send(concurrent, data='"behind"') == []
    assert [event.data for event in settle(concurrent)] == ['"before"', '"behind"']


@on_postgresql
def test_a_send_waits_where_the_lock_is_taken(concurrent):
    log.state(concurrent)
    with lock_held(concurrent):
        assert send(concurrent) == []
    assert [event.number for event in settle(concurrent)] == [1]


@on_postgresql
def test_a_send_in_a_transaction_is_not_settled_before_its_commit(concurrent):
    with transaction.atomic(using=concurrent):
        assert send(concurrent) == []
        assert log.state(concurrent).position.number == 0
    assert len(settle(concurrent)) == 1


@on_postgresql
def test_an_event_that_cant_be_settled_as_it_is_appended_is_appended(concurrent):
    log.state(concurrent)
    send(concurrent)
    LogHead.objects.using(concurrent).update(position=0)  # as an administrator might, who does not know
    assert send(concurrent) == []
    assert log.state(concurrent).waiting
    assert Event.objects.using(concurrent).count() == 2


@on_postgresql
def test_a_send_on_a_dead_connection_fails_and_writes_nothing(concurrent):
    def work():
        with connections[concurrent].cursor() as cursor, pytest.raises(DatabaseError):
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(DatabaseError):
            send(concurrent)

    Thread(work).join()
    assert not Event.objects.using(concurrent).exists()


@on_postgresql
def test_a_send_where_the_head_is_missing_makes_it(concurrent):
    LogHead.objects.using(concurrent).all().delete()
    assert send(concurrent) == []
    assert [event.number for event in settle(concurrent)] == [1]


@on_postgresql
def test_groups_are_made_again_after_a_flush(concurrent):
    livepush.send("a", "t", using=concurrent)
    for model in (ChannelGroup, Event, LogHead, LogFloor):
        model.objects.using(concurrent).all().delete()
    livepush.send("a", "t", using=concurrent)
    assert [event.number for event in events_of(concurrent)] == [1]
    assert [group.name for group in ChannelGroup.objects.using(concurrent).all()] == ["a"]


@on_postgresql
@pytest.mark.parametrize("options", [{"server_side_binding": True}, {"isolation_level": 3}])
def test_a_send_works_whatever_the_connection_is_like(concurrent, options, monkeypatch):
    def work():
        connection = connections[concurrent]
        monkeypatch.setitem(connection.settings_dict, "OPTIONS", {**connection.settings_dict["OPTIONS"], **options})
        connection.features.__dict__.pop("uses_server_side_binding", None)
        return [*send(concurrent, "a", "b"), *send(concurrent), *settle(concurrent)]

    assert [event.number for event in Thread(work).join()] == [1, 2]


def test_concurrent_sends_get_contiguous_positions_in_the_order_of_sending(concurrent):
    """Alone and in transactions, to one group and to several, with and without keys; whoever sends after another's
    send has returned gets the later position."""
    times, found = {}, []

    def work(writer):
        for n in range(30):
            data, began = f'"{writer} {n}"', time.monotonic()
            groups = ("a", "b", "c") if n % 3 == 0 else ("a",)
            appended = None
            if n % 4 == 3:
                with transaction.atomic(using=concurrent):
                    append(concurrent, *groups, data=data)
            else:
                appended = log.append_settled(log.Content(groups, "t", data), data if n % 5 == 0 else None, concurrent)
            times[data] = began, time.monotonic()
            if appended is not None and appended.batch is not None:
                found.extend(appended.batch.events)
            if appended is None or appended.must_settle:
                found.extend(settle(concurrent))

    for thread in [Thread(work, writer) for writer in range(8)]:
        thread.join(60)
    assert settle(concurrent) == [], "somebody left an event to nobody"
    events = events_of(concurrent)
    assert [event.number for event in events] == list(range(1, 8 * 30 + 1))
    assert sorted(found) == list(events)
    latest = 0.0
    for event in events:
        began, ended = times[event.data]
        assert latest <= ended, "an event lies behind one that was sent after it"
        latest = max(latest, began)
    assert [event.groups for event in events].count(("a", "b", "c")) == 8 * 10


def test_a_page_of_some_groups_is_in_order_and_bounded(using):
    for n in range(30):
        append(using, "abc"[n % 3], data=str(n))
    settle(using)
    page = log.read(using, ["a", "c", "nobody"], 3, 29, limit=4)
    assert [event.number for event in page.events] == [4, 6, 7, 9]
    assert page.upto == 9
    assert [event.number for event in log.read(using, ["b", "a"], 25, 28).events] == [26, 28]
