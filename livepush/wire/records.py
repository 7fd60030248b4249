"""Batches and pages of the log, as livepush's packages pass them on."""

from __future__ import annotations

from sys import getsizeof
from typing import NamedTuple

from livepush.wire.events import Event
from livepush.wire.positions import Position


class Batch(NamedTuple):
    """Events that were settled together: contiguous numbers of one epoch, or ephemeral events alone."""

    epoch: str
    events: tuple[Event, ...]


class LogState(NamedTuple):
    """The log's state: its last position, its floor, and whether events wait to be settled."""

    position: Position
    floor: int
    waiting: bool


class LogPage(NamedTuple):
    """Some events after a cursor, the number up to which they were read, and the log's state afterwards."""

    events: tuple[Event, ...]
    upto: int
    state: LogState


OVERHEAD, GROUP_OVERHEAD = 320, 240
"""Roughly how many bytes of memory an event takes besides its data, and how many more for each of its groups."""


def memory_of(event: Event) -> int:
    """Return about how many bytes of memory an event takes, with its entries in a hub's window."""
    return (
        getsizeof(event.data)
        + len(event.sender or "")
        + OVERHEAD
        + GROUP_OVERHEAD * len(event.groups)
        + sum(map(len, event.groups))
    )


ENVELOPE, QUOTES = 110, 3
"""Roughly how many bytes an event's envelope has besides its data, its groups and its sender, and at each group."""


def wire_size(event: Event) -> int:
    """Return about how many bytes an event takes on its way to a client, its data as UTF-8."""
    data = event.data
    length = len(data) if data.isascii() else len(data.encode())
    return length + len(event.sender or "") + ENVELOPE + QUOTES * len(event.groups) + sum(map(len, event.groups))


def size_of(event: Event) -> int:
    """Return an event's approximate size in characters: its data and its groups."""
    return len(event.data) + len(event.sender or "") + sum(map(len, event.groups))
