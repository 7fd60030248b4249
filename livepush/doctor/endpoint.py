"""What the server answers to ``livepush_doctor --url``: facts about the process, and streams and WebSockets to test.

The doctor asks at the addresses that browsers use, since a proxy may treat others differently. A request without a
fresh token signed with ``SECRET_KEY`` gets what it would get without the doctor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import markcoroutinefunction

from livepush.conf import get_settings
from livepush.consumers.base import Endpoint, Receive, Scope, Send, answer, until_disconnect
from livepush.consumers.sse import HEADERS, sse
from livepush.consumers.websocket import limit_incoming, websocket
from livepush.doctor.facts import facts
from livepush.doctor.protocol import FRAMES, GROUP, IDLE_HEARTBEATS, PARAMETER, PAUSE, is_token
from livepush.hub import hubs
from livepush.routing import upgrade_required
from livepush.wire import Event, Format, dumps, encode, timestamp

ECHO_FOR = 60.0
"""The longest time (seconds) that a WebSocket stays open."""


def endpoints(base: str) -> dict[tuple[str, str], Endpoint]:
    """Return the endpoints that answer the doctor, and everybody else as usual, by scope type and path."""
    return {
        ("http", f"{base}sse/"): for_doctor(facts_or_stream, sse),
        ("http", f"{base}ws/"): for_doctor(upgrade_lost, upgrade_required),
        ("websocket", f"{base}ws/"): for_doctor(echo, websocket),
    }


def for_doctor(special: Endpoint, usual: Endpoint) -> Endpoint:
    """Return an endpoint that treats requests with a token specially, and all others as usual."""

    def wrapped(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (special if has_token(scope) else usual)(scope, receive, send)

    return markcoroutinefunction(wrapped)  # asgiref would take another for an application of ASGI 2


def has_token(scope: Scope) -> bool:
    """Return whether a request has a token that is signed with ``SECRET_KEY`` and no older than a minute."""
    marked = f"{PARAMETER}=".encode() in scope.get("query_string", b"")  # parses no query of a browser
    return marked and is_token(query_of(scope).get(PARAMETER, [""])[0])


def query_of(scope: Scope) -> dict[str, list[str]]:
    """Return a request's query, or an empty one if it can't be parsed."""
    try:
        return parse_qs(scope.get("query_string", b"").decode("ascii"))
    except ValueError:
        return {}


async def facts_or_stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the facts about this process, as JSON; with ``ask=stream`` or ``ask=idle``, stream."""
    if "ask" in query_of(scope):
        await stream(scope, receive, send)
    else:
        await answer(scope, send, dumps(await facts(scope, send)).encode())


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Send some frames with pauses. With ``ask=idle``, send two, with the longest pause that a quiet stream has."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    gone = asyncio.create_task(until_disconnect(receive))
    try:
        await send_frames(scope, gone, lambda text: send_piece(send, text))
    finally:
        if not gone.cancel():
            gone.exception()  # retrieve the task's error, if any: the client is gone in any case
    await send({"type": "http.response.body", "body": b""})


async def send_piece(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def send_frames(scope: Scope, gone: asyncio.Task[None], write: Callable[[str], Any]) -> None:
    """Write frames until all are written, the client has gone, or the server goes away."""
    idle = query_of(scope)["ask"] == ["idle"]
    pause = IDLE_HEARTBEATS * get_settings().HEARTBEAT if idle else PAUSE
    for number in range(2 if idle else FRAMES):
        if number and not await pause_or_gone(pause, gone):
            return
        await write(str(encode(probe(number), "", Format.SSE)))


def probe(number: int) -> Event:
    """Return the event of a probe: an ephemeral one, to a group that nobody reads."""
    return Event(None, (GROUP,), "probe", str(number), timestamp(datetime.now(UTC)))


async def pause_or_gone(seconds: float, gone: asyncio.Task[None]) -> bool:
    """Wait, and return whether to go on. The wait ends early if the client has gone or the server goes away."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        if gone.done() or any(hub.draining for hub in list(hubs)):
            return False
        await asyncio.wait({gone}, timeout=min(left, 0.5))
    return not gone.done()


async def upgrade_lost(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer 426 to a WebSocket handshake that came as a plain request; say whether its whole upgrade arrived."""
    headers = dict(scope["headers"])
    whole = b"upgrade" in headers and b"upgrade" in headers.get(b"connection", b"").lower()
    arrived = whole and scope.get("http_version") == "1.1"
    await answer(scope, send, dumps({"upgrade_arrived": arrived}).encode(), 426)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send one message, then echo every message that comes."""
    if (await receive())["type"] != "websocket.connect":
        return
    limit_incoming(send, receive)
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": encode(probe(0), "", Format.TEXT)})
    with suppress(TimeoutError):
        async with asyncio.timeout(ECHO_FOR):
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message.get("text") or ""})
