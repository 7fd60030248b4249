"""Gathers ephemeral messages, such as cursors: of one sender and type the newest wins, and all go out together.

A room of 100 cursors, each moved 20 times a second, would cost 200,000 writes a second one by one. Gathered, each
connection gets at most ``RATE`` writes a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from weakref import WeakKeyDictionary

from livepush import publish
from livepush.wire import Batch, Event

RATE = 30.0
"""How often (times a second) gathered messages go out at most."""

posted: set[Hashable] = set()
"""The senders whose messages other threads have handed to a loop, and which have not gone out yet."""


class Gatherer:
    """Gathers the ephemeral messages of one event loop's clients. It refers neither to the loop nor to its timers."""

    def __init__(self, announce: Callable[[Batch], object]) -> None:
        self._announce = announce
        self._pending: dict[tuple[Hashable, tuple[str, ...], str], Event] = {}
        self._round = 0
        """How many times messages have gone out."""
        self._next = 0.0
        """When the next messages may go out, by the loop's clock."""

    def offer(self, sender: Hashable, event: Event) -> None:
        """Send an event soon. It takes the place of one with the same sender, groups and type that still waits."""
        if not self._pending:
            loop = asyncio.get_running_loop()
            if self._next <= loop.time():
                loop.call_soon(self._flush_round, self._round)
            else:
                loop.call_at(self._next, self._flush_round, self._round)
        key = (sender, event.groups, event.type)
        self._pending.pop(key, None)  # the newest goes out last
        self._pending[key] = event

    def let_go(self, sender: Hashable, group: str) -> None:
        """Send what waits at once if it has an event of a sender to a group: a message that follows comes after it."""
        if any(key[0] == sender and group in key[1] for key in self._pending):
            self._flush()

    def _flush_round(self, number: int) -> None:
        """Send what waits, unless it went out before its time."""
        if number == self._round:
            self._flush()

    def _flush(self) -> None:
        self._round += 1
        self._next = asyncio.get_running_loop().time() + 1 / RATE
        pending, self._pending = self._pending, {}
        posted.difference_update(sender for sender, _, _ in pending)
        self._announce(Batch("", tuple(pending.values())))


_gatherers: WeakKeyDictionary[asyncio.AbstractEventLoop, Gatherer] = WeakKeyDictionary()


def gatherer() -> Gatherer:
    """Return the running event loop's gatherer."""
    loop = asyncio.get_running_loop()
    found = _gatherers.get(loop)
    if found is None:
        found = _gatherers[loop] = Gatherer(publish.announce)
    return found
