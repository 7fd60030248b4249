"""Events, and how they are encoded for each kind of client."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from livepush.wire.encoding import dumps

LARGEST_ARRAY = 65_536
"""How many characters of events go in one array at most, unless a single event is longer."""

Frames = tuple[bytes | str, ...]
"""What goes to a client in one write: chunks of a response (bytes), or WebSocket messages (text)."""


class Event(NamedTuple):
    """One event as it travels: ``data`` and ``time`` are text, ready to be joined into frames.

    ``number`` is ``None`` for an ephemeral event. ``groups`` are all that it was sent to, in the order of the send; in
    what a reader gets, those that the reader asked for, in the reader's order.
    """

    number: int | None
    groups: tuple[str, ...]
    type: str
    data: str
    time: str

    def to(self, groups: tuple[str, ...]) -> Event:
        """Return the event as a reader of these of its groups gets it."""
        return self if groups == self.groups else self._replace(groups=groups)


class Format(StrEnum):
    """How a connection wants its events."""

    SSE = "sse"
    """``id``, ``event`` and ``data`` lines, for any EventSource."""
    SSE_ENVELOPE = "envelope"
    """One ``data`` line with the envelope, for the livepush client."""
    TEXT = "text"
    """One JSON text an event: plain WebSocket clients and polls."""
    ARRAY = "array"
    """A JSON array of what goes in one write: WebSocket clients that speak ``livepush.v1``."""


TEXTS = frozenset({Format.TEXT, Format.ARRAY})
"""The formats of WebSockets."""


def envelope(event: Event, epoch: str) -> str:
    """Return an event as a JSON object; its data is put in as it was encoded when it was sent."""
    head = "{" if event.number is None else f'{{"id":"{epoch}-{event.number}",'
    more = f'"groups":{dumps(event.groups)},' if len(event.groups) > 1 else ""
    return f'{head}"group":"{event.groups[0]}",{more}"type":"{event.type}","data":{event.data},"time":"{event.time}"}}'


def sse_event(event: Event, epoch: str) -> str:
    """Return an event for any EventSource (WHATWG HTML 9.2.5); ``message`` goes without an ``event`` line."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    name = "" if event.type == "message" else f"event: {event.type}\n"
    return f"{identity}{name}data: {event.data}\n\n"


def sse_envelope(event: Event, epoch: str) -> str:
    """Return an event for the livepush client: the envelope in one ``data`` line."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    return f"{identity}data: {envelope(event, epoch)}\n\n"


def encode(event: Event, epoch: str, format: Format) -> str:
    """Return an event in one format, not yet joined."""
    if format is Format.SSE:
        return sse_event(event, epoch)
    return envelope(event, epoch) if format in TEXTS else sse_envelope(event, epoch)


def join(parts: Sequence[str], format: Format) -> Frames:
    """Return the frames that carry some encoded events: one, but for plain WebSocket clients."""
    if format is Format.TEXT:
        return tuple(parts)
    if format in TEXTS:
        return tuple(f"[{','.join(run)}]" if len(run) > 1 else run[0] for run in _runs(parts))
    return ("".join(parts).encode(),)


def merge(frames: Sequence[bytes | str]) -> Frames:
    """Return chunks of a response joined into one; texts stay messages of their own."""
    if isinstance(frames[0], bytes):
        return (b"".join(frame for frame in frames if isinstance(frame, bytes)),)
    return tuple(frames)


def on_the_wire(frames: Iterable[bytes | str]) -> bytes:
    """Return frames as servers send them: bytes as chunks (RFC 9112, 7.1), texts as messages (RFC 6455, 5.2)."""
    return b"".join(_text_message(each.encode()) if isinstance(each, str) else _chunk(each) for each in frames)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _text_message(data: bytes) -> bytes:
    final_text = 0x81
    if len(data) < 126:
        return struct.pack("!BB", final_text, len(data)) + data
    if len(data) < 65_536:
        return struct.pack("!BBH", final_text, 126, len(data)) + data
    return struct.pack("!BBQ", final_text, 127, len(data)) + data


def _runs(parts: Iterable[str]) -> list[list[str]]:
    """Return parts in runs of a bounded length: WebSocket clients refuse messages of a megabyte or so."""
    runs: list[list[str]] = []
    room = 0
    for part in parts:
        room -= len(part)
        if room < 0 or not runs:
            room = LARGEST_ARRAY - len(part)
            runs.append([])
        runs[-1].append(part)
    return runs
