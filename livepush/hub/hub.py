"""The hub: one for each event loop of a server. It follows the log and serves its subscribers.

The caller passes in a ``Log`` to read, and a function that listens for hints.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from contextvars import Context
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from livepush.hub.connection import Connection
from livepush.hub.fanout import Encoder, Joined
from livepush.hub.pages import Log, Pages
from livepush.hub.registry import hubs
from livepush.hub.router import Router
from livepush.hub.routes import Subscriber
from livepush.hub.source import Limits
from livepush.hub.tail import Tail
from livepush.hub.waiter import Waiter
from livepush.hub.window import Window
from livepush.wire import HEARTBEAT, NOWHERE, TEXTS, Batch, Format, Frames, LogPage, Position, system_frames

REPLAY_BUFFERS = 4
"""How many times ``buffer_bytes`` the encoded events that are kept for replays may take."""
Listen = Callable[
    [Callable[[Batch], None], Callable[[bool], None], Callable[[Position, bool], None]], Coroutine[Any, Any, None]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A hub's settings; times in seconds, sizes in bytes."""

    tail_interval: float
    tail_interval_with_layer: float
    heartbeat: float
    write_timeout: float
    buffer_bytes: int
    window_events: int
    window_bytes: int
    prune_interval: float
    drain: float


class Hub:
    """One event loop's fan-out. Call its methods in that loop's thread, except ``receive_soon``."""

    def __init__(self, log: Log, listen: Listen | None, options: Options) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self.limits = Limits(options.buffer_bytes, options.write_timeout, options.heartbeat)
        self.draining_since: float | None = None
        """When its server began to end (the loop's time); ``None`` while it serves."""
        self.encoder = Encoder(REPLAY_BUFFERS * options.buffer_bytes)
        window = Window(options.window_events, options.window_bytes)
        self.router = Router(window, lambda: self.tail.wake.set(), lambda: hubs.discard(self))
        self.router.followers.append(self.encoder)
        trusting = None if listen is None else options.tail_interval_with_layer
        self.tail = Tail(log, self.router, options.tail_interval, trusting)
        self.pages = self.tail.pages = Pages(log, self.router, options.buffer_bytes, self.tail.refresh)
        self.receive_soon = self.router.receive_soon
        self.page: Callable[..., Awaitable[LogPage]] = self.pages.page
        self._log = log
        self._listen = listen
        self._told = self._at_beat = Position("", 0)
        self._heartbeats: dict[Format, Joined] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.resets: Counter[str] = Counter()
        """How many clients were told that their history is lost, by reason."""
        self.attached: dict[str, object] = {}
        """Objects that other packages keep for as long as the hub lives, each by a name of its own."""

    @property
    def position(self) -> Position:
        """The position up to which everything has been routed."""
        return self.router.position

    @property
    def offered(self) -> int:
        """The number up to which all subscribers were offered the events of their groups."""
        return self.router.offered

    @property
    def floor(self) -> int:
        """The log's floor, as far as this hub knows: events up to it were pruned."""
        return self.router.floor

    def begin_anew(self, reason: str) -> Position:
        """Return the position from which a client goes on whose history is lost."""
        self.resets[reason] += 1
        return self.position

    @property
    def draining(self) -> bool:
        """Whether its server is about to end, so that no client is let in any more."""
        return self.draining_since is not None

    @property
    def hint_state(self) -> str:
        """Whether the hub trusts its hints: ``none``, ``trusted``, or ``watched`` after its start or a failure."""
        if self._listen is None:
            return "none"
        return "trusted" if self.tail.trusts_hints else "watched"

    # Its life

    @cached_property
    def ready(self) -> asyncio.Task[None]:
        """The hub's start. Await it (shielded) before anything else. It raises the error that kept it from the log."""
        return self.loop.create_task(self._start(), context=Context())  # not the first client's

    async def _start(self) -> None:
        self.tail.adopt(await self._log.sweep())
        hubs.add(self)
        work: list[Coroutine[Any, Any, None]] = [self.tail.run(), self._beat()]
        if self._listen is not None:
            work.append(self._listen(self.router.receive, self.tail.hints_work, self.tail.hear_of))
        if self.options.prune_interval:
            work.append(self._prune())
        self._tasks = [self.loop.create_task(each) for each in work]

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run some work for as long as the hub lives."""
        self._tasks.append(self.loop.create_task(work, context=Context()))

    async def stop(self) -> None:
        """End the hub's tasks, and close its log."""
        if "ready" in self.__dict__:  # it may be starting
            self.ready.cancel()
            await asyncio.gather(self.ready, return_exceptions=True)
        hubs.discard(self)
        under_way = self._under_way()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._log.close()

    def abandon(self) -> None:
        """Give up the tasks of a loop that was closed before they ended. asyncio is not to log each as an error."""
        hubs.discard(self)
        for task in self._under_way():
            if hasattr(task, "_log_destroy_pending"):
                task._log_destroy_pending = False

    def _under_way(self) -> list[asyncio.Future[Any]]:
        return [*self._tasks, *self.pages.under_way(), *self.tail.under_way()]

    def drain(self) -> None:
        """Tell every client to come back at a random time within the drain's span, and close."""
        self.draining_since = self.loop.time()
        for subscriber in list(self.router.routes.subscribers):
            self.send_away(subscriber)

    def send_away(self, subscriber: Subscriber) -> None:
        """Tell one client to come back at a random time within the drain's span."""
        subscriber.leave(self.again_in())

    def again_in(self) -> int:
        """Return in how many milliseconds a client that is sent away is to come back: a random time."""
        return round(1000 * random.uniform(0, self.options.drain))

    # Subscribers

    @property
    def subscribers(self) -> Iterable[Subscriber]:
        """All subscribers."""
        return self.router.routes.subscribers

    def add(self, subscriber: Subscriber) -> None:
        """Route its groups' events to a subscriber."""
        self.router.routes.add(subscriber)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self.router.routes.remove(subscriber)

    def start(self, connection: Connection, frames: Frames) -> None:
        """Serve a connection: write the first frames, then the events after its cursor, then live events."""
        self.add(connection)
        connection.start(frames)
        if self.draining:  # it came in while the hub said goodbye
            self.send_away(connection)

    def subscribe(self, connection: Connection, groups: Iterable[str], since: Position | None = None) -> Position:
        """Add groups to a connection, from a position that ``admit`` returned or from now on; return that position.

        Events after ``since`` that a group has had already are sent again: the page that asks may be a new one.
        """
        groups = list(groups)
        position = self.position  # not the cursor: a page without these groups may be on its way
        self.router.routes.route(connection, [group for group in groups if group not in connection.groups])
        if since is None or since.number >= position.number:
            connection.add(groups)
            return position
        connection.add(groups, since.number)
        return since

    def unsubscribe(self, connection: Connection, groups: Iterable[str]) -> None:
        """Drop groups of a connection from now on."""
        self.router.routes.unroute(connection, groups)
        connection.drop(groups)

    def revoke(self, subscriber: Connection | Waiter, groups: Iterable[str], reason: str) -> None:
        """Take groups away from a subscriber that may no longer read them."""
        self.router.routes.unroute(subscriber, groups)
        subscriber.revoke(groups, reason)

    async def admit(self, since: Position | None) -> tuple[Position, str | None]:
        """Return the cursor for a client that presents a position, and why its history is lost (``None`` if it is not).

        If the position is ahead of this hub, or of another epoch, the hub reads the log first: the client may come from
        a process that knows more. Raises the database's errors.
        """
        cursor, lost = await self._admit(since)
        if lost is not None:
            self.resets[lost] += 1
        return cursor, lost

    async def _admit(self, since: Position | None) -> tuple[Position, str | None]:
        if since is None:
            return self.position, None
        if since == NOWHERE:
            return self.position, "epoch"
        if since.epoch != self.position.epoch or since.number > self.position.number:
            await self.tail.refresh()
        position = self.position
        if since.epoch != position.epoch:
            return position, "epoch"
        if since.number > position.number:
            return position, "ahead"
        if since.number < self.floor:  # if the floor rises later, the replay notices
            return position, "pruned"
        return since, None

    # Timers

    def heartbeat(self, format: Format) -> Joined:
        """Return the frames that keep a quiet stream alive: the position if it is new, else the shortest possible."""
        found = self._heartbeats.get(format)
        if found is None:
            position = self.position
            tells = format in TEXTS or position != self._told
            frames = system_frames("position", format, position=position) if tells else (HEARTBEAT,)
            found = self._heartbeats[format] = Joined(frames, self.loop.time(), position.number)
        return found

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.options.heartbeat)
            now = self.loop.time()
            self._heartbeats.clear()
            for subscriber in list(self.subscribers):
                subscriber.beat(now)
            # A beat spares who was written to shortly before, so each position is told at two.
            self._told, self._at_beat = self._at_beat, self.position

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(self.options.prune_interval * random.uniform(0.5, 1.5))
            while await self._log.prune():
                await asyncio.sleep(0.05)
