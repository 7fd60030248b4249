"""Which channels have subscribers: those with members in any process, the others in this one."""

from __future__ import annotations

from collections import Counter

from livepush import tenants
from livepush.bridges.pusher.channels import channel_of, name_of
from livepush.bridges.pusher.connection import PusherConnection
from livepush.hub import Hub, hubs
from livepush.roster import reading
from livepush.wire import OWN_GROUPS, WireError


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


def occupied() -> list[str]:
    """Return the channels that have subscribers, as far as this process knows, and all those that have members."""
    groups = (group for group in reading.groups_with_members() if not group.startswith(OWN_GROUPS))
    with_members = (name_of(group, "presence-") for group in groups)
    return sorted({*counts(), *filter(_is_name, with_members)})


def _is_name(name: str) -> bool:
    try:
        channel_of(name)
    except WireError:  # the group has a character that no channel may have
        return False
    return True
