"""Notices that a process that wrote streams has died, and ends its streams with what they have.

A producer counts its beats up in the database. A watcher takes it for dead if the count stands still for ``LEASE``
seconds of the watcher's own clock, so no two clocks are compared. While the database does not answer nobody dies.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from functools import partial
from threading import RLock

from livepush import process
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.hub import Hub
from livepush.streams import announcing, compacting, store

logger = logging.getLogger("livepush")

LOOK = 1.5
"""How often (seconds) a hub looks."""
LEASE = 6.0
"""How long (seconds) a producer may be silent."""

GAP = 3.0
"""After how long (seconds) without a look a watcher begins anew."""


class Watch:
    """The beats of producers as one watcher has seen them."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, float]] = {}
        self._looked = 0.0

    def dead(self, beats: Mapping[str, int], now: float) -> list[str]:
        """Return the producers whose beats stand still for too long."""
        if now - self._looked > GAP:  # it could not look for a while, and perhaps nobody could beat
            self._seen.clear()
        self._looked = now
        known = self._seen
        self._seen = {
            name: known[name] if name in known and known[name][0] == count else (count, now)
            for name, count in beats.items()
        }
        return [name for name, (_, since) in self._seen.items() if now - since >= LEASE]


def end_dead(using: str, watch: Watch) -> None:
    """Look at the producers, and end the streams of those that died. Uses the database."""
    for name in watch.dead(store.producers(using), time.monotonic()):
        end_streams(using, name)


def end_orphans(using: str) -> int:
    """End running streams whose producer is not even known; return 0, since nothing is deleted."""
    for name in store.orphans(using):
        end_streams(using, name)
    return 0


def end_streams(using: str, producer: str) -> None:
    """End what a dead producer wrote, and tell readers and groups."""
    for row in store.interrupt(using, producer):
        logger.warning("The producer of the stream %s died; the stream ends as interrupted.", row.id)
        announcing.end_hint(row.id)
        announcing.told_to_group(row.id, row.group, row.state, json.loads(row.metadata), using)
        compacting.compact(using, row.id)


def watch_from(hub: Hub) -> None:
    """Have a hub watch for as long as it lives."""
    hub.keep(_watch(get_settings().DATABASE))


async def _watch(using: str) -> None:
    watch = Watch()
    while True:
        await asyncio.sleep(LOOK)
        try:
            await process.in_thread(partial(end_dead, using, watch), 1)
        except Exception as error:
            logger.info("The producers of streams could not be looked at (%s); trying again.", error)


_lock = renewed(globals(), "_lock", RLock)
_own: dict[str, Watch] = {}
_from: dict[str, float] = {}


def look(using: str) -> None:
    """Look from code that has no hub, as polls under WSGI do; now and then is enough."""
    now = time.monotonic()
    with _lock:
        if now < _from.get(using, 0.0):
            return
        _from[using] = now + LOOK
        watch = _own.setdefault(using, Watch())
    end_dead(using, watch)
