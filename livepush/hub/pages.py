"""Reads the events after a position: from memory if it reaches back far enough, else from the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Protocol

from livepush.hub.router import Router
from livepush.wire import Event, LogPage, LogState

FIRST_FILL, MAX_FILL = 100, 2000
"""How many events are read at once to fill the window backwards: the first time, and at most."""


class Log(Protocol):
    """What a hub needs of the log."""

    async def state(self) -> LogState: ...
    async def sweep(self) -> LogState: ...
    async def read(
        self, groups: Collection[str] | None, after: int, upto: int, limit: int, max_bytes: int
    ) -> LogPage: ...
    async def prune(self) -> int: ...
    async def new_epoch(self, known: Any, diverged: bool) -> bool: ...
    async def close(self) -> None: ...


class Pages:
    """Reads pages for connections. Connections that ask for the same page at the same time share one read.

    A page has about ``max_bytes`` at most on its way to a client. ``refresh`` brings the hub up to date with the log.
    """

    def __init__(self, log: Log, router: Router, max_bytes: int, refresh: Callable[[], Awaitable[None]]) -> None:
        self._log = log
        self._router = router
        self._max_bytes = max_bytes
        self._refresh = refresh
        self._reads: dict[object, _Read] = {}
        self._filling: asyncio.Future[None] | None = None

    async def page(self, groups: Collection[str], after: int) -> LogPage:
        """Return the events of some groups after a number, or the first part of them.

        Raises the database's errors, and TimeoutError.
        """
        page = self._recent(groups, after)
        if page is None and not self._router.window.full:
            await self._reach_back(after)
            page = self._recent(groups, after)
        if page is None:
            page = await self._read(groups, after)
            if page.state.position.epoch != self._router.epoch:
                await self._refresh()
        return page

    def read_on(self, groups: Collection[str] | None, after: int, upto: int, more: int = 0) -> Awaitable[LogPage]:
        """Read one page of the log. Its size is bounded; ``more`` raises the bound by some bytes."""
        limit = min(500, self._router.window.fitting(self._max_bytes))
        return self._log.read(groups, after, upto, limit, self._max_bytes + more)

    def under_way(self) -> list[asyncio.Future[Any]]:
        """Return the unfinished reads."""
        return [*(read.page for read in self._reads.values()), *([self._filling] if self._filling is not None else [])]

    def _recent(self, groups: Collection[str], after: int) -> LogPage | None:
        found = self._router.window.after(groups, after, self._max_bytes)
        if found is None:
            return None
        events, cut = found
        upto = (events[-1].number or after) if cut else self._router.number
        return LogPage(tuple(events), upto, LogState(self._router.position, 0, False))

    async def _read(self, groups: Collection[str], after: int) -> LogPage:
        wanted = tuple(groups)
        key = (wanted, after, self._router.number)
        read = self._reads.get(key)
        if read is None:
            work = asyncio.ensure_future(self.read_on(wanted, after, self._router.number))
            read = self._reads[key] = _Read(work)
            work.add_done_callback(lambda _: self._forget(key, work))
            work.add_done_callback(note_outcome)
        read.readers += 1
        try:
            page = await asyncio.shield(read.page)
        finally:
            read.readers -= 1
            if not read.readers and not read.page.done():  # all have gone
                self._forget(key, read.page)  # at once: the next one must not get a read that ends
                read.page.cancel()
        self._router.hear_of_floor(page.state)
        return page

    def _forget(self, key: object, page: asyncio.Future[LogPage]) -> None:
        if key in self._reads and self._reads[key].page is page:
            del self._reads[key]

    async def _reach_back(self, number: int) -> None:
        """Fill the window backwards to a number, as far as there is room. Callers at the same time share the reads."""
        router = self._router
        while max(number, router.floor) < router.window.start and not router.window.full:
            if self._filling is None or self._filling.done():
                self._filling = asyncio.ensure_future(self._fill())
                self._filling.add_done_callback(note_outcome)
            await asyncio.shield(self._filling)

    async def _fill(self) -> None:
        """Read the events of all groups before the window, so that many returning clients cost only a few reads."""
        router = self._router
        epoch, start = router.epoch, router.window.start
        count = min(MAX_FILL, router.window.room) if start < router.number else FIRST_FILL
        first = upto = max(router.floor, start - max(count, 1))
        events: list[Event] = []
        while upto < start:
            page = await self.read_on(None, upto, start)
            events += page.events
            upto = page.upto
            if page.state.position.epoch != epoch:
                await self._refresh()
                return
        if (router.epoch, router.window.start) == (epoch, start):
            router.hear_of_floor(page.state)
            first = max(first, router.floor)  # events up to the floor may have been pruned meanwhile
            router.window.prepend([event for event in events if (event.number or 0) > first], min(first, start))


class _Read:
    """A read that several readers share."""

    def __init__(self, page: asyncio.Future[LogPage]) -> None:
        self.page = page
        self.readers = 0


def note_outcome(work: asyncio.Future[Any]) -> None:
    """Retrieve a future's exception, so that asyncio does not report it if nobody awaits the future any more."""
    if not work.cancelled():
        work.exception()
