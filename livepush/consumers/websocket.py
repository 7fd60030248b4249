"""WebSocket: events out, commands in (RFC 6455)."""

from __future__ import annotations

import logging
import secrets
from typing import Any

from livepush import process, publish, tenants
from livepush.access import identity, rules
from livepush.conf import get_settings
from livepush.consumers.base import (
    COME_BACK,
    Entry,
    Receive,
    Scope,
    Send,
    admit,
    enter,
    finish,
    greeting,
    run_until_closed,
    unavailable,
)
from livepush.exceptions import InvalidEvent
from livepush.hub import Connection, Reason
from livepush.process.servers import uvicorn
from livepush.process.servers.daphne import with_backpressure
from livepush.wire import (
    SUBPROTOCOL,
    Close,
    Command,
    Format,
    Frames,
    WireError,
    parse_command,
    system_frames,
)

logger = logging.getLogger("livepush")

CLOSES = {
    Reason.DRAIN: Close.GOING_AWAY,
    Reason.SLOW: Close.TOO_SLOW,
    Reason.FAILED: Close.FAILED,
    Reason.REVOKED: Close.FORBIDDEN,
}


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``ws/?group=…&since=POSITION``; see ``livepush.wire`` for frames, commands and close codes."""
    if (await receive())["type"] != "websocket.connect":
        return
    with process.serving(scope, send):
        await visit(scope, receive, await with_backpressure(scope, send))


async def visit(scope: Scope, receive: Receive, send: Send) -> None:
    """Accept a new WebSocket, then serve or refuse it."""
    array = SUBPROTOCOL in scope.get("subprotocols", ())
    await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if array else None})
    try:
        entry = await enter(scope)
    except WireError as error:
        await refuse(send, error)
        return
    await serve(scope, receive, send, entry, Format.ARRAY if array else Format.TEXT)


async def refuse(send: Send, error: WireError) -> None:
    """Close an accepted WebSocket with a code that says why. Browsers would hide a refusal of the handshake itself."""
    close = Close.GOING_AWAY if error.status in COME_BACK else error.close
    await send({"type": "websocket.close", "code": int(close), "reason": error.code})


async def serve(scope: Scope, receive: Receive, send: Send, entry: Entry, format: Format) -> None:
    """Stream until one side closes."""

    async def write(frames: Frames) -> None:
        for frame in frames:
            await send({"type": "websocket.send", "text": frame})

    hub, write_now = entry.hub, uvicorn.short_way(send)
    connection = Connection(hub, entry.admission.stored, entry.cursor, format, write, hub.options.limits, write_now)
    commands = take_commands(scope, receive, entry, connection)
    code = await run_until_closed(hub, connection, greeting(entry, format), commands)
    reason = connection.reason or Reason.GONE
    code = CLOSES.get(reason, code)
    if code is not None:
        message = {"type": "websocket.close", "code": int(code), "reason": code.reason}
        await finish(scope, receive, send, reason, message)


async def take_commands(scope: Scope, receive: Receive, entry: Entry, connection: Connection) -> Close | None:
    """Carry out the client's commands; return the code to close with, ``None`` when the client has gone."""
    settings = get_settings()
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if text is None:
            return Close.BAD_REQUEST
        if len(text.encode(errors="replace")) > settings.MAX_EVENT_BYTES + 1024:
            return Close.TOO_BIG
        try:
            command = parse_command(text, settings.MAX_GROUPS)
            answer = await carry_out(scope, entry, connection, command)
        except WireError as error:
            answer = {"ref": error.ref, "ok": False, "code": error.code, "message": error.message}
        connection.say(system_frames("reply", connection.format, **answer))


async def carry_out(scope: Scope, entry: Entry, connection: Connection, command: Command) -> dict[str, Any]:
    """Carry out one command; return the fields of its reply."""
    reply: dict[str, Any] = {"ref": command.ref, "ok": True}
    try:
        if command.name == "subscribe":
            return {**reply, **await subscribe(scope, entry, connection, command)}
        if command.name == "unsubscribe":
            entry.hub.unsubscribe(connection, tenants.stored_groups(command.groups, entry.admission.tenant))
        elif command.name == "send":
            return {**reply, **await send_event(scope, entry, command)}
    except WireError:
        raise
    except Exception as error:
        logger.warning("A client's command failed: %s: %s", type(error).__name__, error)
        return {**reply, "ok": False, "code": "unavailable", "message": unavailable().message}
    return reply


async def subscribe(scope: Scope, entry: Entry, connection: Connection, command: Command) -> dict[str, Any]:
    """Add the groups that the user may read, from a position or from now on.

    Their events begin after the reply's position. With ``reset`` this is not the requested position: the events after
    that one are lost, so the client must load its state again.
    """
    hub, limit = entry.hub, get_settings().MAX_GROUPS
    asked = tenants.stored_groups(command.groups, entry.admission.tenant)
    if len(connection.groups.keys() | set(asked)) > limit:
        return {"ok": False, "code": "too_many_groups", "message": f"At most {limit} groups a connection."}
    admission = await admit(scope, identity.request_of(scope), command.groups)
    if not admission.granted or admission.tenant != entry.admission.tenant:
        return {"ok": False, "code": "forbidden", "message": "None of the groups may be read."}
    since, lost = await hub.admit(command.since)
    position = hub.subscribe(connection, admission.stored, since)
    reply = {"position": str(position), "groups": list(admission.granted), "refused": list(admission.refused)}
    return reply if lost is None else {**reply, "reset": True, "reason": lost}


async def send_event(scope: Scope, entry: Entry, command: Command) -> dict[str, Any]:
    """Send an event for a client that may send to its group."""
    admission = await admit(scope, identity.request_of(scope), command.groups, rules.SEND)
    if not admission.granted or admission.tenant != entry.admission.tenant:
        return {
            "ok": False,
            "code": "forbidden",
            "message": "Nothing may be sent to this group from a client.",
        }
    try:
        key = secrets.token_hex(16)  # in_thread tries again after a dead connection: the key prevents a second event
        await process.in_thread(lambda: _send(admission, command, key))
    except InvalidEvent as error:
        return {"ok": False, "code": "bad_event", "message": str(error)}
    return {}


def _send(admission: identity.Admission, command: Command, key: str) -> None:
    with tenants.active(admission.tenant):
        publish.send(admission.granted, command.type, command.data, key=key)
