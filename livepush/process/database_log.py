"""The log as a hub needs it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import timedelta
from functools import partial
from typing import TypeVar

from django.utils import timezone

from livepush import log, publish
from livepush.notes import Rarely, one_line
from livepush.process.connections import with_database
from livepush.process.threads import Threads
from livepush.wire import LogPage, LogState, Position

logger = logging.getLogger("livepush")

T = TypeVar("T")


class DatabaseLog:
    """Runs each call in the hub's own thread, on one connection that stays open."""

    def __init__(self, using: str, retention: float, threads: Threads) -> None:
        self._using = using
        self._retention = timedelta(seconds=retention)
        self._threads = threads
        self._failing = Rarely()
        self._resting: set[Callable[[str], int]] = set()
        """The jobs that have failed in this round of pruning."""

    async def state(self) -> LogState:
        return await self._run(lambda: log.state(self._using))

    async def sweep(self) -> LogState:
        """Settle the events that wait; return the log's state."""
        return await self._run(self._sweep)

    async def read(self, groups: Collection[str] | None, after: int, upto: int, limit: int, max_bytes: int) -> LogPage:
        wanted = None if groups is None else tuple(groups)
        return await self._run(lambda: log.read(self._using, wanted, after, upto, limit, max_bytes))

    async def prune(self) -> int:
        """Delete some of what is past its retention; return the number of deleted rows, 0 at the end of a round.

        A job that fails rests until the next round, since it may have held up the hub for as long as a call may take.
        It keeps no other from running, nor from running again while there is more to delete.
        """
        count = 0
        for job in (self._prune_events, *log.jobs):
            if job in self._resting:
                continue
            try:
                count += await self._run(partial(job, self._using))
            except Exception as error:
                self._resting.add(job)
                if times := self._failing.times():
                    message = "Could not prune the log (%d times; the last: %s); trying again later."
                    logger.warning(message, times, one_line(error))
        if not count:
            self._resting.clear()
        return count

    async def new_epoch(self, known: Position, diverged: bool) -> bool:
        return await self._run(lambda: log.new_epoch(self._using, known, diverged))

    async def close(self) -> None:
        await self._threads.stop()

    def _prune_events(self, using: str) -> int:
        return log.prune(using, timezone.now() - self._retention)

    def _sweep(self) -> LogState:
        state = log.state(self._using)
        if not state.waiting:
            return state
        publish.settle(self._using)
        return log.state(self._using)

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._threads.run(lambda: with_database(work))
