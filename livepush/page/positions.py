"""The position that a page carries: the log's before the page's first query. So no event is lost before the stream.

A hub in this process knows the position when a request starts, at no cost. Without a hub, livepush reads it right
before the request's first query, in whichever database. A request without a query costs nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any
from weakref import ref

from django.core.signals import request_finished, request_started
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.http import HttpRequest

from livepush import hub, log, publish
from livepush.conf import get_settings
from livepush.notes import one_line
from livepush.wire import Position

logger = logging.getLogger("livepush")

KEY = "livepush.position"
MAX_WAITING = 16
"""How many requests of one thread may wait for their first query. Only async servers run several in one thread."""
READS_NOTHING = ("SET ", "SAVEPOINT", "RELEASE", "ROLLBACK", "LOCK ", "PRAGMA", "SHOW ")
"""Statements that show a page nothing. Some of them must be the first ones of their transaction."""


class Start:
    """A request that has started, and the log's position then, once it is known."""

    __slots__ = ("__weakref__", "position")

    def __init__(self, position: Position | None) -> None:
        self.position = position


class _Waiting(threading.local):
    """The requests of a thread whose first query is still to come; each as long as anybody holds the request."""

    def __init__(self) -> None:
        self.starts: deque[ref[Start]] = deque(maxlen=MAX_WAITING)
        self.one_at_a_time = False
        """Whether the thread serves WSGI."""


_waiting = _Waiting()


def current() -> Position:
    """Return the log's position: from a hub's memory, else with one indexed read. Settles first if events wait."""
    known = hub.known_position()
    if known is not None:
        return known
    using = get_settings().DATABASE
    state = log.state(using)
    if state.waiting and not connections[using].in_atomic_block:  # else the caller's own events may wait
        publish.deliver(using)
        state = log.state(using)
    return state.position


def of(request: HttpRequest) -> Position | None:
    """Return the position before a request's first query; ``None`` if it is not known."""
    place = _place(getattr(request, "scope", None), getattr(request, "environ", None))
    found = None if place is None else place.get(KEY)
    return found.position if isinstance(found, Start) else None


def before(request: HttpRequest, read: Position) -> Position:
    """Return the position before a request's first query if what a tag has read is newer: the view read before it."""
    start = of(request)
    return start if start is not None and start.epoch == read.epoch and start.number < read.number else read


def note(sender: object, **kwargs: Any) -> None:
    """Note the position as a request starts, if a hub knows it. Else it is read before the request's first query."""
    place = _place(kwargs.get("scope"), kwargs.get("environ"))
    if place is None or not get_settings().PAGE_POSITIONS:
        return
    start = place[KEY] = Start(hub.known_position())
    _waiting.one_at_a_time = place is kwargs.get("environ")
    if start.position is None:
        _waiting.starts.append(ref(start))


def forget(sender: object, **kwargs: Any) -> None:
    """Wait no longer when a request ends without a query, so that the thread's next query costs nothing.

    Under ASGI several requests may share a thread, and the signal does not say which one ends. There the thread ends,
    or the request is freed.
    """
    if _waiting.one_at_a_time:
        _waiting.starts.clear()


def before_query(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]) -> Any:
    """Read the position for the requests that wait for it, then run the query."""
    if _waiting.starts and isinstance(sql, str) and not sql.lstrip().upper().startswith(READS_NOTHING):
        starts = [start for each in _waiting.starts if (start := each()) is not None]
        _waiting.starts.clear()  # first: reading is a query too
        if starts:
            _read(starts)
    return execute(sql, params, many, context)


log.harmless_wrappers.append(before_query)


def _read(starts: list[Start]) -> None:
    """Read the position. If that fails, the tag takes the position when it is rendered."""
    try:
        position = log.glance(get_settings().DATABASE)
    except Exception as error:  # a test may forbid the database; a project may not have migrated yet
        logger.info("Could not note the log's position for this request: %s", one_line(error))
        return
    for start in starts:
        start.position = position


def connect() -> None:
    """Note the position of every request from now on."""
    request_started.connect(note, dispatch_uid="livepush.positions")
    request_finished.connect(forget, dispatch_uid="livepush.positions")
    connection_created.connect(_watch, dispatch_uid="livepush.positions")
    for connection in connections.all(initialized_only=True):
        _watch(None, connection)


def _watch(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if before_query not in connection.execute_wrappers:  # it may have been connected before
        # First: where a block of the project's connects, Django takes the last wrapper for that block's as it ends.
        connection.execute_wrappers.insert(0, before_query)


def _place(scope: object, environ: object) -> MutableMapping[str, Any] | None:
    return next((place for place in (scope, environ) if isinstance(place, MutableMapping)), None)
