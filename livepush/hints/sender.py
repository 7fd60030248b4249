"""Announces sent events through the Channels layer.

Callers never wait for the layer: a daemon thread with an event loop of its own sends for the process. An announcement
that could not be sent within ``FRESH`` is dropped, since by then every hub has read the log.
"""

from __future__ import annotations

import asyncio
import logging
import threading

from livepush import green
from livepush.cancelling import heed_cancellation
from livepush.ending import AtEnd
from livepush.forking import renewed
from livepush.hints import layer, signing
from livepush.hints.outbox import Outbox
from livepush.notes import Rarely, note_once, one_line
from livepush.wire import Batch, split_batch

logger = logging.getLogger("livepush")

MAX_MESSAGE_BYTES = 262_144
"""The most bytes of data in one message, unless a single send has more."""
FLUSH_TIMEOUT = 2.0
"""How long (seconds) ``flush`` waits by default."""


def announce(batch: Batch) -> None:
    """Hand a batch to the sending thread, where the hint is the layer; return at once and raise nothing."""
    try:
        if not _has_green_threads():
            _sender().put(batch)
    except Exception:
        logger.warning("Could not announce through the channel layer.", exc_info=True)


def flush(timeout: float = FLUSH_TIMEOUT) -> bool:
    """Wait until nothing that was announced waits to be sent; return whether that came within ``timeout`` seconds."""
    return _current is None or _current.flush(timeout)


def waiting_bytes() -> int:
    """Return about how many bytes wait to be sent."""
    return 0 if _current is None else _current.size


def _has_green_threads() -> bool:
    """Return whether threads are green, so that none can have an event loop."""
    name = green.package()
    if name is not None:
        note_once(
            "Under %s livepush does not use the channel layer: events of this process arrive in others through the "
            "log, and ephemeral ones reach this process only.",
            name,
            level=logging.WARNING,
        )
    return name is not None


class Sender(Outbox):
    """The daemon thread whose event loop sends for the process."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self._wake = asyncio.Event()
        self._failures = Rarely()
        threading.Thread(target=self._run, name="livepush-layer", daemon=True).start()

    def put(self, batch: Batch) -> None:
        """Take a batch; drop the oldest ones where too much waits."""
        super().put(batch)
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
                    heed_cancellation()
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
            logger.warning("The channel layer fails (%s); events arrive through the log meanwhile.", one_line(error))


_lock = renewed(globals(), "_lock", threading.RLock)
_current: Sender | None = renewed(globals(), "_current", lambda: None)
"""The process's sender. A forked child begins without one: the thread and its loop stayed with the parent."""


def _sender() -> Sender:
    global _current
    with _lock:
        if _current is None:
            made = Sender()
            _current = _current or made  # a signal's handler may have come before
            _at_end.in_this_process()
        return _current


_at_end = AtEnd(flush, FLUSH_TIMEOUT, priority=10)
