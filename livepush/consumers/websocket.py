"""WebSocket: events out, commands in (RFC 6455)."""

from __future__ import annotations

import logging

from livepush import process
from livepush.access import authenticating
from livepush.conf import get_settings
from livepush.consumers.base import Receive, Scope, Send, finish, greeting, run_until_closed, websocket_refusal
from livepush.consumers.commands import Visitor, take_commands
from livepush.consumers.entering import Entry, ask_again_later, enter
from livepush.consumers.incoming import Incoming
from livepush.hub import Connection, Reason
from livepush.notes import note_once
from livepush.process.servers import daphne, hypercorn, uvicorn
from livepush.process.servers.daphne import with_backpressure
from livepush.wire import (
    MORE_BYTES,
    SUBPROTOCOL,
    Close,
    Format,
    Frames,
    WireError,
    without_ids,
)

logger = logging.getLogger("livepush")

INCOMING = 2
"""How many times the largest message a server takes in: such a client is still told what was wrong."""
CLOSES = {
    Reason.DRAIN: Close.GOING_AWAY,
    Reason.SLOW: Close.TOO_SLOW,
    Reason.FAILED: Close.FAILED,
    Reason.REVOKED: Close.FORBIDDEN,
    Reason.TOO_LARGE: Close.TOO_BIG,
}
TOO_LARGE = (
    "daphne accepts no WebSocket message of more than %d bytes, and an event is larger. Its client is sent to another "
    "transport. Raise --websocket-max-message-size, or lower LIVEPUSH['MAX_EVENT_BYTES']."
)


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``ws/?group=…&since=POSITION``; see ``livepush.wire`` for frames, commands and close codes."""
    if (await receive())["type"] != "websocket.connect":
        return
    limit_incoming(send, receive)
    with process.serving(scope, send), Incoming(receive) as incoming:
        await visit(scope, incoming, await with_backpressure(scope, send))


def limit_incoming(*channels: Send | Receive) -> None:
    """Limit what the server takes in, before the WebSocket is accepted: the client may send already.

    A middleware may wrap one of the channels, so each is tried.
    """
    limit = INCOMING * (get_settings().MAX_EVENT_BYTES + MORE_BYTES)
    for channel in channels:
        uvicorn.limit_incoming(channel, limit)
        hypercorn.limit_incoming(channel, limit)


async def visit(scope: Scope, receive: Incoming, send: Send) -> None:
    """Accept a new WebSocket, then serve or refuse it."""
    offered = offered_subprotocols(scope)
    format = Format.ARRAY if SUBPROTOCOL in offered else Format.TEXT
    with_token = (each for each in offered if each.startswith(authenticating.SUBPROTOCOL_OF_TOKENS))
    # A browser wants one of those that it has offered.
    chosen = SUBPROTOCOL if format is Format.ARRAY else next(with_token, None)
    await send({"type": "websocket.accept", "subprotocol": chosen})
    try:
        entry = await receive.unless_gone(enter(scope, "websocket"))
    except WireError as error:
        await refuse(send, error, format)
        return
    if entry is not None:
        await serve(scope, receive, send, entry, format)


def offered_subprotocols(scope: Scope) -> list[str]:
    """Return the subprotocols that a client offers, each as the client wrote it.

    A server accepts no other one. But daphne unquotes those that it puts into the scope, and can't end a handshake for
    which another one was accepted; older releases of websockets put text there that can't be sent back. uvicorn's
    wsproto and Channels' ``WebsocketCommunicator``, for tests, offer them without a header.
    """
    offered = scope.get("subprotocols", ())
    headers = [value for name, value in scope["headers"] if name.lower() == b"sec-websocket-protocol"]
    written = {each.strip() for value in headers for each in value.split(b",")}
    return [each for each in offered if each.isascii() and (not headers or each.encode() in written)]


async def refuse(send: Send, error: WireError, format: Format) -> None:
    """Close an accepted WebSocket with a code that says why. Browsers would hide a refusal of the handshake itself."""
    frames, close = websocket_refusal(error, format)
    for frame in frames:
        await send({"type": "websocket.send", "text": frame})
    await send({"type": "websocket.close", "code": int(close), "reason": error.code})


async def serve(scope: Scope, receive: Incoming, send: Send, entry: Entry, format: Format) -> None:
    """Stream until one side closes."""
    keeps_position = bool(entry.admission.failed) and format is Format.TEXT  # others heed hello's "failed"
    hub, transport = entry.hub, None if keeps_position else uvicorn.direct_transport(send)
    response = Response(scope, receive, send, entry, keeps_position)
    stored, floors = entry.admission.stored, entry.admission.floors
    connection = Connection(hub, stored, entry.cursor, format, response.write, hub.limits, transport, floors)
    response.connection = connection
    ask_again_later(connection, entry.admission)
    with entry.watched(connection) as grant:
        commands = take_commands(Visitor(scope, entry, connection, grant), receive)
        try:
            await run_until_closed(hub, connection, greeting(entry, format), commands, response.end)
        finally:
            del response.connection  # which holds the response


class Response:
    """The response to one client. There are thousands, so it is one object, and not several closures."""

    __slots__ = ("_entry", "_keeps_position", "_largest", "_receive", "_scope", "_send", "connection")
    connection: Connection

    def __init__(self, scope: Scope, receive: Incoming, send: Send, entry: Entry, keeps_position: bool) -> None:
        self._scope, self._receive, self._send, self._entry = scope, receive, send, entry
        self._keeps_position = keeps_position
        self._largest = daphne.largest_message(send)

    async def write(self, frames: Frames) -> None:
        """Send frames, each as a message."""
        for frame in without_ids(frames) if self._keeps_position else frames:
            if not daphne.fits(frame, self._largest):
                note_once(TOO_LARGE, self._largest, level=logging.WARNING)
                self.connection.close(Reason.TOO_LARGE)
                return
            await self._send({"type": "websocket.send", "bytes" if isinstance(frame, bytes) else "text": frame})

    async def end(self, code: Close | None) -> None:
        """Close the WebSocket with the connection's reason or the client's ``code``, unless the client has gone."""
        reason = self.connection.reason or Reason.GONE
        if reason is Reason.GONE:
            self._entry.client.broke = code
        code = CLOSES.get(reason, code)
        if code is not None:
            message = {"type": "websocket.close", "code": int(code), "reason": code.reason}
            await finish(self._scope, self._receive, self._send, reason, message)
