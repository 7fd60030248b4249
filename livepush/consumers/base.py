"""What the endpoints share: they admit a client, greet it, refuse it, and end its stream."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, TypeVar

from livepush import process
from livepush.access import identity, origins
from livepush.conf import get_settings
from livepush.consumers.entering import Entry
from livepush.consumers.incoming import DISCONNECTS, Incoming
from livepush.hub import FAREWELL, Connection, Hub, Reason, State
from livepush.process import servers
from livepush.process.servers.client import peer_of
from livepush.wire import (
    Close,
    Format,
    Frames,
    WireError,
    check_get,
    hello,
    system_frames,
)

logger = logging.getLogger("livepush")

T = TypeVar("T")
Scope = servers.Scope
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = servers.Send
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]
WatchedEndpoint = Callable[[Scope, Incoming, Send], Awaitable[None]]

NO_STORE = (b"cache-control", b"private, no-store, no-transform")
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Keeps browsers from taking an answer for a page or a script, whatever it holds (WHATWG Fetch, section 3.7)."""
COME_BACK = frozenset({429, 503})
"""The statuses of refusals that pass. A stream's client is told to come back, where others are told to give up."""
UNWIND = 0.1
"""How long (seconds) a server gets to end a cancelled write before livepush resets the connection.

If a write fails while a WebSocket closes, granian logs that under a lock, and freezes when another of its threads wants
the same lock.
"""


def refusing(endpoint: WatchedEndpoint) -> Endpoint:
    """Wrap an HTTP endpoint: if it refuses before its response began, answer with the error's JSON."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        with process.serving(scope, send), Incoming(receive) as incoming:
            try:
                if get_settings().ALLOWED_ORIGINS:
                    request = identity.request_of(scope)
                    scope["livepush.headers"] = _encoded(origins.headers(request))
                    if origins.is_preflight(request):
                        await answer(scope, send, b"", 204)
                        return
                length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
                check_get(scope["method"], length, get_settings().MAX_EVENT_BYTES)
                await endpoint(scope, incoming, send)
            except WireError as error:
                await answer(scope, send, error.body(), error.status, refusal_headers(error))

    return wrapped


def should_come_back(error: WireError, wants_stream: bool) -> bool:
    """Return whether the client of a stream is told to come back instead: the refusal will pass.

    An EventSource never reconnects after an error status (WHATWG HTML, section 9.2.3). A client that is over a limit
    gets the error status, unless it is an EventSource.
    """
    return error.status in COME_BACK and (error.code != "throttled" or wants_stream)


def retry_in_ms(error: WireError) -> int:
    """Return in how many milliseconds a client that was refused should come back."""
    seconds = get_settings().RETRY * random.uniform(0.5, 1.5) if error.retry is None else error.retry
    return round(seconds * 1000)


def bye_reason(error: WireError) -> str:
    """Return why a client is to come back later, as ``bye`` says it."""
    return "throttled" if error.code == "throttled" else "unavailable"


def websocket_refusal(error: WireError, format: Format) -> tuple[Frames, Close]:
    """Return what a WebSocket hears when it is refused: when to come back, if that is known, and the close code."""
    is_passing = error.status in COME_BACK
    told = is_passing and error.retry is not None
    frames = system_frames("bye", format, retry=retry_in_ms(error), reason=bye_reason(error)) if told else ()
    return frames, Close.GOING_AWAY if is_passing and error.code != "throttled" else error.close


def greeting(entry: Entry, format: Format) -> Frames:
    """Return a stream's first frames: hello, and reset if the history is lost."""
    settings = get_settings()
    frames = hello(
        entry.cursor,
        format,
        heartbeat=settings.HEARTBEAT,
        retry=round(settings.RETRY * 1000),
        groups=entry.admission.granted,
        refused=entry.admission.refused,
        failed=entry.admission.told_failed,
    )
    if entry.lost is None:
        return frames
    return (*frames, *system_frames("reset", format, position=entry.cursor, reason=entry.lost))


def for_origin(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers with which a page of another origin may read an answer."""
    found: list[tuple[bytes, bytes]] = scope.get("livepush.headers", [])
    return found


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def refusal_headers(error: WireError) -> list[tuple[bytes, bytes]]:
    """Return the headers that go with a refusal."""
    return _encoded(error.answer_headers())


async def answer(
    scope: Scope, send: Send, body: bytes, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole JSON response."""
    fixed = [NO_STORE, NOSNIFF, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    shown = [*fixed, *headers, *for_origin(scope)]
    await send({"type": "http.response.start", "status": status, "headers": shown})
    await send({"type": "http.response.body", "body": body})


async def run_until_closed(
    hub: Hub,
    connection: Connection,
    frames: Frames,
    listening: Coroutine[Any, Any, T],
    end: Callable[[T | None], Awaitable[None]],
) -> None:
    """Serve a connection until it closes, or until ``listening`` returns; then call ``end`` with what that returned.

    A closing connection ends the wait by cancelling this task. That cancellation does not reach the server's own code.
    If the server cancels the task, as daphne does when it ends, the client is told to come back first.
    """
    task, result = asyncio.current_task(), None
    assert task is not None
    cancelling = Cancelling(task)
    connection.on_close = cancelling.cancel
    try:
        hub.start(connection, frames)
        result = await listening
    except asyncio.CancelledError:
        if not cancelling.is_ours:
            await say_bye(hub, connection)
            await end(None)
            raise
    finally:
        hub.remove(connection)
        connection.close(Reason.GONE)
        connection.on_close = None
        if cancelling.is_ours:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # receives the cancellation if no await has received it yet
            task.uncancel()
    await end(result)


class Cancelling:
    """Cancels a task, and remembers that it has."""

    __slots__ = ("is_ours", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task, self.is_ours = task, False

    def cancel(self) -> None:
        self.is_ours = True
        self.task.cancel()


async def say_bye(hub: Hub, connection: Connection) -> None:
    """Tell a client to come back, and wait until that was written."""
    closed = asyncio.Event()
    connection.on_close = closed.set
    if connection.state is not State.CLOSED:
        hub.send_away(connection)
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                await closed.wait()


async def finish(scope: Scope, receive: Receive, send: Send, reason: Reason, message: MutableMapping[str, Any]) -> None:
    """Send a stream's last message; reset the connection if the client does not read."""
    if reason is Reason.SLOW and await reset_connection(scope, receive, send):
        return
    try:
        async with asyncio.timeout(FAREWELL):
            await send(message)
    except TimeoutError:
        await reset_connection(scope, receive, send)
    except Exception:  # noqa: S110 (usually the client has gone)
        pass


async def reset_connection(scope: Scope, receive: Receive, send: Send) -> bool:
    """Reset a request's connection and wait until its server has noticed; return whether it was reset."""
    await asyncio.sleep(UNWIND)
    if not await peer_of(scope, send).hang_up():
        return False
    if scope["type"] == "http":  # some servers log an error if the application ends a stream before the client has gone
        with suppress(Exception):
            async with asyncio.timeout(FAREWELL):
                await until_disconnect(receive)
    return True


async def until_disconnect(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] not in DISCONNECTS:
        pass
