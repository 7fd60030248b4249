"""Checks the database: whether it answers, how long a round trip takes, and whether a sent event gets settled."""

from __future__ import annotations

import secrets
import statistics
import time

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.models import Count, Min

from livepush import log, publish
from livepush.doctor import clock
from livepush.doctor.check import Check, describe_error
from livepush.doctor.clock import row_of
from livepush.doctor.problems import Problem
from livepush.doctor.protocol import GROUP
from livepush.doctor.units import duration, milliseconds
from livepush.models import ChannelGroup, Event, LogFloor, LogHead
from livepush.wire import Position

ROUND_TRIPS = 20
"""The number of round trips that the median is taken from."""
FAR = 0.020
"""A longer round trip to the database (seconds) is a warning."""
LONG_TRANSACTION = 600.0
"""A transaction that is open for longer (seconds) keeps the database from clearing away old versions of rows."""
TRANSACTIONS = {
    "postgresql": "SELECT pid, usename, extract(epoch FROM clock_timestamp() - xact_start) FROM pg_stat_activity"
    " WHERE (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND datname = current_database()"
    " AND pid <> pg_backend_pid() AND backend_type = 'client backend' ORDER BY xact_start LIMIT 1",
    "mysql": "SELECT t.trx_mysql_thread_id, p.user, TIMESTAMPDIFF(SECOND, t.trx_started,"
    " CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', 'SYSTEM')) FROM information_schema.innodb_trx t"
    " JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id"
    " WHERE t.trx_mysql_thread_id <> CONNECTION_ID() ORDER BY t.trx_started LIMIT 1",
}
"""The session whose transaction is the oldest, its user, and the transaction's age (seconds), on each database."""
SEES_OTHERS = {"postgresql": "SELECT pg_has_role('pg_read_all_stats', 'USAGE')"}
"""Whether this user sees the transactions of others.

If not, PostgreSQL hides their times and kinds without an error, and MySQL and MariaDB refuse the query.
"""
LONG_WAIT = 60.0
"""If committed events have waited for longer (seconds), no process settles them."""


def check_database(check: Check, using: str, patience: float) -> None:
    """Check that the database answers, and that an event that is sent gets its position."""
    connection = connections[using]
    check.late = Problem.DATABASE_SILENT
    try:
        trip = _round_trip(connection)
    except (DatabaseError, InterfaceError) as error:
        check.find(Problem.DATABASE_SILENT, describe_error(error))
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
    _check_transactions(check, connection)
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
    """Note the kind and version of the database, and check for their known problems."""
    version = ".".join(map(str, connection.get_database_version()))
    name = "MariaDB" if getattr(connection, "mysql_is_mariadb", False) else connection.display_name
    check.say(f"{name} {version}", database=name, version=version)
    if connection.vendor == "sqlite":
        _check_sqlite(check, connection)
    elif not connection.features.has_select_for_update_skip_locked:
        check.find(Problem.NO_SKIP_LOCKED, f"{name} {version}")


def _check_sqlite(check: Check, connection: BaseDatabaseWrapper) -> None:
    (journal,) = row_of(connection, "PRAGMA journal_mode") or ("",)
    mode = str(connection.settings_dict["OPTIONS"].get("transaction_mode") or "DEFERRED").upper()
    if (str(journal).lower(), mode) != ("wal", "IMMEDIATE"):
        check.find(Problem.SQLITE_OPTIONS, f"journal_mode {str(journal).upper()} and transaction_mode {mode}")


def _not_migrated(connection: BaseDatabaseWrapper) -> str:
    """Return which migrations or tables are missing, ``""`` if none are."""
    loader = MigrationLoader(connection)
    applied = loader.applied_migrations or {}
    missing = sorted(name for app, name in loader.graph.nodes if app == "livepush" and (app, name) not in applied)
    if missing:
        return f"not applied: {', '.join(missing)}"
    models = (Event, ChannelGroup, LogHead, LogFloor)
    absent = {model._meta.db_table for model in models} - set(connection.introspection.table_names())
    return f"no table {', '.join(sorted(absent))}" if absent else ""


def _check_waiting(check: Check, using: str) -> None:
    """Count the committed events that have no position yet, and note the age of the oldest."""
    waiting = Event.objects.using(using).filter(position=None).aggregate(count=Count("id"), oldest=Min("created"))
    count, oldest = waiting["count"], waiting["oldest"]
    age = max(0.0, clock.now() - oldest.timestamp()) if oldest else 0.0
    said = f"{count} events wait for their positions" + (f", the oldest for {duration(age)}" if count else "")
    check.say(said, waiting=count, oldest_waiting_s=round(age, 3))
    if age > LONG_WAIT:
        check.find(Problem.WAITING, f"{count} events, the oldest for {duration(age)}")


def _check_transactions(check: Check, connection: BaseDatabaseWrapper) -> None:
    """Look for a transaction that stays open, as that of a dump or of a forgotten session."""
    sql, rights = TRANSACTIONS.get(connection.vendor), SEES_OTHERS.get(connection.vendor)
    if sql is None:
        return
    try:
        oldest = row_of(connection, sql)
        sees_others = rights is None or row_of(connection, rights) == (True,)
    except DatabaseError:  # on MySQL and MariaDB it takes the privilege PROCESS
        check.say("long transactions can't be seen by this user")
        return
    if not sees_others:
        check.say("long transactions of other users can't be seen by this user: grant it pg_read_all_stats")
    if oldest is None:
        return
    session, user, age = oldest
    if age is not None and age >= LONG_TRANSACTION:
        check.find(Problem.LONG_TRANSACTION, f"session {session} of {user}, for {duration(float(age))}")


def _check_settle(check: Check, using: str, patience: float) -> None:
    """Send an event, commit it, and wait until it is settled. The log keeps it as long as any other event."""
    key = f"doctor:{secrets.token_hex(8)}"
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
        check.find(Problem.NOT_SETTLED, describe_error(error))
        return
    took = time.perf_counter() - start
    check.say(f"writes and settles in {milliseconds(took)}", settle_ms=round(took * 1000, 3))


def position(using: str) -> Position:
    """Return the log's last position."""
    return log.state(using).position
