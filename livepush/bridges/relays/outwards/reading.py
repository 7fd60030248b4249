"""Reads the log after a position, and picks the events that a relay sends."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import NamedTuple

from livepush import log, publish, tenants
from livepush.bridges import patterns
from livepush.bridges.relays.config import OutwardRelay
from livepush.conf import get_settings
from livepush.wire import RESERVED_PREFIX, Event, Position, envelope, public_name


@dataclass(frozen=True, slots=True)
class Outbound:
    """An event on its way out."""

    number: int
    id: str
    """Its position: the same one, however often the event is sent."""
    group: str
    """The first of its groups that the relay sends."""
    type: str
    time: str
    """When it was sent, as in ISO 8601."""
    body: str
    """The event as clients get it: a JSON object."""

    def as_text(self) -> str:
        """Return the message as the text of a dead letter."""
        return json.dumps(asdict(self))


class Page(NamedTuple):
    """A part of the log."""

    messages: list[Outbound]
    upto: int
    """The position up to which it was read."""
    pruned: int = 0
    """How many positions were deleted before they were read."""
    anew: bool = False
    """Whether the log ends before the position: it was made anew."""


def next_page(relay: OutwardRelay, after: int) -> Page:
    """Return what comes after a position. Settles what waits, since there may be no hub.

    Raises the database's errors.
    """
    using = get_settings().DATABASE
    state = log.state(using)
    if state.waiting:
        publish.deliver(using)
        state = log.state(using)
    if state.position.number < after:
        return Page([], state.floor, anew=True)
    if state.position.number == after:
        return Page([], after)
    page = log.read(using, None, after, state.position.number)
    if page.state.floor > after:
        return Page([], page.state.floor, pruned=page.state.floor - after)
    if page.state.position.epoch != state.position.epoch:
        return Page([], after)  # read it again
    found = (_outbound(event, state.position.epoch, relay) for event in page.events)
    return Page([message for message in found if message is not None], page.upto)


def _outbound(event: Event, epoch: str, relay: OutwardRelay) -> Outbound | None:
    """Return the event with those of its groups that the relay sends; ``None`` if it sends none of them."""
    if event.type.startswith(RESERVED_PREFIX) or not patterns.matches(relay.types, event.type):
        return None
    groups = tuple(group for group in event.groups if _is_wanted(group, relay))
    if not groups or event.number is None:
        return None
    id, group = str(Position(epoch, event.number)), public_name(groups[0])
    return Outbound(event.number, id, group, event.type, event.time, envelope(event.to(groups), epoch))


def _is_wanted(stored: str, relay: OutwardRelay) -> bool:
    group = public_name(stored)
    if tenants.of_stored(stored) != relay.tenant or group.startswith(patterns.CLOSED):
        return False
    return patterns.matches(relay.groups, group)
