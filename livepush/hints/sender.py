"""Announces through the Channels layer what was sent.

Callers never wait for the layer: a daemon thread with an event loop of its own sends for the process. A loop whose hub
listens sends what is small itself, if nothing else waits: through the thread, a cursor's way to another process takes a
quarter longer (``benchmarks.rooms``). What could not be sent within ``FRESH`` is dropped, since by then every hub has
read it from the log.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any

from livepush.hints import layer, signing
from livepush.hints.outbox import Outbox, Waiting
from livepush.notes import Rarely, note_once
from livepush.wire import Batch, split_batch

logger = logging.getLogger("livepush")

MAX_MESSAGE_BYTES = 262_144
"""The most bytes of data in one message, unless a single send has more."""
SMALL_BYTES = 65_536
"""The most bytes that a hub's loop sends itself: to sign more would hold up its clients."""
FLUSH_TIMEOUT = 2.0
"""How long (seconds) ``flush`` waits by default."""


def announce(batch: Batch) -> None:
    """Send a batch soon, from the running loop or from the sending thread; return at once and raise nothing."""
    try:
        if layer.configured() is not None and not _has_green_threads():
            sender, loop = _sender(), _running_loop() if _layers else None
            if loop is None or loop not in _layers or not sender.send_in(loop, batch):
                sender.put(batch)
    except Exception:
        logger.warning("Could not announce through the channel layer.", exc_info=True)


_layers: dict[asyncio.AbstractEventLoop, Any] = {}
"""The layers that hubs listen with, by their loops."""


@contextmanager
def sending_through(found: Any) -> Iterator[None]:
    """Have the running loop send through a layer what it announces."""
    loop = asyncio.get_running_loop()
    _layers[loop] = found
    try:
        yield
    finally:
        _layers.pop(loop, None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:  # the thread has none
        return None


def flush(timeout: float = FLUSH_TIMEOUT) -> bool:
    """Wait until nothing that was announced waits to be sent; return whether that came within ``timeout`` seconds."""
    return _current is None or _current.flush(timeout)


def waiting_bytes() -> int:
    """Return about how many bytes wait to be sent."""
    return 0 if _current is None else _current.size


GREEN = (("gevent.monkey", "is_module_patched", "threading"), ("eventlet.patcher", "is_monkey_patched", "thread"))
"""How to ask gevent and eventlet whether a thread is one of theirs: a module, its function, and the argument."""


def _has_green_threads() -> bool:
    """Return whether threads are greenlets: an event loop in one marks the main thread, where the ORM then refuses."""
    for name, function, argument in GREEN:
        is_patched = getattr(sys.modules.get(name), function, None)
        if is_patched is not None and is_patched(argument):
            note_once(
                "Under %s livepush does not use the channel layer: events of this process arrive in others through the "
                "log, and ephemeral ones reach this process only.",
                name.partition(".")[0],
                level=logging.WARNING,
            )
            return True
    return False


class Sender(Outbox):
    """The daemon thread whose event loop sends for the process."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._failures = Rarely()
        self._under_way: set[asyncio.Task[None]] = set()
        """What hubs' loops send, since asyncio keeps no task alive."""
        threading.Thread(target=self._run, name="livepush-layer", daemon=True).start()

    def put(self, batch: Batch) -> None:
        """Take a batch; drop the oldest ones where too much waits."""
        super().put(batch)
        self._go_on()

    def send_in(self, loop: asyncio.AbstractEventLoop, batch: Batch) -> bool:
        """Send a batch in the running loop, which has a layer; return False if the batch has to wait for its turn."""
        lent = self.lend(batch, SMALL_BYTES)
        if lent is None:
            return False
        task = loop.create_task(self._send_lent(_layers[loop], lent), context=Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return True

    async def _send_lent(self, found: Any, lent: Waiting) -> None:
        is_left = False
        try:
            await layer.call(found.group_send(signing.groups()[0], signing.sign(lent.batch)))
        except (Exception, asyncio.CancelledError) as error:  # the layer may cancel a task of its own
            is_left = isinstance(error, Exception) and not layer.is_timeout(error)  # else it may have gone out
            if not is_left:
                self._warn(error)
        finally:
            if self.give_back(lent, is_left):
                self._go_on()

    def _go_on(self) -> None:
        self.loop.call_soon_threadsafe(self._wake.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._send_all())

    async def _send_all(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while (batch := self.next(MAX_MESSAGE_BYTES)) is not None:
                try:
                    await self._send(batch)
                except (Exception, asyncio.CancelledError) as error:  # the layer may cancel a task of its own
                    layer.heed_cancellation()
                    self._warn(error)

    async def _send(self, batch: Batch) -> None:
        found = layer.configured()
        if found is None:
            return
        group = signing.groups()[0]
        for part in split_batch(batch, MAX_MESSAGE_BYTES):
            message = signing.sign(part)
            try:
                await layer.call(found.group_send(group, message))
            except Exception as error:
                if layer.is_timeout(error):
                    raise
                # A connection that was cut raises at its next use, and works again after that.
                await layer.call(found.group_send(group, message))

    def _warn(self, error: BaseException) -> None:
        if self._failures.times():
            logger.warning(
                "The channel layer fails (%s); events arrive through the log meanwhile.", layer.describe(error)
            )


_lock = threading.Lock()
_current: Sender | None = None


def _sender() -> Sender:
    global _current
    with _lock:
        if _current is None:
            _current = Sender()
        return _current


def _after_fork() -> None:
    """Begin anew in a child: the thread and its loop stayed with the parent."""
    global _current, _lock
    _current, _lock = None, threading.Lock()
    _layers.clear()


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(flush)
