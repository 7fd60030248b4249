"""Knows which subscribers read which groups in this process."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
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

    def fall_behind(self, *, reset: bool = False) -> None:
        """Go on from the log: the hub has no events in memory that follow the subscriber's.

        With ``reset``, it may have had events that are not in the log: its history is lost.
        """

    def leave(self, retry: int) -> None:
        """Tell the client to come back after some milliseconds, and close."""


class Routes:
    """Groups and their subscribers."""

    def __init__(self) -> None:
        self.subscribers: dict[Subscriber, tuple[str, ...]] = {}
        """Each subscriber with its groups in its order. A tuple, unlike its dict, can be a key."""
        self._by_group: dict[str, dict[Subscriber, None]] = {}

    def __contains__(self, group: object) -> bool:
        return group in self._by_group

    def __len__(self) -> int:
        return len(self._by_group)

    def add(self, subscriber: Subscriber) -> None:
        """Route its groups' events to a subscriber."""
        self.subscribers[subscriber] = groups = tuple(subscriber.groups)
        self._enter(subscriber, groups)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self._leave(subscriber, self.subscribers.pop(subscriber, ()))

    def route(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Route more groups to a subscriber."""
        known = self.subscribers.get(subscriber, ())
        new = tuple(group for group in groups if group not in known)
        self.subscribers[subscriber] = known + new
        self._enter(subscriber, new)

    def unroute(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Stop routing some groups to a subscriber. One that was removed stays so: its stream may still be ending."""
        known, dropped = self.subscribers.get(subscriber, ()), set(groups)
        if subscriber in self.subscribers:
            self.subscribers[subscriber] = tuple(group for group in known if group not in dropped)
        self._leave(subscriber, dropped.intersection(known))

    def audiences(self, groups: Iterable[str]) -> dict[tuple[str, ...], list[Subscriber]]:
        """Return the subscribers of some groups, by which of these groups they read, and in which order."""
        groups = tuple(groups)
        if len(groups) == 1:  # the usual case, at half the cost
            return {groups: list(self._by_group.get(groups[0], ()))}
        wanted = frozenset(groups)
        audiences: dict[tuple[str, ...], list[Subscriber]] = {}
        # The same lists by all groups of a subscriber: most subscribers have the groups of some other.
        by_groups: dict[tuple[str, ...], list[Subscriber]] = {}
        for subscriber in dict.fromkeys(chain.from_iterable(self._by_group.get(group, ()) for group in groups)):
            theirs = self.subscribers[subscriber]
            found = by_groups.get(theirs)
            if found is None:
                matching = tuple(group for group in theirs if group in wanted)
                found = by_groups[theirs] = audiences.setdefault(matching, [])
            found.append(subscriber)
        return audiences

    def _enter(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        for group in groups:
            self._by_group.setdefault(group, {})[subscriber] = None

    def _leave(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        for group in groups:
            members = self._by_group[group]
            del members[subscriber]
            if not members:
                del self._by_group[group]
