"""Reads the members of a group: for code that asks, and for the snapshots that pages begin with."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from livepush import log, publish, tenants
from livepush.conf import get_settings
from livepush.roster import changes, leases, rules, table
from livepush.roster.changes import Row
from livepush.roster.models import Presence, PresenceLease
from livepush.wire import Position, public_name

known_ended = leases.Ended()


class Member(NamedTuple):
    """A member who is there, as others see it."""

    id: str
    """The user's primary key as text; for an anonymous visitor an id that begins with ``~``."""
    info: dict[str, Any]
    """The rule's answer."""
    state: dict[str, Any]
    """The state that the member's page has set, such as ``{"away": True}``."""
    connections: int
    """How many streams and held polls the member has; a tab that follows another one has none of its own."""
    since: str
    """When the member joined (RFC 3339)."""


class Snapshot(NamedTuple):
    """The members at a position of the log: with the events after it, that is the truth."""

    position: Position
    members: list[Member]


@publish.has_async_twin
def members(group: publish.Group) -> list[Member]:
    """Return who is there in a group, the first who came first. Whom the rule makes invisible is not among them.

    Without a presence rule for the group nobody is, which the log says under ``DEBUG``. Raises InvalidGroup: the group
    is malformed, or there are tenants and none is active.
    """
    using, stored = get_settings().DATABASE, _stored(group)
    return _members(_rows(using, stored)) if is_served(using) else []


async def amembers(group: publish.Group) -> list[Member]:
    """Return who is there in a group, from async code; see ``members``."""
    return await sync_to_async(publish.on_good_connections)(members, group)


@publish.has_async_twin
def is_present(user: Any, group: publish.Group) -> bool:
    """Return whether a user, or the user with a primary key, is there in a group and visible.

    Raises InvalidGroup: there is no such user, the group is malformed, or there are tenants and none is active.
    """
    name = publish.user_group(user).removeprefix("user:")
    using, stored = get_settings().DATABASE, _stored(group)
    return Presence.objects.using(using).filter(group=stored, member=name).exists() and is_served(using)


async def ais_present(user: Any, group: publish.Group) -> bool:
    """Return whether a user is there in a group, from async code; see ``is_present``."""
    return await sync_to_async(publish.on_good_connections)(is_present, user, group)


def snapshot(group: publish.Group) -> Snapshot:
    """Return who is there in a group, and at which position of the log.

    The position is read first. So what the rows have beyond it comes again as events, which change nothing then. It
    tells what the events tell: members of a process that has died are there until they are cleared away. If nobody
    does that while this process knows of it for a whole lease, this does.
    """
    using, stored = get_settings().DATABASE, _stored(group)
    position = log.state(using).position
    rows = _rows(using, stored)
    if rows and (dead := _dead(using, rows)) and not publish.in_real_transaction(using):
        table.clear(using, dead)
        rows = _rows(using, stored)
    return Snapshot(position, _members(rows))


def groups_with_members() -> list[str]:
    """Return the groups in which somebody is there, of the active tenant if there are tenants."""
    using, tenant = get_settings().DATABASE, tenants.current()
    if not is_served(using):
        return []
    names = Presence.objects.using(using).values_list("group", flat=True).distinct()
    return sorted(public_name(name) for name in names if tenants.of_stored(name) == tenant)


def _stored(group: publish.Group) -> str:
    name = publish.group_name(group)
    rules.note_missing(name)
    return tenants.stored(name, tenants.current())


def _rows(using: str, group: str) -> list[Row]:
    rows = Presence.objects.using(using).filter(group=group)
    return [Row(*values) for values in rows.values_list(*table.COLUMNS)]


def _members(rows: Iterable[Row]) -> list[Member]:
    found = [Member(**json.loads(changes.shown(each))) for each in changes.by_key(rows).values()]
    return sorted(found, key=lambda member: (member.since, member.id))


def _dead(using: str, rows: Iterable[Row]) -> set[str]:
    """Return the processes of some rows that have died, as far as this process knows."""
    processes, now = {row.process for row in rows}, table.now(using)
    ends = dict(PresenceLease.objects.using(using).values_list("process", "ends"))
    gone = {**dict.fromkeys(processes, 0), **ends}
    ended = {process: end for process, end in gone.items() if end <= now}
    return known_ended.for_long(ended, get_settings().PRESENCE_LEASE) & processes


def is_served(using: str) -> bool:
    """Return whether any process has its lease.

    That process clears away the members of those that have died. After an outage of the database the others are only
    late with their renewals.
    """
    return PresenceLease.objects.using(using).filter(ends__gt=table.now(using)).exists()
