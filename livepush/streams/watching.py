"""Watches the threads that store streams and tell of them: if a database host vanished, each would wait for minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from math import inf

from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.process.connections import cut_connections

WATCH_THREAD = "livepush-watch"
LOOK = 0.5
"""How often (seconds) the threads are looked at."""


class Watch:
    """Cuts the connections of threads whose database does not answer. Its own thread ends when it has none to watch."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._until: dict[int, float] = {}
        """Until when each thread's use of the database may last, in ``time.monotonic()``."""
        self._was_used = False
        """Whether a thread has used it since the last look."""
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, seconds: float = inf) -> Iterator[None]:
        """Watch this thread's use of the database in the block, which is to end within ``DATABASE_TIMEOUT`` or sooner.

        In a block of its own within another one, only its own limit counts.
        """
        me, until = threading.get_ident(), time.monotonic() + min(seconds, get_settings().DATABASE_TIMEOUT)
        outer = self._until.get(me)
        with self._lock:
            self._until[me], self._was_used = until, True
            self._start()
        try:
            yield
        finally:
            if outer is None:
                self._until.pop(me, None)
            else:
                self._until[me] = outer

    def _start(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name=WATCH_THREAD, daemon=True)
            with suppress(RuntimeError):  # the interpreter ends
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while self._is_wanted():
            self._cut_hung()
            time.sleep(LOOK)

    def _is_wanted(self) -> bool:
        with self._lock:
            was_used, self._was_used = self._was_used or bool(self._until), False
            if not was_used:
                self._thread = None
            return was_used

    def _cut_hung(self) -> None:
        now = time.monotonic()
        for thread, until in list(self._until.items()):
            if now > until:
                cut_connections(thread)


watch = renewed(globals(), "watch", Watch)
