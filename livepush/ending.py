"""Does work before a process ends, also in children of ``multiprocessing``, which run nothing that atexit has."""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Callable


class AtEnd:
    """Calls ``work`` with the seconds that are left for it, once the process ends."""

    def __init__(self, work: Callable[[float], object], seconds: float, priority: int) -> None:
        self._work = work
        self._seconds = seconds
        self._priority = priority
        """In a child, higher ones come first."""
        self._pid = 0
        self._until: float | None = None
        atexit.register(self._run)

    def in_this_process(self) -> None:
        """Do it at this process's end too, if it is a child of ``multiprocessing`` or of billiard (Celery)."""
        util = sys.modules.get("multiprocessing.util")
        if util is not None and self._pid != os.getpid():
            self._pid, self._until = os.getpid(), None
            util.Finalize(None, self._run, exitpriority=self._priority)

    def _run(self) -> None:
        """Do the work. A main process calls this twice, once for multiprocessing; together that takes no longer."""
        now = time.monotonic()
        self._until = self._until or now + self._seconds
        self._work(max(0.0, self._until - now))
