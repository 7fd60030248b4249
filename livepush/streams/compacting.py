"""Makes the many chunks of ended streams few. A stream that fails is tried again later, and holds up nothing."""

from __future__ import annotations

import logging
import time

from django.db import connections

from livepush.streams import store

logger = logging.getLogger("livepush")

AGAIN = 3.0
"""After how long (seconds) the streams that failed are tried again."""
TRIES = 10
"""How often a stream is tried before it stays as it is: its readers find all of its text all the same."""


class Compactor:
    """Compacts the streams of one process."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._left: dict[str, int] = {}
        """How many more times each stream that failed is tried."""
        self._tries_from = 0.0

    def is_idle(self) -> bool:
        """Return whether no stream is to be tried again."""
        return not self._left

    def compact(self, id: str, tries: int = TRIES) -> None:
        """Compact a stream, now or later. After a failure all wait for a while: a lock may take long to fail."""
        self._left.pop(id, None)
        if time.monotonic() < self._tries_from:
            self._left[id] = tries
        elif not compact(self._using, id):
            self._tries_from = time.monotonic() + AGAIN
            if tries > 1:
                self._left[id] = tries - 1

    def try_again(self) -> None:
        """Compact what has failed, if it is due."""
        if self._left and time.monotonic() >= self._tries_from:
            for id, tries in list(self._left.items()):
                self.compact(id, tries)


def compact(using: str, id: str) -> bool:
    """Compact a stream; return whether that succeeded. Raises nothing."""
    try:
        after: int | None = -1
        while after is not None:
            after = store.compact(using, id, after)
    except Exception as error:
        logger.warning("The stream %s has ended and stays in many chunks (%s: %s).", id, type(error).__name__, error)
        if not connections[using].in_atomic_block:
            connections[using].close()
        return False
    return True
