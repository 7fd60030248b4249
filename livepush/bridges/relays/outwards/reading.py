"""Reads the log after a position, and picks the events that a relay sends."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import NamedTuple

from livepush import log, publish, tenants
from livepush.bridges import patterns
from livepush.bridges.relays.config import OutwardRelay
from livepush.conf import get_settings
from livepush.wire import RESERVED_PREFIX, Event, Position, envelope, is_same, public_name

logger = logging.getLogger("livepush")


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


class Known(NamedTuple):
    """The last event that was given to the target, which may have it under its id."""

    epoch: str
    event: Event


class OutboundPage(NamedTuple):
    """A part of the log."""

    messages: list[Outbound]
    upto: int
    """The position up to which it was read."""
    pruned: int = 0
    """How many positions were deleted before they were read."""
    anew: bool = False
    """Whether the log ends before the position: it was made anew."""
    epoch: str = ""
    events: tuple[Event, ...] = ()
    """All events of the page: those that became messages, and those that are not for this relay."""

    def known(self, message: Outbound) -> Known:
        """Return what to remember of a message that is given to the target."""
        return Known(self.epoch, next(event for event in self.events if event.number == message.number))


def next_page(relay: OutwardRelay, after: int, known: Known | None = None) -> OutboundPage:
    """Return what comes after a position. Settles what waits, since there may be no hub.

    If the log has lost what was sent, a new epoch begins: no id is given twice. ``known`` is the last event that was
    sent. Raises the database's errors.
    """
    using = get_settings().DATABASE
    state = log.state(using)
    if state.waiting:
        publish.deliver(using)
        state = log.state(using)
    epoch, end = state.position
    if end < after:  # or it was read from a standby that is a moment behind: the log itself tells, where it is written
        anew = log.new_epoch(using, Position(epoch, after))
        return OutboundPage([], state.floor if anew else after, anew=anew)
    if end == after:
        return OutboundPage([], after)
    page = log.read(using, None, after, end)
    if page.state.floor > after:
        return OutboundPage([], page.state.floor, pruned=page.state.floor - after)
    if page.state.position.epoch != epoch or not (known is None or _is_kept(known, epoch, using)):
        return OutboundPage([], after)  # read it again
    outbound = [_outbound(event, epoch, relay) for event in page.events]
    messages = [message for message in outbound if message is not None]
    return OutboundPage(messages, page.upto, epoch=epoch, events=page.events)


def _is_kept(known: Known, epoch: str, using: str) -> bool:
    """Return whether events of an epoch may be sent after a known one.

    They may not if the log does not have that event, or has another one at its number, as after a failover: then a new
    epoch begins. An event that was pruned or deleted says nothing.
    """
    number = known.event.number or 0
    found = log.read(using, None, number - 1, number)
    now, end = found.state.position
    if now != epoch or now != known.epoch:
        return now == epoch
    differs = end >= number > found.state.floor and not all(is_same(known.event, event) for event in found.events)
    if end >= number and not differs:
        return True
    if log.new_epoch(using, Position(epoch, number), differs):
        what = "The log has lost the event %s, which a relay had sent, as after a failover. A new epoch begins."
        logger.error(what, Position(epoch, number))
    return False


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
