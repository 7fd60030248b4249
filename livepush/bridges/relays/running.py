"""Receives a broker's messages, and begins again from the stored offset after any failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from django.db import Error

from livepush.bridges.relays.config import KEYED, Relay
from livepush.bridges.relays.looping import LONGEST, SHORTEST, Loop
from livepush.bridges.relays.mapping import Message
from livepush.bridges.relays.sources import Source, Taker, source_for
from livepush.bridges.relays.taking import forget_old, take
from livepush.conf import get_settings
from livepush.hub.pages import note_outcome
from livepush.progress import Progress

FORGET_EVERY = 600.0
MAP_TIMEOUT = 60.0
"""How long (seconds) a message may take at least that a function of the project's makes events of."""
LOOK = 1.0
"""How often (seconds) a relay looks whether its subscriber still works."""


class Runner(Loop):
    """Relays a broker's messages into the log."""

    def __init__(self, relay: Relay, told: Callable[[int], None] = lambda count: None) -> None:
        super().__init__(relay.name, told)
        self._relay = relay
        self._broken: BaseException | None = None
        self._forget_at = 0.0

    async def _run_once(self) -> None:
        """Receive from the stored offset on until something fails, or the relay stops."""
        self._broken = None
        taker = Taker(self._take, self._fail, self._warn, self._in_thread)
        source = await self._unless_stopped(source_for(self._relay, taker))
        if source is None:
            return
        try:
            await self._unless_stopped(source.start())
            while not self._stopping.is_set() and self._works(source):
                await self._forget_old()
                await self._wait(LOOK)
                await self._unless_stopped(source.check())
        finally:
            tasks = list(source.tasks())
            with suppress(Exception):
                await source.stop()
            for task in tasks:  # one may fail as it is stopped, which asyncio would log
                task.add_done_callback(note_outcome)
        if self._broken is not None:
            raise self._broken

    async def _forget_old(self) -> None:
        """Delete old receipts once in a while."""
        if self._relay.kind in KEYED and time.monotonic() >= self._forget_at:
            count = await self._in_thread(partial(forget_old, self._relay))
            self._forget_at = time.monotonic() + (0.0 if count else FORGET_EVERY)

    def _fail(self, error: Exception) -> None:
        self._broken = error

    async def _take(self, messages: Sequence[Message]) -> bool:
        """Take a batch; return whether that was done. If it fails, try again until the relay stops or begins again."""
        pause = SHORTEST
        limit = get_settings().DATABASE_TIMEOUT
        progress = Progress(limit if self._relay.map is None else max(limit, MAP_TIMEOUT))
        while self._broken is None and not self._stopping.is_set():
            try:
                self._told(await self._in_thread(partial(take, messages, self._relay), progress))
                return True
            except Error as error:
                self._warn(error)
                await self._disconnect()
                await self._wait(pause)
                pause = min(2 * pause, LONGEST)
            except Exception as error:
                self._broken = error
        return False

    def _works(self, source: Source) -> bool:
        """Return whether the subscriber goes on, and nothing failed that it did not notice."""
        ended = [task for task in source.tasks() if task.done()]
        for task in ended:
            if not task.cancelled() and task.exception() is not None:
                self._broken = task.exception()
        return not ended and self._broken is None
