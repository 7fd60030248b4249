"""The batches that wait to be sent to other processes, bounded in bytes and in time."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

from livepush.forking import Flag
from livepush.wire import Batch, memory_of

FRESH = 2.0
"""How long (seconds) a batch may wait to be sent: hubs have read the log by then, and an ephemeral event is stale."""
MAX_WAITING_BYTES = 16 * 1_048_576
"""The most bytes that wait to be sent."""


class Waiting(NamedTuple):
    """A batch that waits to be sent."""

    batch: Batch
    size: int
    """About the bytes that it holds."""
    until: float
    """When it is no longer worth sending (``time.monotonic()``)."""


class Outbox:
    """Batches that wait; any thread may put one in, and one thread takes them out. The oldest give way to new ones."""

    def __init__(self) -> None:
        self.waiting: deque[Waiting] = deque()
        self.size = 0
        """About the bytes that wait."""
        self._idle = Flag()
        self._idle.set()
        self._lock = threading.RLock()  # a signal's handler may send too

    def put(self, batch: Batch) -> None:
        """Take a batch; drop the oldest ones where too much waits."""
        now = time.monotonic()
        size = sum(map(memory_of, batch.events))
        with self._lock:
            self.waiting.append(Waiting(batch, size, now + FRESH))
            self.size += size
            while self.waiting and (self.size > MAX_WAITING_BYTES or self.waiting[0].until < now):
                self._pop()
            self._idle.clear()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits; return whether that came within ``timeout`` seconds."""
        return self._idle.wait(timeout)

    def next(self, max_bytes: int) -> Batch | None:
        """Return the next batch, joined with the batches that follow it directly, as far as ``max_bytes`` allows.

        Returns ``None`` if no batch waits that is still worth sending. Until it is called again, ``flush`` waits for
        what it has returned.
        """
        now = time.monotonic()
        with self._lock:
            while self.waiting and self.waiting[0].until < now:
                self._pop()
            if not self.waiting:
                self._idle.set()
                return None
            size = self.waiting[0].size
            batch = self._pop()
            while self.waiting and size + self.waiting[0].size <= max_bytes:
                if not continues(batch, self.waiting[0].batch):
                    break
                size += self.waiting[0].size
                batch = Batch(batch.epoch, batch.events + self._pop().events)
            return batch

    def _pop(self) -> Batch:
        found = self.waiting.popleft()
        self.size -= found.size
        return found.batch


def continues(batch: Batch, following: Batch) -> bool:
    """Return whether a batch follows another without a gap; ephemeral ones always do."""
    last, first = batch.events[-1].number, following.events[0].number
    if last is None or first is None:
        return last is first
    return batch.epoch == following.epoch and last + 1 == first
