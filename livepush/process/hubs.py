"""Makes one hub for each event loop of a server, with the log and the layer that it needs."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils import timezone

from livepush import hints, log, publish
from livepush.conf import get_settings
from livepush.hub import Hub, Options
from livepush.notes import note_once
from livepush.process.drain import drain_on_signals
from livepush.process.threads import Threads
from livepush.wire import LogPage, LogState, Position

T = TypeVar("T")
THREADS = ("livepush-hub", "livepush-auth")


class DatabaseLog:
    """The log as a hub needs it: each call runs in the hub's own thread, on one connection that stays open."""

    def __init__(self, using: str, retention: float, threads: Threads) -> None:
        self._using = using
        self._retention = timedelta(seconds=retention)
        self._threads = threads

    async def state(self) -> LogState:
        return await self._run(lambda: log.state(self._using))

    async def sweep(self) -> LogState:
        """Settle the events that wait; return the log's state."""
        return await self._run(self._sweep)

    async def read(self, groups: Collection[str] | None, after: int, upto: int, limit: int, max_bytes: int) -> LogPage:
        wanted = None if groups is None else tuple(groups)
        return await self._run(lambda: log.read(self._using, wanted, after, upto, limit, max_bytes))

    async def prune(self) -> int:
        """Delete what is past its retention; return the number of deleted rows."""
        before = timezone.now() - self._retention
        count = await self._run(lambda: log.prune(self._using, before))
        return count + sum([await self._run(partial(job, self._using)) for job in log.jobs])

    async def new_epoch(self, known: Position, diverged: bool) -> bool:
        return await self._run(lambda: log.new_epoch(self._using, known, diverged))

    async def close(self) -> None:
        await self._threads.stop()

    def _sweep(self) -> LogState:
        state = log.state(self._using)
        if not state.waiting:
            return state
        publish.settle(self._using)
        return log.state(self._using)

    async def _run(self, work: Callable[[], T]) -> T:
        return await self._threads.run(lambda: with_database(work))


def with_database(work: Callable[[], T]) -> T:
    """Do work in a long-lived thread. If its connection turns out dead, do it again on a new one."""
    try:
        try:
            return work()
        except (OperationalError, InterfaceError):
            connections.close_all()
            return work()
    finally:
        _give_back()


_opened: dict[tuple[int, str], BaseDatabaseWrapper] = {}
"""The database connections of livepush's own threads, by thread and alias."""


def _note_connection(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if threading.current_thread().name in THREADS:
        _opened[threading.get_ident(), connection.alias] = connection


connection_created.connect(_note_connection, dispatch_uid="livepush.runtime")


def close_connections() -> None:
    """Close this thread's connections."""
    connections.close_all()
    for thread, alias in list(_opened):
        if thread == threading.get_ident():
            del _opened[thread, alias]


def cut_connections(thread: int) -> None:
    """End another thread's wait for a database host that has vanished; the system would let it wait for minutes.

    If the driver does not expose its socket, the wait lasts until the system gives up.
    """
    for (owner, _), connection in list(_opened.items()):
        if owner == thread and connection.vendor != "sqlite":
            with suppress(Exception):  # the driver has closed it meanwhile
                fileno = _fileno_of(connection.connection)
                if fileno is not None:
                    with socket.socket(fileno=os.dup(fileno())) as end:
                        end.shutdown(socket.SHUT_RDWR)


def _fileno_of(driver: Any) -> Callable[[], int] | None:
    """Return what tells the descriptor of a driver's connection; PyMySQL's has no such method, but its socket has."""
    fileno: Callable[[], int] | None = getattr(driver, "fileno", None) or getattr(
        getattr(driver, "_sock", None), "fileno", None
    )
    if fileno is None and not hasattr(driver, "_sock"):  # PyMySQL's is None where it is closed
        note_once(
            "livepush can't cut a connection of %s: a thread whose database vanishes waits until the system gives up.",
            type(driver).__module__,
        )
    return fileno


def _give_back() -> None:
    """Return pooled connections to their pool, since others wait for them. Without a pool a thread keeps its own.

    What Django noted of queries is forgotten.
    """
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()  # with DEBUG it holds 9,000 queries: only a request's end clears it
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()


def _after_fork() -> None:
    """Forget the parent's hubs and threads in a forked child, where they do not run."""
    _hubs.clear()
    _threads.clear()


os.register_at_fork(after_in_child=_after_fork)


async def get_hub() -> Hub:
    """Return this event loop's hub. The first caller starts it.

    Raises the error that kept the hub from reading the log. The next caller tries again.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = _make_hub()
        drain_on_signals(_hubs)
    try:
        await asyncio.shield(hub.ready)
    except Exception:
        if _hubs.get(loop) is hub:
            del _hubs[loop]
            await hub.stop()
        raise
    return hub


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that uses the database in one of the server's few threads for sessions and rules."""
    loop = asyncio.get_running_loop()
    threads = _threads.get(loop)
    if threads is None:
        settings = get_settings()
        threads = _threads[loop] = Threads(
            settings.DATABASE_THREADS, "livepush-auth", settings.DATABASE_TIMEOUT, close_connections, cut_connections
        )
    return await threads.run(lambda: with_database(work))


async def stop() -> None:
    """Stop this loop's hub and threads, as at the server's end."""
    loop = asyncio.get_running_loop()
    hub = _hubs.pop(loop, None)
    if hub is not None:
        await hub.stop()
    threads = _threads.pop(loop, None)
    if threads is not None:
        await threads.stop()


def _make_hub() -> Hub:
    settings = get_settings()
    options = Options(
        tail_interval=settings.TAIL_INTERVAL,
        tail_interval_with_layer=settings.TAIL_INTERVAL_WITH_LAYER,
        heartbeat=settings.HEARTBEAT,
        write_timeout=settings.WRITE_TIMEOUT,
        buffer_bytes=settings.BUFFER_BYTES,
        window_events=settings.WINDOW_EVENTS,
        window_bytes=settings.WINDOW_BYTES,
        prune_interval=settings.PRUNE_INTERVAL,
        drain=settings.DRAIN,
    )
    listen = None if hints.configured() is None else hints.listen
    thread = Threads(1, "livepush-hub", settings.DATABASE_TIMEOUT, close_connections, cut_connections)
    return Hub(DatabaseLog(settings.DATABASE, settings.RETENTION, thread), listen, options)
