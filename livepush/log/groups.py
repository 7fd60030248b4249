"""The rows of channel groups. Each is made after the group's first event is committed, and blocks no send."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from django.db import Error

from livepush.log.delete_sql import delete_by_id
from livepush.log.dialects import dialect
from livepush.models import ChannelGroup, Event
from livepush.wire import Batch

logger = logging.getLogger("livepush")

REMEMBER = 60.0
"""How long (seconds) a process remembers that a group has its row. A pruned row is made again after that."""
MAX_REMEMBERED = 50_000
AT_ONCE = 500
"""The largest number of rows that one statement makes."""
PAUSE = 5.0
"""How long (seconds) no rows are made after making them failed, or would have had to wait."""


class _Known:
    """The groups of one database that have their row, as far as this process knows."""

    def __init__(self) -> None:
        self.epoch = ""
        self.names: set[str] = set()
        self.until = 0.0
        self.paused_until = 0.0

    def missing(self, epoch: str, names: Iterable[str]) -> list[str]:
        now = time.monotonic()
        if self.epoch != epoch or now > self.until or len(self.names) > MAX_REMEMBERED:
            self.epoch, self.names, self.until = epoch, set(), now + REMEMBER
        return [] if now < self.paused_until else sorted(set(names) - self.names)


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
        known.names.update(names)


def delete_unused(using: str, names: Iterable[str]) -> None:
    """Delete the rows of those groups that have no events any more, except rows that another transaction has locked."""
    chosen = sorted(set(names))
    rows = ChannelGroup.objects.using(using)
    for start in range(0, len(chosen), AT_ONCE):
        part = chosen[start : start + AT_ONCE]
        used = set(Event.objects.using(using).filter(group__in=part).values_list("group", flat=True).distinct())
        with dialect(using).transaction() as connection:
            unused = rows.filter(name__in=[name for name in part if name not in used])
            if connection.features.has_select_for_update_skip_locked:
                unused = unused.select_for_update(skip_locked=True)
            found = dict(unused.values_list("pk", "name"))
            delete_by_id(using, ChannelGroup, found)
        if using in _known:
            _known[using].names.difference_update(found.values())
