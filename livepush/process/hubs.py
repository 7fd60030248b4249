"""Puts a hub together with its collaborators, one for each event loop of a server."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.utils import timezone

from livepush import hints, log, publish
from livepush.conf import get_settings
from livepush.hub.connection import FAREWELL
from livepush.hub.hub import Hub, Options
from livepush.inbox import filing
from livepush.log import pruning
from livepush.process.servers import Scope, Send, daphne
from livepush.process.servers.client import Client, client_of
from livepush.process.threads import Threads
from livepush.wire import Page, Position, State

T = TypeVar("T")
THREADS = ("livepush-hub", "livepush-auth")


class DatabaseLog:
    """The log as a hub needs it, in the hub's own thread, with one connection that is kept."""

    def __init__(self, using: str, retention: float, inbox_retention: float) -> None:
        self._using = using
        self._retention = timedelta(seconds=retention)
        self._inbox_retention = timedelta(seconds=inbox_retention)

    def state(self) -> State:
        return with_database(lambda: log.state(self._using))

    def sweep(self) -> State:
        """Settle what waits; return where the log stands."""
        state = self.state()
        if not state.waiting:
            return state
        with_database(self._settle)
        return self.state()

    def read(self, groups: Collection[str] | None, after: int, upto: int, limit: int, most_bytes: int) -> Page:
        return with_database(lambda: log.read(self._using, groups, after, upto, limit, most_bytes))

    def prune(self) -> int:
        now = timezone.now()
        pruned = with_database(lambda: pruning.prune(self._using, now - self._retention))
        return pruned + with_database(lambda: filing.prune(self._using, now - self._inbox_retention))

    def new_epoch(self, known: Position, diverged: bool) -> bool:
        return with_database(lambda: log.new_epoch(self._using, known, diverged))

    def close(self) -> None:
        close_connections()

    def cut(self, thread: int) -> None:
        cut_connections(thread)

    def _settle(self) -> None:
        for batch in log.settle(self._using):
            publish.announce(batch)


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


_opened: dict[tuple[int, str], BaseDatabaseWrapper] = {}
"""The connections of livepush's own threads, by thread and alias."""


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
    """End another thread's wait for a database host that has vanished, which the system would let last for minutes.

    Where the driver does not tell its socket, the wait ends when the system gives up.
    """
    for (owner, _), connection in list(_opened.items()):
        if owner == thread:
            with suppress(Exception):
                driver: Any = connection.connection
                number = driver.fileno() if hasattr(driver, "fileno") else driver._sock.fileno()
                with socket.socket(fileno=os.dup(number)) as end:
                    end.shutdown(socket.SHUT_RDWR)


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
        threads = _threads[loop] = Threads(
            settings.DATABASE_THREADS, "livepush-auth", settings.DATABASE_TIMEOUT, close_connections, cut_connections
        )
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
    listen = None if hints.configured() is None else hints.listen
    return Hub(DatabaseLog(settings.DATABASE, settings.RETENTION, settings.INBOX_RETENTION), listen, options)


class Requests(NamedTuple):
    """What a loop serves, each under a key of its own."""

    open: dict[object, Client]
    answered: dict[object, Client]
    """Those that got a large answer a while ago, which their clients may not have taken yet."""


_requests: WeakKeyDictionary[asyncio.AbstractEventLoop, Requests] = WeakKeyDictionary()
_chained: set[int] = set()
_tasks: set[asyncio.Task[None]] = set()
"""What runs in the background, held so that it is not collected."""
QUIET = 0.5
"""How long (seconds) a drain waits for the next stream to end; one that is still open by then belongs to a client that
does not read."""


@contextmanager
def serving(scope: Scope, send: Send) -> Iterator[None]:
    """Keep a request in mind while it is served, so that a drain sees it out."""
    key, requests = object(), _requests_of(asyncio.get_running_loop())
    requests.open[key] = client_of(scope, send)
    try:
        yield
    finally:
        del requests.open[key]


def expect_progress(scope: Scope, send: Send) -> None:
    """Hang up on a client that takes nothing of a large answer for ``WRITE_TIMEOUT``: its server would wait for ever.

    A server that wants to end would wait too; then the client has until the end of the drain.
    """
    client, patience = client_of(scope, send), get_settings().WRITE_TIMEOUT
    loop = asyncio.get_running_loop()
    answered = _requests_of(loop).answered
    key = client.connection()

    async def look(before: int) -> None:
        now = await client.progress()
        if now is not None and now.taken != before:
            look_later(now.taken)
            return
        del answered[key]
        if now is not None and now.buffer_full:
            await client.hang_up()

    def look_later(before: int) -> None:
        loop.call_later(patience, lambda: _spawn(loop, look(before)))

    if key not in answered:
        answered[key] = client
        look_later(-1)


def _requests_of(loop: asyncio.AbstractEventLoop) -> Requests:
    return _requests.setdefault(loop, Requests({}, {}))


def _drain_on_signals() -> None:
    """Drain the hubs on SIGTERM and SIGINT, before the server's own handler."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in {signal.SIGTERM, signal.SIGINT} - _chained:
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _drain_then(before))
            _chained.add(number)


def _drain_then(before: Callable[..., Any]) -> Callable[[int, Any], Any]:
    """Return a handler that drains, then calls the one before it: when the streams have ended, or have had their time.

    Some servers cut streams as soon as they hear of the signal. A second signal is the server's at once.
    """
    signals = 0

    def end(number: int) -> None:
        if signals == 1:
            before(number, None)

    def handle(number: int, frame: Any) -> Any:
        nonlocal signals
        signals += 1
        loops = [loop for loop in list(_hubs) if loop.is_running()]
        if signals > 1 or not loops:
            return before(number, frame)
        for loop in loops:
            loop.call_soon_threadsafe(_drain, loop)
        return loops[0].call_soon_threadsafe(lambda: _spawn(loops[0], _see_out(lambda: end(number))))

    return handle


def _drain(loop: asyncio.AbstractEventLoop) -> None:
    """Say goodbye to a loop's clients, and in due time hang up on those that have not taken it."""
    hub, requests = _hubs.get(loop), _requests_of(loop)
    if hub is not None:
        hub.drain()
    served = requests.open | requests.answered
    loop.call_later(FAREWELL + 0.5, lambda: _spawn(loop, _hang_up(served, requests.open)))  # as the last resort


async def _hang_up(served: dict[object, Client], still_open: dict[object, Client]) -> None:
    for key, client in served.items():
        # A WebSocket's end takes the client's answer too.
        ended = key not in still_open and client.scope["type"] == "http"
        await client.hang_up(unless_writable=ended)


async def _see_out(end: Callable[[], None]) -> None:
    """Call ``end`` when what is served has ended and been sent, or all have that read."""
    time = asyncio.get_running_loop().time
    last = time() + FAREWELL
    least, quiet = sys.maxsize, last
    while (left := _left()) and time() < min(last, quiet):
        if left < least:
            least, quiet = left, time() + QUIET
        await asyncio.sleep(0.02)
    end()


def _left() -> int:
    return sum(len(requests.open) for requests in _requests.values()) + daphne.unsent()


def _spawn(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    task = loop.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
