"""What the endpoints share: they admit a client, greet it, refuse it, and end its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from django.http import HttpRequest

from livepush import process
from livepush.access import handshakes, identity, rules
from livepush.conf import get_settings
from livepush.hub import FAREWELL, Connection, Hub, Reason
from livepush.process import servers
from livepush.process.servers.client import Client
from livepush.wire import Format, Frames, Position, Query, WireError, check_get, hello, parse_query, system_frames

logger = logging.getLogger("livepush")

T = TypeVar("T")
Scope = servers.Scope
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = servers.Send
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_STORE = (b"cache-control", b"no-store, no-transform")
NOSNIFF = (b"x-content-type-options", b"nosniff")
"""Keeps browsers from taking an answer for a page or a script, whatever it holds (WHATWG Fetch, section 3.7)."""
COME_BACK = frozenset({429, 503})
"""The statuses of refusals that pass. A stream's client is told to come back, where others are told to give up."""
UNWIND = 0.1
"""How long (seconds) a server gets to end a cancelled write before livepush resets the connection.

If a write fails while a WebSocket closes, granian logs that under a lock, and freezes when another of its threads wants
the same lock.
"""


class Entry(NamedTuple):
    """A client that was admitted."""

    hub: Hub
    query: Query
    admission: identity.Admission
    cursor: Position
    """The position at which the client's stream begins."""
    lost: str | None
    """Why the client's history is lost; ``None`` if it is not."""


def refusing(endpoint: Endpoint) -> Endpoint:
    """Wrap an HTTP endpoint: if it refuses before its response began, answer with the error's JSON."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        with process.serving(scope, send):
            try:
                length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
                check_get(scope["method"], length, get_settings().MAX_EVENT_BYTES)
                await endpoint(scope, receive, send)
            except WireError as error:
                await answer(send, error.body(), error.status, refusal_headers(error))

    return wrapped


async def enter(scope: Scope) -> Entry:
    """Check the query; find out the user, the groups that the user may read, and where the stream begins.

    Raises WireError: a WebSocket comes from another site, the query is malformed, a check of the project's refuses, no
    group is granted, or the log can't be read now.
    """
    request = identity.request_of(scope)
    if scope["type"] == "websocket":
        identity.check_origin(request)
    last = request.META.get("HTTP_LAST_EVENT_ID", "")
    query = parse_query(scope.get("query_string", b""), last, get_settings().MAX_GROUPS)
    try:
        await handshakes.check_async(request, process.in_thread)
        admission = await admit(scope, request, query.groups)
        identity.check_granted(admission)
        hub = await process.get_hub()
        cursor, lost = await hub.admit(query.since)
    except WireError:
        raise
    except Exception as error:
        logger.warning("A client could not be let in: %s: %s", type(error).__name__, error)
        raise unavailable() from error
    if hub.draining:
        raise unavailable()
    return Entry(hub, query, admission, cursor, lost)


async def admit(
    scope: Scope, request: HttpRequest, names: tuple[str, ...], right: str = rules.READ
) -> identity.Admission:
    """Return the user, and which of the groups that user may read (or send to)."""
    view = identity.handshake(request)
    asked = await process.in_thread(lambda: identity.admit_sync(scope, request, view, names, right))
    return identity.admission(asked, names, asked.granted | await rules.ask_async(asked.questions))


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
    )
    if entry.lost is None:
        return frames
    return (*frames, *system_frames("reset", format, position=entry.cursor, reason=entry.lost))


def unavailable() -> WireError:
    """Return the refusal that says: the server can't serve now, come back later."""
    return WireError("unavailable", "The server can't serve now: try again in a moment.", 503)


def refusal_headers(error: WireError) -> list[tuple[bytes, bytes]]:
    """Return the headers that go with a refusal."""
    headers = dict(error.headers)
    if error.status == 405:
        headers["Allow"] = "GET"
    if error.status == 503:
        headers.setdefault("Retry-After", "2")
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


async def answer(send: Send, body: bytes, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """Send a whole JSON response."""
    fixed = [NO_STORE, NOSNIFF, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *(headers or [])]})
    await send({"type": "http.response.body", "body": body})


async def run_until_closed(
    hub: Hub, connection: Connection, frames: Frames, listening: Coroutine[Any, Any, T]
) -> T | None:
    """Serve a connection until it closes, or until ``listening`` returns; return what that returned, else ``None``.

    A closing connection ends the wait by cancelling this task. That cancellation does not reach the server's own code.
    """
    task, hung_up = asyncio.current_task(), False
    assert task is not None

    def hang_up() -> None:
        nonlocal hung_up
        hung_up = True
        task.cancel()

    connection.on_close = hang_up
    try:
        hub.start(connection, frames)
        return await listening
    except asyncio.CancelledError:
        if not hung_up:
            raise
        return None
    finally:
        hub.remove(connection)
        connection.close(Reason.GONE)
        connection.on_close = None
        if hung_up:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)  # receives the cancellation if no await has received it yet
            task.uncancel()


async def finish(scope: Scope, receive: Receive, send: Send, reason: Reason, message: MutableMapping[str, Any]) -> None:
    """Send a stream's last message; reset the connection if the client does not read."""
    if reason is Reason.SLOW and await hung_up(scope, receive, send):
        return
    try:
        async with asyncio.timeout(FAREWELL):
            await send(message)
    except TimeoutError:
        await hung_up(scope, receive, send)
    except Exception:  # noqa: S110 (usually the client has gone)
        pass


async def hung_up(scope: Scope, receive: Receive, send: Send) -> bool:
    """Reset a request's connection and wait until its server has noticed; return whether it was reset."""
    await asyncio.sleep(UNWIND)
    if not await Client(scope, send).hang_up():
        return False
    if scope["type"] == "http":  # some servers log an error if the application ends a stream before the client has gone
        with suppress(Exception):
            async with asyncio.timeout(FAREWELL):
                await until_disconnect(receive)
    return True


async def until_disconnect(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass
