"""The end of a server: its clients are told to come back, and what is served is seen out."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from livepush.conf import get_settings
from livepush.hub import FAREWELL, Hub
from livepush.process.servers import tcp

Hubs = Mapping[asyncio.AbstractEventLoop, Hub]


class Requests(NamedTuple):
    """What a loop serves, each under a key of its own."""

    open: dict[object, tcp.Scope]
    answered: dict[object, tcp.Scope]
    """Those that got a large answer a while ago, which their clients may not have taken yet."""


_requests: WeakKeyDictionary[asyncio.AbstractEventLoop, Requests] = WeakKeyDictionary()
_chained: set[int] = set()
_ending: set[asyncio.Task[None]] = set()
QUIET = 0.5
"""How long (seconds) a drain waits for the next stream to end; whose does not by then does not read."""


@contextmanager
def serving(scope: tcp.Scope) -> Iterator[None]:
    """Keep a request in mind while it is served, so that a drain sees it out."""
    key, requests = object(), _requests_of(asyncio.get_running_loop())
    requests.open[key] = scope
    try:
        yield
    finally:
        del requests.open[key]


def expect_progress(scope: tcp.Scope) -> None:
    """Hang up on a client that takes nothing of a large answer for ``WRITE_TIMEOUT``: its server waits for ever.

    So does a server that wants to end, and then it is done after ``FAREWELL``.
    """
    loop, patience = asyncio.get_running_loop(), get_settings().WRITE_TIMEOUT
    answered = _requests_of(loop).answered
    needed = {name: scope.get(name) for name in ("type", "http_version", "server", "client")}
    key = str(needed)

    def look(before: int) -> None:
        now = tcp.progress(needed)
        if now is not None and now.taken != before:
            loop.call_later(patience, look, now.taken)
            return
        del answered[key]
        if now is not None and now.stuffed:
            tcp.hang_up(needed)

    if key not in answered:
        answered[key] = needed
        loop.call_later(patience, look, -1)


def _requests_of(loop: asyncio.AbstractEventLoop) -> Requests:
    return _requests.setdefault(loop, Requests({}, {}))


def drain_on_signals(hubs: Hubs) -> None:
    """Drain the hubs on SIGTERM and SIGINT, before the server's own handler."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in {signal.SIGTERM, signal.SIGINT} - _chained:
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, _drain_then(before, hubs))
            _chained.add(number)


def _drain_then(before: Callable[..., Any], hubs: Hubs) -> Callable[[int, Any], Any]:
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
        loops = [loop for loop in list(hubs) if loop.is_running()]
        if signals > 1 or not loops:
            return before(number, frame)
        for loop in loops:
            loop.call_soon_threadsafe(_drain, loop, hubs)
        return loops[0].call_soon_threadsafe(_spawn, loops[0], lambda: end(number))

    return handle


def _drain(loop: asyncio.AbstractEventLoop, hubs: Hubs) -> None:
    """Say goodbye to a loop's clients, and in due time hang up on those that have not taken it."""
    hub, requests = hubs.get(loop), _requests_of(loop)
    if hub is not None:
        hub.drain()
    loop.call_later(FAREWELL + 0.5, _hang_up, requests.open | requests.answered, requests.open)  # as the last resort


def _hang_up(served: dict[object, tcp.Scope], still: dict[object, tcp.Scope]) -> None:
    for key, scope in served.items():
        ended = key not in still and scope["type"] == "http"  # a WebSocket's end takes the client's answer too
        tcp.hang_up(scope, unless_writable=ended)


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
    return sum(len(requests.open) for requests in _requests.values()) + tcp.sending()


def _spawn(loop: asyncio.AbstractEventLoop, end: Callable[[], None]) -> None:
    task = loop.create_task(_see_out(end))
    _ending.add(task)
    task.add_done_callback(_ending.discard)
