"""Deletes the log's oldest events, a prefix of the positions, and moves the floor with them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import connections
from django.utils import timezone

from livepush.inbox import filing
from livepush.log.settling import make_head, rest_of_send, wire_events
from livepush.log.transactions import ahead_of_database, own_transaction
from livepush.models import Event, LogFloor

MISDATED = timedelta(hours=1)
"""An event that is dated further ahead was made while a clock was wrong."""


def prune(using: str, before: datetime, batch: int = 1000) -> int:
    """Delete the oldest events, made before a time; return how many, at most ``batch`` and the rest of one send.

    ``before`` is this host's time, and the database's where its clock is behind: the age of an event is never more
    than both of them say. Only a prefix of the positions goes, and the floor moves in the same transaction. An event
    that is dated in the future goes with a later one that is old; a notification's once it is in the inbox. Returns 0
    also when another process is pruning.
    """
    make_head(using)
    filing.file(using)
    with own_transaction(using) as connection:
        floor = _lock_floor(using)
        if floor is None:
            return 0
        now = timezone.now()
        ahead = ahead_of_database(connection, now)
        doomed = _old(using, floor, before - ahead, now - ahead + MISDATED, batch)
        filed = filing.filed_up_to(using, doomed[-1]) if doomed else 0
        doomed = [position for position in doomed if position <= filed]
        if not doomed:
            return 0
        last = _end_of_send(using, doomed[-1])
        if filing.filed_up_to(using, last) < last:
            return 0
        LogFloor.objects.using(using).filter(pk=1).update(position=last)
        rows = Event.objects.using(using).filter(position__gt=floor, position__lte=last)
        rows._raw_delete(using)  # no signals, no cascade: one statement
        return len(doomed) + last - doomed[-1]


def _end_of_send(using: str, position: int) -> int:
    """Return the last position that one send has: who is in the midst of it is offered the event once.

    The rest of it is as old as its first.
    """
    rows = Event.objects.using(using).order_by("position")
    last = next(wire_events(rows.filter(position=position)))
    if last.send is None:
        return position
    rest = rest_of_send(rows, last)
    return rest[-1].number or position if rest else position


def _old(using: str, floor: int, before: datetime, future: datetime, most: int) -> list[int]:
    """Return the first positions behind the floor, up to the last before any that is recent."""
    doomed: list[int] = []
    misdated: list[int] = []
    for position, created in _dates(using, floor, most):
        if before <= created <= future or len(doomed) >= most:
            break
        misdated.append(position)
        if created < before:
            doomed += misdated
            misdated.clear()
    return doomed[:most]


def _dates(using: str, after: int, page: int) -> Iterator[tuple[int, datetime]]:
    """Yield positions and dates from the oldest event on, read in pages."""
    rows = Event.objects.using(using).order_by("position").values_list("position", "created")
    while found := list(rows.filter(position__gt=after)[:page]):
        for position, created in found:
            after = position or after
            yield after, created


def _lock_floor(using: str) -> int | None:
    floors = LogFloor.objects.using(using).filter(pk=1)
    if connections[using].features.has_select_for_update_skip_locked:
        floors = floors.select_for_update(skip_locked=True)
    floor = floors.first()
    return None if floor is None else floor.position
