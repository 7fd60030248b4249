"""The hub's position: what was settled comes in, in any order, and goes out to the subscribers in the log's order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context

from livepush.hub.fanout import Round, Share
from livepush.hub.routes import Routes
from livepush.hub.window import Window
from livepush.wire import Batch, Event, LogState, Position

GAP_PATIENCE = 0.005
"""How long (seconds) a hole between batches may take to fill by itself before the log is read."""
ROUND_BYTES = 65_536
"""The most characters of data that are encoded and routed in one go, unless a single event has more."""


class Router:
    """Routes each event once. All methods belong to the loop's thread, but for ``receive_soon``.

    ``look`` is called when the log must be read, ``closed`` when the loop turns out to be closed.
    """

    def __init__(self, window: Window, look: Callable[[], None], closed: Callable[[], None]) -> None:
        self.epoch = ""
        self.number = 0
        self.floor = 0
        """Events up to here are gone, as far as this hub has heard: never more than is true, nor than its position."""
        self.window = window
        self.routes = Routes()
        self.last: Event | None = None
        """The event at the hub's position, where it is known."""
        self.doubtful = False
        """Whether what was announced contradicts what was routed."""
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._closed = closed
        self._early: dict[int, Batch] = {}
        self._waiting: deque[Batch] = deque()

    @property
    def position(self) -> Position:
        """The position up to which everything has been routed."""
        return Position(self.epoch, self.number)

    def receive_soon(self, batch: Batch) -> None:
        """Receive a batch, from any thread."""
        try:
            self._loop.call_soon_threadsafe(self.receive, batch, context=Context())  # not the sender's
        except RuntimeError:  # the loop was closed
            self._closed()

    def receive(self, batch: Batch) -> None:
        """Take a batch that was announced; what is waiting is routed together."""
        if not self._waiting:
            self._loop.call_soon(self._route_waiting)
        self._waiting.append(batch)

    def route(self, events: Sequence[Event]) -> None:
        """Move the position and bring contiguous events to their groups' subscribers, a bounded round at a time."""
        for run in _runs(events):
            self.last = run[-1]
            self.number = run[-1].number or self.number
            self.window.extend(run)
            self.fan_out(run)

    def fan_out(self, events: Sequence[Event]) -> None:
        """Offer events to the subscribers of their groups."""
        round = Round(self.epoch, events, self.routes, self._loop.time(), self.number)
        if round.by_group:
            for groups, subscribers in self.routes.audiences(round.by_group).items():
                share = Share(round, groups)
                for subscriber in subscribers:
                    subscriber.offer(share)

    def hear_of_floor(self, state: LogState) -> None:
        """Note how far the log was pruned, up to the hub's position; what lies behind that is the tail's to find."""
        if state.position.epoch == self.epoch:
            self.floor = max(self.floor, min(state.floor, self.number))
            if state.floor > self.number:
                self._look()

    def adopt(self, position: Position, floor: int) -> None:
        """Begin at a place in the log; nothing in memory continues it."""
        self.epoch, self.number = position
        self.floor, self.last = floor, None
        self.window.clear(self.number)
        self._early.clear()
        for subscriber in list(self.routes.subscribers):
            subscriber.fall_behind()

    def _route_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        news: list[Event] = []
        expected = self.number + 1
        ephemeral = [event for batch in waiting for event in batch.events if event.number is None]
        for batch in sorted((each for each in waiting if each.events[0].number is not None), key=_first):
            first = _first(batch)
            if batch.epoch != self.epoch or self._doubts(first, batch):
                continue
            if first > expected:
                self._early[first] = batch
                continue
            fresh = batch.events[expected - first :]
            news += fresh
            expected = self._continue(news, expected + len(fresh))
        self.route(news)
        if ephemeral:
            self.fan_out(ephemeral)
        if self._early:
            self._loop.call_later(GAP_PATIENCE, self._mend_gap)

    def _doubts(self, first: int, batch: Batch) -> bool:
        """Return whether the log must be looked at first: a batch has another event where one was routed.

        So it is after a failover that lost the log's tail. Until that look nothing that is announced is routed.
        """
        number = min(first + len(batch.events) - 1, self.number)
        known = self.window.at(number) if number >= first else None
        if known is not None and known != batch.events[number - first]:
            self.doubtful = True
            self._look()
        return self.doubtful

    def _continue(self, news: list[Event], expected: int) -> int:
        """Add the early batches that follow now; return the number that is expected next."""
        while (batch := self._early.pop(expected, None)) is not None:
            news += batch.events
            expected += len(batch.events)
        return expected

    def _mend_gap(self) -> None:
        self._early = {first: batch for first, batch in self._early.items() if first > self.number}
        if self._early:
            self._early.clear()
            self._look()


def _first(batch: Batch) -> int:
    return batch.events[0].number or 0


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield events in runs of a bounded size."""
    start = size = 0
    for place, event in enumerate(events):
        if size + len(event.data) > ROUND_BYTES and place > start:
            yield events[start:place]
            start, size = place, 0
        size += len(event.data)
    if events:
        yield events[start:]
