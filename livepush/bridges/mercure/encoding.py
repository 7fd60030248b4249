"""The bytes of a hub's streams, made of livepush's envelopes by pure functions.

Nothing but an update ends with an empty line: some clients hand on whatever does.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from livepush.bridges.mercure import updates
from livepush.bridges.mercure.updates import Update
from livepush.notes import note_once
from livepush.wire import HEARTBEAT, RESERVED_PREFIX, Cache


class Part(NamedTuple):
    """An update, or a message of livepush's own, as a subscriber gets it."""

    content: bytes
    topics: tuple[str, ...] = ()
    """The topics of an update; none of a message that is for everybody."""
    private: bool = False
    is_last: bool = False
    """Whether the stream ends with it."""


CACHE_BYTES = 4 * 1_048_576
_parts: Cache[Part] = Cache(CACHE_BYTES)  # many subscribers get the same envelope


def translated(envelope: str) -> Part:
    """Return an envelope as a hub says it."""
    part = _parts.get(envelope)
    if part is None:
        try:
            part = _translate(envelope)
        except RecursionError:  # a client that comes back would get the same event again
            note_once("An event's data are nested too deeply for Mercure's clients, so they do not get it.")
            part = Part(b"")
        _parts.put(envelope, part, 1000 + 4 * len(envelope) + 2 * len(part.content) + 200 * len(part.topics))
    return part


def _translate(envelope: str) -> Part:
    found = json.loads(envelope)
    if found["type"].startswith(RESERVED_PREFIX):
        return _system(found)
    update = updates.of_event(found["data"]) if found["type"] == updates.UPDATE_TYPE else None
    return Part(b"") if update is None else Part(encoded(update), update.topics, update.private)


def encoded(update: Update) -> bytes:
    """Return an update with as many ``data`` lines as its data have lines (WHATWG HTML, section 9.2)."""
    lines = update.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    fields = [("event", update.type or None), ("retry", update.retry), ("id", update.id)]
    fields += [("data", line) for line in lines]
    return "".join(f"{name}: {value}\n" for name, value in fields if value is not None).encode() + b"\n"


def retry(milliseconds: int) -> bytes:
    """Return what says after how long a client is to come back."""
    return f"retry: {milliseconds}\n".encode()


def _system(found: dict[str, Any]) -> Part:
    match found["type"].removeprefix(RESERVED_PREFIX):
        case "hello":
            return Part(HEARTBEAT + retry(found["retry"]))
        case "position":
            return Part(HEARTBEAT)
        case "bye":
            return Part(retry(found["retry"]), is_last=True)
        case "reset" | "revoked":  # who comes back is told by the response's Last-Event-ID, or by its status
            return Part(HEARTBEAT, is_last=True)
    return Part(b"")
