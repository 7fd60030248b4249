"""Server-Sent Events: one response that never ends (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from livepush.consumers.base import (
    NO_STORE,
    NOSNIFF,
    Scope,
    Send,
    bye_reason,
    finish,
    for_origin,
    greeting,
    refusing,
    retry_in_ms,
    run_until_closed,
    should_come_back,
    until_disconnect,
)
from livepush.consumers.entering import ask_again_later, enter
from livepush.consumers.incoming import Incoming
from livepush.hub import Connection, Reason
from livepush.process.servers import uvicorn
from livepush.process.servers.daphne import with_backpressure
from livepush.wire import Format, Frames, WireError, system_frames, without_ids

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    NO_STORE,
    NOSNIFF,
    (b"x-accel-buffering", b"no"),
    (b"content-encoding", b"identity"),
]


@refusing
async def sse(scope: Scope, receive: Incoming, send: Send) -> None:
    """Serve ``GET sse/?group=…&since=POSITION``; see ``livepush.wire`` for the stream.

    If the server can't serve it now, or a check of the project's says so, the client gets a stream that only says
    ``bye``; see ``should_come_back``.
    """
    try:
        entry = await receive.unless_gone(enter(scope, "sse"))
    except WireError as error:
        if not should_come_back(error, wants_stream(scope)):
            raise
        await send_away(scope, send, error)
        return
    if entry is None:
        return
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *for_origin(scope)]})
    keeps_position = bool(entry.admission.failed)  # so that nothing of a group that failed is passed over
    transport = None if keeps_position else uvicorn.direct_transport(send)
    response = Response(scope, receive, await with_backpressure(scope, send), keeps_position)
    hub, format = entry.hub, entry.query.format
    stored, floors = entry.admission.stored, entry.admission.floors
    connection = Connection(hub, stored, entry.cursor, format, response.write, hub.limits, transport, floors)
    response.connection = connection
    ask_again_later(connection, entry.admission)
    with entry.watched(connection):
        try:
            await run_until_closed(hub, connection, greeting(entry, format), until_disconnect(receive), response.end)
        finally:
            del response.connection  # which holds the response


class Response:
    """The response to one client. There are thousands, so it is one object, and not several closures."""

    __slots__ = ("_keeps_position", "_receive", "_scope", "_send", "connection")
    connection: Connection

    def __init__(self, scope: Scope, receive: Incoming, send: Send, keeps_position: bool) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._keeps_position = keeps_position

    async def write(self, frames: Frames) -> None:
        """Send frames."""
        for frame in without_ids(frames) if self._keeps_position else frames:
            await self._send({"type": "http.response.body", "body": frame, "more_body": True})

    async def end(self, gone: None) -> None:
        """End the response, unless the client has gone."""
        if (reason := self.connection.reason) not in (None, Reason.GONE):
            await finish(self._scope, self._receive, self._send, reason, {"type": "http.response.body", "body": b""})


def wants_stream(scope: Scope) -> bool:
    """Return whether a client asks for a stream of events, as every EventSource does."""
    return any(name == b"accept" and b"text/event-stream" in value for name, value in scope["headers"])


async def send_away(scope: Scope, send: Send, error: WireError) -> None:
    """Tell the client to come back in a moment, or when the refusal says."""
    format = Format.SSE_ENVELOPE if b"format=envelope" in scope.get("query_string", b"") else Format.SSE
    frame = system_frames("bye", format, retry=retry_in_ms(error), reason=bye_reason(error))[0]
    await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *for_origin(scope)]})
    await send({"type": "http.response.body", "body": frame})
