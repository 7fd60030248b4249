"""The commands of WebSocket clients: what each does, and what the client hears of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from livepush import process, tenants
from livepush.access import authenticating, identity, limits, logins, origins, rules
from livepush.access.languages import language_of
from livepush.conf import get_settings
from livepush.consumers.base import Scope
from livepush.consumers.entering import Entry, admit, ask_again_later
from livepush.consumers.incoming import Incoming
from livepush.consumers.messages import Outgoing, is_fleeting
from livepush.hub import Connection
from livepush.notes import Rarely, one_line
from livepush.receiving import Message
from livepush.rights import Grant, confirm
from livepush.rights.questions import kept
from livepush.wire import (
    MORE_BYTES,
    Close,
    Command,
    WireError,
    parse_command,
    still_owed,
    system_frames,
    unavailable,
)

logger = logging.getLogger("livepush")

failures = Rarely(every=1.0)
MAX_REFUSALS = 100.0
"""How many commands may be over a limit at once, and one more each second, before the connection is closed."""
PAUSE = 0.02
"""How long (seconds) nothing more is read from a client that was over a limit: a flood delays others less."""


class Visitor:
    """The client of an open WebSocket. Most say nothing, so a budget is made with the first command."""

    __slots__ = ("_budget", "_outgoing", "connection", "entry", "grant", "scope")

    def __init__(self, scope: Scope, entry: Entry, connection: Connection, grant: Grant) -> None:
        self.scope, self.entry, self.connection, self.grant = scope, entry, connection, grant
        self._budget: limits.Budget | None = None
        self._outgoing: Outgoing | None = None

    def budget(self) -> limits.Budget:
        """Return what the client may say. All connections of a user share that."""
        user = limits.user_key(self.grant.tenant, self.grant.identity.name)
        if user is not None:
            return limits.budget_of(user)
        self._budget = self._budget or limits.Budget()
        return self._budget

    @property
    def outgoing(self) -> Outgoing:
        """The client's messages, as they go out."""
        self._outgoing = self._outgoing or Outgoing()
        return self._outgoing

    def begin_anew(self) -> None:
        """Let go what nobody's client has said: the client is somebody from now on."""
        ended, self._outgoing = self._outgoing, None
        if ended is not None:
            ended.end()

    async def admit(self, groups: tuple[str, ...], right: rules.Right = rules.READ) -> identity.Admission:
        """Return which groups the client may read, or send to, now: none if its address is another tenant's now."""
        scope, known = self.scope, self.grant.identity
        if known.session is None:  # what a token or a middleware says is watched; a session is read again
            scope = {**scope, "livepush.identity": known}
        elif scope.get("user") is not None or known.session != self.grant.view.session_key:
            # A middleware's user remembers what was true at the handshake, and another request's session is not its.
            scope = {**scope, "livepush.identity": await process.in_thread(self._of_session)}
        request = identity.request_of(scope)
        origins.check_origin(request)  # a foreign page's cookies have to be ignored again
        with limits.handshake(scope, request, is_new=False) as level:
            admission = await admit(scope, request, identity.handshake(request), groups, right, level)
        if admission.tenant != self.grant.tenant:
            return admission._replace(granted=(), refused=groups, failed=frozenset())
        return admission

    def _of_session(self) -> authenticating.Identity:
        known = self.grant.identity
        key = known.session or ""
        with tenants.active(self.grant.tenant):
            return kept(known, authenticating.of_sessions([key])[key])


async def take_commands(visitor: Visitor, receive: Incoming) -> Close | None:
    """Carry out the client's commands; return the code to close with, ``None`` when the client has gone."""
    refusals = limits.Bucket(1.0, MAX_REFUSALS)
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        if text is None:
            return Close.BAD_REQUEST
        command = None
        try:
            budget, size = visitor.budget(), len(text.encode(errors="replace"))
            command = take_command(text, size, budget)
            count_command(command, size, budget)
        except WireError as error:
            visitor.entry.client.refuse(error, () if command is None else command.groups, type_of(command))
            say_reply(visitor, refused(error))
            if error.code == "throttled":
                if not is_gathered(command) and refusals.take():
                    return Close.TOO_MANY
                await asyncio.sleep(PAUSE)
            continue
        work = reply_to(visitor, command)
        asks = command.name in ("subscribe", "auth")  # a send is made although its client has left
        if await (receive.unless_gone(work) if asks else work) is None:
            return None


def take_command(text: str, size: int, budget: limits.Budget) -> Command:
    """Return the command in a client's text of ``size`` bytes.

    Raises WireError: it is malformed or too large, and is counted.
    """
    settings = get_settings()
    most = settings.MAX_EVENT_BYTES + MORE_BYTES
    try:
        if size > most:
            raise WireError(
                "too_large", f"The command is over {most} bytes: send less, or raise LIVEPUSH['MAX_EVENT_BYTES'].", 413
            )
        return parse_command(text, settings.MAX_GROUPS)
    except WireError:
        budget.command()
        raise


def count_command(command: Command, size: int, budget: limits.Budget) -> None:
    """Count a command of ``size`` bytes. Raises WireError: the client is over a limit."""
    try:
        if command.sending is not None and is_fleeting(command.sending):
            budget.ephemeral(size)
            return
        budget.command()
        if command.sending is not None:
            budget.message(size)
    except WireError as error:
        error.ref = command.ref
        raise


def is_gathered(command: Command | None) -> bool:
    """Return whether it is an ephemeral message to a handler: a page sends 30 a second and waits for no reply."""
    sending = None if command is None else command.sending
    return sending is not None and sending.ephemeral and not is_fleeting(sending)


async def reply_to(visitor: Visitor, command: Command) -> bool:
    """Carry out a command, and say its reply at once: before the events that it brings."""
    try:
        answer = await carry_out(visitor, command)
    except WireError as error:
        visitor.entry.client.refuse(error, command.groups, type_of(command))
        answer = refused(error)
    if not (command.ref is None and answer["ok"] and command.sending is not None and command.sending.ephemeral):
        say_reply(visitor, answer)  # cursors, 30 a second, need no answer
    return True


def type_of(command: Command | None) -> str | None:
    """Return the type of the message that a command is to send; ``None`` if it sends none."""
    return None if command is None or command.sending is None else command.sending.type


def refused(error: WireError) -> dict[str, Any]:
    """Return the fields of the reply to a command that is refused."""
    retry = {} if error.retry is None else {"retry": round(error.retry * 1000)}
    return {"ref": error.ref, "ok": False, **error.fields(), **retry}


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
            visitor.entry.rights.tell(visitor.grant)
        elif command.name == "send":
            return {**reply, "reply": await send_message(visitor, command)}
        elif command.name == "auth":
            return {**reply, **await authenticate(visitor, command)}
    except WireError as error:
        error.ref = command.ref
        raise
    except Exception as error:
        if times := failures.times():
            logger.warning("%d commands of clients failed. The last one: %s", times, one_line(error))
        return {**reply, "ok": False, "code": "unavailable", "message": unavailable().message}
    return reply


async def subscribe(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Add the groups that the user may read, from a position or from now on.

    Their events begin after the reply's position. With ``reset`` this is not the requested position: the events after
    that one are lost, so the client must load its state again.
    """
    entry, connection = visitor.entry, visitor.connection
    hub, heard = entry.hub, entry.rights.heard_for(visitor.grant)
    asked = tenants.stored_groups(command.groups, visitor.grant.tenant)
    limits.check_groups(visitor.grant.identity.name is not None, len(connection.groups.keys() | set(asked)))
    admission = await visitor.admit(command.groups)
    identity.check_granted(admission)
    ask_again_later(connection, admission)
    since, lost = await hub.admit(command.since)
    admission, heard = await confirm(entry.rights, admission, visitor.grant.view, heard)
    connection.limit_to(admission.stored, admission.floors)
    position = hub.subscribe(connection, admission.stored, since)
    entry.rights.tell(visitor.grant)
    entry.rights.check(visitor.grant, heard)
    reply = {
        "position": str(position),
        "groups": list(admission.granted),
        "refused": list(admission.refused),
        **still_owed(admission.told_failed),
    }
    return reply if lost is None else {**reply, "reset": True, "reason": lost}


async def authenticate(visitor: Visitor, command: Command) -> dict[str, Any]:
    """Take another token: of the same user, in place of one that ends; or of any, for a client that was anonymous."""
    grant = visitor.grant
    fresh = await process.in_thread(lambda: _identity_of(command.data, grant.tenant))
    if grant.identity.name not in (None, fresh.name):
        raise WireError("other_user", "The token is another user's: connect again with it.", 403)
    visitor.entry.seat.count_for(limits.user_key(grant.tenant, fresh.name))
    if grant.identity.name is None:
        visitor.begin_anew()
    visitor.entry.rights.replace(grant, fresh)
    visitor.entry.client.identity = fresh
    return {"expires": fresh.ends}


def _identity_of(token: Any, tenant: str | None) -> authenticating.Identity:
    with tenants.active(tenant):
        return authenticating.of_text(token)


async def send_message(visitor: Visitor, command: Command) -> Any:
    """Send a message for a client that may; return the handler's answer."""
    sending, grant = command.sending, visitor.grant
    assert sending is not None
    logins.check_login(sending.login, visitor.entry.view.session_key, grant.tenant, grant.identity)
    message = Message(sending.group, sending.type, sending.data, sending.key, sending.ephemeral)

    def language() -> str:
        return language_of(identity.request_of(visitor.scope))

    return await visitor.outgoing.send(message, visitor.admit, visitor.entry.view, language)
