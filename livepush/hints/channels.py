"""The Channels layer, a hint that makes the tail fast: the only file that imports ``channels.layers``.

Sync callers never wait for it: one event loop in a daemon thread sends for the process. What could not be sent while
it was news is dropped, since by then every hub has read it from the log.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import hashlib
import logging
import os
import random
import secrets
import sys
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.conf import settings

from livepush.conf import get_settings
from livepush.wire import Batch, batch_messages, parse_batch

logger = logging.getLogger("livepush")

FRESH = 2.0
"""How long (seconds) a batch may wait to be sent: hubs have read the log by then, and an ephemeral event is stale."""
WAITING_BYTES = 16 * 1_048_576
"""The most bytes that wait to be sent."""
EVENT_BYTES = 500
"""About what an event holds in memory besides its data."""
MESSAGE_BYTES = 262_144
"""The most bytes of data in one message, unless a single send has more."""
FLUSH_TIMEOUT = 2.0
CALL_TIMEOUT = 5.0
"""How long (seconds) one call of the layer may take: a Redis that does not answer must not hold up what comes after."""
BEAT = 2.0
"""How often (seconds) a hub joins again (memberships lapse, and a restarted Redis knows nobody) and says something
where it has heard nobody else."""
UNHEARD = 3
"""How many times a hub may speak and not hear itself before it gives its connections up for dead."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""How long (seconds) a hub waits after a failure before it listens again: at first, and at most."""
LEAVE_TIMEOUT = 1.0
"""How long (seconds) a hub takes to leave the group, and to close its connections, where Redis does not answer."""


def configured() -> Any | None:
    """Return the layer that other processes can hear, or ``None``; the in-memory one reaches nobody."""
    layer = get_channel_layer(get_settings().CHANNEL_LAYER)
    return None if layer is None or isinstance(layer, InMemoryChannelLayer) else layer


def group() -> str:
    """Return the name of this site's group: another on the same Redis must not hear what is said in it."""
    database = settings.DATABASES[get_settings().DATABASE]["NAME"]
    return f"livepush-{hashlib.sha256(f'{settings.SECRET_KEY} {database}'.encode()).hexdigest()[:16]}"


def announce(batch: Batch) -> None:
    """Hand a batch to the sending thread; return at once and raise nothing."""
    try:
        if configured() is not None:
            _sender().put(batch)
    except Exception:
        logger.warning("Could not announce through the channel layer.", exc_info=True)


def flush(timeout: float = FLUSH_TIMEOUT) -> bool:
    """Wait until nothing that was announced waits any more; return whether it is so."""
    return _current is None or _current.flush(timeout)


async def listen(receive: Callable[[Batch], None], healthy: Callable[[bool], None]) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``healthy`` is told when the layer fails, again at each attempt that does, and when it works again.
    """
    ear: _Ear | None = None
    pause = FIRST_PAUSE
    while configured() is not None:
        try:
            if ear is None or not ear.usable:
                ear = _Ear(receive, healthy)
            await ear.hear()
        except Exception as error:
            healthy(False)
            logger.info("The channel layer fails (%s); the log is read more often meanwhile.", _said(error))
        pause = FIRST_PAUSE if ear is not None and ear.heard else min(pause * 2, LONGEST_PAUSE)
        await asyncio.sleep(pause)


class _Ear:
    """A hub's place in the group, on a layer of its own: its connections can be closed at no cost to the project's."""

    def __init__(self, receive: Callable[[Batch], None], healthy: Callable[[bool], None]) -> None:
        self.usable = True
        """Whether the layer could be brought into a state from which it can be used again."""
        self.heard = False
        """Whether anything came since it last began to hear."""
        self._receive = receive
        self._healthy = healthy
        self._layer = channel_layers.make_backend(get_settings().CHANNEL_LAYER)
        self._channel = ""
        self._alone = True
        """Whether nobody else was heard since the last beat."""
        self._unheard = 0

    async def hear(self) -> None:
        """Pass on what comes until the layer fails, and raise what it failed with."""
        self.heard, self._alone, self._unheard = False, True, 0
        bringing = beating = None
        try:
            if not self._channel:  # once: in Redis each name stays a member for a day
                self._channel = await _soon(self._layer.new_channel("livepush"))
            bringing = asyncio.create_task(self._bring())  # first: the pub/sub layer must know the channel to join it
            beating = asyncio.create_task(self._beat())
            done, _ = await asyncio.wait((bringing, beating), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            await _end(beating)
            await self._close()
            await _end(bringing)  # last: on an open connection the pub/sub layer would first unsubscribe

    async def _bring(self) -> None:
        """Pass on what comes. Never timed: the pub/sub layer forgets a channel whose receiver is cancelled."""
        while True:
            try:
                message = await self._layer.receive(self._channel)
            except Exception as error:
                if not _is_timeout(error):
                    raise
                await asyncio.sleep(FIRST_PAUSE)  # idle, maybe; whether the layer still answers the beat finds out
            else:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        self._unheard = 0
        if not self.heard:
            self.heard = True
            self._healthy(True)
        if message.get("origin") != origin():
            self._alone = False
            if message["type"] == "livepush.batch":
                self._receive(parse_batch(message))

    async def _beat(self) -> None:
        """Join again and again, and raise ConnectionError when what is said in the group does not come back.

        A connection whose other end has vanished, or that a firewall forgot, looks idle for ever.
        """
        while self._unheard < UNHEARD:
            await _soon(self._layer.group_add(group(), self._channel))
            if self._alone:
                self._unheard += 1
                await _soon(self._layer.group_send(group(), {"type": "livepush.beat", "origin": origin()}))
            self._alone = True
            await asyncio.sleep(BEAT * random.uniform(0.75, 1.25))
        raise ConnectionError("what is sent does not arrive")

    async def _leave(self) -> None:
        with contextlib.suppress(Exception):
            async with asyncio.timeout(LEAVE_TIMEOUT):
                await self._layer.group_discard(group(), self._channel)

    async def _close(self) -> None:
        """Close the connections, whatever state they are in."""
        try:
            close = _closer(self._layer)
            if close is None:
                self.usable = False
            else:
                async with asyncio.timeout(LEAVE_TIMEOUT):
                    await close()
        except Exception:
            self.usable = False


def _closer(layer: Any) -> Callable[[], Awaitable[None]] | None:
    """Return what closes a layer's connections and no more: ``flush`` empties Redis, but for the pub/sub layer's."""
    pubsub = sys.modules.get("channels_redis.pubsub")
    if pubsub is not None and isinstance(layer, pubsub.RedisPubSubChannelLayer):
        return layer.flush  # type: ignore[no-any-return]
    return getattr(layer, "close_pools", None)


async def _soon(call: Awaitable[Any]) -> Any:
    """Await a call of the layer for a bounded time."""
    async with asyncio.timeout(CALL_TIMEOUT):
        return await call


async def _end(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _is_timeout(error: Exception) -> bool:
    """Return whether a call timed out; redis-py's own error is no TimeoutError."""
    return isinstance(error, TimeoutError) or "Timeout" in type(error).__name__


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Waiting(NamedTuple):
    """A batch that waits to be sent."""

    batch: Batch
    size: int
    """About the bytes that it holds."""
    until: float
    """When it is news no more (``time.monotonic()``)."""


class _Sender:
    """The daemon thread whose event loop sends for the process."""

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.size = 0
        """About the bytes that wait."""
        self.loop = asyncio.new_event_loop()
        self.wake = asyncio.Event()
        self.idle = threading.Event()
        self.idle.set()
        self._lock = threading.RLock()  # a signal's handler may send too
        threading.Thread(target=self._run, name="livepush-layer", daemon=True).start()

    def put(self, batch: Batch) -> None:
        """Take a batch, at the cost of the oldest where too much waits."""
        now = time.monotonic()
        size = sum(len(event.data) + EVENT_BYTES for event in batch.events)
        with self._lock:
            self.waiting.append(_Waiting(batch, size, now + FRESH))
            self.size += size
            while self.waiting and (self.size > WAITING_BYTES or self.waiting[0].until < now):
                self._pop()
            self.idle.clear()
        self.loop.call_soon_threadsafe(self.wake.set)

    def flush(self, timeout: float) -> bool:
        return self.idle.wait(timeout)

    def _pop(self) -> Batch:
        found = self.waiting.popleft()
        self.size -= found.size
        return found.batch

    def _next(self) -> Batch | None:
        """Return what goes out next, joined with what continues it; ``None`` where nothing waits that is news."""
        now = time.monotonic()
        with self._lock:
            while self.waiting and self.waiting[0].until < now:
                self._pop()
            if not self.waiting:
                self.idle.set()
                return None
            size = self.waiting[0].size
            batch = self._pop()
            while self.waiting and size + self.waiting[0].size <= MESSAGE_BYTES:
                if not _continues(batch, self.waiting[0].batch):
                    break
                size += self.waiting[0].size
                batch = Batch(batch.epoch, batch.events + self._pop().events)
            return batch

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._send_all())

    async def _send_all(self) -> None:
        while True:
            await self.wake.wait()
            self.wake.clear()
            while (batch := self._next()) is not None:
                try:
                    await self._send(batch)
                except Exception as error:
                    self._warn(error)

    async def _send(self, batch: Batch) -> None:
        layer = configured()
        if layer is None:
            return
        for message in batch_messages(batch, origin(), MESSAGE_BYTES):
            try:
                await _soon(layer.group_send(group(), message))
            except Exception as error:
                if _is_timeout(error):
                    raise
                await _soon(layer.group_send(group(), message))  # a connection that was cut says so at its next use

    _warned = -60.0

    def _warn(self, error: Exception) -> None:
        now = time.monotonic()
        if now - self._warned > 60:
            self._warned = now
            logger.warning("The channel layer fails (%s); events arrive through the log meanwhile.", _said(error))


def _continues(batch: Batch, following: Batch) -> bool:
    """Return whether a batch follows another without a gap; ephemeral ones always do."""
    last, first = batch.events[-1].number, following.events[0].number
    if last is None or first is None:
        return last is first
    return batch.epoch == following.epoch and last + 1 == first


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
