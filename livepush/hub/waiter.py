"""A held poll: it is woken when an event comes for one of its groups, and reads the event itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from livepush.hub.fanout import Share
from livepush.wire import Floors, changed


class Waiter:
    """A subscriber that is only woken. The caller makes a new ``woken`` for each wait."""

    __slots__ = ("floors", "groups", "is_sent_away", "lost", "reason", "woken")

    def __init__(self, groups: Iterable[str], floors: Floors | None = None) -> None:
        self.groups = dict.fromkeys(groups, 0)
        self.floors = floors or {}
        """Since when the client may read some of the groups."""
        self.reason = ""
        """Why groups were taken away, or the login has ended; empty if neither is so."""
        self.lost = False
        """Whether the client's history was lost meanwhile."""
        self.is_sent_away = False
        """Whether the client must come back, since it takes too long to find out what it may still read."""
        self.woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def offer(self, share: Share) -> None:
        if not share.ephemeral:
            self._wake()

    def beat(self, now: float) -> None:
        pass

    def fall_behind(self, *, reset: bool = False) -> None:
        self.lost = self.lost or reset
        self._wake()

    def limit_to(self, groups: Iterable[str], floors: Floors) -> None:
        """Note since when the client may read some groups: all of them, but for those that have a floor."""
        self.floors = changed(self.floors, groups, floors)

    def revoke(self, groups: Iterable[str], reason: str) -> None:
        """Drop groups that the client may no longer read: none if only its login has ended."""
        for group in groups:
            self.groups.pop(group, None)
        self.reason = reason
        self._wake()

    def leave(self, retry: int) -> None:
        self._wake()

    def come_back(self) -> None:
        """Tell the client to come back, so that it is asked anew what it may read."""
        self.is_sent_away = True
        self._wake()

    def _wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)
