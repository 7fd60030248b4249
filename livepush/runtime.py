"""Puts a hub together with its collaborators, one for each event loop of a server."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from livepush import layer, log, publishing
from livepush.conf import get_settings
from livepush.hub import Hub, Options
from livepush.wire import Page, Position, State

T = TypeVar("T")


class DatabaseLog:
    """The log as a hub needs it, in the hub's own thread, with one connection that is kept."""

    def __init__(self, using: str, retention: float) -> None:
        self._using = using
        self._retention = timedelta(seconds=retention)

    def state(self) -> State:
        return with_database(lambda: log.state(self._using))

    def sweep(self) -> None:
        if self.state().waiting:
            with_database(self._settle)

    def read(self, groups: Collection[str] | None, after: int, upto: int) -> Page:
        return with_database(lambda: log.read(self._using, groups, after, upto))

    def prune(self) -> int:
        return with_database(lambda: log.prune(self._using, timezone.now() - self._retention))

    def new_epoch(self, known: Position) -> bool:
        return with_database(lambda: log.new_epoch(self._using, known))

    def close(self) -> None:
        connections.close_all()

    def _settle(self) -> None:
        for batch in log.settle(self._using):
            publishing.announce(batch)


def with_database(work: Callable[[], T]) -> T:
    """Do work in a long-lived thread; where a connection turns out dead, do it again on a new one."""
    try:
        return work()
    except (OperationalError, InterfaceError):
        connections.close_all()
        return work()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, ThreadPoolExecutor] = WeakKeyDictionary()


async def get_hub() -> Hub:
    """Return this event loop's hub, started by its first caller.

    Raises what kept the log from being read; the next caller tries again.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is None:
        hub = _hubs[loop] = _make_hub()
        _drain_on_signals()
    try:
        await asyncio.shield(hub.ready)
    except Exception:
        _hubs.pop(loop, None)
        raise
    return hub


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that uses the database in one of this server's few threads for sessions and rules."""
    loop = asyncio.get_running_loop()
    threads = _threads.get(loop)
    if threads is None:
        threads = _threads[loop] = ThreadPoolExecutor(get_settings().DATABASE_THREADS, "livepush-auth")
    return await loop.run_in_executor(threads, with_database, work)


async def stop() -> None:
    """Stop this loop's hub, as when its server ends."""
    loop = asyncio.get_running_loop()
    hub = _hubs.pop(loop, None)
    if hub is not None:
        await hub.stop()
    threads = _threads.pop(loop, None)
    if threads is not None:
        threads.shutdown()


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
    listen = None if layer.configured() is None else layer.listen
    return Hub(DatabaseLog(settings.DATABASE, settings.RETENTION), listen, options)


_chained: set[int] = set()


def _drain_on_signals() -> None:
    """Drain the hubs on SIGTERM and SIGINT, before the server's own handler, which waits for open streams."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in {signal.SIGTERM, signal.SIGINT} - _chained:
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _drain_then(before))
            _chained.add(number)


def _drain_then(before: Callable[..., Any]) -> Callable[[int, Any], Any]:
    def handle(number: int, frame: Any) -> Any:
        for loop, hub in list(_hubs.items()):
            if loop.is_running():
                loop.call_soon_threadsafe(hub.drain)
        return before(number, frame)

    return handle
