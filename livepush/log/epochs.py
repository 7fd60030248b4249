"""The log's state: its epoch, its position and its floor."""

from __future__ import annotations

import secrets
import time
from math import inf
from typing import Any

from django.db import connections
from django.db.models import Max, Min
from django.db.models.signals import post_migrate

from livepush.log.counting import uncounted
from livepush.log.dialects import dialect
from livepush.models import Event, LogFloor, LogHead
from livepush.wire import LogState, Position

AGAIN = 1.0
"""After how long (seconds) a database that has no log is asked again: it may be migrated meanwhile."""
_known_until: dict[str, float] = {}
"""By database, until when it is known to have no log (``time.monotonic()``); without end if it has one."""


def exists(using: str) -> bool:
    """Return whether a database has a log's tables. One that has them is asked once."""
    known = _known_until.get(using, 0.0)
    if known < time.monotonic():
        connection = connections[using]
        with uncounted(using), connection.cursor() as cursor:
            is_there = Event._meta.db_table in connection.introspection.table_names(cursor)
        known = _known_until[using] = inf if is_there else time.monotonic() + AGAIN
    return known == inf


def state(using: str) -> LogState:
    """Return the log's state, with one query."""
    with connections[using].cursor() as cursor:
        cursor.execute(dialect(using).state_sql())
        row = cursor.fetchone()
    if row is None:
        make_head(using)
        return state(using)
    return LogState(Position(row[0], row[1]), row[2], bool(row[3]))


def glance(using: str) -> Position | None:
    """Return the log's position; ``None`` if the log has no head yet.

    For a read on behalf of other people's code: it does not count among its queries, and a failure leaves an open
    transaction as it was. Raises the database's error.
    """
    connection: Any = connections[using]
    connection.ensure_connection()
    if connection.needs_rollback:
        return None
    savepoint = None
    if connection.in_atomic_block or not connection.get_autocommit():
        savepoint = connection.ops.quote_name("livepush_glance")
    with connection.make_cursor(connection.create_cursor()) as cursor:  # unlike cursor(), never one that logs
        if savepoint is not None:
            cursor.execute(connection.ops.savepoint_create_sql(savepoint))
        try:
            cursor.execute(dialect(using).state_sql())
            row = cursor.fetchone()
        except BaseException:
            if savepoint is not None:
                cursor.execute(connection.ops.savepoint_rollback_sql(savepoint))
            raise
        if savepoint is not None:
            cursor.execute(connection.ops.savepoint_commit_sql(savepoint))
    return None if row is None else Position(row[0], row[1])


def make_head(using: str) -> bool:
    """Make the log's head, with a new epoch, if it is missing, and its floor too; return whether the head was missing.

    It is missing in a new database, and after a flush. Call this outside of settle's transaction: two of those would
    wait for each other.
    """
    with connections[using].cursor() as cursor:
        cursor.execute(dialect(using).state_sql())
        if cursor.fetchone() is not None:
            return False
    heads, floors = LogHead.objects.using(using), LogFloor.objects.using(using)
    with dialect(using).transaction():
        head, floor = heads.filter(pk=1).first(), floors.filter(pk=1).first()
        ends = Event.objects.using(using).aggregate(first=Min("position"), last=Max("position"))
        last = max(ends["last"] or 0, floor.position if floor else 0, head.position if head else 0)
        first = ends["first"] or (head.position if head else last) + 1
        floors.bulk_create([LogFloor(pk=1, position=first - 1)], ignore_conflicts=True)
        heads.bulk_create([LogHead(pk=1, epoch=_new_epoch(), position=last)], ignore_conflicts=True)
    return True


def new_epoch(using: str, known: Position, diverged: bool = False) -> bool:
    """Begin a new epoch if the log ends before the position ``known``, as after a restore; return whether it did.

    Does nothing if the log's epoch is not that of ``known``. With ``diverged``, the event at ``known`` is not the one
    that the caller knows: then a new epoch begins wherever the log ends.
    """
    heads = LogHead.objects.using(using).filter(pk=1, epoch=known.epoch)
    if not diverged:
        heads = heads.filter(position__lt=known.number)
    return heads.update(epoch=_new_epoch()) > 0


def begin_epoch(using: str) -> None:
    """Begin a new epoch. Every position that was given before becomes invalid."""
    LogHead.objects.using(using).filter(pk=1).update(epoch=_new_epoch())


def _new_epoch() -> str:
    return secrets.token_hex(4)


def _forget(**kwargs: object) -> None:
    _known_until.clear()


post_migrate.connect(_forget, dispatch_uid="livepush.log")
