"""Routes events: settled batches come in in any order, and go to the subscribers in the log's order."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextvars import Context
from itertools import groupby
from typing import Protocol

from livepush.hub.fanout import Round, Share
from livepush.hub.routes import Routes, Subscriber
from livepush.hub.window import Window
from livepush.wire import (
    FORGOTTEN,
    RIGHTS,
    Batch,
    Event,
    LogState,
    Position,
    is_same,
    memory_of,
    parse_forgotten,
)

GAP_PATIENCE = 0.005
"""How long (seconds) the router waits for a missing batch before the log is read."""
MAX_QUEUED_BYTES = 16 * 1_048_576
"""The most bytes of this process's own events that wait for a busy loop; the others are read from the log."""
ROUND_BYTES = 65_536
"""How many characters of data are encoded and routed in one round at most, unless a single event has more."""


class Follower(Protocol):
    """Code of this process that is told of livepush's own events, without being a client."""

    def hear(self, event: Event) -> None:
        """Heed an event of livepush's own before later ones are routed: rights changed, or events were deleted."""

    def lose_track(self) -> None:
        """Events may have been missed: the log has a new epoch."""


class Meter(Protocol):
    """Counts the events that are offered."""

    def count(
        self, round: Round, groups: tuple[str, ...], share: Share, subscribers: Collection[Subscriber]
    ) -> None: ...


class Router:
    """Routes each event once. Call its methods in the loop's thread, except ``receive_soon``.

    It calls ``look`` when the log must be read, and ``closed`` when the loop turns out to be closed.
    """

    def __init__(self, window: Window, look: Callable[[], None], closed: Callable[[], None]) -> None:
        self.epoch = ""
        self.number = 0
        self.offered = 0
        """The number up to which all subscribers were offered the events. In a round it is behind ``number``."""
        self.floor = 0
        """The log's floor, as far as this hub knows: never above the true floor, nor above the hub's position."""
        self.confirmed = 0
        """The last number that the database is known to have given in this epoch. Hints do not count: an announced
        number never begins an epoch."""
        self.window = window
        self.routes = Routes()
        self.followers: list[Follower] = []
        self.meter: Meter | None = None
        """Counts what is offered, if somebody wants to know."""
        self.last: Event | None = None
        """The event at the hub's position, if it is known."""
        self.doubtful = False
        """Whether an announced event contradicts a routed one."""
        self._began = 0
        """The position at which the hub began: it knows no event up to it."""
        self._loop = asyncio.get_running_loop()
        self._look = look
        self._closed = closed
        self._early: dict[int, Batch] = {}
        self._waiting: deque[Batch] = deque()
        self._lock = threading.RLock()  # a signal's handler may send too
        self._queued = 0
        """About how many bytes of ``receive_soon`` the loop has not taken yet."""
        self._overflowed = False
        """Whether some were dropped since it last took any."""

    @property
    def position(self) -> Position:
        """The position up to which everything has been routed."""
        return Position(self.epoch, self.number)

    @property
    def queued(self) -> int:
        """About how many bytes of ``receive_soon`` the loop has not taken yet."""
        return self._queued

    @property
    def early_batches(self) -> int:
        """How many announced batches wait for one before them."""
        return len(self._early)

    def receive_soon(self, batch: Batch) -> None:
        """Receive a batch that this process has settled, or an ephemeral event of it, from any thread."""
        with self._lock:
            size = self._queued + sum(map(memory_of, batch.events))
            if self._queued and size > MAX_QUEUED_BYTES:
                self._overflowed = True
                return
            self._queued = size
        try:
            self._loop.call_soon_threadsafe(self.receive, batch, True, context=Context())  # not the sender's
        except RuntimeError:  # the loop was closed
            self._closed()

    def receive(self, batch: Batch, own: bool = False) -> None:
        """Take an announced batch. All batches that wait are routed together.

        ``own`` says that this process has settled it, so that its numbers are the database's.
        """
        if own:
            self._take_own(batch)
        if not self._waiting:
            self._loop.call_soon(self._route_waiting)
        self._waiting.append(batch)

    def route(self, events: Sequence[Event]) -> None:
        """Move the position over contiguous events and offer them to their groups' subscribers, in bounded rounds."""
        for run in _runs(events):
            self.last = run[-1]
            self.number = run[-1].number or self.number
            self.window.extend(run)
            self.fan_out(run)
            self.offered = self.number
            if RIGHTS in run[-1].groups:
                if run[-1].type == FORGOTTEN:
                    self.window.forget(parse_forgotten(run[-1].data), self.number)
                for follower in self.followers:
                    follower.hear(run[-1])

    def fan_out(self, events: Sequence[Event]) -> None:
        """Offer events to the subscribers of their groups."""
        round = Round(self.epoch, events, self.routes, self._loop.time(), self.number)
        if round.by_group:
            for groups, subscribers in self.routes.audiences(round.by_group).items():
                share = Share(round, groups)
                for subscriber in subscribers:
                    subscriber.offer(share)
                if self.meter is not None:
                    self.meter.count(round, groups, share, subscribers)

    def hear_of_floor(self, state: LogState) -> None:
        """Note how far the log was pruned, up to the hub's position. If it was pruned further, the tail must look."""
        if state.position.epoch == self.epoch:
            self.floor = max(self.floor, min(state.floor, self.number))
            if state.floor > self.number:
                self._look()

    def confirm(self, number: int) -> None:
        """Note that the database has given a number, in this epoch."""
        self.confirmed = max(self.confirmed, number)

    def adopt(self, position: Position, floor: int, *, reset: bool = False) -> None:
        """Begin anew at a position of the log, and forget the events in memory.

        With ``reset``, the subscribers were offered events that the log does not have, so they are told to start over.
        """
        anew = position.epoch != self.epoch
        self.epoch, self.number = position
        self.confirmed = self._began = self.offered = self.number
        self.floor, self.last = floor, None
        self.window.begin(self.number, anew=anew)
        self._early.clear()
        for subscriber in list(self.routes.subscribers):
            subscriber.fall_behind(reset=reset)
        for follower in self.followers:
            follower.lose_track()

    def _take_own(self, batch: Batch) -> None:
        with self._lock:
            self._queued -= sum(map(memory_of, batch.events))
            overflowed, self._overflowed = self._overflowed, False
        if overflowed:
            self._look()
        if batch.epoch == self.epoch:
            self.confirm(batch.events[-1].number or 0)

    def _route_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        for is_ephemeral, batches in groupby(waiting, _is_ephemeral):
            if is_ephemeral:  # in their turn: a message does not overtake what its sender did before
                self.fan_out([event for batch in batches for event in batch.events])
            else:
                self._route_settled(batches)
        if self._early:
            self._loop.call_later(GAP_PATIENCE, self._mend_gap)

    def _route_settled(self, batches: Iterable[Batch]) -> None:
        news: list[Event] = []
        expected = self.number + 1
        for batch in sorted(batches, key=_first):
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

    def _doubts(self, first: int, batch: Batch) -> bool:
        """Return whether the log must be read first, since a batch has another event at a routed position.

        This happens after a failover that lost the log's last events. Until the read no announced event is routed.
        Where the hub began it can't compare, so there the log is read too: mostly the batch was just on its way.
        """
        number = min(first + len(batch.events) - 1, self.number)
        if first <= number:
            known = self.last if self.last is not None and self.last.number == number else self.window.at(number)
            if not is_same(known, batch.events[number - first]) if known is not None else number <= self._began:
                self.doubtful = True
                self._look()
        return self.doubtful

    def _continue(self, news: list[Event], expected: int) -> int:
        """Add the early batches that follow now; return the next expected number."""
        while (batch := self._early.pop(expected, None)) is not None:
            news += batch.events
            expected += len(batch.events)
        return expected

    def _mend_gap(self) -> None:
        missing = any((batch.events[-1].number or 0) > self.number for batch in self._early.values())
        self._early.clear()
        if missing:
            self._look()


def _is_ephemeral(batch: Batch) -> bool:
    return batch.events[0].number is None


def _first(batch: Batch) -> int:
    return batch.events[0].number or 0


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield events in runs of a bounded size. One of livepush's own ends a run: all heed it before later ones."""
    start = size = 0
    for place, event in enumerate(events):
        if size + len(event.data) > ROUND_BYTES and place > start:
            yield events[start:place]
            start, size = place, 0
        size += len(event.data)
        if RIGHTS in event.groups:
            yield events[start : place + 1]
            start, size = place + 1, 0
    if start < len(events):
        yield events[start:]
