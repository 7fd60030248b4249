"""The Channels layer, a hint that makes the tail fast: the only file that imports ``channels.layers``.

Sync callers never wait for it: one event loop in a daemon thread sends for the process.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from channels.layers import InMemoryChannelLayer, get_channel_layer

from livepush.conf import get_settings
from livepush.wire import Batch, batch_messages, parse_batch

logger = logging.getLogger("livepush")

GROUP = "livepush"
WAITING_MESSAGES = 10_000
REJOIN = 30.0
"""How often (seconds) a hub joins again: memberships lapse, and a restarted Redis knows nobody."""
FLUSH_TIMEOUT = 2.0
SEND_TIMEOUT = 5.0
"""How long (seconds) one batch may take: a Redis that does not answer must not hold up what comes after."""


def configured() -> Any | None:
    """Return the layer that other processes can hear, or ``None``; the in-memory one reaches nobody."""
    layer = get_channel_layer(get_settings().CHANNEL_LAYER)
    return None if layer is None or isinstance(layer, InMemoryChannelLayer) else layer


def announce(batch: Batch) -> None:
    """Hand a batch to the sending thread; return at once and raise nothing."""
    try:
        if configured() is not None:
            _sender().put(batch)
    except Exception:
        logger.warning("Could not announce through the channel layer.", exc_info=True)


def flush(timeout: float = FLUSH_TIMEOUT) -> bool:
    """Wait until everything announced has been handed to the layer; return whether it was."""
    return _current is None or _current.flush(timeout)


async def listen(receive: Callable[[Batch], None], healthy: Callable[[bool], None]) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``healthy`` is told when the layer begins to fail and when it works again.
    """
    channel: str | None = None
    pause = 0.05
    while True:
        try:
            layer = configured()
            if layer is None:
                return
            channel = channel or await layer.new_channel("livepush")
            await layer.group_add(GROUP, channel)
            healthy(True)
            rejoin = asyncio.create_task(_rejoin(layer, channel))
            try:
                while True:
                    message = await layer.receive(channel)
                    pause = 0.05
                    if message.get("origin") != origin():
                        receive(parse_batch(message))
            finally:
                rejoin.cancel()
        except Exception as error:
            if not isinstance(error, TimeoutError) and "Timeout" not in type(error).__name__:
                # An idle receive may time out (redis-py 8); that is no failure.
                healthy(False)
                logger.info("The channel layer fails (%s); the log is read more often meanwhile.", error)
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)


async def _rejoin(layer: Any, channel: str) -> None:
    while True:
        await asyncio.sleep(REJOIN)
        try:
            await layer.group_add(GROUP, channel)
        except Exception:
            logger.info("Could not join the channel layer's group again.", exc_info=True)


class _Sender:
    """The daemon thread whose event loop sends for the process."""

    def __init__(self) -> None:
        self.waiting: deque[Batch] = deque(maxlen=WAITING_MESSAGES)
        self.busy = False
        self.loop = asyncio.new_event_loop()
        self.wake = asyncio.Event()
        self.idle = threading.Event()
        self.idle.set()
        threading.Thread(target=self._run, name="livepush-layer", daemon=True).start()

    def put(self, batch: Batch) -> None:
        self.waiting.append(batch)
        self.idle.clear()
        self.loop.call_soon_threadsafe(self.wake.set)

    def flush(self, timeout: float) -> bool:
        return self.idle.wait(timeout)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._send_all())

    async def _send_all(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.waiting:
                try:
                    async with asyncio.timeout(SEND_TIMEOUT):
                        await self._send(self.waiting.popleft())
                except Exception as error:
                    self._warn(error)
            self.idle.set()
            if self.waiting:  # put() came between the loop and set()
                self.idle.clear()
                self.wake.set()

    async def _send(self, batch: Batch) -> None:
        layer = configured()
        if layer is None:
            return
        for message in batch_messages(batch, origin()):
            for attempt in (1, 2):  # the pub/sub layer's first send after an outage raises
                try:
                    await layer.group_send(GROUP, message)
                    break
                except Exception as error:
                    if attempt == 2:
                        self._warn(error)

    _warned = 0.0

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned > 60:
            self._warned = now
            logger.warning("The channel layer fails (%s); events arrive through the log meanwhile.", error)


_lock = threading.Lock()
_current: _Sender | None = None
_origin = secrets.token_hex(8)


def origin() -> str:
    """Return this process's random name; its own announcements come back to it and are not news."""
    return _origin


def _sender() -> _Sender:
    global _current
    with _lock:
        if _current is None:
            _current = _Sender()
        return _current


def _after_fork() -> None:
    """Begin anew in a child: the thread and its loop stayed with the parent."""
    global _current, _origin, _lock
    _current, _origin, _lock = None, secrets.token_hex(8), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush)
