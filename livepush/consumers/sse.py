"""Server-Sent Events: one response that never ends (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio

from livepush.connection import Connection, Frames, Reason
from livepush.consumers.base import (
    NO_STORE,
    Receive,
    Scope,
    Send,
    enter,
    greeting,
    refusing,
    unavailable,
    until_disconnect,
)
from livepush.wire import Format

HEADERS = [
    (b"content-type", b"text/event-stream"),
    NO_STORE,
    (b"x-accel-buffering", b"no"),
    (b"content-encoding", b"identity"),
]


@refusing
async def sse(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``GET sse/?group=…&since=POSITION``; see ``livepush.wire`` for the stream."""
    entry = await enter(scope)
    try:
        cursor, lost = await entry.hub.admit(entry.query.since)
    except Exception as error:
        raise unavailable() from error
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})

    async def write(frames: Frames) -> None:
        for frame in frames:
            await send({"type": "http.response.body", "body": frame, "more_body": True})

    task = asyncio.current_task()
    assert task is not None
    format = Format.SSE_ENVELOPE if entry.query.envelope else Format.SSE
    connection = Connection(entry.hub, entry.admission.granted, cursor, format, write, task.cancel)
    entry.hub.add(connection)
    connection.start(greeting(entry, cursor, format, lost))
    try:
        await until_disconnect(receive)
    except asyncio.CancelledError:
        if connection.reason is None:
            raise
        task.uncancel()
    finally:
        connection.close(Reason.GONE)
    if connection.reason in (Reason.DRAIN, Reason.REVOKED, Reason.FAILED):
        await send({"type": "http.response.body", "body": b""})
