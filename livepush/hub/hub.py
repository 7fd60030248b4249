"""The hub: one for each event loop of a server, it tails the log and fans out to its subscribers.

What it needs of the world is passed in: a ``Log`` to read (called in the hub's own thread) and a function that
listens to the layer.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, TypeVar

from livepush.hub.connection import Subscriber
from livepush.hub.fanout import Encoder, Joined, Round, Share
from livepush.hub.registry import hubs
from livepush.hub.window import Window
from livepush.process.threads import Threads
from livepush.wire import (
    HEARTBEAT,
    LARGEST_NUMBER,
    TEXTS,
    Batch,
    Event,
    Format,
    Page,
    Position,
    State,
    own,
)

logger = logging.getLogger("livepush")

T = TypeVar("T")
GAP_PATIENCE = 0.005
"""How long (seconds) a hole between batches may take to fill by itself before the log is read."""
FIRST_FILL, MOST_FILL = 100, 2000
"""The events that are read at once to fill the window backwards: at first, and at most."""
ROUND_BYTES = 65_536
"""The most bytes of data that are encoded and routed in one go, unless a single send has more."""
COMPARE = 10.0
"""How often (seconds) the log's last event is compared with the hub's while the head stands still."""
SUSPICION = 30.0
"""How long (seconds) the log is read often after the start, and after the layer missed an event or failed."""


class Log(Protocol):
    """What a hub asks of the log; each call may block."""

    def state(self) -> State: ...
    def sweep(self) -> State: ...
    def read(self, groups: Collection[str] | None, after: int, upto: int, limit: int, most_bytes: int) -> Page: ...
    def prune(self) -> int: ...
    def new_epoch(self, known: Position, diverged: bool) -> bool: ...
    def close(self) -> None: ...
    def cut(self, thread: int) -> None: ...


Listen = Callable[[Callable[[Batch], None], Callable[[bool], None]], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """A hub's settings; times in seconds, sizes in bytes."""

    tail_interval: float
    tail_interval_with_layer: float
    heartbeat: float
    write_timeout: float
    database_timeout: float
    buffer_bytes: int
    window_events: int
    window_bytes: int
    prune_interval: float
    drain: float


class Hub:
    """One event loop's fan-out. All methods belong to that loop's thread, but for ``receive_soon``."""

    def __init__(self, log: Log, listen: Listen | None, options: Options) -> None:
        self.loop = asyncio.get_running_loop()
        self.options = options
        self.epoch = ""
        self.number = 0
        self.floor = 0
        """Events up to here are gone, as far as this hub has heard: never more than is true, nor than its position."""
        self.window = Window(options.window_events, options.window_bytes)
        self.routes: dict[str, dict[Subscriber, None]] = {}
        self.subscribers: dict[Subscriber, None] = {}
        self.draining = False
        self._log = log
        self._listen = listen
        self._last: Event | None = None
        """The event at the hub's position, where it is known."""
        self._thread = Threads(1, "livepush-hub", options.database_timeout, log.close, log.cut)
        self._early: dict[int, Batch] = {}
        self._doubtful = False
        """Whether what was announced contradicts what was routed."""
        self._compare_from = 0.0
        """When to read the log's last event again although the head stands still, as after a failover it may."""
        self._waiting: deque[Batch] = deque()
        self._reads: dict[object, asyncio.Future[Page]] = {}
        self._tailing: asyncio.Future[None] | None = None
        self._filling: asyncio.Future[None] | None = None
        self._wake = asyncio.Event()
        self._trusted_from = self.loop.time() + SUSPICION if listen else float("inf")
        self._told = Position("", 0)
        self._heartbeats: dict[Format, Joined] = {}
        self._encoders: dict[tuple[str, Format], Encoder] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def position(self) -> Position:
        """The position up to which everything has been routed."""
        return Position(self.epoch, self.number)

    @property
    def layer(self) -> str:
        """What it thinks of the layer: ``none``, ``trusted``, or ``watched`` after its start or a failure."""
        if self._listen is None:
            return "none"
        return "trusted" if self.loop.time() >= self._trusted_from else "watched"

    @cached_property
    def ready(self) -> asyncio.Task[None]:
        """The start: await it (shielded) before anything else; it raises what kept the log from being read."""
        return self.loop.create_task(self._start(), context=Context())  # not the first client's

    async def _start(self) -> None:
        self._adopt(await self._run(self._log.sweep))
        hubs.add(self)
        work: list[Coroutine[Any, Any, None]] = [self._tail_on(), self._beat_on()]
        if self._listen is not None:
            work.append(self._listen(self.receive, self._layer_works))
        if self.options.prune_interval:
            work.append(self._prune_on())
        self._tasks = [self.loop.create_task(each) for each in work]

    async def stop(self) -> None:
        """End the hub's tasks and its thread."""
        hubs.discard(self)
        under_way: list[asyncio.Future[Any]] = [
            *self._tasks,
            *self._reads.values(),
            *(future for future in (self._tailing, self._filling) if future is not None),
        ]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await self._thread.stop()

    # Subscribers

    def add(self, subscriber: Subscriber) -> None:
        """Route its groups' events to a subscriber."""
        self.subscribers[subscriber] = None
        self.route_to(subscriber, subscriber.groups)

    def remove(self, subscriber: Subscriber) -> None:
        """Forget a subscriber."""
        self.subscribers.pop(subscriber, None)
        self.unroute(subscriber, subscriber.groups)

    def route_to(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Route more groups to a subscriber."""
        for group in groups:
            self.routes.setdefault(group, {})[subscriber] = None

    def unroute(self, subscriber: Subscriber, groups: Iterable[str]) -> None:
        """Route some groups to a subscriber no longer."""
        for group in groups:
            members = self.routes.get(group)
            if members is not None:
                members.pop(subscriber, None)
                if not members:
                    del self.routes[group]

    async def admit(self, since: Position | None) -> tuple[Position, str | None]:
        """Return the cursor for a client that presents a position, and why its history is lost if it is.

        A client that is ahead of this hub, or of another epoch, makes the hub look at the log first: it may come
        from a process that has heard more. Raises the database's errors.
        """
        if since is None:
            return self.position, None
        if since.epoch != self.epoch or since.number > self.number:
            await self.refresh()
        if since.epoch != self.epoch:
            return self.position, "epoch"
        if since.number > self.number:
            return self.position, "ahead"
        if since.number < self.floor:  # a floor that rose meanwhile is met by the replay
            return self.position, "pruned"
        return since, None

    # Reading

    async def page(self, groups: Collection[str], after: int) -> Page:
        """Return what some groups have behind a number (the event at it included), or the first part of that.

        From memory where that reaches back far enough, or can be made to; else from the log. A page holds about
        ``buffer_bytes`` of data at most. Raises the database's errors, and TimeoutError.
        """
        page = self._recent(groups, after)
        if page is None and not self.window.full:
            await self._reach_back(after)
            page = self._recent(groups, after)
        return page or await self._read(groups, after)

    def _recent(self, groups: Collection[str], after: int) -> Page | None:
        """Return what memory holds behind a number, ``None`` where it does not reach back that far."""
        most = self.options.buffer_bytes
        events = self.window.after(groups, after, most)
        if events is None:
            return None
        whole = sum(len(event.data) for event in events if event.number != after) <= most
        upto = self.number if whole else (events[-1].number or after)
        return Page(tuple(events), upto, State(self.position, 0, False))

    async def _read(self, groups: Collection[str], after: int) -> Page:
        """Read a page of the log; who asks for the same at one time shares the read."""
        wanted = frozenset(groups)
        key = (wanted, after, self.number)
        read = self._reads.get(key)
        if read is None:
            work = self._reading(wanted, after, self.number)
            read = self._reads[key] = asyncio.ensure_future(self._run(work))
            read.add_done_callback(lambda _: self._reads.pop(key, None))
            read.add_done_callback(_retrieve)
        page = await asyncio.shield(read)
        self._hear_of_floor(page.state)
        return page

    def encoder(self, epoch: str, format: Format) -> Encoder:
        """Return what encodes an epoch's events for replays."""
        found = self._encoders.get((epoch, format))
        if found is None:
            found = self._encoders[epoch, format] = Encoder(epoch, format, self.options.buffer_bytes)
        return found

    def _hear_of_floor(self, state: State) -> None:
        """Note how far the log was pruned, up to the hub's position; what lies behind that is the tail's to find."""
        if state.position.epoch == self.epoch:
            self.floor = max(self.floor, min(state.floor, self.number))
            if state.floor > self.number:
                self._wake.set()

    def _reading(self, groups: Collection[str] | None, after: int, upto: int, more: int = 0) -> Callable[[], Page]:
        size = self.options.buffer_bytes
        limit = min(500, self.window.fitting(size))
        return lambda: self._log.read(groups, after, upto, limit, size + more)

    async def _reach_back(self, number: int) -> None:
        """Fill the window backwards to a number, as far as there is room; who asks meanwhile shares the reads."""
        while max(number, self.floor) < self.window.start and not self.window.full:
            if self._filling is None or self._filling.done():
                self._filling = asyncio.ensure_future(self._fill())
                self._filling.add_done_callback(_retrieve)
            await asyncio.shield(self._filling)

    async def _fill(self) -> None:
        """Read the events before the window, of all groups, so that a crowd that comes back costs a few reads."""
        epoch, start = self.epoch, self.window.start
        count = min(MOST_FILL, self.window.room) if start < self.number else FIRST_FILL
        after = max(self.floor, start - max(count, 1))
        events: list[Event] = []
        upto = max(self.floor, after - 1)  # with the event at the new start
        while upto < start:
            page = await self._run(self._reading(None, upto, start))
            events += page.events
            upto = page.upto
            if page.state.position.epoch != epoch:
                await self.refresh()
                return
        if (self.epoch, self.window.start) == (epoch, start):
            self._hear_of_floor(page.state)
            first = max(after, self.floor)  # what was pruned meanwhile may have holes
            wanted = [event for event in events if max(self.floor, first - 1) < (event.number or 0) <= start]
            self.window.prepend(wanted, min(first, start))

    async def refresh(self) -> None:
        """Look at the log now; who asks while a look is under way waits for the one after it."""
        if self._tailing is not None and not self._tailing.done():
            await asyncio.shield(self._tailing)
        if self._tailing is None or self._tailing.done():
            self._tailing = asyncio.ensure_future(self._look())
            self._tailing.add_done_callback(_retrieve)
        await asyncio.shield(self._tailing)

    # Receiving

    def receive_soon(self, batch: Batch) -> None:
        """Receive a batch, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.receive, batch, context=Context())  # not the sender's
        except RuntimeError:  # the loop was closed
            hubs.discard(self)

    def receive(self, batch: Batch) -> None:
        """Take a batch that was announced; what is waiting is routed together."""
        if not self._waiting:
            self.loop.call_soon(self._route_waiting)
        self._waiting.append(batch)

    def _route_waiting(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        news: list[Event] = []
        ephemeral: list[Event] = []
        expected = self.number + 1
        for batch in sorted(waiting, key=lambda batch: batch.events[0].number or 0):
            first = batch.events[0].number
            if first is None:
                ephemeral += batch.events
            elif batch.epoch != self.epoch or self._doubts(batch):
                continue
            elif first > expected:
                self._early[first] = batch
            else:
                fresh = batch.events[expected - first :]
                news += fresh
                expected += len(fresh)
                expected = self._continue(news, expected)
        self._route(news)
        if ephemeral:
            self._fan_out(Round(self.epoch, ephemeral, self.loop.time(), ephemeral=True))
        if self._early:
            self.loop.call_later(GAP_PATIENCE, self._mend_gap)

    def _doubts(self, batch: Batch) -> bool:
        """Return whether the log must be looked at first: a batch has another event where one was routed.

        So it is after a failover that lost the log's tail. Until that look nothing that is announced is routed.
        """
        first = batch.events[0].number or 0
        number = min(first + len(batch.events) - 1, self.number)
        known = self.window.at(number) if number >= first else None
        if known is not None and known != batch.events[number - first]:
            self._doubtful = True
            self._wake.set()
        return self._doubtful

    def _continue(self, news: list[Event], expected: int) -> int:
        """Add the early batches that follow now."""
        while self._early:
            batch = self._early.pop(expected, None)
            if batch is None:
                break
            news += batch.events
            expected += len(batch.events)
        return expected

    def _mend_gap(self) -> None:
        self._early = {first: batch for first, batch in self._early.items() if first > self.number}
        if self._early:
            self._early.clear()
            self._wake.set()

    def _route(self, events: Sequence[Event]) -> None:
        """Move the position and bring contiguous events to their groups' subscribers, a bounded round at a time."""
        for run in _runs(events):
            self._last = run[-1]
            self.number = self._last.number or self.number
            self.window.extend(run)
            heard = (event for event in run if event.group in self.routes)
            self._fan_out(Round(self.epoch, heard, self.loop.time()))

    def _fan_out(self, round: Round) -> None:
        for groups, subscribers in self._audiences(tuple(round.by_group)).items():
            share = Share(round, groups)
            for subscriber in subscribers:
                subscriber.offer(share)

    def _audiences(self, groups: tuple[str, ...]) -> dict[tuple[str, ...], list[Subscriber]]:
        """Return the subscribers of some groups, together where they have the same of them."""
        if len(groups) == 1:  # as a rule, and half the cost
            return {groups: list(self.routes.get(groups[0], ()))}
        touched: dict[Subscriber, list[str]] = {}
        for group in groups:
            for subscriber in self.routes.get(group, ()):
                touched.setdefault(subscriber, []).append(group)
        audiences: dict[tuple[str, ...], list[Subscriber]] = {}
        for subscriber, found in touched.items():
            audiences.setdefault(tuple(found), []).append(subscriber)
        return audiences

    # Tailing

    async def _tail_on(self) -> None:
        while True:
            trusted = self.loop.time() >= self._trusted_from
            interval = self.options.tail_interval_with_layer if trusted else self.options.tail_interval
            try:
                async with asyncio.timeout(interval):  # wait_for swallows a cancellation now and then
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.refresh()
            except Exception as error:
                logger.warning("Could not read the log (%s); trying again.", error)
                await asyncio.sleep(min(1.0, interval * 4))

    async def _look(self) -> None:
        doubtful = self._doubtful
        await self._tail()
        if doubtful:
            self._doubtful = False

    async def _tail(self) -> None:
        """Settle what waits, then route what no announcement brought."""
        state = await self._run(self._log.sweep)
        now = self.loop.time()
        if state.position == self.position and now < self._compare_from and not self._doubtful:
            self.floor = state.floor
            return
        self._compare_from = now + COMPARE
        head = self.number
        while True:
            number = self.number
            known = self._last if self._last is not None and self._last.number == number else None
            again = len(known.data) if known is not None else 0  # the event at the hub's own position
            page = await self._run(self._reading(None, max(0, number - 1), LARGEST_NUMBER, again))
            position, floor, _ = page.state
            if position.epoch == self.epoch and await self._has_diverged(page, number, known):
                position, floor, _ = await self._run(self._log.state)
            if position.epoch != self.epoch or floor > self.number:
                self._adopt(State(position, floor, False))
                return
            self.floor = floor
            news = [event for event in page.events if (event.number or 0) > self.number]
            if news and self._listen is not None:
                self._trusted_from = self.loop.time() + SUSPICION
            self._route(news)
            if page.upto > position.number and not news:  # the rest, up to the head of before, was deleted by hand
                self.number = max(self.number, head)
            if self.number >= position.number:
                return
            head = position.number

    async def _has_diverged(self, page: Page, number: int, known: Event | None) -> bool:
        """Begin a new epoch where the log is not the one that this hub has followed, as after a failover.

        Its head lies before the hub's position, or it has another event there.
        """
        last = page.events[0] if page.events and page.events[0].number == number else None
        if known is None and self.number == number:
            self._last = last
        diverged = known is not None and last is not None and known != last
        if not diverged and page.state.position.number >= number:
            return False
        at = Position(self.epoch, number)
        await self._run(lambda: self._log.new_epoch(at, diverged))
        return True

    def _adopt(self, state: State) -> None:
        """Begin at the log's state; nothing in memory continues it."""
        self.epoch, self.number = state.position
        self.floor, self._last = state.floor, None
        self.window.clear(self.number)
        self._encoders.clear()
        self._early.clear()
        for subscriber in list(self.subscribers):
            subscriber.fall_behind()

    def _layer_works(self, works: bool) -> None:
        now = self.loop.time()
        if not works:
            self._trusted_from = now + SUSPICION
            self._wake.set()

    # Timers

    def heartbeat(self, format: Format) -> Joined:
        """Return what keeps a quiet stream alive: now and then the position, else the least there is."""
        found = self._heartbeats.get(format)
        if found is None:
            tells = format in TEXTS or self.position != self._told
            frames = own("position", format, position=self.position) if tells else (HEARTBEAT,)
            found = self._heartbeats[format] = Joined(frames, self.loop.time())
        return found

    async def _beat_on(self) -> None:
        while True:
            await asyncio.sleep(self.options.heartbeat)
            now = self.loop.time()
            self._heartbeats.clear()
            for subscriber in list(self.subscribers):
                subscriber.beat(now)
            self._told = self.position

    async def _prune_on(self) -> None:
        while True:
            await asyncio.sleep(self.options.prune_interval * random.uniform(0.5, 1.5))
            try:
                while await self._run(self._log.prune):
                    await asyncio.sleep(0.05)
            except Exception as error:
                logger.warning("Could not prune the log (%s); trying again later.", error)

    def drain(self) -> None:
        """Tell every client to come back, spread over the drain's span, and close."""
        self.draining = True
        for subscriber in list(self.subscribers):
            self.send_away(subscriber)

    def send_away(self, subscriber: Subscriber) -> None:
        """Tell one client to come back, some time within the drain's span."""
        subscriber.leave(round(1000 * random.uniform(0, self.options.drain)))

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._thread.run(work)


def _retrieve(work: asyncio.Future[Any]) -> None:
    """Take note of how work ended that nobody may await any more."""
    if not work.cancelled():
        work.exception()


def _runs(events: Sequence[Event]) -> Iterator[Sequence[Event]]:
    """Yield events in runs of a bounded size; what one send made stays together, so that it is offered once."""
    start = size = 0
    for place, event in enumerate(events):
        together = place > 0 and event.send is not None and event.send == events[place - 1].send
        if size + len(event.data) > ROUND_BYTES and place > start and not together:
            yield events[start:place]
            start, size = place, 0
        size += len(event.data)
    if events:
        yield events[start:]
