"""What all relays have in common: they run until they are told to stop, and go on after any failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, OperationalError

from livepush.cancelling import contained, end
from livepush.conf import get_settings
from livepush.notes import Rarely, one_line
from livepush.process.connections import RELAY_THREAD, close_connections, cut_connections
from livepush.process.threads import Overdue, Threads
from livepush.progress import Progress

logger = logging.getLogger("livepush")
T = TypeVar("T")
PATIENCE = 20.0
"""How long (seconds) a relay waits for its broker to let it in."""
SHORTEST, LONGEST = 0.1, 5.0
"""How long (seconds) a relay waits before it tries again."""


class Loop:
    """Runs one relay. Its database work is done in one thread, on one connection."""

    def __init__(self, name: str, told: Callable[[int], None] = lambda count: None) -> None:
        self.name = name
        self._told = told
        self._stopping = asyncio.Event()
        self._thread: Threads
        self._failures = Rarely(every=10.0)

    def stop(self) -> None:
        """Stop after the batch that is being relayed."""
        self._stopping.set()

    async def run(self) -> None:
        """Relay until ``stop`` is called. Raises ImproperlyConfigured: it can't work without another configuration."""
        pause = SHORTEST
        self._thread = Threads(1, RELAY_THREAD, get_settings().DATABASE_TIMEOUT, close_connections, cut_connections)
        try:
            while not self._stopping.is_set():
                try:
                    with contained():
                        await self._run_once()
                    pause = SHORTEST
                except ImproperlyConfigured:
                    raise
                except Exception as error:
                    self._warn(error)
                    if isinstance(error, Error):
                        await self._disconnect()
                    pause = min(2 * pause, LONGEST)
                await self._wait(pause)
        finally:
            with suppress(Error):
                await self._in_thread(self._let_go)
            await self._thread.stop()

    async def _run_once(self) -> None:
        """Relay until something fails, or ``stop`` is called."""
        raise NotImplementedError

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do what may wait for a peer, and return its result. If the relay is to stop, give it up and return ``None``.

        Raises what the work raises, and TimeoutError: some clients try for minutes, and say nothing meanwhile.
        """
        doing, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({doing, stopping}, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if doing.done():
                return await doing
            if not stopping.done():
                raise TimeoutError(f"There was no answer within {PATIENCE:g} s.")
            return None
        finally:
            await end(doing, stopping)

    def _let_go(self) -> None:
        """Do what is left to do in the database when the relay stops."""

    async def _in_thread(self, work: Callable[[], T], progress: Progress | None = None) -> T:
        """Do work in the thread that has the connection to the database, for ``DATABASE_TIMEOUT`` at most.

        ``progress`` sets another limit. Raises what the work raises, and OperationalError: the work took too long, as
        when the database's host has vanished. Then its connection is cut, and another thread takes its place.
        """
        try:
            return await self._thread.run(work, progress=progress)
        except Overdue as error:
            raise OperationalError(str(error)) from error

    async def _disconnect(self) -> None:
        """Close the thread's connections, since they may be dead."""
        with suppress(Error):
            await self._in_thread(close_connections)

    def _warn(self, error: BaseException) -> None:
        if times := self._failures.times():
            what = "The relay %r failed %d times and goes on. The last time: %s"
            logger.warning(what, self.name, times, one_line(error))
