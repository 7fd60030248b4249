"""Every byte that Pusher's clients get, as pure functions.

A message is ``{"event": name, "channel": name, "data": text}``. The data are nearly always JSON inside of a string.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from livepush.notes import note_once
from livepush.wire import RESERVED_PREFIX, Cache, dumps, loads, type_problem

BEGINNING = '{"event":'
"""Each of these messages begins with it, and no envelope of livepush's does."""
WRAPPED = "pusher.event"
"""The type of events whose name is no type: their data are ``{"name": …, "data": …}``."""
PROTECTED = ("pusher:", "pusher_internal:", "livepush:")
MAX_NAME = 200


def message(event: str, data: Any = None, channel: str | None = None, user: str | None = None) -> str:
    """Return a message with its data as JSON in a string; a text stays as it is."""
    text = data if isinstance(data, str) else dumps({} if data is None else data)
    more: dict[str, Any] = {} if channel is None else {"channel": channel}
    if user is not None:
        more["user_id"] = user
    return dumps({"event": event, **more, "data": text})


def error(code: int | None, text: str) -> str:
    """Return an error. Its data are no string: older clients want an object."""
    return dumps({"event": "pusher:error", "data": {"code": code, "message": text}})


def refused(channel: str, text: str, status: int) -> str:
    """Return what tells a client that it is not, or no longer, subscribed to a channel."""
    return message("pusher:subscription_error", {"type": "AuthError", "error": text, "status": status}, channel)


def succeeded(channel: str, members: Mapping[str, Any] | None) -> str:
    """Return what tells a client that it is subscribed; with the members' info by id, if the channel has members."""
    shown: dict[str, Any] = {}
    if members is not None:
        shown["presence"] = {"ids": list(members), "hash": dict(members), "count": len(members)}
    return message("pusher_internal:subscription_succeeded", shown, channel)


def position(text: str) -> str:
    """Return livepush's own message that tells a client up to where it has everything."""
    return message("livepush:position", {"position": text})


class Content(NamedTuple):
    """An event's type and data in the log."""

    type: str
    data: Any


def content(name: str, data: Any) -> Content:
    """Return how the log has an event of Pusher's. A text that is a JSON object or list is that, not a text."""
    value = _parsed(data) if isinstance(data, str) else data
    if type_problem(name) is None and name != WRAPPED:
        return Content(name, value)
    return Content(WRAPPED, {"name": name, "data": value})


class Told(NamedTuple):
    """An envelope, or a message of livepush's own, as Pusher's clients need to know it."""

    name: str
    data: Any
    text: str
    """The data as JSON."""
    groups: tuple[str, ...]
    id: str
    is_own: bool
    """Whether it is one of livepush's own messages."""
    socket: str
    """The connection that does not get it."""
    member: str | None
    """The user who sent it, in a channel with members."""
    type: str = ""
    """The event's type in the log, which is ``WRAPPED`` if its name is no type."""


CACHE_BYTES = 1_048_576
"""How many bytes of read envelopes, and of messages, are kept: all readers of a group get the same."""
_told: Cache[Told] = Cache(CACHE_BYTES)
_events: Cache[str] = Cache(CACHE_BYTES)


def told(envelope: str) -> Told:
    """Return what an envelope says."""
    found = _told.get(envelope)
    if found is None:
        try:
            found = _read(envelope)
        except RecursionError:  # a client that is asked to come back would get the same event again
            note_once("An event's data are nested too deeply for Pusher's clients, so they do not get it.")
            found = Told(PROTECTED[0], None, "", (), "", False, "", None)
        _told.put(envelope, found, 500 + 4 * len(envelope))
    return found


def _read(envelope: str) -> Told:
    found = json.loads(envelope)
    if found["type"].startswith(RESERVED_PREFIX):
        return Told(
            found["type"].removeprefix(RESERVED_PREFIX), found, "", (), found.get("position", ""), True, "", None
        )
    name, data = found["type"], found["data"]
    if name == WRAPPED and isinstance(data, dict) and data.keys() == {"name", "data"}:
        name, data = str(data["name"]), data["data"]
    sender = found.get("from") or {}
    groups = tuple(found.get("groups") or [found["group"]])
    return Told(
        name,
        data,
        dumps(data),
        groups,
        found.get("id", ""),
        False,
        str(sender.get("socket", "")),
        sender.get("member"),
        found["type"],
    )


def event(envelope: str, channel: str, shows_member: bool) -> str:
    """Return an event as the subscribers of a channel get it; empty for one that looks like the protocol's own."""
    key = (envelope, channel, shows_member)
    text = _events.get(key)
    if text is None:
        text = _event(told(envelope), channel, shows_member)
        _events.put(key, text, 500 + len(envelope) + len(text))
    return text


def _event(found: Told, channel: str, shows_member: bool) -> str:
    if found.name.startswith(PROTECTED):
        return ""
    user = found.member if shows_member and found.name.startswith("client-") else None
    return message(found.name, found.data if isinstance(found.data, str) else found.text, channel, user)


def _parsed(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        return loads(text)
    except (ValueError, RecursionError):
        return text


def members_of(data: Any) -> Sequence[Mapping[str, Any]]:
    """Return the members that an event of presence names."""
    found: Sequence[Mapping[str, Any]] = data.get("members", ())
    return found
