"""What a process holds in memory, and what it leaves in tables, has a bound in bytes."""

from __future__ import annotations

import asyncio
import gc
import random
import re
import tracemalloc
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings
from django.utils import timezone

import livepush
from livepush import log, notes, wire
from livepush.hints import outbox, sender
from livepush.hub import Hub, Options
from livepush.hub.fanout import Encoder
from livepush.hub.window import Window
from livepush.log import groups, planning
from livepush.models import ChannelGroup, Event
from livepush.process import hubs
from livepush.process.database_log import DatabaseLog
from livepush.wire import Batch, Format, Position, requests, system
from livepush.wire import Event as WireEvent
from tests.conftest import append, kind, settle
from tests.patience import PATIENCE
from tests.scale import some
from tests.test_hub import OPTIONS

MIB = 1_048_576


@contextmanager
def growth():
    """Yield an object whose ``bytes`` are what Python holds more at the end than at the beginning."""
    found = SimpleNamespace(bytes=None)
    gc.collect()
    tracemalloc.start()
    try:
        yield found
        gc.collect()
        found.bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


def event(number, groups, data):
    """Return an event that shares no text with others, as those from a database."""
    return WireEvent(number, groups, f"type-{number}", data, f"2026-01-31T12:00:00.{number:06}Z")


SHAPES = {
    "small": lambda n: event(n, ("board",), str(n)),
    "of a group each": lambda n: event(n, (f"order:{n}",), f'{{"number":{n}}}'),
    "of a long name each": lambda n: event(n, (f"{n:0190}",), str(n)),
    "of many groups": lambda n: event(n, tuple(f"order:{n}:{place}" for place in range(50)), str(n)),
    "large": lambda n: event(n, ("board",), f'"{"x" * 10_000}{n}"'),
    "of emoji": lambda n: event(n, ("board",), f'"{"😀" * 1000}{n}"'),
}


@pytest.mark.parametrize("shape", some(list(SHAPES)))
def test_a_window_holds_no_more_bytes_than_it_may(shape):
    with growth() as found:
        window = Window(1_000_000, MIB)
        for number in count(1):
            window.extend([SHAPES[shape](number)])
            if window.full and number > 20:
                break
    assert 0.2 * MIB < found.bytes < 1.2 * MIB


@pytest.mark.parametrize("shape", SHAPES)
def test_a_page_has_no_more_bytes_on_its_way_to_a_client_than_it_may(shape):
    sent = [SHAPES[shape](number) for number in range(1, 501)]
    window = Window(len(sent), 100 * MIB)
    window.extend(sent)
    found, is_cut = window.after({group: None for each in sent for group in each.groups}, 0, 50_000)
    *sizes, _ = (len(wire.envelope(each, "epoch").encode()) for each in found)
    assert is_cut
    assert 20_000 < sum(sizes) < 60_000


@pytest.mark.parametrize("shape", some(list(SHAPES)))
def test_encoded_events_for_replays_hold_no_more_bytes_than_they_may(shape):
    with growth() as found:
        encoder = Encoder(MIB)
        for number in range(1, 3000):
            encoder.encode(SHAPES[shape](number), "epoch", Format.SSE_ENVELOPE)
    assert found.bytes < 1.2 * MIB


def test_an_encoded_event_that_is_larger_than_the_cache_is_not_kept():
    encoder = Encoder(1000)
    encoder.encode(event(1, ("a",), "1"), "epoch", Format.TEXT)
    encoder.encode(event(2, ("a",), f'"{"x" * 1000}"'), "epoch", Format.TEXT)
    assert len(encoder.texts) == 1


@pytest.mark.long
def test_what_waits_for_the_layer_counts_the_names_of_its_groups(monkeypatch):
    monkeypatch.setattr(sender.threading, "Thread", lambda **options: SimpleNamespace(start=lambda: None))
    waiting = sender.Sender()  # which sends nothing meanwhile
    with growth() as found:
        for number in range(1, 1000):
            names = tuple(f"order:{number}:{place}" for place in range(1000))
            waiting.put(Batch("e", (event(number, names, "1"),)))
    waiting.loop.close()
    assert waiting.size <= outbox.MAX_WAITING_BYTES
    assert found.bytes < 1.2 * outbox.MAX_WAITING_BYTES


@pytest.mark.long
def test_parsed_queries_hold_no_more_bytes_than_they_may():
    with growth() as found:
        for number in range(300):
            query = "&".join(f"group={number}:{place:0100}" for place in range(200)).encode()
            assert len(wire.parse_query(query, max_groups=1000).groups) == 200
            wire.parse_query(f"group=small:{number}".encode(), max_groups=1000)
    assert found.bytes < 1.5 * requests.CACHE_BYTES


@pytest.mark.long
def test_hellos_hold_no_more_bytes_than_they_may():
    with growth() as found:
        for number in range(300):
            names = tuple(f"{number}:{place:0100}" for place in range(200))
            for some in (names, names[:1]):
                wire.hello(Position("e", number), Format.SSE, heartbeat=15, retry=2000, groups=some, refused=())
    assert found.bytes < 1.5 * system.CACHE_BYTES


def test_a_query_that_is_asked_again_is_not_parsed_again():
    first = wire.parse_query(b"group=again", max_groups=100)
    assert wire.parse_query(b"group=again", max_groups=100).groups is first.groups


def test_the_names_of_groups_that_a_process_remembers_are_bounded(using, monkeypatch):
    monkeypatch.setattr(groups, "MAX_REMEMBERED_BYTES", 20_000)
    known = groups._known.setdefault(using, groups._Known())
    known.forget()
    for number in range(5):
        livepush.send([f"g:{number}:{place}" for place in range(90)], "t", using=using)
        assert known.size <= 20_000
    assert ChannelGroup.objects.using(using).count() == 450


def test_rows_of_groups_that_have_no_events_are_deleted_whoever_left_them(using, monkeypatch):
    monkeypatch.setattr(groups, "SWEPT_AT_ONCE", 3)
    for kept in ("kept:1", "kept:2"):
        livepush.send(kept, "t", using=using)
        ChannelGroup.objects.using(using).bulk_create([ChannelGroup(name=f"{kept}:left:{n}") for n in range(5)])
    (delete,) = [job for job in log.jobs if job is groups.delete_forgotten]
    assert sum(delete(using) for _ in range(10)) == 10
    assert sorted(ChannelGroup.objects.using(using).values_list("name", flat=True)) == ["kept:1", "kept:2"]
    assert delete(using) == 0


def test_the_command_deletes_rows_of_groups_that_have_no_events(using, monkeypatch):
    monkeypatch.setattr(groups, "SWEPT_AT_ONCE", 3)
    livepush.send("kept", "t", using=using)
    ChannelGroup.objects.using(using).bulk_create([ChannelGroup(name=f"left:{n}") for n in range(10)])
    call_command("livepush_prune", database=using, verbosity=0)
    assert list(ChannelGroup.objects.using(using).values_list("name", flat=True)) == ["kept"]


class InPlace:
    """Stands in for a hub's threads."""

    async def run(self, work):
        return await sync_to_async(work)()

    async def stop(self):
        pass


@pytest.mark.django_db(transaction=True)
def test_a_job_that_fails_keeps_no_other_from_pruning(monkeypatch, caplog):
    def fails(said):
        def job(using):
            ran.append(said)
            raise RuntimeError(said)

        return job

    ran = []
    monkeypatch.setattr(log, "prune", lambda using, before: ran.append("log") or 1)
    works = [lambda using: ran.append("first") or 1, fails("one"), fails("two"), lambda using: ran.append("last") or 1]
    monkeypatch.setattr(log, "jobs", works)
    assert async_to_sync(DatabaseLog("default", 60.0, InPlace()).prune)() == 3
    assert ran == ["log", "first", "one", "two", "last"]
    ran.clear()
    monkeypatch.setattr(log, "prune", lambda using, before: fails("log")(using))
    assert async_to_sync(DatabaseLog("default", 60.0, InPlace()).prune)() == 2
    assert ran == ["log", "first", "one", "two", "last"]
    assert "(1 times; the last: RuntimeError: one)" in caplog.text
    assert "(1 times; the last: RuntimeError: log)" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_a_job_that_fails_leaves_no_backlog_of_the_others(monkeypatch, caplog):
    def fails(using):
        failed.append(using)
        raise RuntimeError("no such table")

    failed, left, waits = [], [1, 1, 1], iter([0.001])
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def prune(using, before):
        if not left:
            loop.call_soon_threadsafe(done.set)
        return left.pop() if left else 0

    monkeypatch.setattr(log, "prune", prune)
    monkeypatch.setattr(log, "jobs", [fails])
    monkeypatch.setattr(random, "uniform", lambda least, most: next(waits, 1e6))  # one round
    hub = Hub(DatabaseLog("default", 60.0, InPlace()), None, Options(**{**OPTIONS, "prune_interval": 1.0}))
    try:
        await hub.ready
        await asyncio.wait_for(done.wait(), PATIENCE)
    finally:
        await hub.stop()
    assert left == []
    assert failed == ["default"]  # it may have held up the hub, and rests until the next round
    assert [record.getMessage() for record in caplog.records if "prune" in record.getMessage()] == [
        "Could not prune the log (1 times; the last: RuntimeError: no such table); trying again later."
    ]


def test_a_key_is_looked_for_only_in_the_groups_that_wait(using, monkeypatch):
    append(using, *(f"g:{number}" for number in range(2000)), key="k")
    settle(using)
    found, plan = [], planning.plan
    monkeypatch.setattr(planning, "plan", lambda *given: found.append(given[-1]) or plan(*given))
    for group in ("new", "g:5"):
        append(using, group, key="k")
        append(using, group)
    assert [event.groups for event in settle(using)] == [("new",), ("new",), ("g:5",)]
    assert found == [{("g:5", "k")}]


def test_keys_are_looked_for_in_the_index_on_key_and_group_however_many_events_have_none(using):
    shared = {"type": "t", "data": "1", "created": timezone.now()}
    keyed = [Event(position=1, group=f"g:{number}", key="k", **shared) for number in range(300)]
    others = [Event(position=number, group="g:5", **shared) for number in range(2, 1500)]
    waiting = [Event(group=group, key="k", **shared) for group in ("g:5", "g:6", "new")]
    Event.objects.using(using).bulk_create([*keyed, *others, *waiting])
    ids = list(Event.objects.using(using).filter(position=None).order_by("id").values_list("id", flat=True))
    begin = "EXPLAIN QUERY PLAN" if kind(using) == "sqlite" else "EXPLAIN"
    with connections[using].cursor() as cursor:
        for statistics in ("SELECT 1", "ANALYZE TABLE livepush_event" if kind(using) == "mariadb" else "ANALYZE"):
            cursor.execute(statistics)
            for some in (ids[:1], ids):
                cursor.execute(f"{begin} {log.dialect(using).keys_seen_sql(some)}")
                plan = str(cursor.fetchall())
                assert "livepush_key" in plan
                assert not re.search(r"livepush_group_position|livepush_position|SCAN|Seq Scan|'ALL'", plan), plan


@pytest.mark.long
def test_sends_to_different_numbers_of_groups_leave_nothing_in_memory(using):
    """Such as a text of SQL for each number."""
    names = [f"g:{number}" for number in range(800)]
    livepush.send(names, "t", using=using)
    with growth() as found:
        for width in range(20, 800, 20):
            livepush.send(names[:width], "t", using=using)
        connections[using].close()  # SQLite's driver keeps the last 128 statements of a connection
    assert found.bytes < 200_000


@pytest.mark.django_db(transaction=True)
async def test_a_hubs_thread_keeps_no_queries_in_debug_mode():
    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        return len(connection.queries_log)

    with override_settings(DEBUG=True):
        assert await hubs.in_thread(query) == await hubs.in_thread(query)
    await hubs.stop()


def test_what_happens_often_is_logged_once_in_a_while_with_its_number(monkeypatch):
    rarely, now = notes.Rarely(60), SimpleNamespace(monotonic=lambda: now.time, time=1000.0)
    monkeypatch.setattr(notes, "time", now)
    assert [rarely.times() for _ in range(3)] == [1, 0, 0]
    now.time += 60
    assert [rarely.times() for _ in range(3)] == [3, 0, 0]
