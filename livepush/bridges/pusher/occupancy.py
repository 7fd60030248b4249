"""Which channels have subscribers: those with members in any process, the others in this one.

With webhooks or counts, all processes write down all of their channels.
"""

from __future__ import annotations

from collections import Counter

from livepush import tenants
from livepush.bridges.pusher import occupying
from livepush.bridges.pusher.channels import is_name, name_of
from livepush.bridges.pusher.config import app
from livepush.bridges.pusher.connection import PusherConnection
from livepush.hub import Hub, hubs
from livepush.roster import reading
from livepush.wire import OWN_GROUPS


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


def is_occupied(name: str) -> bool:
    """Return whether a channel has subscribers, as far as this process knows."""
    return name in counts() or name in occupying.written()


def occupied() -> list[str]:
    """Return the channels that have subscribers, as far as this process knows, and all those that have members."""
    groups = (group for group in reading.groups_with_members() if not group.startswith(OWN_GROUPS))
    with_members = (name_of(group, "presence-") for group in groups)
    return sorted({*counts(), *occupying.written(), *filter(is_name, with_members)})
