"""What the log needs of each database, however they differ: transactions with time limits, and one clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import Error, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.functions import Now
from django.utils import timezone

from livepush.log.dialects import postgresql
from livepush.models import LogHead

TIME_LIMIT_MS = 10_000
"""How long the database lets one of settle's statements take, and settle's process be silent under the lock."""


@contextmanager
def own_transaction(using: str, durable: bool = False) -> Iterator[BaseDatabaseWrapper]:
    """Open a READ COMMITTED transaction with time limits, whatever the project's defaults are.

    SKIP LOCKED and ON CONFLICT raise serialization errors in PostgreSQL's REPEATABLE READ, and MariaDB's blocks
    inserts. The limits let the server take the lock from a process that was stopped while it held it. SQLite has no
    such limit: until the process goes on or ends, writers fail with "database is locked". Inside a transaction of
    the caller's, which only a ``TestCase`` has here, it is a savepoint.
    """
    connection = connections[using]
    own = not connection.in_atomic_block
    with _session_limits(connection, own), transaction.atomic(using=using, durable=durable):
        if own:
            _set_up_transaction(connection)
        yield connection


def _set_up_transaction(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(
                "; ".join(["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", *postgresql.limits(TIME_LIMIT_MS)])
            )
    elif connection.vendor == "mysql" and getattr(connection, "isolation_level", None) != "read committed":
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
    elif connection.vendor == "sqlite":
        # A transaction that reads first and writes later fails at once where another has written in between.
        LogHead.objects.using(connection.alias).filter(pk=0).update(position=0)


@contextmanager
def _session_limits(connection: BaseDatabaseWrapper, own: bool) -> Iterator[None]:
    """Limit a session on MariaDB and MySQL, which know no limits for one transaction; put the caller's back.

    MySQL limits silence alone; MariaDB limits statements too.
    """
    if connection.vendor != "mysql" or not own:
        yield
        return
    limits = {"wait_timeout": max(1, TIME_LIMIT_MS // 1000)}
    if getattr(connection, "mysql_is_mariadb", False):
        limits["max_statement_time"] = limits["wait_timeout"]
    with connection.cursor() as cursor:
        saved = [f"@livepush_{name} = @@SESSION.{name}" for name in limits]
        cursor.execute("SET " + ", ".join(saved + [f"SESSION {name} = {limit}" for name, limit in limits.items()]))
    try:
        yield
    finally:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET " + ", ".join(f"SESSION {name} = @livepush_{name}" for name in limits))
        except Error:
            connection.close()  # it is dead, or would keep the limits


class _DatabaseTime(Now):
    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # What Now() takes is in the session's time zone, which Django leaves as it is and does not store in.
        zone = connection.timezone or timezone.get_default_timezone()
        offset = datetime.now(zone).utcoffset() or timedelta()
        template = f"UTC_TIMESTAMP(6) + INTERVAL {int(offset.total_seconds())} SECOND"
        return self.as_sql(compiler, connection, template=template, **context)


def time_of_sending(connection: BaseDatabaseWrapper) -> datetime | Now:
    """Return the time by the one clock that all hosts share; SQLite has none but its host's."""
    return timezone.now() if connection.vendor == "sqlite" else _DatabaseTime()


def ahead_of_database(connection: BaseDatabaseWrapper, now: datetime) -> timedelta:
    """Return how far this host's clock is ahead of the database's; zero where it is behind, or the same."""
    clocks = {
        "postgresql": "SELECT EXTRACT(EPOCH FROM clock_timestamp())",
        "mysql": "SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1000000",
    }
    if connection.vendor not in clocks:
        return timedelta()
    with connection.cursor() as cursor:
        cursor.execute(clocks[connection.vendor])
        ((seconds,),) = cursor.fetchall()
    return timedelta(seconds=max(0.0, now.timestamp() - float(seconds)))
