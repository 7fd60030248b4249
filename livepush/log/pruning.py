"""Pruning: deletes the log's oldest events up to some position, and moves the floor to that position."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from django.db import Error
from django.utils import timezone

from livepush.log import groups
from livepush.log.delete_sql import delete_settled
from livepush.log.dialects import dialect
from livepush.log.epochs import make_head
from livepush.models import Event, LogFloor

logger = logging.getLogger("livepush")

MISDATED = timedelta(hours=1)
"""An event that is dated further in the future was made while a clock was wrong."""

guards: list[Callable[[str], int]] = []
"""Functions that protect events from pruning. Each takes a database's alias and returns the position up to which its
package does not need the events any more; it may use them first."""

jobs: list[Callable[[str], int]] = [groups.delete_forgotten]
"""Functions that a hub calls when it prunes. Each takes a database's alias and returns the number of deleted rows."""


def prune(using: str, before: datetime, batch: int = 1000) -> int:
    """Delete the oldest events that were made before a time; return the number of rows, about ``batch`` at most.

    ``before`` is a time of this host's clock. If the database's clock is behind it, the database's clock counts, so
    that no event is deleted too early. Events go in the order of their positions, and the floor moves in the same
    transaction. An event that is dated in the future goes together with a later one that is old. Returns 0 as well if
    another process is pruning.
    """
    make_head(using)
    free = min((guard(using) for guard in guards), default=None)
    with dialect(using).transaction():
        floor = _lock_floor(using)
        if floor is None:
            return 0
        now = timezone.now()
        ahead = dialect(using).ahead_of_database(now)
        last = _last_old(using, floor, before - ahead, now - ahead + MISDATED, batch, free)
        if last is None:
            return 0
        LogFloor.objects.using(using).filter(pk=1).update(position=last)
        rows = Event.objects.using(using).filter(position__gt=floor, position__lte=last)
        names = set(rows.values_list("group", flat=True).distinct())
        count = delete_settled(using, floor, last)
    try:
        groups.delete_unused(using, names)
    except Error as error:
        logger.info("Groups without events could not be deleted: %s", error)
    return count


def _last_old(using: str, floor: int, before: datetime, future: datetime, limit: int, free: int | None) -> int | None:
    """Return the last position up to which every event is old and no longer needed; ``None`` if there is none."""
    doomed: list[int] = []
    misdated: list[int] = []
    for position, created in _dates(using, floor, limit):
        if before <= created <= future or len(doomed) >= limit or (free is not None and position > free):
            break
        misdated.append(position)
        if created < before:
            doomed += misdated
            misdated.clear()
    return doomed[:limit][-1] if doomed else None


def _dates(using: str, after: int, page: int) -> Iterator[tuple[int, datetime]]:
    """Yield the position and date of each event from the oldest on, read in pages."""
    rows = Event.objects.using(using).order_by("position").values_list("position", "created")
    while found := list(rows.filter(position__gt=after)[: max(page, 2)]):
        for position, created in found:
            after = position or after
            yield after, created


def _lock_floor(using: str) -> int | None:
    floor = dialect(using).locked(LogFloor.objects.using(using).filter(pk=1)).first()
    return None if floor is None else floor.position
