"""What all relays have in common: they run until they are told to stop, and go on after any failure."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from livepush.cancelling import end
from livepush.notes import Rarely, one_line

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
        self._thread = ThreadPoolExecutor(1, "livepush-relay")
        self._failures = Rarely(every=10.0)

    def stop(self) -> None:
        """Stop after the batch that is being relayed."""
        self._stopping.set()

    async def run(self) -> None:
        """Relay until ``stop`` is called. Raises ImproperlyConfigured: it can't work without another configuration."""
        pause = SHORTEST
        try:
            while not self._stopping.is_set():
                try:
                    await self._run_once()
                    pause = SHORTEST
                except ImproperlyConfigured:
                    raise
                except Exception as error:
                    self._warn(error)
                    if isinstance(error, Error):
                        await self._in_thread(connections.close_all)
                    pause = min(2 * pause, LONGEST)
                await self._wait(pause)
        finally:
            await self._in_thread(connections.close_all)
            self._thread.shutdown()

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

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _warn(self, error: BaseException) -> None:
        if times := self._failures.times():
            what = "The relay %r failed %d times and goes on. The last time: %s"
            logger.warning(what, self.name, times, one_line(error))
