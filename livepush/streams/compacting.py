"""Makes the many chunks of ended streams few: a part at a time, since those who do it have more urgent work.

A stream that fails is tried again later, and holds up nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from django.db import connections

from livepush.notes import one_line
from livepush.streams import store

logger = logging.getLogger("livepush")

SLICE = 0.2
"""For how long (seconds) ``work`` goes on."""
WAIT = 3.0
"""How long (seconds) a producer waits at most for its stream, so that it is compacted even if the process then dies."""
AGAIN = 3.0
"""After how long (seconds) the streams that failed are tried again."""
TRIES = 10
"""How often a stream is tried before it stays as it is: its readers find all of its text all the same."""


class Left(NamedTuple):
    """The part of a stream that is left to compact."""

    after: int
    tries: int
    """How many more times it is tried."""


class Compactor:
    """Compacts the streams that a process has ended, a part of each in turn."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._left: dict[str, Left] = {}
        self._waiting: dict[str, tuple[float, Callable[[], object]]] = {}
        """Until when those wait who were promised to hear of a stream, and what tells them."""
        self._tries_from = 0.0

    def is_idle(self) -> bool:
        """Return whether no stream is left."""
        return not self._left

    def add(self, id: str, tell: Callable[[], object] | None = None) -> None:
        """Have a stream compacted. ``settle`` calls ``tell`` after that, or sooner if it takes long."""
        self._left[id] = Left(-1, TRIES)
        if tell is not None:
            self._waiting[id] = time.monotonic() + WAIT, tell

    def work(
        self, limited: Callable[[], AbstractContextManager[object]] = nullcontext, *, may_take_long: bool = True
    ) -> None:
        """Compact for a while what is due, each part in a context that may limit how long the database takes.

        With ``may_take_long``, a part that has failed is tried again without that limit, as the database may be slow.
        After a failure all wait: a lock may take long to fail.
        """
        until = time.monotonic() + SLICE
        while ids := list(self._left):
            for id in ids:
                if time.monotonic() < self._tries_from:
                    return
                self._compact(id, self._left.pop(id), limited, may_take_long)
                if time.monotonic() >= until:
                    return

    def settle(self, *, everybody: bool = False) -> None:
        """Tell those who wait for a stream that is done, or has failed; or everybody who waits."""
        now = time.monotonic()
        for id, (until, tell) in list(self._waiting.items()):
            if everybody or id not in self._left or now >= until or now < self._tries_from:
                del self._waiting[id]
                tell()

    def _compact(
        self, id: str, left: Left, limited: Callable[[], AbstractContextManager[object]], may_take_long: bool
    ) -> None:
        try:
            with nullcontext() if may_take_long and left.tries < TRIES else limited():
                after = store.compact(self._using, id, left.after)
        except Exception as error:
            logger.warning("The stream %s has ended and stays in many chunks (%s).", id, one_line(error))
            if not connections[self._using].in_atomic_block:
                connections[self._using].close()
            self._tries_from = time.monotonic() + AGAIN
            if left.tries > 1:
                self._left[id] = Left(left.after, left.tries - 1)
        else:
            if after is not None:
                self._left[id] = Left(after, left.tries)
