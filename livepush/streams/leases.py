"""Notices that a process that wrote streams has died, and ends its streams with what they have.

A producer beats: it counts up in its row, and notes the database's time there. A process that looks adds to the row
for how long no beat came; the next beat begins anew. All processes share the rows, so it does not matter which of them
look, or how often. While the database is away, or takes no writes, nobody can add anything, and nobody dies.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import ExitStack
from functools import partial
from threading import RLock

from django.db import Error, connections, transaction

from livepush import log, process, publish
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.hub import Hub
from livepush.streams import announcing, store
from livepush.streams.compacting import Compactor
from livepush.streams.models import Stream

logger = logging.getLogger("livepush")

LOOK = 1.5
"""How often (seconds) a hub looks at the producers."""
LOOK_FOR_ANY = 5.0
"""How often (seconds) a hub looks whether there are any."""
LEASE = 6.0
"""How long (seconds) a producer may be silent, as those who looked have noted."""

LATE = 2.0
"""After how long (seconds) without a beat it is noted that a producer is silent."""
MAX_STEP = 3.0
"""The most (seconds) of a silence that one look notes: before it, perhaps nobody could beat."""


def end_dead(using: str) -> bool:
    """Look at the producers, and end the streams of those that died; return whether to look again soon.

    Uses the database.
    """
    dialect = log.dialect(using)
    producers = store.producers(using)
    now = dialect.milliseconds() if producers else 0
    for seen in producers.values():
        since = now - seen.looked
        if 0 <= since < 1000 * LATE:
            continue
        silent = seen.silent + max(0, min(since, round(1000 * MAX_STEP)))  # the clock may have been set back
        try:
            # While others write to SQLite, the producer can't.
            with ExitStack() as at_once:
                at_once.enter_context(dialect.without_waiting())
                with transaction.atomic(using=using):
                    ended = store.count_silence(using, seen, silent, now, round(1000 * LEASE))
                    _send_ended(using, ended)
                    at_once.close()  # what follows the commit may wait for other writers
        except Error as error:  # the database is away, or takes no writes
            logger.info("The producers of streams could not be looked at (%s).", error)
            return True
        _tell(using, ended)
    _compact(using)
    return bool(producers) or not _is_compact(using)


def end_orphans(using: str) -> int:
    """End running streams whose producer is not even known; return 0, since nothing is deleted."""
    for name in store.orphans(using):
        end_streams(using, name)
    _compact(using)
    return 0


def end_streams(using: str, producer: str) -> None:
    """End what a dead producer wrote, and tell readers and groups."""
    with transaction.atomic(using=using):
        ended = store.interrupt(using, producer)
        _send_ended(using, ended)
    _tell(using, ended)


def _send_ended(using: str, ended: Iterable[Stream]) -> None:
    for row in ended:
        announcing.send_ended(row.id, row.group, row.state, row.details, using)


def _tell(using: str, ended: Iterable[Stream]) -> None:
    for row in ended:
        logger.warning("The producer of the stream %s died; the stream ends as interrupted.", row.id)
        announcing.hint_end(row.id)
        _compactors.setdefault(using, Compactor(using)).add(row.id)


_compactors: dict[str, Compactor] = renewed(globals(), "_compactors", dict)
_compacting = renewed(globals(), "_compacting", RLock)


def _compact(using: str) -> None:
    """Compact some of what this process has ended, unless another thread does. The next look goes on with it."""
    if using in _compactors and _compacting.acquire(blocking=False):
        try:
            _compactors[using].work()
        finally:
            _compacting.release()


def _is_compact(using: str) -> bool:
    return using not in _compactors or _compactors[using].is_idle()


def compact_all(using: str) -> None:
    """Compact all that this process has ended, for a command: it does not look again."""
    while not _is_compact(using):
        _compact(using)
        time.sleep(0.05)


def watch_from(hub: Hub) -> None:
    """Have a hub watch for as long as it lives."""
    hub.keep(_watch(get_settings().DATABASE))


async def _watch(using: str) -> None:
    soon = True
    while True:
        await asyncio.sleep(LOOK if soon else LOOK_FOR_ANY)
        try:
            soon = await process.in_thread(partial(end_dead, using), 1)
        except Exception as error:
            logger.info("The producers of streams could not be looked at (%s); trying again.", error)


_lock = renewed(globals(), "_lock", RLock)
_from: dict[str, float] = {}


def look(using: str) -> None:
    """Look from code that has no hub, now and then. Do nothing in a transaction of the caller's."""
    now = time.monotonic()
    with _lock:
        if now < _from.get(using, 0.0) or connections[using].in_atomic_block or publish.is_unnoticed(using):
            return
        _from[using] = now + LOOK
    with log.uncounted(using):
        end_dead(using)
