"""Lets one process at a time do a work that has a place in the log, and move the place.

No clocks are compared. The holder counts up ``beats``; a process that waits takes over when it has not seen them change
for as long as the lease lasts. Each write names its holder, so that a process that was taken over from can't move the
place any more. It also names the beats and the position: after a failover, the database may have an older row, and an
older log. As long as the row is as the holder has left it, the log has every event that it had then.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from django.db.models import QuerySet

from livepush.cancelling import end

NOBODY = ""
BEATS = 4
"""How many beats a lease has."""


class Superseded(Exception):
    """Another process does this work now, or the row is not as this process has left it."""


class Hold:
    """One process's hold on a row with ``position``, ``holder`` and ``beats``. All methods raise database errors.

    Call one method after the other: ``write`` looks for the row as the last one has left it.
    """

    def __init__(self, what: str, lease: float) -> None:
        self._what = what
        self._lease = lease
        self.position = 0
        """Where the row is, as far as this process knows."""
        self._beats = 0
        self._token = secrets.token_hex(16)
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    def rows(self) -> QuerySet[Any]:
        """Return the row, as a query."""
        raise NotImplementedError

    def held(self) -> QuerySet[Any]:
        """Return the row as this process holds it, as a query; it has no row if this process does not."""
        return self.rows().filter(holder=self._token, beats=self._beats, position=self.position)

    def begin(self) -> Any:
        """Make the row, if no other process is faster, and return it."""
        raise NotImplementedError

    def take(self) -> int | None:
        """Return the position if this process holds the row from now on; ``None`` if another one does."""
        row = self.rows().first() or self.begin()
        seen = (row.holder, row.beats)
        if seen != self._seen:
            self._seen, self._seen_at = seen, time.monotonic()
        abandoned = time.monotonic() - self._seen_at >= self._lease
        if row.holder not in (NOBODY, self._token) and not abandoned:
            return None
        found = self.rows().filter(holder=row.holder, beats=row.beats)
        if not found.update(holder=self._token, beats=row.beats + 1):
            return None
        self.position, self._beats = row.position, row.beats + 1
        return self.position

    def write(self, **values: Any) -> None:
        """Write values, and show that this process goes on. Raises Superseded."""
        if not self.held().update(beats=self._beats + 1, **values):
            raise Superseded(f"Another process {self._what}, or the place was moved, as by a failover.")
        self._beats += 1
        self.position = values.get("position", self.position)

    def release(self) -> None:
        """Let the next process go on at once."""
        self.rows().filter(holder=self._token).update(holder=NOBODY)


async def until_one_ends(*works: Coroutine[Any, Any, None]) -> None:
    """Do some works at once until the first of them ends, and cancel the others. Raises what they raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*tasks)
    for task in tasks:
        if not task.cancelled():
            task.result()
