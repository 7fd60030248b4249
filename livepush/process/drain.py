"""The end of a server: tells the clients to come back, and waits until their streams have ended."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from livepush.conf import get_settings
from livepush.hub import FAREWELL, Hub
from livepush.process.servers import Scope, Send, daphne
from livepush.process.servers.client import Client, client_of

Hubs = Mapping[asyncio.AbstractEventLoop, Hub]


class Requests(NamedTuple):
    """The clients that a loop serves, each under its own key."""

    open: dict[object, Client]
    answered: dict[object, Client]
    """Clients that were sent a large answer, and may not have received all of it yet."""


_requests: WeakKeyDictionary[asyncio.AbstractEventLoop, Requests] = WeakKeyDictionary()
_chained: set[int] = set()
_tasks: set[asyncio.Task[None]] = set()
"""The background tasks, kept here so that Python does not collect them."""
QUIET = 0.5
"""How long (seconds) a drain waits for the next stream to end. A stream that is still open by then belongs to a client
that does not read."""


@contextmanager
def serving(scope: Scope, send: Send) -> Iterator[None]:
    """Register a request while it is served, so that a drain waits for it."""
    key, requests = object(), _requests_of(asyncio.get_running_loop())
    requests.open[key] = client_of(scope, send)
    try:
        yield
    finally:
        del requests.open[key]


def expect_progress(scope: Scope, send: Send) -> None:
    """Hang up on a client that receives nothing of a large answer for ``WRITE_TIMEOUT``.

    Without this the server would wait for ever. When the server ends, such a client has until the end of the drain.
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
        try:
            if now is not None and now.buffer_full:
                await client.hang_up()
        finally:
            del answered[key]

    def look_later(before: int) -> None:
        loop.call_later(patience, lambda: _spawn(loop, look(before)))

    if key not in answered:
        answered[key] = client
        look_later(-1)


def _requests_of(loop: asyncio.AbstractEventLoop) -> Requests:
    return _requests.setdefault(loop, Requests({}, {}))


def drain_on_signals(hubs: Hubs) -> None:
    """Drain the hubs on SIGTERM and SIGINT before the server's own handler runs."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in {signal.SIGTERM, signal.SIGINT} - _chained:
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _drain_then(before, hubs))
            _chained.add(number)


def _drain_then(before: Callable[..., Any], hubs: Hubs) -> Callable[[int, Any], Any]:
    """Return a handler that drains, and calls the server's handler when the streams have ended or the time is over.

    Some servers cut streams as soon as they get the signal. A second signal goes to the server's handler at once.
    """
    signals = 0

    def end(number: int) -> None:
        if signals == 1:
            before(number, None)

    def handle(number: int, frame: Any) -> Any:
        nonlocal signals
        signals += 1
        loops = [loop for loop in list(hubs) if loop.is_running()]
        if signals > 1 or not loops:
            return before(number, frame)
        for loop in loops:
            loop.call_soon_threadsafe(_drain, loop, hubs)
        return loops[0].call_soon_threadsafe(lambda: _spawn(loops[0], _see_out(lambda: end(number))))

    return handle


def _drain(loop: asyncio.AbstractEventLoop, hubs: Hubs) -> None:
    """Tell a loop's clients to come back; later hang up on those that are still there."""
    hub, requests = hubs.get(loop), _requests_of(loop)
    if hub is not None:
        hub.drain()
    served = requests.open | requests.answered
    loop.call_later(FAREWELL + 0.5, lambda: _spawn(loop, _hang_up(served, requests.open)))  # as the last resort


async def _hang_up(served: dict[object, Client], still_open: dict[object, Client]) -> None:
    for key, client in served.items():
        # A WebSocket ends only when its client has answered the close, so it is reset even if it can be written to.
        ended = key not in still_open and client.scope["type"] == "http"
        await client.hang_up(unless_writable=ended)


async def _see_out(end: Callable[[], None]) -> None:
    """Call ``end`` when every stream has ended and was sent, or only clients that do not read are left."""
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
