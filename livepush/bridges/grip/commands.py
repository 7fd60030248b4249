"""The commands of clients whose WebSockets the proxy holds; see ``livepush.wire.commands``."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from livepush import tenants
from livepush.access import identity, limits, logins
from livepush.access.addresses import nearest_address
from livepush.access.authenticating import Identity
from livepush.bridges.grip import frames
from livepush.bridges.grip.frames import Frame
from livepush.bridges.grip.telling import Told
from livepush.consumers.answering import admit_here
from livepush.consumers.auditing import Client, scope_of
from livepush.consumers.commands import count_command, refused, take_command, type_of
from livepush.consumers.messages import check_sent, right_to_send, send_here
from livepush.consumers.views import look
from livepush.notes import Rarely, one_line
from livepush.receiving import Message
from livepush.wire import Close, Command, Floor, Position, WireError, still_owed, system_frames, unavailable

logger = logging.getLogger("livepush")
failures = Rarely(every=1.0)


@dataclass(slots=True)
class Spoken:
    """One request for a WebSocket whose client has said something."""

    request: HttpRequest
    client: Client
    told: Told
    at: Position
    """Up to where the client has everything. Groups that it has got already may be further: then they have floors."""

    @property
    def tenant(self) -> str | None:
        """The tenant of the address."""
        return tenants.of_request(self.request)

    def budget(self) -> limits.Budget:
        """Return what the client may say: all of a user's clients, or of an address's, share that."""
        key = limits.user_key(self.tenant, self.told.hold.user)
        return limits.budget_of(key or ("sender", nearest_address(scope_of(self.request))))


def carry_out(spoken: Spoken, frame: Frame) -> Close | None:
    """Carry out a command and say its reply; return the code to close with if the client must go."""
    if frame.kind == frames.BINARY:
        return Close.BAD_REQUEST
    answer: dict[str, Any] = {"ok": True}
    text = frame.content.decode(errors="replace")
    command = None
    try:
        budget, size = spoken.budget(), len(text.encode(errors="replace"))
        command = take_command(text, size, budget)
        count_command(command, size, budget)
        answer |= {"ref": command.ref, **_carried_out(spoken, command)}
    except WireError as error:
        error.ref = error.ref if command is None else command.ref
        spoken.client.refuse(error, () if command is None else command.groups, type_of(command))
        answer = refused(error)
    except Exception as error:
        if times := failures.times():
            logger.warning("%d commands of clients failed. The last one: %s", times, one_line(error))
        answer = refused(unavailable()) | {"ref": None if command is None else command.ref}
    is_cursor = command is not None and command.sending is not None and command.sending.ephemeral
    if not (is_cursor and answer["ok"] and answer["ref"] is None):
        spoken.told.say(system_frames("reply", spoken.told.hold.format, **answer))
    return None


def _carried_out(spoken: Spoken, command: Command) -> dict[str, Any]:
    """Carry out a command; return what its reply says. Raises WireError."""
    if command.name == "subscribe":
        return _subscribe(spoken, command)
    if command.name == "unsubscribe":
        left = tenants.stored_groups(command.groups, spoken.tenant)
        spoken.told.limit(groups=tuple(each for each in spoken.told.hold.groups if each not in left))
    elif command.name == "send":
        return {"reply": _send(spoken, command)}
    elif command.name == "auth":
        raise WireError("unsupported", "Connect again with the new token: a proxy holds this WebSocket.", 501)
    return {}


def _subscribe(spoken: Spoken, command: Command) -> dict[str, Any]:
    """Add the groups that the client may read, from a position or from now on.

    The client's place goes back to that position, and the groups that it has been following get floors at the place
    where they are.
    """
    hold = spoken.told.hold
    groups = tuple(dict.fromkeys((*hold.groups, *tenants.stored_groups(command.groups, spoken.tenant))))
    admission = admit_here(
        spoken.request,
        spoken.client,
        command.groups,
        check=lambda known, tenant: limits.check_groups(known.name is not None, len(groups)),
    )
    identity.check_granted(admission)
    found = look(command.since, admission.stored, admission.floors)
    since = found.position if command.since is None or found.lost else command.since
    floors = dict(hold.floors)
    if since.epoch == spoken.at.epoch:
        for group in hold.groups:
            floors[group] = _raised(floors.get(group), spoken.at)
        at = min(since, spoken.at, key=lambda each: each.number)
    else:
        at = spoken.at
    for group in admission.stored:
        floors[group] = _raised(admission.floors.get(group), since)
    granted = (each for each in admission.stored if each not in hold.groups)
    # those that lie below the client's place hide nothing any more
    floors = {group: floor for group, floor in floors.items() if floor.time or floor.number > at.number}
    spoken.told.limit(groups=(*hold.groups, *granted), floors=floors)
    spoken.at = at
    reply = {
        "position": str(since),
        "groups": list(admission.granted),
        "refused": list(admission.refused),
        **still_owed(admission.told_failed),
    }
    return reply if found.lost is None else {**reply, "reset": True, "reason": found.lost}


def _raised(floor: Floor | None, at: Position) -> Floor:
    """Return a floor that lies at a position at least."""
    return Floor(at.number) if floor is None else Floor(max(floor.number, at.number), floor.time)


def _send(spoken: Spoken, command: Command) -> Any:
    """Send a message for a client that may; return the handler's answer. Raises WireError."""
    sending, request = command.sending, spoken.request
    assert sending is not None
    message = Message(sending.group, sending.type, sending.data, sending.key, sending.ephemeral)

    def check(known: Identity, tenant: str | None) -> None:
        logins.check_login(sending.login, request.COOKIES.get(settings.SESSION_COOKIE_NAME), tenant, known)

    admission = admit_here(request, spoken.client, (message.group,), right_to_send(message), check)
    check_sent(admission)
    return send_here(message, admission, identity.handshake(request))
