"""Checks whether the log is pruned, and how large it is."""

from __future__ import annotations

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from livepush import log
from livepush.conf import get_settings
from livepush.doctor import clock
from livepush.doctor.check import Check
from livepush.doctor.clock import row_of
from livepush.doctor.problems import Problem
from livepush.doctor.units import duration
from livepush.models import Event

PRUNE_SLACK = 3600.0
"""How long (seconds) events may stay past their retention: hubs prune only now and then."""


def check_retention(check: Check, using: str) -> None:
    """Check whether the log is pruned, and how large it is."""
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
    age = max(0.0, clock.now() - oldest.timestamp())
    check.say(f"the oldest is {duration(age)} old", oldest_s=round(age, 3))
    if age > settings.RETENTION + max(PRUNE_SLACK, 3 * settings.PRUNE_INTERVAL):
        said = "0, so no hub prunes" if settings.PRUNE_INTERVAL == 0 else duration(settings.PRUNE_INTERVAL)
        check.find(
            Problem.NOT_PRUNED,
            f"an event of {duration(age)}; RETENTION is {duration(settings.RETENTION)}, PRUNE_INTERVAL is {said}",
        )


def _size(connection: BaseDatabaseWrapper) -> int | None:
    """Return the bytes that the events and their indexes take, or ``None`` if the database can't say."""
    table = Event._meta.db_table
    if connection.vendor == "postgresql":
        row = row_of(connection, "SELECT pg_total_relation_size(%s)", [table])
    elif connection.vendor == "mysql":
        row = row_of(
            connection,
            "SELECT data_length + index_length FROM information_schema.tables"
            " WHERE table_schema = DATABASE() AND table_name = %s",
            [table],
        )
    else:
        return None
    return int(row[0]) if row and row[0] is not None else None
