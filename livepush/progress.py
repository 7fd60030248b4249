"""How a long job gets on, so that whoever waits for it can tell a long one from one that hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
_job = threading.local()


class Progress:
    """How a job gets on. It may take ``limit`` seconds from when it begins, and again from each ``note``."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.note()

    def note(self) -> None:
        """Note that the job got on. Any thread may call it."""
        self._noted = time.monotonic()

    def left(self) -> float:
        """Return how long (seconds) the job may still take; 0 or less if it is overdue."""
        return self._noted + self.limit - time.monotonic()

    def of(self, work: Callable[[], T]) -> T:
        """Do the job in this thread, so that ``got_on`` is about it; return its result."""
        _job.progress = self
        return work()


def got_on() -> None:
    """Note that this thread's job got on; do nothing if nobody has set it a limit."""
    progress: Progress | None = getattr(_job, "progress", None)
    if progress is not None:
        progress.note()
