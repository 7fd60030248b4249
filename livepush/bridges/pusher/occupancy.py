"""Which channels have subscribers in this process."""

from __future__ import annotations

from collections import Counter

from livepush.bridges.pusher.connection import PusherConnection
from livepush.hub import Hub, hubs


def counts() -> Counter[str]:
    """Return how many subscribers each channel has with this process."""
    found: Counter[str] = Counter()
    for hub in list(hubs):
        if isinstance(hub, Hub):
            for subscriber in list(hub.subscribers):
                if isinstance(subscriber, PusherConnection):
                    found.update(list(subscriber.channels))
    return found
