"""Knows which subscribers read which groups in this process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from livepush.hub.fanout import Share


class Subscriber(Protocol):
    """What the routes lead to."""

    @property
    def groups(self) -> dict[str, int]:
        """Its groups in the order in which it asked for them."""

    def offer(self, share: Share) -> None:
        """Take what a round brings to some of its groups."""

    def beat(self, now: float) -> None:
        """Keep a quiet stream alive; close a stuck one."""

    def fall_behind(self) -> None:
        """Go on from the log: the hub has no events in memory that follow the subscriber's."""

    def leave(self, retry: int) -> None:
        """Tell the client to come back after some milliseconds, and close."""


class Routes:
    """Groups and their subscribers."""

    def __init__(self) -> None:
        self.subscribers: dict[Subscriber, None] = {}
        self._by_group: dict[str, dict[Subscriber, None]] = {}

    def __contains__(self, group: object) -> bool:
        return group in self._by_group

    def __len__(self) -> int:
        return len(self._by_group)

    def add(self, subscriber: Subscriber) -> None:
        """Route its groups' events to a subscriber."""
        self.subscribers[subscriber] = None
        self.route(subscriber, subscriber.groups)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self.subscribers.pop(subscriber, None)
        self.unroute(subscriber, subscriber.groups)

    def route(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Route more groups to a subscriber."""
        for group in groups:
            self._by_group.setdefault(group, {})[subscriber] = None

    def unroute(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Stop routing some groups to a subscriber."""
        for group in groups:
            members = self._by_group.get(group)
            if members is not None:
                members.pop(subscriber, None)
                if not members:
                    del self._by_group[group]

    def audiences(self, groups: Iterable[str]) -> dict[tuple[str, ...], list[Subscriber]]:
        """Return the subscribers of some groups, by which of these groups they read, and in which order."""
        groups = tuple(groups)
        if len(groups) == 1:  # the usual case, at half the cost
            return {groups: list(self._by_group.get(groups[0], ()))}
        touched: dict[Subscriber, list[str]] = {}
        for group in groups:
            for subscriber in self._by_group.get(group, ()):
                touched.setdefault(subscriber, []).append(group)
        audiences: dict[tuple[str, ...], list[Subscriber]] = {}
        for subscriber, found in touched.items():
            order = tuple(found) if len(found) == 1 else _in_order(found, subscriber.groups)
            audiences.setdefault(order, []).append(subscriber)
        return audiences


def _in_order(found: list[str], wanted: dict[str, int]) -> tuple[str, ...]:
    members = set(found)
    return tuple(group for group in wanted if group in members)
