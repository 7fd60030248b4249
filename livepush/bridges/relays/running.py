"""Receives a broker's messages, and begins again from the stored offset after any failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import Error, connections

from livepush.bridges.relays.brokers import broker_for, check_stream, newest
from livepush.bridges.relays.config import OFFSETS, Relay
from livepush.bridges.relays.looping import LONGEST, SHORTEST, Loop
from livepush.bridges.relays.mapping import Message
from livepush.bridges.relays.taking import begin_at, forget_old, offset_of, take

FORGET_EVERY = 600.0
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
        source = broker_for(self._relay, await self._offset(), self._take, self._fail)
        try:
            await self._unless_stopped(source.broker.start())
            while not self._stopping.is_set() and self._works(source.broker):
                await self._forget_old()
                await self._wait(LOOK)
                await source.check()
        finally:
            with suppress(Exception):
                await source.stop()
        if self._broken is not None:
            raise self._broken

    async def _forget_old(self) -> None:
        """Delete old receipts once in a while."""
        if self._relay.kind not in OFFSETS and time.monotonic() >= self._forget_at:
            count = await self._in_thread(partial(forget_old, self._relay))
            self._forget_at = time.monotonic() + (0.0 if count else FORGET_EVERY)

    async def _offset(self) -> str:
        """Return where to begin, and note it if that is the end that a stream has now."""
        offset = await self._in_thread(partial(offset_of, self._relay))
        await check_stream(self._relay, offset)
        if not offset and self._relay.start == "new":
            offset = await newest(self._relay)
            await self._in_thread(partial(begin_at, self._relay, offset))
        return offset

    def _fail(self, error: Exception) -> None:
        self._broken = error

    async def _take(self, messages: Sequence[Message]) -> bool:
        """Take a batch; return whether that was done. If it fails, try again until the relay stops or begins again."""
        pause = SHORTEST
        while self._broken is None and not self._stopping.is_set():
            try:
                self._told(await self._in_thread(partial(take, messages, self._relay)))
                return True
            except Error as error:
                self._warn(error)
                await self._in_thread(connections.close_all)
                await self._wait(pause)
                pause = min(2 * pause, LONGEST)
            except Exception as error:
                self._broken = error
        return False

    def _works(self, broker: Any) -> bool:
        """Return whether the subscriber goes on, and nothing failed that it did not notice."""
        ended = [task for each in broker.subscribers for task in getattr(each, "tasks", ()) if task.done()]
        for task in ended:
            if not task.cancelled() and task.exception() is not None:
                self._broken = task.exception()
        return not ended and self._broken is None
