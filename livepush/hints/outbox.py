"""The batches that wait to be sent to other processes, bounded in bytes and in time.

They go out one after another, in the order in which they came, whoever sends them.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import NamedTuple

from livepush.wire import Batch, memory_of

FRESH = 2.0
"""How long (seconds) a batch may wait to be sent: hubs have read the log by then, and an ephemeral event is stale."""
MAX_WAITING_BYTES = 16 * 1_048_576
"""The most bytes that wait to be sent."""
LENT = 6.0
"""How long (seconds) nothing else is sent while a batch is lent: a call takes less, so its loop has gone by then."""


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
        self._idle = threading.Event()
        """Set while nothing waits and nothing is being sent."""
        self._idle.set()
        self._lent: tuple[Waiting, float] | None = None
        """The batch that its maker sends, and until when that is waited for."""
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

    def lend(self, batch: Batch, most_bytes: int) -> Waiting | None:
        """Let the caller send a batch, if it is small, nothing waits and nothing is being sent; else return ``None``.

        Nothing else is sent until the caller gives it back.
        """
        size = sum(map(memory_of, batch.events))
        with self._lock:
            if size > most_bytes or not self._idle.is_set():
                return None
            self._idle.clear()
            lent = Waiting(batch, size, time.monotonic() + FRESH)
            self._lent = (lent, time.monotonic() + LENT)
            return lent

    def give_back(self, lent: Waiting, is_left: bool) -> bool:
        """Go on after a batch that was lent, with that batch if it is left; return whether anything waits."""
        with self._lock:
            if self._lent is None or self._lent[0] is not lent:
                return False  # it came too late
            self._lent = None
            if is_left:
                self.waiting.appendleft(lent)
                self.size += lent.size
            if not self.waiting:
                self._idle.set()
            return bool(self.waiting)

    def flush(self, timeout: float) -> bool:
        """Wait until nothing waits; return whether that came within ``timeout`` seconds."""
        return self._idle.wait(timeout)

    def next(self, max_bytes: int) -> Batch | None:
        """Return what goes out next, joined with what continues it; ``None`` where nothing fresh waits.

        Until it is called again, ``flush`` waits for what it has returned.
        """
        now = time.monotonic()
        with self._lock:
            if self._lent is not None and now < self._lent[1]:
                return None
            self._lent = None
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
