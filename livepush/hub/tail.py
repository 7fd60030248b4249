"""The tail: reads the log regularly, for the events that no announcement brought."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from livepush.hub.pages import Log, Pages, note_outcome
from livepush.hub.router import Router
from livepush.wire import LARGEST_NUMBER, Event, LogPage, LogState, Position, is_same

logger = logging.getLogger("livepush")

COMPARE = 10.0
"""How often (seconds) the log's last event is compared with the hub's while the head stands still."""
SUSPICION = 30.0
"""How long (seconds) the log is read often after the start, and after a hint was missed or the layer failed."""


class Tail:
    """Follows the log, reading it every ``interval`` seconds, or every ``trusting`` seconds while hints arrive.

    ``trusting`` is ``None`` if there are no hints.
    """

    def __init__(self, log: Log, router: Router, interval: float, trusting: float | None) -> None:
        self.wake = asyncio.Event()
        """Set it to have the log read at once."""
        self.pages: Pages
        self._log = log
        self._router = router
        self._interval = interval
        self._trusting = trusting
        self._loop = asyncio.get_running_loop()
        self._trusted_from = self._loop.time() + SUSPICION
        self._looking: asyncio.Future[None] | None = None
        self._hinted = False
        """Whether a hint asks for a read of the log, so that what is found there was no missed hint."""
        self._compare_from = 0.0
        """When to compare the last event again though the head has not moved: a failover may have replaced it."""

    @property
    def trusts_hints(self) -> bool:
        """Whether hints have arrived for so long that the log is read rarely."""
        return self._trusting is not None and self._loop.time() >= self._trusted_from

    def hints_work(self, works: bool) -> None:
        """Tell the tail whether hints arrive."""
        if not works:
            self._trusted_from = self._loop.time() + SUSPICION
            self.wake.set()

    def adopt(self, state: LogState, *, reset: bool = False) -> None:
        """Have the hub begin anew where the log is, and read the event that is there, to know this log by it."""
        self._router.adopt(state.position, state.floor, reset=reset)
        self._compare_from = 0.0
        self.wake.set()

    def hear_of(self, position: Position, carried: bool) -> None:
        """Take note of a position that the database itself has announced. Read the log unless its events came along."""
        router = self._router
        if position.epoch != router.epoch:
            return
        router.confirm(position.number)
        if not carried and position.number > router.number:
            self._hinted = True
            self.wake.set()

    async def run(self) -> None:
        """Read the log for ever."""
        while True:
            interval = self._interval
            if self._trusting is not None and self.trusts_hints:
                interval = self._trusting
            try:
                async with asyncio.timeout(interval):  # asyncio.wait_for can swallow a cancellation
                    await self.wake.wait()
            except TimeoutError:
                pass
            self.wake.clear()
            try:
                await self.refresh()
            except Exception as error:
                logger.warning("Could not read the log (%s); trying again.", error)
                await asyncio.sleep(min(1.0, interval * 4))

    async def refresh(self) -> None:
        """Read the log now. A caller that comes during a read waits for the next one."""
        if self._looking is not None and not self._looking.done():
            await asyncio.shield(self._looking)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._look())
            self._looking.add_done_callback(note_outcome)
        await asyncio.shield(self._looking)

    def under_way(self) -> list[asyncio.Future[None]]:
        """Return the unfinished read."""
        return [] if self._looking is None else [self._looking]

    async def _look(self) -> None:
        doubtful = self._router.doubtful
        hinted, self._hinted = self._hinted, False
        await self._settle_and_route(hinted)
        if doubtful:
            self._router.doubtful = False

    async def _settle_and_route(self, hinted: bool) -> None:
        """Settle the events that wait, then route those that no announcement brought."""
        router = self._router
        state = await self._log.sweep()
        now = self._loop.time()
        is_known = state.position == router.position and router.confirmed <= router.number
        if is_known and now < self._compare_from and not router.doubtful:
            router.confirm(state.position.number)
            router.floor = state.floor
            return
        self._compare_from = now + COMPARE
        head = router.number
        while True:
            number, confirmed = router.number, router.confirmed
            known = router.last if router.last is not None and router.last.number == number else None
            page = await self._read_from(number, known)
            state = page.state
            if await self._has_lost(state, confirmed):
                self.adopt(await self._log.state())
                return
            if state.position.epoch == router.epoch and self._has_diverged(page, number, known):
                await self._go_back(state, number, known, confirmed)
                return
            if state.position.epoch != router.epoch or state.floor > router.number:
                self.adopt(state)
                return
            router.confirm(state.position.number)
            router.floor = state.floor
            last = state.position.number
            news = [event for event in page.events if (event.number or 0) > router.number]
            if news and not hinted:
                self._trusted_from = self._loop.time() + SUSPICION
            router.route(news)
            if page.upto > last and not news:  # somebody deleted the events up to the previous head by hand
                router.number = router.offered = max(router.number, head)
            if router.number >= last:
                return
            head = last

    async def _read_from(self, number: int, known: Event | None) -> LogPage:
        """Return the events after a number, and that event itself, to compare it with the known one."""
        page = await self._read_with(number, known)
        if known is not None and page.state.floor < number <= page.state.position.number and not _has(page, number):
            page = await self._read_with(number, known)  # the log came to the number between the page and its state
        if page.upto == number:  # that event filled the page
            rest = await self.pages.read_on(None, number, LARGEST_NUMBER)
            page = rest._replace(events=page.events + rest.events)
        return page

    def _read_with(self, number: int, known: Event | None) -> Awaitable[LogPage]:
        return self.pages.read_on(None, max(0, number - 1), LARGEST_NUMBER, len(known.data) if known else 0)

    async def _has_lost(self, state: LogState, confirmed: int) -> bool:
        """Begin a new epoch if the log ends before a number that the database had given before this state was read.

        The log itself says so, where it is written: a pooler may read from a standby that is a moment behind.
        """
        epoch, end = state.position
        return (
            epoch == self._router.epoch
            and end < confirmed
            and await self._log.new_epoch(Position(epoch, confirmed), False)
        )

    def _has_diverged(self, page: LogPage, number: int, known: Event | None) -> bool:
        """Return whether the log is not the one that this hub has followed, as after a failover.

        Such a log ends before the hub's position, or has another event at that position. An event that was pruned while
        the page was read may lack some of its groups, and so says nothing.
        """
        router = self._router
        last = page.events[0] if _has(page, number) and page.state.floor < number else None
        if known is None and router.number == number:
            router.last = last
        return page.state.position.number < number or (
            known is not None and last is not None and not is_same(known, last)
        )

    async def _go_back(self, state: LogState, number: int, known: Event | None, confirmed: int) -> None:
        """Follow a log that does not have what this hub has routed up to a number.

        If the database had given the number, a new epoch begins, for all processes: the log has lost events. If only an
        announcement had it, that one was wrong: then this hub's subscribers alone start over.
        """
        epoch, there = state.position
        lost = confirmed >= number or there < confirmed
        if lost:
            end = Position(epoch, min(number, confirmed))
            await self._log.new_epoch(end, there >= end.number)
            state = await self._log.state()
            if state.position.epoch == epoch:  # it has grown past the number meanwhile: has it the same event there?
                page = await self._read_from(number, known)
                if page.state.position.number >= number and self._has_diverged(page, number, known):
                    await self._log.new_epoch(end, True)
                state = await self._log.state()
            if state.position.epoch == epoch:
                self._compare_from = 0.0
                self.wake.set()
                return
        self.adopt(state, reset=not lost)


def _has(page: LogPage, number: int) -> bool:
    """Return whether a page begins with the event of a number."""
    return bool(page.events) and page.events[0].number == number
