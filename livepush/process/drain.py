"""The end of a server: tells the clients to come back, and waits until their streams have ended."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from livepush import audit
from livepush.conf import get_settings
from livepush.hub import FAREWELL, Hub
from livepush.process.own_thread import in_own_thread
from livepush.process.requests import count_open, requests_of, spawn
from livepush.process.servers import daphne, ending
from livepush.process.servers.client import Peer

Hubs = Mapping[asyncio.AbstractEventLoop, Hub]


_chained: set[int] = set()
QUIET = 0.5
"""How long (seconds) a drain waits for the next stream to end. A stream that is still open by then belongs to a client
that does not read."""


class Producers(NamedTuple):
    """Something that may go on for a while when the server ends, as a stream's producer or an async handler does."""

    running: Callable[[], int]
    """Return how many have not finished."""
    interrupt: Callable[[], None]
    """End those that are left."""


producers: list[Producers] = []
"""The functions that a server waits for before it ends, for ``DRAIN_STREAMS`` seconds at most."""
_until: float | None = None
"""When the producers' time is over (``time.monotonic``): the first signal sets it. The server's own end, which follows,
gives them no more."""


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
        global _until
        signals += 1
        loops = [loop for loop in list(hubs) if loop.is_running()]
        if signals > 1 or not loops:
            return before(number, frame)
        _until = _until or _producers_end()
        for loop in loops:
            loop.call_soon_threadsafe(_drain, loop, hubs)
        return loops[0].call_soon_threadsafe(lambda: spawn(loops[0], see_out_and_end(number)))

    async def see_out_and_end(number: int) -> None:
        await _see_out(count_open)
        await _see_out_producers()
        end(number)

    return handle


def drain_before_end(loop: asyncio.AbstractEventLoop, hubs: Hubs) -> None:
    """Drain a loop when its server begins to end, however that begins."""
    ending.before_end(loop, partial(drain, loop, hubs))


async def drain(loop: asyncio.AbstractEventLoop, hubs: Hubs) -> None:
    """Tell a loop's clients to come back, and return when their streams have ended or the time is over."""
    _drain(loop, hubs)
    await _see_out(lambda: len(requests_of(loop).open))
    await _see_out_producers()


def _drain(loop: asyncio.AbstractEventLoop, hubs: Hubs) -> None:
    """Tell a loop's clients to come back; later hang up on those that are still there."""
    hub, requests = hubs.get(loop), requests_of(loop)
    if hub is not None:
        hub.drain()
    served = requests.open | requests.answered
    loop.call_later(FAREWELL + 0.5, lambda: spawn(loop, _hang_up(served, requests.open)))  # as the last resort


async def _hang_up(served: dict[object, Peer], still_open: dict[object, Peer]) -> None:
    asked = time.monotonic()
    for key, client in served.items():
        # A WebSocket ends only when its client has answered the close, so it is reset even if it can be written to.
        ended = key not in still_open and client.scope["type"] == "http"
        await client.hang_up(unless_writable=ended, asked=asked)


async def _see_out(count: Callable[[], int]) -> None:
    """Return when every stream has ended, was sent and is audited, or only clients that do not read are left."""
    time = asyncio.get_running_loop().time
    last = time() + FAREWELL
    least, quiet = sys.maxsize, last
    while (left := count() + daphne.unsent() + audit.waiting()) and time() < min(last, quiet):
        if left < least:
            least, quiet = left, time() + QUIET
        await asyncio.sleep(0.02)


async def _see_out_producers() -> None:
    """Return when every producer has finished, or is interrupted since the time is over."""
    until = _until or _producers_end()
    while any(each.running() for each in producers) and time.monotonic() < until:
        await asyncio.sleep(0.02)
    for each in producers:
        if each.running():
            await in_own_thread(each.interrupt, "livepush-drain")


def _producers_end() -> float:
    return time.monotonic() + get_settings().DRAIN_STREAMS
