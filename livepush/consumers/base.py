"""What the endpoints share: they admit a client, greet it, refuse it, and end its stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from django.http import HttpRequest

from livepush import process
from livepush.access import identity, origins, rules
from livepush.access.authenticating import identify_async
from livepush.conf import get_settings
from livepush.hub import FAREWELL, Connection, Hub, Reason
from livepush.process import servers
from livepush.process.servers.client import Client
from livepush.rights import Grant, Rights, rights_of
from livepush.wire import Format, Frames, Position, Query, WireError, check_get, hello, parse_query, system_frames

logger = logging.getLogger("livepush")

T = TypeVar("T")
Scope = servers.Scope
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = servers.Send
Endpoint = Callable[[Scope, Receive, Send], Awaitable[None]]

NO_STORE = (b"cache-control", b"no-store, no-transform")
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
    view: identity.Handshake
    rights: Rights
    heard: int
    """How many changes of rights had been heard of before the client was let in."""

    @contextmanager
    def watched(
        self, groups: Callable[[], Collection[str]], revoke: Callable[[Collection[str], str], object]
    ) -> Iterator[Grant]:
        """Have groups taken away from the client when it may no longer read them; see ``Grant``."""
        grant = Grant(self.admission.identity, self.view, groups, revoke)
        self.rights.add(grant, self.heard)
        try:
            yield grant
        finally:
            self.rights.remove(grant)


def refusing(endpoint: Endpoint) -> Endpoint:
    """Wrap an HTTP endpoint: if it refuses before its response began, answer with the error's JSON."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        with process.serving(scope, send):
            if get_settings().ALLOWED_ORIGINS:
                request = identity.request_of(scope)
                scope["livepush.headers"] = _encoded(origins.headers(request))
                if origins.is_preflight(request):
                    await answer(scope, send, b"", 204)
                    return
            try:
                length = dict(scope["headers"]).get(b"content-length", b"").decode("latin-1")
                check_get(scope["method"], length, get_settings().MAX_EVENT_BYTES)
                await endpoint(scope, receive, send)
            except WireError as error:
                await answer(scope, send, error.body(), error.status, refusal_headers(error))

    return wrapped


async def enter(scope: Scope) -> Entry:
    """Check the query; find out the user, the groups that the user may read, and where the stream begins.

    Raises WireError: a WebSocket comes from another site, the query is malformed, no group is granted, or the log can't
    be read now.
    """
    request = identity.request_of(scope)
    if scope["type"] == "websocket":
        origins.check_origin(request)
    else:
        origins.headers(request)  # a foreign page's cookies may have to be ignored
    last = request.META.get("HTTP_LAST_EVENT_ID", "")
    query = parse_query(scope.get("query_string", b""), last, get_settings().MAX_GROUPS)
    try:
        hub, failure = await _hub()
        heard = 0 if hub is None else rights_of(hub).heard
        admission = await admit(scope, request, query.groups)
        identity.check_granted(admission)
        if hub is None:
            raise failure
        cursor, lost = await hub.admit(query.since)
    except WireError:
        raise
    except Exception as error:
        logger.warning("A client could not be let in: %s: %s", type(error).__name__, error)
        raise unavailable() from error
    if hub.draining:
        raise unavailable()
    return Entry(hub, query, admission, cursor, lost, identity.handshake(request), rights_of(hub), heard)


async def _hub() -> tuple[Hub | None, Exception]:
    """Return the hub, or why there is none: a client that is refused is told that, even then."""
    try:
        return await process.get_hub(), unavailable()
    except Exception as error:
        return None, error


async def admit(
    scope: Scope, request: HttpRequest, names: tuple[str, ...], right: str = rules.READ
) -> identity.Admission:
    """Return who it is, and which of the groups that client may read (or send to)."""
    view = identity.handshake(request)
    if scope.get("user") is None and "livepush.identity" not in scope:
        known = await identify_async(request, process.in_thread)
        scope = scope if known is None else {**scope, "livepush.identity": known}
    found, granted, questions = await process.in_thread(lambda: identity.admit_sync(scope, request, view, names, right))
    return identity.admission(found, names, granted | await rules.ask_async(questions))


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


def for_origin(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Return the headers with which a page of another origin may read an answer."""
    found: list[tuple[bytes, bytes]] = scope.get("livepush.headers", [])
    return found


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def unavailable() -> WireError:
    """Return the refusal that says: the server can't serve now, come back later."""
    return WireError("unavailable", "The server can't serve now: try again in a moment.", 503)


def refusal_headers(error: WireError) -> list[tuple[bytes, bytes]]:
    """Return the headers that go with a refusal."""
    if error.status == 405:
        return [(b"allow", b"GET")]
    if error.status == 401:
        return [(b"www-authenticate", b"Bearer")]  # RFC 9110, section 11.6.1
    return [(b"retry-after", b"2")] if error.status == 503 else []


async def answer(
    scope: Scope, send: Send, body: bytes, status: int = 200, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole JSON response."""
    fixed = [NO_STORE, (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    shown = [*fixed, *headers, *for_origin(scope)]
    await send({"type": "http.response.start", "status": status, "headers": shown})
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
