"""The bytes of django-eventstream's streams, made of livepush's envelopes by pure functions.

An event that is a text, or that some users do not get, has the type ``eventstream.text:TYPE`` in the log, and
``{"text" or "data", "skip"}`` as its data.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from livepush.bridges.eventstream.channels import channel_of
from livepush.notes import note_once
from livepush.wire import RESERVED_PREFIX, Cache, dumps

WRAPPED = "eventstream.text:"
PADDING = b":" + b" " * 2048 + b"\n\n"
"""The first bytes of a stream, which some browsers and proxies need before they pass it on."""
KEEP_ALIVE = b"event: keep-alive\ndata:\n\n"
FORBIDDEN = "Permission denied to channels: %s"


class Part(NamedTuple):
    """One event as a client gets it."""

    content: bytes
    skip: frozenset[str] = frozenset()
    """The ids of users who do not get it."""
    is_last: bool = False
    """Whether the stream ends with it."""
    reset: str = ""
    """The position from which the client goes on, if its history is lost."""


CACHE_BYTES = 4 * 1_048_576
_parts: Cache[Part] = Cache(CACHE_BYTES)  # all readers of a group get the same envelope


def translated(envelope: str) -> Part:
    """Return an envelope, or a message of livepush's own, as django-eventstream says it."""
    part = _parts.get(envelope)
    if part is None:
        try:
            part = _translate(envelope)
        except RecursionError:  # a client that comes back would get the same event again
            note_once("An event's data are nested too deeply for django-eventstream's clients, so they do not get it.")
            part = Part(b"")
        _parts.put(envelope, part, 1000 + 4 * len(envelope) + 2 * len(part.content) + 200 * len(part.skip))
    return part


def _translate(envelope: str) -> Part:
    found = json.loads(envelope)
    if found["type"].startswith(RESERVED_PREFIX):
        return _system(found)
    name, data, id = found["type"], found["data"], found.get("id", "")
    if not name.startswith(WRAPPED):
        return Part(event(name, dumps(data), id))
    return _unwrapped(name.removeprefix(WRAPPED), data, id) if isinstance(data, dict) else Part(b"")


def _unwrapped(name: str, data: dict[str, Any], id: str) -> Part:
    """Return a wrapped event; an empty part if its data are malformed, since others too may send to a channel."""
    skip, text = data.get("skip", []), data.get("text")
    if "text" not in data and "data" in data:
        text = dumps(data["data"])
    if not isinstance(text, str) or not isinstance(skip, list) or not all(isinstance(each, str) for each in skip):
        return Part(b"")
    return Part(event(name, text, id), frozenset(skip))


def event(type: str, data: str, id: str = "") -> bytes:
    """Return an event with as many ``data`` lines as its data have lines."""
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    identity = f"id: {id}\n" if id else ""
    return f"event: {type}\n{identity}{''.join(f'data: {line}' + chr(10) for line in lines)}\n".encode()


def error(condition: str, text: str, channels: Iterable[str] = ()) -> bytes:
    """Return what ends a stream, so that its client does not resume."""
    more = {"channels": sorted(channels)} if channels else {}
    return event("stream-error", dumps({"condition": condition, "text": text, **more}), "error")


def forbidden(channels: Iterable[str]) -> bytes:
    """Return what a client gets that may not read some channels."""
    names = sorted(channels)
    return error("forbidden", FORBIDDEN % ", ".join(names), names)


def _system(found: dict[str, Any]) -> Part:
    position = found.get("position", "")
    match found["type"].removeprefix(RESERVED_PREFIX):
        case "hello":
            return Part(PADDING + f"event: stream-open\nid: {position}\ndata:\n\n".encode())
        case "position":
            return Part(f"event: keep-alive\nid: {position}\ndata:\n\n".encode())
        case "bye":
            return Part(f"retry: {found['retry']}\n\n".encode())
        case "revoked" if found["groups"]:
            return Part(forbidden(map(channel_of, found["groups"])), is_last=True)
        case "reset":
            return Part(b"", reset=position)
    return Part(b"")


def reset(channels: Iterable[str], position: str) -> bytes:
    """Return what tells a client that its history of some channels is lost."""
    return event("stream-reset", dumps({"channels": sorted(channels)}), position)
