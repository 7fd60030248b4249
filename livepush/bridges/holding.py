"""Lets one process at a time do a work that has a place in the log, and move the place.

No clocks are compared. The holder counts up ``beats``; a process that waits takes over when it has not seen them change
for as long as the lease lasts. Each write names its holder, so that a process that was taken over from can't move the
place any more.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from typing import Any

from django.db.models import F, QuerySet

from livepush.cancelling import end

NOBODY = ""
BEATS = 4
"""How many beats a lease has."""


class Superseded(Exception):
    """Another process does this work now."""


class Hold:
    """One process's hold on a row with ``position``, ``holder`` and ``beats``. All methods raise database errors."""

    def __init__(self, what: str, lease: float) -> None:
        self._what = what
        self._lease = lease
        self._token = secrets.token_hex(16)
        self._seen: tuple[str, int] | None = None
        self._seen_at = 0.0

    def rows(self) -> QuerySet[Any]:
        """Return the row, as a query."""
        raise NotImplementedError

    def held(self) -> QuerySet[Any]:
        """Return the row as this process holds it, as a query; it has no row if this process does not."""
        return self.rows().filter(holder=self._token)

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
        return row.position if found.update(holder=self._token, beats=F("beats") + 1) else None

    def write(self, **values: Any) -> None:
        """Write values, and show that this process goes on. Raises Superseded: another process holds the row now."""
        if not self.held().update(beats=F("beats") + 1, **values):
            raise Superseded(f"Another process {self._what}.")

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
