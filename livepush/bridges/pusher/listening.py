"""What clients say over the WebSocket: each message is counted, carried out, and answered."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from livepush.access import limits
from livepush.bridges.pusher import frames, sending, subscribing
from livepush.bridges.pusher.channels import channel_of, is_name
from livepush.bridges.pusher.connection import OVER_CAPACITY, UNAUTHORIZED, PusherConnection
from livepush.conf import get_settings
from livepush.consumers.base import COME_BACK
from livepush.consumers.commands import MAX_REFUSALS, PAUSE, Visitor
from livepush.consumers.incoming import Incoming
from livepush.hub import State
from livepush.notes import Rarely, one_line
from livepush.wire import MORE_BYTES, SURROGATE, WireError, type_problem, unavailable

logger = logging.getLogger("livepush")
failures = Rarely(every=1.0)

BROKEN, TOO_FAST = 4010, 4301
Said = dict[str, Any]
"""A message: its ``event``, ``data`` and ``channel``."""
SAID_ONCE = frozenset({"pusher:subscribe", "pusher:unsubscribe", "pusher:signin", "livepush:resume"})
"""Messages that clients say once on a connection, and not again if one is refused. So over the limit they wait.

A user's tabs share the limit, and after a deploy all of them come back at once, each with all its channels.
"""


async def listen(visitor: Visitor, connection: PusherConnection, receive: Incoming) -> None:
    """Carry out what a client says, one message after the other, until it has gone."""
    refusals = limits.Bucket(1.0, MAX_REFUSALS)
    waits = limits.Bucket(1.0, max(MAX_REFUSALS, get_settings().MAX_GROUPS))
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if connection.state is State.CLOSED:
            continue
        connection.pings = 0
        text = message.get("text")
        if text is None or len(text.encode(errors="replace")) > get_settings().MAX_EVENT_BYTES + MORE_BYTES:
            connection.end(BROKEN, "The message is no text, or over the size limit.")
            continue
        said: Said = {}
        try:
            said = _parsed(visitor, text)
            _count(visitor, said, text)
        except WireError as error:
            _tell_audit(visitor, said, error)
            if error.code == "throttled":
                await asyncio.sleep(PAUSE)
            if refusals.take():
                connection.end(OVER_CAPACITY, error.message)
            else:
                connection.say((_error(error),))
            continue
        work = _carried_out(visitor, connection, said, waits)
        asks = not _is_of_client(said)  # a client's event is sent although the client has left
        with connection.busy():
            await (receive.unless_gone(work) if asks else work)


def _parsed(visitor: Visitor, text: str) -> Said:
    """Return a client's message. Raises WireError: it is malformed, and is counted."""
    try:
        found = json.loads(text)
        data = found.get("data")
        if not isinstance(found["event"], str):
            raise TypeError
        if not _is_of_client(found) and isinstance(data, str) and data:
            found["data"] = json.loads(data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        visitor.budget().command()
        problem = 'The message is malformed: expected JSON such as {"event": "pusher:ping", "data": {}}.'
        raise WireError("bad_command", problem) from error
    if not _is_of_client(found) and not isinstance(found.get("data"), dict):
        found["data"] = {}
    return dict(found)


def _is_of_client(said: Said) -> bool:
    """Return whether a message is an event for other clients."""
    found: str = said["event"]
    return found.startswith("client-")


def _count(visitor: Visitor, said: Said, text: str) -> None:
    """Count a message, unless it waits for that. Raises WireError: the client is over a limit."""
    if said["event"] not in SAID_ONCE:
        visitor.budget().command()
    if _is_of_client(said):
        visitor.budget().message(len(text.encode(errors="replace")))


async def _count_when_there_is_room(visitor: Visitor, waits: limits.Bucket) -> None:
    """Count a message as soon as the limit lets its client say one. Raises WireError: too many have had to wait."""
    wait = visitor.budget().take_command()
    if wait and waits.take():
        raise limits.too_many("commands", wait)
    while wait:
        await asyncio.sleep(wait)
        wait = visitor.budget().take_command()  # other tabs of the user may have been faster


def _asked(said: Said) -> str | None:
    """Return the channel to which a message asks to subscribe, if an answer can name it."""
    channel = said["data"].get("channel") if said["event"] == "pusher:subscribe" else None
    return channel if isinstance(channel, str) and not SURROGATE.search(channel) else None


async def _carried_out(visitor: Visitor, connection: PusherConnection, said: Said, waits: limits.Bucket) -> None:
    """Carry out one message, and tell the client if it is refused."""
    try:
        if said["event"] in SAID_ONCE:
            await _count_when_there_is_room(visitor, waits)
        await _work(said)(visitor, connection, said)
    except WireError as error:
        _tell_audit(visitor, said, error)
        _refuse(connection, said, error)
    except Exception as error:
        if times := failures.times():
            logger.warning("%d messages of clients failed. The last: %s", times, one_line(error))
        _refuse(connection, said, unavailable())


def _tell_audit(visitor: Visitor, said: Said, error: WireError) -> None:
    """Tell the audit that a message is refused, with its group and the type of the event that it would have sent."""
    is_event = bool(said) and _is_of_client(said)
    name = said.get("channel") if is_event else said.get("data", {}).get("channel")
    groups = (channel_of(name).group,) if is_name(name) else ()
    type = said["event"] if is_event and type_problem(said["event"]) is None else None
    visitor.entry.client.refuse(error, groups, type)


def _work(said: Said) -> Callable[[Visitor, PusherConnection, Said], Awaitable[None]]:
    return sending.send if _is_of_client(said) else WORK.get(said["event"], _unknown)


def _refuse(connection: PusherConnection, said: Said, error: WireError) -> None:
    channel = _asked(said)
    if error.status in COME_BACK and said["event"] in SAID_ONCE:
        connection.end(OVER_CAPACITY, error.message)
    elif said["event"] == "pusher:signin":
        connection.end(UNAUTHORIZED, error.message)
    elif channel is not None:
        connection.say((frames.refused(channel, error.message, error.status),))
    else:
        connection.say((_error(error),))


def _error(error: WireError) -> str:
    return frames.error(TOO_FAST if error.code == "throttled" else None, error.message)


async def _ping(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    connection.say((frames.message("pusher:pong"),))


async def _pong(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    connection.answers_pings = True


async def _unknown(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    raise WireError("bad_command", f"There is no event {said['event'][:100]!r} that a client can send.")


WORK: dict[str, Callable[[Visitor, PusherConnection, Said], Awaitable[None]]] = {
    "pusher:ping": _ping,
    "pusher:pong": _pong,
    "pusher:subscribe": subscribing.subscribe,
    "pusher:unsubscribe": subscribing.unsubscribe,
    "pusher:signin": subscribing.sign_in,
    "livepush:resume": subscribing.resume,
}
