"""The host's side: settings, database, layer, retention and clock, as this command's process sees them."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from django.core import checks
from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.models import Count, Min

from livepush import hints as channel_layer
from livepush import log, publish
from livepush.conf import get_settings
from livepush.doctor.protocol import GROUP
from livepush.doctor.report import Check, Finding, Level, Problem, describe
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.wire import Position

ROUND_TRIPS = 20
BURST = 500
FAR = 0.020
"""A longer round trip to the database (seconds) is worth a word."""
LONG_WAIT = 60.0
"""Committed events that have waited for longer (seconds) are nobody's."""
QUIET = 1.0
"""A burst is over when nothing came for so long (seconds)."""
PRUNE_SLACK = 3600.0
"""How much longer than their retention (seconds) events may be there: hubs prune now and then."""
CLOCK_OFF, CLOCK_WRONG = 5.0, 60.0


def now() -> float:
    """Return this host's time in seconds since 1970."""
    return time.time()


def check_settings(check: Check) -> None:
    """What ``manage.py check`` says of livepush."""
    for message in checks.run_checks(tags=["livepush"]):
        level = Level.ERROR if message.level >= checks.ERROR else Level.WARNING
        finding = Finding(message.id or "", level, str(message.msg), "", "", str(message.hint or ""))
        check.findings.append(finding)
    if not check.has_errors:
        settings = get_settings()
        check.say(
            f"retention {duration(settings.RETENTION)}, heartbeat {settings.HEARTBEAT:g} s", database=settings.DATABASE
        )


# Database


def check_database(check: Check, using: str, patience: float) -> None:
    """Reach the database, and see one event through to its position."""
    connection = connections[using]
    check.late = Problem.DATABASE_SILENT
    try:
        trip = _round_trip(connection)
    except (DatabaseError, InterfaceError) as error:
        check.find(Problem.DATABASE_SILENT, describe(error))
        return
    check.say(f"round trip {milliseconds(trip)} (median of {ROUND_TRIPS})", round_trip_ms=round(trip * 1000, 3))
    if trip > FAR:
        check.find(Problem.SLOW_DATABASE, f"a round trip of {milliseconds(trip)}")
    _check_kind(check, connection)
    check.late = None
    absent = _not_migrated(connection)
    if absent:
        check.find(Problem.NOT_MIGRATED, absent)
        return
    _check_waiting(check, using)
    check.late = Problem.NOT_SETTLED
    _check_settle(check, using, patience)
    check.late = None


def _round_trip(connection: BaseDatabaseWrapper) -> float:
    times = []
    with connection.cursor() as cursor:
        for _ in range(ROUND_TRIPS):
            start = time.perf_counter()
            cursor.execute("SELECT 1")
            cursor.fetchone()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def _check_kind(check: Check, connection: BaseDatabaseWrapper) -> None:
    """What is known of this kind of database and its version."""
    version = ".".join(map(str, connection.get_database_version()))
    name = "MariaDB" if getattr(connection, "mysql_is_mariadb", False) else connection.display_name
    check.say(f"{name} {version}", database=name, version=version)
    if connection.vendor == "sqlite":
        _check_sqlite(check, connection)
    elif not connection.features.has_select_for_update_skip_locked:
        check.find(Problem.NO_SKIP_LOCKED, f"{name} {version}")


def _check_sqlite(check: Check, connection: BaseDatabaseWrapper) -> None:
    (journal,) = _row(connection, "PRAGMA journal_mode") or ("",)
    mode = str(connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED").upper()
    if (str(journal).lower(), mode) != ("wal", "IMMEDIATE"):
        check.find(Problem.SQLITE_OPTIONS, f"journal_mode {str(journal).upper()} and transaction_mode {mode}")


def _not_migrated(connection: BaseDatabaseWrapper) -> str:
    """Return what of the tables is missing."""
    loader = MigrationLoader(connection)
    applied = loader.applied_migrations or {}
    missing = sorted(name for app, name in loader.graph.nodes if app == "livepush" and (app, name) not in applied)
    if missing:
        return f"not applied: {', '.join(missing)}"
    models = (Event, ChannelGroup, LogHead, LogFloor)
    absent = {model._meta.db_table for model in models} - set(connection.introspection.table_names())
    return f"no table {', '.join(sorted(absent))}" if absent else ""


def _check_waiting(check: Check, using: str) -> None:
    """The committed events that have no position yet."""
    waiting = Event.objects.using(using).filter(position=None).aggregate(count=Count("id"), oldest=Min("created"))
    count, oldest = waiting["count"], waiting["oldest"]
    age = max(0.0, now() - oldest.timestamp()) if oldest else 0.0
    said = f"{count} events wait for their positions" + (f", the oldest for {duration(age)}" if count else "")
    check.say(said, waiting=count, oldest_waiting_s=round(age, 3))
    if age > LONG_WAIT:
        check.find(Problem.WAITING, f"{count} events, the oldest for {duration(age)}")


def _check_settle(check: Check, using: str, patience: float) -> None:
    """Send an event in a transaction that is committed; see it settled. It stays in the log as long as any."""
    key = f"{GROUP}:{secrets.token_hex(8)}"
    start = time.perf_counter()
    try:
        with transaction.atomic(using=using):
            publish.send(GROUP, "probe", key=key, using=using)
        end = start + patience
        while not Event.objects.using(using).filter(key=key, position__isnull=False).exists():
            if time.perf_counter() > end:
                check.find(Problem.NOT_SETTLED, f"an event sent to {GROUP} waits after {patience:g} s")
                return
            time.sleep(0.02)
            publish.deliver(using)
    except DatabaseError as error:
        check.find(Problem.NOT_SETTLED, describe(error))
        return
    took = time.perf_counter() - start
    check.say(f"writes and settles in {milliseconds(took)}", settle_ms=round(took * 1000, 3))


def position(using: str) -> Position:
    """Return where the log stands."""
    return log.state(using).position


# Layer


def check_layer(check: Check, limit: float) -> None:
    """Send through the layer and hear it again, one by one and in a burst."""
    layer = channel_layer.configured()
    if layer is None:
        seconds = get_settings().TAIL_INTERVAL
        check.say(f"none that reaches other processes: their events arrive within {seconds:g} s", layer=None)
        return
    check.late = Problem.LAYER_SILENT
    name = type(layer).__name__
    check.say(name, layer=name)
    try:
        asyncio.run(_send_and_hear(check, layer, limit))
    except Exception as error:
        why = f"nothing came within {limit:g} s" if isinstance(error, TimeoutError) else describe(error)
        check.find(Problem.LAYER_SILENT, why)
    check.late = None


async def _send_and_hear(check: Check, layer: Any, limit: float) -> None:
    async with asyncio.timeout(limit):
        trip = await _layer_round_trip(layer)
        check.say(f"round trip {milliseconds(trip)}", round_trip_ms=round(trip * 1000, 3))
        came, took = await _burst(layer)
    check.say(f"of a burst of {BURST} {came} came back in {milliseconds(took)}", burst=BURST, burst_came=came)
    if came < BURST:
        check.find(Problem.LAYER_DROPS, f"{BURST - came} of {BURST} messages were lost")


async def _layer_round_trip(layer: Any) -> float:
    """Return the median of some round trips, each to two channels."""
    group, channels = await _join(layer)
    times = []
    async with _ears(layer, channels) as heard:
        for _ in range(ROUND_TRIPS):
            start = time.perf_counter()
            await layer.group_send(group, {"type": "livepush.doctor"})
            for _ in channels:
                await heard.get()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


async def _burst(layer: Any) -> tuple[int, float]:
    """Send while nobody listens, as to a process that is busy; return how many came to every channel, and how soon."""
    group, channels = await _join(layer)
    start = last = time.perf_counter()
    for number in range(BURST):
        await layer.group_send(group, {"type": "livepush.doctor", "number": number, "text": "x" * 200})
    heard = dict.fromkeys(channels, 0)
    async with _ears(layer, channels) as queue:
        with suppress(TimeoutError):
            while min(heard.values()) < BURST:
                async with asyncio.timeout(QUIET):
                    heard[await queue.get()] += 1
                last = time.perf_counter()
    return min(heard.values()), last - start


async def _join(layer: Any) -> tuple[str, list[str]]:
    """Return a group of this run's own and two channels in it."""
    group = f"livepush.doctor.{secrets.token_hex(8)}"
    channels = [await layer.new_channel() for _ in range(2)]
    for channel in channels:
        await layer.group_add(group, channel)
    return group, channels


@asynccontextmanager
async def _ears(layer: Any, channels: Sequence[str]) -> AsyncIterator[asyncio.Queue[str]]:
    """Listen to channels; the queue gets a channel's name for each of its messages.

    One task a channel and no timeout around its receive, which would end the channel's membership.
    """
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(channel: str) -> None:
        while True:
            await layer.receive(channel)
            heard.put_nowait(channel)

    tasks = [asyncio.create_task(listen(channel)) for channel in channels]
    try:
        yield heard
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# Retention


def check_retention(check: Check, using: str) -> None:
    """See whether the log is pruned, and how large it is."""
    settings = get_settings()
    head, floor, _ = log.state(using)
    count = head.number - floor
    check.say(f"{count} events from {head.epoch}-{floor} to {head}", events=count, position=str(head), floor=floor)
    size = _size(connections[using])
    if size is not None:
        check.say(f"{size / 1_048_576:.1f} MiB", bytes=size)
    _check_oldest(check, using, floor)
    if settings.PRUNE_INTERVAL > settings.RETENTION:
        check.find(
            Problem.PRUNED_RARELY,
            f"PRUNE_INTERVAL {duration(settings.PRUNE_INTERVAL)}, RETENTION {duration(settings.RETENTION)}",
        )


def _check_oldest(check: Check, using: str, floor: int) -> None:
    settings = get_settings()
    rows = Event.objects.using(using).filter(position__gt=floor).order_by("position")
    oldest = rows.values_list("created", flat=True).first()
    if oldest is None:
        return
    age = max(0.0, now() - oldest.timestamp())
    check.say(f"the oldest is {duration(age)} old", oldest_s=round(age, 3))
    if age > settings.RETENTION + max(PRUNE_SLACK, 3 * settings.PRUNE_INTERVAL):
        said = "0, so no hub prunes" if settings.PRUNE_INTERVAL == 0 else duration(settings.PRUNE_INTERVAL)
        check.find(
            Problem.NOT_PRUNED,
            f"an event of {duration(age)}; RETENTION is {duration(settings.RETENTION)}, PRUNE_INTERVAL is {said}",
        )


def _size(connection: BaseDatabaseWrapper) -> int | None:
    """Return the bytes that the events take with their indexes, where the database can say."""
    table = Event._meta.db_table
    if connection.vendor == "postgresql":
        row = _row(connection, "SELECT pg_total_relation_size(%s)", [table])
    elif connection.vendor == "mysql":
        row = _row(
            connection,
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
    else:
        return None
    return int(row[0]) if row and row[0] is not None else None


# Clock


def compare_database_clock(check: Check, using: str) -> None:
    """Compare the database's clock with this host's."""
    connection = connections[using]
    sql = CLOCKS.get(connection.vendor)
    if connection.vendor == "sqlite":
        check.say("SQLite has this host's clock")
    elif sql is None:
        check.skip(f"The database's clock was not compared: {connection.display_name} is not known here.")
    else:
        _row(connection, "SELECT 1")  # connecting takes time
        before = now()
        (there,) = _row(connection, sql) or (before,)
        compare_clocks(check, "the database", float(there) - (before + now()) / 2)


def compare_clocks(check: Check, whose: str, offset: float) -> None:
    """Note how far another clock is ahead of this host's (seconds)."""
    said = f"{whose}'s clock is {abs(offset):.1f} s {'ahead of' if offset > 0 else 'behind'} this host's"
    check.say(said, **{f"{whose.removeprefix('the ')}_ahead_s": round(offset, 3)})
    if abs(offset) > CLOCK_OFF:
        check.find(Problem.CLOCK_WRONG if abs(offset) > CLOCK_WRONG else Problem.CLOCK_OFF, said)


CLOCKS = {
    "postgresql": "SELECT extract(epoch FROM clock_timestamp())",
    "mysql": "SELECT UNIX_TIMESTAMP(SYSDATE(6))",
}


def _row(connection: BaseDatabaseWrapper, sql: str, parameters: list[Any] | None = None) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row


def milliseconds(seconds: float) -> str:
    """Return a time as people read it, e.g. ``0.4 ms``."""
    return f"{seconds * 1000:.3g} ms"


def duration(seconds: float) -> str:
    """Return a span as people read it, e.g. ``7 days``."""
    for name, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
