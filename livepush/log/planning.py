"""Decides in pure functions what a settle does: which rows make up an event, and which position it gets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from livepush.wire import Batch, Event, timestamp

BATCH = 500
"""How many rows one pass settles; the remaining rows of their sends come in addition."""

NEW_KEYS = "livepush:new:"
"""The prefix of keys by which an event is found again, and which no other event has."""


class Row(NamedTuple):
    """A committed row that waits for its position. The rows of one send have the same type, data, key and time."""

    id: int
    group: str
    type: str
    data: str
    sender: str | None
    key: str | None
    send: int | None
    """Shared by the rows of one send to several groups."""
    created: datetime


class Content(NamedTuple):
    """The content of a send, which is written once for each group."""

    groups: Sequence[str]
    type: str
    data: str
    """JSON."""
    sender: str | None = None
    """The user whose client sent it, as JSON."""


class Appended(NamedTuple):
    """The outcome of an append."""

    batch: Batch | None
    """The settled batch, if the rows got their position at once."""
    must_settle: bool
    """Whether the caller must settle: events may wait that nobody is settling."""


class Settled(NamedTuple):
    """The outcome of one pass of settle."""

    batch: Batch | None
    """The settled batch; ``None`` if another process was settling."""
    must_settle: bool
    """Whether the caller must settle again: events wait that nobody is settling."""


class Plan(NamedTuple):
    """What a pass of settle has to write."""

    batch: Batch
    positions: list[tuple[int, int]]
    """The id of each row that stays, with its position."""
    repeats: list[int]
    """The ids of rows that repeat a key in their group."""

    @property
    def last(self) -> int:
        """The log's new position."""
        return self.positions[-1][1]


def plan(epoch: str, last: int, rows: Iterable[Row], seen: Set[tuple[str, str]]) -> Plan:
    """Give each send the next position after ``last``, in the order of the sends' first rows.

    ``seen`` holds the pairs of group and key that were settled before. Rows that repeat one of them are dropped.
    """
    sends: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        sends.setdefault(("row", row.id) if row.send is None else ("send", row.send), []).append(row)
    known = set(seen)
    events: list[Event] = []
    positions: list[tuple[int, int]] = []
    repeats: list[int] = []
    for members in sends.values():  # by send, since the ids of two sends may be interleaved
        fresh = [row for row in members if row.key is None or (row.group, row.key) not in known]
        kept = {row.id for row in fresh}
        repeats += [row.id for row in members if row.id not in kept]
        known |= {(row.group, row.key) for row in fresh if row.key is not None}
        if fresh:
            number, first = last + len(events) + 1, members[0]
            groups = tuple(row.group for row in fresh)
            events.append(Event(number, groups, first.type, first.data, timestamp(first.created), first.sender))
            positions += [(row.id, number) for row in fresh]
    return Plan(Batch(epoch, tuple(events)), positions, repeats)


def is_new(key: str | None) -> bool:
    """Return whether no earlier event can have a key."""
    return key is None or key.startswith(NEW_KEYS)


def sends_that_go_on(rows: list[Row]) -> set[int]:
    """Return the sends to several groups that may have more rows after a full batch."""
    return {row.send for row in rows if row.send is not None} if len(rows) == BATCH else set()
