"""What a subscription begins with: the members of a channel, or its last event."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from django.utils import timezone

from livepush import log, process, tenants
from livepush.access.identity import Admission
from livepush.bridges.pusher import frames
from livepush.bridges.pusher.channels import Channel
from livepush.conf import get_settings
from livepush.roster import reading
from livepush.wire import (
    INBOX_PREFIX,
    PRESENCE_PREFIX,
    RESERVED_PREFIX,
    Position,
    WireError,
    above,
    envelope,
    timestamp,
)

NOT_CACHED = (RESERVED_PREFIX, PRESENCE_PREFIX, INBOX_PREFIX, "client-")
"""The types of events that no cache channel gives, by how they begin."""


class Snapshot(NamedTuple):
    """What a client gets at first."""

    since: Position | None
    """The position after which events follow; ``None`` for from now on."""
    members: dict[str, Any] | None = None
    """The info of those who are there, by id."""
    last: str | None = None
    """The envelope of the last event; empty if there is none, ``None`` if it is not asked for."""

    def cached(self, channel: str) -> list[str]:
        """Return what a client of a cache channel gets after it was subscribed."""
        if self.last is None:
            return []
        found = frames.event(self.last, channel, False) if self.last else ""
        return [found or frames.message("pusher:cache_miss", "", channel)]


async def of(channel: Channel, admission: Admission, head: Position, resumed: Position | None) -> Snapshot:
    """Return what a subscription begins with. A client that resumes gets no cached event: it gets what it missed."""
    found = Snapshot(resumed)
    if channel.is_cached and resumed is None:
        last = await process.in_thread(partial(_last, admission, head))
        found = Snapshot(head, last=last)
    if channel.has_members:
        members = await process.in_thread(partial(_members, channel.group, admission))
        since = found.since if found.since is not None else members.position
        found = found._replace(since=since, members={each.id: each.info for each in members.members})
    return found


def _members(group: str, admission: Admission) -> reading.Snapshot:
    with tenants.active(admission.tenant):
        found = reading.snapshot(group)
    floor = admission.since.get(group)
    if floor is not None and (floor.number > found.position.number or floor.time > timestamp(timezone.now())):
        raise WireError("forbidden", "The group may not be read yet.", 403)
    return found


def _last(admission: Admission, head: Position) -> str:
    event = log.last(get_settings().DATABASE, admission.stored[0], head.number, NOT_CACHED)
    readable = () if event is None else tuple(above([event], admission.floors))
    return envelope(readable[0], head.epoch) if readable else ""
