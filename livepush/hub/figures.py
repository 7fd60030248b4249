"""Counts what a hub holds when somebody asks. Any thread may ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import NamedTuple

from livepush.hub.connection import Connection
from livepush.hub.fanout import Round, Share
from livepush.hub.hub import Hub
from livepush.hub.routes import Subscriber
from livepush.hub.waiter import Waiter
from livepush.wire import TEXTS


class Held(NamedTuple):
    """The counts of a hub."""

    connections: Counter[tuple[str, str]]
    """How many clients there are, by transport and state."""
    buffered: int
    """How many bytes wait for slow clients."""
    queued: int
    """How many bytes of this process's own events the loop has not taken yet."""
    early: int
    """How many announced batches wait for one before them."""
    groups: int
    """How many groups have readers."""


def held_by(hub: Hub) -> Held:
    """Return what a hub holds."""
    clients = [each for each in list(hub.subscribers) if isinstance(each, Connection | Waiter)]
    buffered = sum(each.buffered for each in clients if isinstance(each, Connection))
    router = hub.router
    return Held(Counter(map(_kind, clients)), buffered, router.queued, router.early_batches, len(router.routes))


def _kind(client: Connection | Waiter) -> tuple[str, str]:
    if isinstance(client, Waiter):
        return "long_poll", "waiting"
    usual = "websocket" if client.format in TEXTS else "sse"
    return getattr(client, "transport", usual), client.state.value


class Meter:
    """Counts what a hub offers to its subscribers, once for all readers of a round that read the same groups."""

    def __init__(self) -> None:
        self.deliveries = 0
        """How many times an event was offered to a subscriber."""
        self.bytes = 0
        """How many bytes of encoded events were offered."""

    def count(self, round: Round, groups: tuple[str, ...], share: Share, subscribers: Collection[Subscriber]) -> None:
        """Count what a round brought to all subscribers that read the same groups of it."""
        places = round.by_group
        events = len(places[groups[0]]) if len(groups) == 1 else len(set().union(*(places[each] for each in groups)))
        self.deliveries += events * len(subscribers)
        if len(share) == 1:  # the usual case: all have one format
            self.bytes += next(iter(share.values())).size * len(subscribers)
        elif share:
            formats = Counter(each.format for each in subscribers if isinstance(each, Connection))
            self.bytes += sum(share[format].size * count for format, count in formats.items() if format in share)
