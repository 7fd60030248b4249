"""Makes one hub for each event loop of a server, with the log and the layer that it needs."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from functools import partial
from typing import TypeVar

from livepush import hints
from livepush.conf import get_settings
from livepush.forking import in_children
from livepush.hub import Hub, Options
from livepush.process.connections import AUTH_THREAD, HUB_THREAD, close_connections, cut_connections, with_database
from livepush.process.database_log import DatabaseLog
from livepush.process.drain import drain, drain_before_end, drain_on_signals, producers
from livepush.process.requests import forget_requests, requests_of, spawn
from livepush.process.servers import Scope, Send, lookup
from livepush.process.servers.client import Peer, peer_of
from livepush.process.threads import STOP_TIMEOUT, Threads

logger = logging.getLogger("livepush")

T = TypeVar("T")
SERVES_ON = 10.0
"""If clients still come after this time (seconds) since a hub was drained, its server has not ended, or the loop has
another one. They get a new hub.
"""


_hubs: dict[asyncio.AbstractEventLoop, Hub] = {}
_pools: dict[asyncio.AbstractEventLoop, dict[str, Threads]] = {}
"""The threads of each loop, by their name."""
_ends: dict[asyncio.AbstractEventLoop, AsyncGenerator[None]] = {}
"""For each loop, a generator whose end stops the loop's hub and threads. ``asyncio.run`` ends it with the loop."""


on_start: list[Callable[[Hub], None]] = []
"""Called with each hub that has started, in its loop, for packages that this one does not import."""


def _after_fork() -> None:
    """Forget the parent's hubs and threads in a forked child, where they do not run."""
    _hubs.clear()
    _pools.clear()
    _ends.clear()


in_children(_after_fork)


async def get_hub() -> Hub:
    """Return this event loop's hub. The first caller starts it.

    Raises the error that kept the hub from reading the log. The next caller tries again.
    """
    loop = asyncio.get_running_loop()
    hub = _hubs.get(loop)
    if hub is not None and (_has_failed(hub.ready) or _has_drained(hub)):
        spawn(loop, hub.stop())
        hub = None
    if hub is None:
        hub = _hubs[loop] = _make_hub()
        hub.ready.add_done_callback(partial(_begun, hub), context=Context())  # whoever still waits for it
        drain_on_signals(_hubs)
        drain_before_end(loop, _hubs)
        await _begin(loop)
    try:
        await asyncio.shield(hub.ready)
    except Exception:
        if _hubs.get(loop) is hub:
            del _hubs[loop]
            await hub.stop()
        raise
    return hub


def serving(scope: Scope, send: Send) -> ServingClient:
    """Register a request while it is served; see ``ServingClient``."""
    return ServingClient(peer_of(scope, send))


class ServingClient:
    """Registers a client while it is served, so that a drain waits for it, and its server drains before it ends."""

    __slots__ = ("_client", "_open")

    def __init__(self, client: Peer) -> None:
        self._client = client

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        requests, server = requests_of(loop), tuple(self._client.scope.get("server") or ())
        if server not in requests.servers:  # the hub may be an earlier server's
            requests.servers.add(server)
            drain_before_end(loop, _hubs)
            lookup.keep_spare()
        self._open = requests.open
        self._open[self] = self._client

    def __exit__(self, *raised: object) -> None:
        del self._open[self]


def _has_failed(start: asyncio.Task[None]) -> bool:
    """Return whether a hub's start failed, as when nobody waited for it any more."""
    return start.done() and not start.cancelled() and start.exception() is not None


def _has_drained(hub: Hub) -> bool:
    return hub.draining_since is not None and hub.loop.time() - hub.draining_since > SERVES_ON


def _begun(hub: Hub, start: asyncio.Task[None]) -> None:
    """Tell other packages of a hub that has started."""
    if start.cancelled() or _has_failed(start):
        return
    for begin in on_start:
        begin(hub)


async def in_thread(work: Callable[[], T], level: int = 0, name: str = AUTH_THREAD) -> T:
    """Do work that uses the database in one of the server's few threads of a name, by default of those for sessions
    and rules.

    Work of lower levels goes first.
    """
    pool = threads(name)
    await _begin(asyncio.get_running_loop())
    return await pool.run(lambda: with_database(work), level)


def threads(name: str = AUTH_THREAD) -> Threads:
    """Return this event loop's threads of a name. The first caller makes them."""
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop, {}).get(name)
    return pool or _new_pool(name, get_settings().DATABASE_THREADS)


async def stop() -> None:
    """Tell this event loop's clients to come back; end its hub, its threads and their database connections.

    They also end with the loop. The next request on the loop starts them again. Call it when a server that is embedded
    in another program ends, and in async tests.
    """
    loop = asyncio.get_running_loop()
    await drain(loop, _hubs)
    end = _ends.pop(loop, None)
    if end is not None:
        await end.aclose()


def stop_all() -> None:
    """End what livepush runs for every event loop of this process; for tests, whose database is to be dropped then.

    Raises RuntimeError: this thread is running one of these loops. There, await ``livepush.stop()``.
    """
    running = _running_loop()
    if running in _ends:
        raise RuntimeError("An event loop is running in this thread: await livepush.stop() instead.")
    if running is not None:  # for example Playwright's, beside which no other can run in this thread
        with ThreadPoolExecutor(1) as another_thread:
            another_thread.submit(stop_all).result()
        return
    for each in producers:
        each.interrupt()
    for loop in list(_ends):
        if loop.is_running():
            asyncio.run_coroutine_threadsafe(stop(), loop).result()
        elif not loop.is_closed():
            loop.run_until_complete(stop())
    for thread in _forget_closed():
        thread.join(STOP_TIMEOUT)
    hints.end_all()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _end_with_loop() -> AsyncGenerator[None]:
    """Stop this loop's hub and threads when it is closed: asyncio.run closes the loop's open generators then."""
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        _ends.pop(loop, None)
        hub, pools = _hubs.pop(loop, None), _pools.pop(loop, {})
        forget_requests(loop)
        if hub is not None:
            await hub.stop()
        for pool in pools.values():
            await pool.stop()


async def _begin(loop: asyncio.AbstractEventLoop) -> None:
    """Have livepush end with this loop; forget loops that were closed without a word."""
    if loop not in _ends:
        _forget_closed()
        end = _ends[loop] = _end_with_loop()
        await anext(end)  # up to its yield


def _forget_closed() -> list[threading.Thread]:
    """Drop what belongs to closed loops; return their threads, which end now."""
    ends: list[threading.Thread] = []
    for loop in [loop for loop in list(_ends) if loop.is_closed()]:  # other threads may begin and end theirs
        _ends.pop(loop, None)
        hub = _hubs.pop(loop, None)
        if hub is not None:
            hub.abandon()
        forget_requests(loop)
        for pool in _pools.pop(loop, {}).values():
            ends += pool.end_soon()
    return ends


def _new_pool(name: str, max_threads: int) -> Threads:
    """Make the running loop's threads of one name."""
    limit = get_settings().DATABASE_TIMEOUT
    pool = Threads(max_threads, name, limit, close_connections, cut_connections)
    _pools.setdefault(asyncio.get_running_loop(), {})[name] = pool
    return pool


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
    listen = None if hints.chosen() is hints.Hint.NONE else hints.listen
    thread = _new_pool(HUB_THREAD, 1)
    return Hub(DatabaseLog(settings.DATABASE, settings.RETENTION, thread), listen, options)
