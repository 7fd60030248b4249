"""The WebSocket at ``/app/<key>``."""

from __future__ import annotations

import json
import logging
from urllib.parse import parse_qsl

from livepush import process
from livepush.bridges.pusher import counting, frames, occupying
from livepush.bridges.pusher.config import app
from livepush.bridges.pusher.connection import OVER_CAPACITY, RECONNECT, UNAUTHORIZED, PusherConnection
from livepush.bridges.pusher.listening import listen
from livepush.consumers.base import COME_BACK, Receive, Scope, Send, finish, run_until_closed
from livepush.consumers.commands import Visitor
from livepush.consumers.entering import Entry, ask_again_later, enter
from livepush.consumers.incoming import Incoming
from livepush.consumers.websocket import limit_incoming
from livepush.hub import Reason
from livepush.notes import note_once
from livepush.process.servers import daphne
from livepush.process.servers.daphne import with_backpressure
from livepush.wire import Format, Frames, WireError

PROTOCOLS = ("5", "6", "7")
ACTIVITY_TIMEOUT = 120
"""After how long (seconds) a quiet client asks whether the server is still there. The server writes more often."""
TOO_LARGE = (
    "daphne accepts no WebSocket message of more than %d bytes, and an event is too large. Pusher's clients miss it. "
    "Raise --websocket-max-message-size, or lower LIVEPUSH['MAX_EVENT_BYTES']."
)
MAX_REASON = 123
"""How many bytes a close frame has for its reason (RFC 6455, section 5.5)."""
CODES = {Reason.REVOKED: UNAUTHORIZED, Reason.GONE: None}
"""The close codes of what the hub closes; the client comes back after any other."""


async def serve(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve a client of Pusher's; see the Pusher Channels protocol, version 7."""
    if (await receive())["type"] != "websocket.connect":
        return
    limit_incoming(send, receive)
    with process.serving(scope, send), Incoming(receive) as incoming:
        send = await with_backpressure(scope, send)
        await send({"type": "websocket.accept"})
        code, text = _problem(scope)
        if code:
            await _refuse(send, code, text)
            return
        try:
            # What the query asks for is Pusher's, not groups of livepush's.
            entry = await incoming.unless_gone(enter({**scope, "query_string": b""}, "pusher", needs_group=False))
        except WireError as error:
            code = OVER_CAPACITY if error.status in COME_BACK else UNAUTHORIZED
            await _refuse(send, code, error.message)
            return
        if entry is not None:
            await _serve(scope, incoming, send, entry)


def _problem(scope: Scope) -> tuple[int, str]:
    """Return what is wrong with an address: a code and a sentence; no code if nothing is."""
    if scope["path"].rstrip("/").rpartition("/")[2] != app().key:
        return 4001, "There is no app with this key: compare LIVEPUSH['PUSHER']['KEY']."
    version = dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"))).get("protocol")
    if version is None:
        return 4008, "No protocol version was given: add ?protocol=7."
    if not version.isascii() or not version.isdigit():
        return 4006, "The protocol version is no number: add ?protocol=7."
    if version not in PROTOCOLS:
        return 4007, f"The protocol version is not supported: expected one of {', '.join(PROTOCOLS)}."
    return 0, ""


async def _refuse(send: Send, code: int, text: str) -> None:
    await send({"type": "websocket.send", "text": frames.error(code, text)})
    reason = text.encode()[:MAX_REASON].decode(errors="ignore")
    await send({"type": "websocket.close", "code": code, "reason": reason})


async def _serve(scope: Scope, receive: Incoming, send: Send, entry: Entry) -> None:
    async def write(written: Frames) -> None:
        for text in connection.translated(written):
            await send({"type": "websocket.send", "text": text})

    largest = daphne.largest_message(send)

    def fits(text: str) -> bool:
        found = daphne.fits(text, largest)
        if not found:
            note_once(TOO_LARGE, largest, level=logging.WARNING)
        return found

    hub = entry.hub
    connection = PusherConnection(hub, (), entry.cursor, Format.TEXT, write, hub.limits)
    connection.fits = fits
    if (channels := occupying.of(hub)) is not None:
        connection.on_channel = channels.note
        counting.follow(hub, channels)
    ask_again_later(connection, entry.admission)
    told = {"socket_id": connection.socket, "activity_timeout": ACTIVITY_TIMEOUT}
    greeting = frames.message("pusher:connection_established", json.dumps(told))

    async def end(gone: None) -> None:
        reason = connection.reason or Reason.GONE
        code = connection.code or CODES.get(reason, RECONNECT)
        if code is not None:
            await finish(scope, receive, send, reason, {"type": "websocket.close", "code": code, "reason": ""})

    with entry.watched(connection) as grant:
        visitor = Visitor(scope, entry, connection, grant)
        try:
            await run_until_closed(hub, connection, (greeting,), listen(visitor, connection, receive), end)
        finally:
            for name in list(connection.channels):
                connection.forget(name)
