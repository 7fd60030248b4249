"""What a settle does, decided by pure functions: which rows make an event, and which position each gets."""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime
from typing import NamedTuple

from livepush.wire import Batch, Event, timestamp

BATCH = 500
"""The most rows that one pass settles, and the rest of their sends."""


class Row(NamedTuple):
    """A committed row that waits for its position."""

    id: int
    group: str
    type: str
    data: str
    key: str | None
    send: int | None
    """Shared by the rows of one send to several groups."""
    created: datetime


class Appended(NamedTuple):
    """How the log stands after an append."""

    batch: Batch | None
    """The settled batch, if the rows got their position at once."""
    must_settle: bool
    """Whether something waits that nobody is settling, as far as is known."""


class Settled(NamedTuple):
    """How the log stands after one pass of settle."""

    batch: Batch | None
    """What was settled; ``None`` where another process was at it."""
    must_settle: bool
    """Whether something waits that nobody is settling."""


class Plan(NamedTuple):
    """What a pass of settle is to write."""

    batch: Batch
    positions: list[tuple[int, int]]
    """The id of each row that stays, with its position."""
    repeats: list[int]
    """The ids of rows whose key their group has had before."""

    @property
    def last(self) -> int:
        """The log's new position."""
        return self.positions[-1][1]


def plan(epoch: str, last: int, rows: Iterable[Row], seen: Set[tuple[str, str]]) -> Plan:
    """Give the rows the positions behind the last: one to each send, in the order of the sends' first rows.

    ``seen`` are the groups and keys that were settled before. Of the rows of one group with one key the first stays.
    """
    sends: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        sends.setdefault(("row", row.id) if row.send is None else ("send", row.send), []).append(row)
    known = set(seen)
    events: list[Event] = []
    positions: list[tuple[int, int]] = []
    repeats: list[int] = []
    for members in sends.values():  # one send after the other: their rows' ids may be interleaved
        fresh = [row for row in members if row.key is None or (row.group, row.key) not in known]
        kept = {row.id for row in fresh}
        repeats += [row.id for row in members if row.id not in kept]
        known |= {(row.group, row.key) for row in fresh if row.key is not None}
        if fresh:
            number, first = last + len(events) + 1, fresh[0]
            groups = tuple(row.group for row in fresh)
            events.append(Event(number, groups, first.type, first.data, timestamp(first.created)))
            positions += [(row.id, number) for row in fresh]
    return Plan(Batch(epoch, tuple(events)), positions, repeats)


def sends_that_go_on(rows: list[Row]) -> set[int]:
    """Return the sends to several groups whose last rows may lie behind a full batch."""
    return {row.send for row in rows if row.send is not None} if len(rows) == BATCH else set()
