"""The streams that this process writes: one gatherer for all of them."""

from __future__ import annotations

import time
from contextlib import suppress
from threading import RLock
from typing import Any

from django.db import connections

from livepush.conf import get_settings
from livepush.ending import AtEnd
from livepush.exceptions import StreamError
from livepush.forking import in_children, renewed
from livepush.streams import announcing
from livepush.streams.buffer import Buffer, Ending
from livepush.streams.gathering import END_TIMEOUT, Gatherer
from livepush.streams.models import StreamState

_gatherer: Gatherer | None = None
_lock = renewed(globals(), "_lock", RLock)


def gatherer() -> Gatherer:
    """Return this process's gatherer."""
    global _gatherer
    with _lock:
        if _gatherer is None:
            _gatherer = Gatherer(get_settings().DATABASE)
            _at_end.in_this_process()
        return _gatherer


def local(id: str) -> Buffer | None:
    """Return the buffer of a stream that this process writes; ``None`` if another does, or it has ended."""
    return None if _gatherer is None else _gatherer.buffer(id)


def writing() -> int:
    """Return how many streams of this process go on, or are not stored yet with all of their text and their end."""
    return 0 if _gatherer is None else len(_gatherer.unfinished())


def interrupt_all(seconds: float = END_TIMEOUT) -> None:
    """End what still runs, since the process ends; wait until all streams are stored, or the time is over."""
    if _gatherer is not None:
        _interrupt(_gatherer, seconds)


def _interrupt(found: Gatherer, seconds: float) -> None:
    until = time.monotonic() + (0.0 if holds_lock() else seconds)
    for done in [found.end(buffer, Ending(StreamState.INTERRUPTED)) for buffer in found.unfinished()]:
        with suppress(TimeoutError, StreamError):
            done.result(max(0.0, until - time.monotonic()))


def holds_lock() -> bool:
    """Return whether this thread is in a transaction on SQLite, and so nothing can be stored before its end."""
    connection = connections[get_settings().DATABASE]
    driver: Any = connection.connection
    return connection.vendor == "sqlite" and driver is not None and bool(driver.in_transaction)


def stop() -> None:
    """End this process's gatherer, and the streams that run; the next stream starts another one."""
    global _gatherer
    found, _gatherer = _gatherer, None
    if found is not None:
        _interrupt(found, END_TIMEOUT)
        found.stop()
    announcing.live.stop()


def _has_streams() -> bool:
    return _gatherer is not None and not _gatherer.is_idle()


def _begin_anew() -> None:
    """Leave the parent's streams to the parent: its thread does not run in a forked child."""
    global _gatherer
    if _gatherer is not None:
        for buffer in _gatherer.unfinished():
            buffer.leave_to_parent()
    _gatherer = None


announcing.is_needed.append(_has_streams)
_at_end = AtEnd(interrupt_all, END_TIMEOUT, priority=20)
in_children(_begin_anew)
