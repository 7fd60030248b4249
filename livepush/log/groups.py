"""The rows of channel groups. Each is made after the group's first event is committed, and blocks no send."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable

from django.db import Error
from django.db.models import Exists, OuterRef, QuerySet

from livepush.log.delete_sql import delete_by_id
from livepush.log.dialects import dialect
from livepush.models import ChannelGroup, Event
from livepush.wire import Batch

logger = logging.getLogger("livepush")

REMEMBER = 60.0
"""How long (seconds) a process remembers that a group has its row. A pruned row is made again after that."""
MAX_REMEMBERED_BYTES = 4 * 1_048_576
"""The most bytes of names that a process remembers for one database."""
NAME_BYTES = 150
"""About how many bytes a name takes besides its characters."""
AT_ONCE = 500
"""The largest number of rows that one statement makes."""
SWEPT_AT_ONCE = 2000
"""How many rows one look for forgotten ones goes through."""
PAUSE = 5.0
"""How long (seconds) no rows are made after making them failed, or would have had to wait."""


class _Known:
    """The groups of one database that have their row, as far as this process knows."""

    def __init__(self) -> None:
        self.epoch = ""
        self.names: set[str] = set()
        self.size = 0
        """About how many bytes the names take."""
        self.until = 0.0
        self.paused_until = 0.0
        self.swept = 0
        """The id up to which this process has looked for forgotten rows."""

    def missing(self, epoch: str, names: Iterable[str]) -> list[str]:
        now = time.monotonic()
        if self.epoch != epoch or now > self.until:
            self.forget()
            self.epoch, self.until = epoch, now + REMEMBER
        return [] if now < self.paused_until else sorted(set(names) - self.names)

    def add(self, names: Collection[str]) -> None:
        """Remember some names, all of them new."""
        size = sum(map(len, names)) + NAME_BYTES * len(names)
        if self.size + size > MAX_REMEMBERED_BYTES:
            self.forget()
        self.names.update(names)
        self.size += size

    def forget(self) -> None:
        self.names, self.size = set(), 0


_known: dict[str, _Known] = {}


def make_groups(using: str, batch: Batch) -> None:
    """Make the rows of a batch's groups that have none. If that would have to wait, a later batch does it."""
    known = _known.setdefault(using, _Known())
    missing = known.missing(batch.epoch, (group for event in batch.events for group in event.groups))
    for start in range(0, len(missing), AT_ONCE):
        names = missing[start : start + AT_ONCE]
        try:
            dialect(using).make_groups(names)
        except Error as error:
            known.paused_until = time.monotonic() + PAUSE
            logger.info("The rows of %d channel groups are made later: %s", len(missing) - start, error)
            return
        known.add(names)


def delete_unused(using: str, names: Iterable[str]) -> None:
    """Delete the rows of those groups that have no events any more, except rows that another transaction has locked.

    A database without SKIP LOCKED waits for these.
    """
    chosen = sorted(set(names))
    for start in range(0, len(chosen), AT_ONCE):
        _delete_unused(using, ChannelGroup.objects.using(using).filter(name__in=chosen[start : start + AT_ONCE]))


def delete_forgotten(using: str) -> int:
    """Look through some more rows, and delete those whose groups have no events; return how many were deleted.

    Such rows stay if a process ended between two steps, or a row was locked, or somebody deleted events by hand.
    """
    known = _known.setdefault(using, _Known())
    count, known.swept = _sweep(using, known.swept)
    return count


def delete_all_forgotten(using: str) -> int:
    """Look through all rows, and delete those whose groups have no events; return how many were deleted."""
    total, swept = _sweep(using, 0)
    while swept:
        count, swept = _sweep(using, swept)
        total += count
    return total


def _sweep(using: str, after: int) -> tuple[int, int]:
    """Look through the rows after an id; return how many were deleted, and the last id, 0 at the end."""
    rows = ChannelGroup.objects.using(using)
    ids = list(rows.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True)[:SWEPT_AT_ONCE])
    if not ids:
        return 0, 0
    count = _delete_unused(using, rows.filter(pk__gte=ids[0], pk__lte=ids[-1]))
    return count, ids[-1] if len(ids) == SWEPT_AT_ONCE else 0


def _delete_unused(using: str, rows: QuerySet[ChannelGroup]) -> int:
    """Delete those of some rows whose groups have no events; return how many were deleted."""
    with dialect(using).transaction():
        unused = rows.filter(~Exists(Event.objects.using(using).filter(group=OuterRef("name"))))
        found = dict(dialect(using).locked(unused).values_list("pk", "name"))
        count = delete_by_id(using, ChannelGroup, found)
    if using in _known:
        _known[using].names.difference_update(found.values())
    return count
