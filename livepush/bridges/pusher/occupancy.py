"""Which channels have subscribers: those with members in any process, the others in this one.

With webhooks or counts, all processes write down all of their channels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from django.db.models import Count

from livepush import tenants
from livepush.bridges.pusher import occupying
from livepush.bridges.pusher.channels import is_name, name_of
from livepush.bridges.pusher.config import app
from livepush.bridges.pusher.connection import PusherConnection
from livepush.conf import get_settings
from livepush.hub import Hub, hubs
from livepush.roster import reading
from livepush.roster.models import Presence
from livepush.wire import OWN_GROUPS, public_name

AT_ONCE = 500
"""How many groups one query counts."""


def counts() -> Counter[str]:
    """Return how many subscribers each channel of the active tenant has with this process."""
    found: Counter[str] = Counter()
    tenant = tenants.current()
    for hub in list(hubs):
        for each in list(hub.subscribers) if isinstance(hub, Hub) else ():
            if isinstance(each, PusherConnection):
                channels = list(each.channels.values())
                found.update(one.name for one in channels if tenants.stored(one.group, tenant) in each.groups)
    return found


def counts_everywhere() -> Counter[str]:
    """Return how many subscribers each channel has in all processes, if these write that down; else in this one."""
    return occupying.written() if app().writes_counts else counts()


def member_counts(groups: Collection[str]) -> dict[str, int]:
    """Return how many members some groups have, in all processes; groups without any are left out."""
    using, tenant = get_settings().DATABASE, tenants.current()
    names = tenants.stored_groups(sorted(groups), tenant)
    found: dict[str, int] = {}
    for start in range(0, len(names) if reading.is_served(using) else 0, AT_ONCE):
        rows = Presence.objects.using(using).filter(group__in=names[start : start + AT_ONCE])
        found |= rows.values_list("group").annotate(Count("member", distinct=True))
    return {public_name(name): count for name, count in found.items()}


def is_occupied(name: str) -> bool:
    """Return whether a channel has subscribers, as far as this process knows."""
    return name in counts() or name in occupying.written()


def occupied() -> list[str]:
    """Return the channels that have subscribers, as far as this process knows, and all those that have members."""
    groups = (group for group in reading.groups_with_members() if not group.startswith(OWN_GROUPS))
    with_members = (name_of(group, "presence-") for group in groups)
    return sorted({*counts(), *occupying.written(), *filter(is_name, with_members)})
