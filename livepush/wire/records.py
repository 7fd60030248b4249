"""Batches and pages of the log, as livepush's packages pass them on, and batches as messages between processes."""

from __future__ import annotations

from typing import Any, NamedTuple

from livepush.wire.events import Event
from livepush.wire.positions import Position


class Batch(NamedTuple):
    """Events that were settled together: contiguous numbers of one epoch, or one ephemeral event."""

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


def size_of(event: Event) -> int:
    """Return an event's approximate size in characters: its data and its groups."""
    return len(event.data) + sum(map(len, event.groups))


def batch_messages(batch: Batch, origin: str, max_bytes: int = 262_144) -> list[dict[str, Any]]:
    """Return a batch as messages for the layer. Each has at most about ``max_bytes``, or a single event.

    A message is ``{"type": "livepush.batch", "origin": process, "epoch": epoch, "events": [[number, groups, type,
    data, time], …]}``.
    """
    messages: list[dict[str, Any]] = []
    room = 0
    for event in batch.events:
        room -= size_of(event)
        if room < 0 or not messages:
            room = max_bytes - size_of(event)
            messages.append({"type": "livepush.batch", "origin": origin, "epoch": batch.epoch, "events": []})
        messages[-1]["events"].append(list(event))
    return messages


def parse_batch(message: dict[str, Any]) -> Batch:
    """Return the batch in a message from the layer."""
    events = (Event(number, tuple(groups), *rest) for number, groups, *rest in message["events"])
    return Batch(message["epoch"], tuple(events))
