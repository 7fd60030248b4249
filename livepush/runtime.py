"""Puts a hub together with its collaborators, one for each event loop of a server."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from livepush import layer, log, publishing, sockets
from livepush.conf import get_settings
from livepush.connection import FAREWELL
from livepush.hub import Hub, Options
from livepush.threads import Threads
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

    def read(self, groups: Collection[str] | None, after: int, upto: int, limit: int, most_bytes: int) -> Page:
        return with_database(lambda: log.read(self._using, groups, after, upto, limit, most_bytes))

    def prune(self) -> int:
        return with_database(lambda: log.prune(self._using, timezone.now() - self._retention))

    def new_epoch(self, known: Position, diverged: bool) -> bool:
        return with_database(lambda: log.new_epoch(self._using, known, diverged))

    def close(self) -> None:
        connections.close_all()

    def _settle(self) -> None:
        for batch in log.settle(self._using):
            publishing.announce(batch)


def with_database(work: Callable[[], T]) -> T:
    """Do work in a long-lived thread; where a connection turns out dead, do it again on a new one."""
    try:
        try:
            return work()
        except (OperationalError, InterfaceError):
            connections.close_all()
            return work()
    finally:
        _give_back()


def _give_back() -> None:
    """Give connections of a pool back to it: others wait for them. Without a pool a thread keeps its own."""
    for connection in connections.all(initialized_only=True):
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()
_threads: WeakKeyDictionary[asyncio.AbstractEventLoop, Threads] = WeakKeyDictionary()


def _after_fork() -> None:
    """Begin anew in a child, in which none of the parent's loops and threads run."""
    _hubs.clear()
    _threads.clear()


os.register_at_fork(after_in_child=_after_fork)


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
        if _hubs.get(loop) is hub:
            del _hubs[loop]
            await hub.stop()
        raise
    return hub


async def in_thread(work: Callable[[], T]) -> T:
    """Do work that uses the database in one of this server's few threads for sessions and rules."""
    loop = asyncio.get_running_loop()
    threads = _threads.get(loop)
    if threads is None:
        settings = get_settings()
        threads = Threads(settings.DATABASE_THREADS, "livepush-auth", settings.DATABASE_TIMEOUT, connections.close_all)
        _threads[loop] = threads
    return await threads.run(lambda: with_database(work))


async def stop() -> None:
    """Stop this loop's hub, as when its server ends."""
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
        database_timeout=settings.DATABASE_TIMEOUT,
        buffer_bytes=settings.BUFFER_BYTES,
        window_events=settings.WINDOW_EVENTS,
        window_bytes=settings.WINDOW_BYTES,
        prune_interval=settings.PRUNE_INTERVAL,
        drain=settings.DRAIN,
    )
    listen = None if layer.configured() is None else layer.listen
    return Hub(DatabaseLog(settings.DATABASE, settings.RETENTION), listen, options)


Requests = dict[object, sockets.Scope]
_requests: WeakKeyDictionary[asyncio.AbstractEventLoop, Requests] = WeakKeyDictionary()
"""What each loop serves."""
_chained: set[int] = set()
_leaving: set[asyncio.Task[None]] = set()


@contextmanager
def serving(scope: sockets.Scope) -> Iterator[None]:
    """Keep a request in mind while it is served, so that a drain sees it out."""
    requests = _requests.setdefault(asyncio.get_running_loop(), {})
    key = object()
    requests[key] = scope
    try:
        yield
    finally:
        requests.pop(key, None)


def expect_progress(scope: sockets.Scope) -> None:
    """Have a request's connection reset once its client takes nothing of a large answer for ``WRITE_TIMEOUT``.

    A drain that comes before does it at once: a server that wants to end would wait for the client.
    """
    patience = get_settings().WRITE_TIMEOUT
    sockets.expect_progress(scope, patience)
    loop = asyncio.get_running_loop()
    requests = _requests.setdefault(loop, {})
    key = object()
    requests[key] = scope
    loop.call_later(patience, requests.pop, key, None)


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
    """Return a handler that drains and calls the one before it.

    That is at once where the server itself waits for open streams. daphne cancels them: it hears of the signal when
    they have ended, or when it comes a second time.
    """
    waiting = False

    def handle(number: int, frame: Any) -> Any:
        nonlocal waiting
        loops = [loop for loop in list(_hubs) if loop.is_running()]
        for loop in loops:
            loop.call_soon_threadsafe(_drain, loop)
        if waiting or not loops or sockets.reactor() is None:
            waiting = False
            return before(number, frame)
        waiting = True
        return loops[0].call_soon_threadsafe(_soon, loops[0], lambda: waiting and before(number, None))

    return handle


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Say goodbye to a loop's clients, and hang up on those that have not taken it in time."""
    hub = _hubs.get(loop)
    if hub is not None and not hub.draining:
        hub.drain()
        requests = _requests.setdefault(loop, {})
        loop.call_later(FAREWELL, _hang_up, dict(requests), requests)


def _hang_up(before: Requests, requests: Requests) -> None:
    for key, scope in before.items():
        ended = key not in requests and scope["type"] == "http"  # a WebSocket's end takes the client's answer too
        sockets.hang_up(scope, unless_writable=ended)


def _soon(loop: asyncio.AbstractEventLoop, end: Callable[[], object]) -> None:
    task = loop.create_task(_see_out(_requests.setdefault(loop, {}), end))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)


async def _see_out(requests: Requests, end: Callable[[], object]) -> None:
    """Call ``end`` when what is served under Twisted has ended and been sent, or has had its time."""
    loop = asyncio.get_running_loop()
    last = loop.time() + FAREWELL
    while loop.time() < last and (requests or sockets.sending()):
        await asyncio.sleep(0.02)
    end()
