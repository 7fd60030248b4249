"""WebSocket: events out, commands in (RFC 6455)."""

from __future__ import annotations

import logging
import secrets
from functools import partial
from typing import Any, NamedTuple

from livepush import process, publish, tenants
from livepush.access import authenticating, identity, rules
from livepush.conf import get_settings
from livepush.consumers.base import COME_BACK, Receive, Scope, Send, finish, greeting, run_until_closed
from livepush.consumers.entering import Entry, admit, ask_again_later, enter
from livepush.consumers.incoming import Incoming, watched
from livepush.exceptions import InvalidEvent
from livepush.hub import Connection, Reason
from livepush.notes import Rarely, note_once
from livepush.process.servers import daphne, hypercorn, uvicorn
from livepush.process.servers.daphne import with_backpressure
from livepush.rights import Grant
from livepush.wire import (
    SUBPROTOCOL,
    Close,
    Command,
    Format,
    Frames,
    WireError,
    parse_command,
    system_frames,
    unavailable,
)

logger = logging.getLogger("livepush")

failures = Rarely(every=1.0)
COMMAND_BYTES = 1024
"""How many bytes a command may have besides its data."""
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
    with process.serving(scope, send), watched(receive) as incoming:
        await visit(scope, incoming, await with_backpressure(scope, send))


def limit_incoming(*channels: Send | Receive) -> None:
    """Limit what the server takes in, before the WebSocket is accepted: the client may send already.

    A middleware may wrap one of the channels, so each is tried.
    """
    limit = INCOMING * (get_settings().MAX_EVENT_BYTES + COMMAND_BYTES)
    for channel in channels:
        uvicorn.limit_incoming(channel, limit)
        hypercorn.limit_incoming(channel, limit)


async def visit(scope: Scope, receive: Incoming, send: Send) -> None:
    """Accept a new WebSocket, then serve or refuse it."""
    offered = scope.get("subprotocols", ())
    array = SUBPROTOCOL in offered
    with_token = (each for each in offered if each.startswith(authenticating.SUBPROTOCOL))
    chosen = SUBPROTOCOL if array else next(with_token, None)  # a browser wants one of those that it has offered
    await send({"type": "websocket.accept", "subprotocol": chosen})
    try:
        entry = await receive.unless_gone(enter(scope))
    except WireError as error:
        await refuse(send, error)
        return
    if entry is not None:
        await serve(scope, receive, send, entry, Format.ARRAY if array else Format.TEXT)


async def refuse(send: Send, error: WireError) -> None:
    """Close an accepted WebSocket with a code that says why. Browsers would hide a refusal of the handshake itself."""
    close = Close.GOING_AWAY if error.status in COME_BACK else error.close
    await send({"type": "websocket.close", "code": int(close), "reason": error.code})


async def serve(scope: Scope, receive: Incoming, send: Send, entry: Entry, format: Format) -> None:
    """Stream until one side closes."""

    largest = daphne.largest_message(send)

    async def write(frames: Frames) -> None:
        for frame in frames:
            if largest is not None and len(frame) * 4 > largest and len(str(frame).encode()) > largest:
                note_once(TOO_LARGE, largest, level=logging.WARNING)
                connection.close(Reason.TOO_LARGE)
                return
            await send({"type": "websocket.send", "text": frame})

    hub, write_now = entry.hub, uvicorn.short_way(send)
    connection = Connection(hub, entry.admission.stored, entry.cursor, format, write, hub.options.limits, write_now)
    ask_again_later(connection, entry.admission)

    async def end(code: Close | None) -> None:
        reason = connection.reason or Reason.GONE
        code = CLOSES.get(reason, code)
        if code is not None:
            message = {"type": "websocket.close", "code": int(code), "reason": code.reason}
            await finish(scope, receive, send, reason, message)

    with entry.watched(lambda: connection.groups, partial(hub.revoke, connection)) as grant:
        commands = take_commands(Visitor(scope, entry, connection, grant), receive)
        await run_until_closed(hub, connection, greeting(entry, format), commands, end)


class Visitor(NamedTuple):
    """The client of an open WebSocket."""

    scope: Scope
    entry: Entry
    connection: Connection
    grant: Grant

    async def admit(self, groups: tuple[str, ...], right: str = rules.READ) -> identity.Admission:
        """Return which groups the client may read, or send to, now: none if its address is another tenant's now."""
        scope, known = self.scope, self.grant.identity
        if known.session is None:  # what a token or a middleware says is watched; a session is read again
            scope = {**scope, "livepush.identity": known}
        admission = await admit(scope, identity.request_of(scope), groups, right)
        if admission.tenant != self.grant.tenant:
            return admission._replace(granted=(), refused=groups, failed=frozenset())
        return admission


async def take_commands(visitor: Visitor, receive: Incoming) -> Close | None:
    """Carry out the client's commands; return the code to close with, ``None`` when the client has gone."""
    settings = get_settings()
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if text is None:
            return Close.BAD_REQUEST
        if len(text.encode(errors="replace")) > settings.MAX_EVENT_BYTES + COMMAND_BYTES:
            return Close.TOO_BIG
        try:
            command = parse_command(text, settings.MAX_GROUPS)
        except WireError as error:
            say_reply(visitor, refused(error))
            continue
        work = reply_to(visitor, command)
        asks = command.name in ("subscribe", "auth")  # a send is made although its client has left
        if await (receive.unless_gone(work) if asks else work) is None:
            return None


async def reply_to(visitor: Visitor, command: Command) -> bool:
    """Carry out a command, and say its reply at once: before the events that it brings."""
    try:
        answer = await carry_out(visitor, command)
    except WireError as error:
        answer = refused(error)
    say_reply(visitor, answer)
    return True


def refused(error: WireError) -> dict[str, Any]:
    """Return the fields of the reply to a command that is refused."""
    return {"ref": error.ref, "ok": False, "code": error.code, "message": error.message}


def say_reply(visitor: Visitor, answer: dict[str, Any]) -> None:
    """Say a reply to the client."""
    visitor.connection.say(system_frames("reply", visitor.connection.format, **answer))


async def carry_out(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Carry out one command; return the fields of its reply."""
    reply: dict[str, Any] = {"ref": command.ref, "ok": True}
    try:
        if command.name == "subscribe":
            return {**reply, **await subscribe(visitor, command)}
        if command.name == "unsubscribe":
            groups = tenants.stored_groups(command.groups, visitor.grant.tenant)
            visitor.entry.hub.unsubscribe(visitor.connection, groups)
        elif command.name == "send":
            return {**reply, **await send_event(visitor, command)}
        elif command.name == "auth":
            return {**reply, **await authenticate(visitor, command)}
    except WireError as error:
        error.ref = command.ref
        raise
    except Exception as error:
        if times := failures.times():
            logger.warning("%d commands of clients failed. The last one: %s: %s", times, type(error).__name__, error)
        return {**reply, "ok": False, "code": "unavailable", "message": unavailable().message}
    return reply


async def subscribe(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Add the groups that the user may read, from a position or from now on.

    Their events begin after the reply's position. With ``reset`` this is not the requested position: the events after
    that one are lost, so the client must load its state again.
    """
    entry, connection = visitor.entry, visitor.connection
    hub, heard, limit = entry.hub, entry.rights.heard, get_settings().MAX_GROUPS
    asked = tenants.stored_groups(command.groups, visitor.grant.tenant)
    if len(connection.groups.keys() | set(asked)) > limit:
        return {"ok": False, "code": "too_many_groups", "message": f"At most {limit} groups a connection."}
    admission = await visitor.admit(command.groups)
    if not admission.granted:
        if admission.failed:
            raise unavailable()
        return {"ok": False, "code": "forbidden", "message": "None of the groups may be read."}
    ask_again_later(connection, admission)
    since, lost = await hub.admit(command.since)
    position = hub.subscribe(connection, admission.stored, since)
    entry.rights.check(visitor.grant, heard)
    reply = {"position": str(position), "groups": list(admission.granted), "refused": list(admission.refused)}
    return reply if lost is None else {**reply, "reset": True, "reason": lost}


async def authenticate(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Take another token: of the same user, in place of one that ends; or of any, for a client that was anonymous."""
    grant = visitor.grant
    fresh = await process.in_thread(lambda: _identity_of(command.data, grant.tenant))
    if grant.identity.name not in (None, fresh.name):
        return {"ok": False, "code": "other_user", "message": "The token is another user's: connect again with it."}
    visitor.entry.rights.replace(grant, fresh)
    return {"expires": fresh.ends}


def _identity_of(token: Any, tenant: str | None) -> authenticating.Identity:
    with tenants.active(tenant):
        return authenticating.of_text(token)


async def send_event(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Send an event for a client that may send to its group."""
    admission = await visitor.admit(command.groups, rules.SEND)
    if not admission.granted:
        if admission.failed:
            raise unavailable()
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
