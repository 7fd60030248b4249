"""Events, and their encoding for each kind of client."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from livepush.wire.encoding import dumps
from livepush.wire.names import MARK, public_name

LARGEST_ARRAY = 65_536
"""The most characters of events in one array, unless a single event is longer."""

Frames = tuple[bytes | str, ...]
"""The frames of one write to a client: chunks of a response (bytes), or WebSocket messages (text)."""


BYTES = '{"$bytes":"'
"""How data that are bytes begin as JSON: ``{"$bytes": "…"}`` in base64 (RFC 4648, section 4)."""


class Binary(bytes):
    """A binary WebSocket message: a frame for clients that speak ``livepush.v1``."""


class Event(NamedTuple):
    """One event in transit: ``data`` and ``time`` are text, ready to be joined into frames.

    ``number`` is ``None`` for an ephemeral event. ``groups`` are all groups that it was sent to, in the order of
    the send. In a reader's copy, they are the groups that the reader asked for, in the reader's order.
    """

    number: int | None
    groups: tuple[str, ...]
    type: str
    data: str
    time: str
    sender: str | None = None
    """The user whose client sent it, as JSON; ``None`` if the project's own code did."""

    def to(self, groups: tuple[str, ...]) -> Event:
        """Return the event as a reader of ``groups`` gets it. They are some of the event's own groups."""
        return self if groups == self.groups else self._replace(groups=groups)


class Format(StrEnum):
    """The format in which a connection gets its events."""

    SSE = "sse"
    """``id``, ``event`` and ``data`` lines, for any EventSource."""
    SSE_ENVELOPE = "envelope"
    """One ``data`` line with the envelope, for the livepush client."""
    SSE_TEXT = "sse_text"
    """As ``SSE``, but a string's data are the string itself: HTML for htmx and Turbo."""
    TEXT = "text"
    """One JSON text for each event, for plain WebSocket clients and polls."""
    ARRAY = "array"
    """A JSON array of the events of one write, for WebSocket clients that speak ``livepush.v1``."""


TEXTS = frozenset({Format.TEXT, Format.ARRAY})
"""The formats of WebSockets."""


def envelope(event: Event, epoch: str) -> str:
    """Return an event as a JSON object. It holds the data exactly as the send encoded it, and no tenant's name."""
    groups = event.groups
    if MARK in groups[0]:  # all of them have the tenant of the send, or none has
        groups = tuple(public_name(group) for group in groups)
    head = "{" if event.number is None else f'{{"id":"{epoch}-{event.number}",'
    more = f'"groups":{dumps(groups)},' if len(groups) > 1 else ""
    if event.sender is not None:
        more += f'"from":{event.sender},'
    return f'{head}"group":"{groups[0]}",{more}"type":"{event.type}","data":{event.data},"time":"{event.time}"}}'


def sse_event(event: Event, epoch: str) -> str:
    """Return an event for any EventSource (WHATWG HTML 9.2.5); the type ``message`` needs no ``event`` line."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    name = "" if event.type == "message" else f"event: {event.type}\n"
    return f"{identity}{name}{_data_lines(event.data)}\n\n"


def sse_text(event: Event, epoch: str) -> str:
    """Return an event whose data are plain text, in as many ``data`` lines as it has lines.

    A string is the text itself; each kind of line break reaches the client as a line feed. No data (``null``) are an
    empty text. Other data, and all that a client has sent, are JSON in which ``<``, ``>`` and ``&`` are escaped: put
    into a page, they are no markup.
    """
    plain = _escaped(event.data) if event.sender is not None else _plain_text(event.data)
    return sse_event(event._replace(data=plain), epoch)


def _plain_text(data: str) -> str:
    if data == "null":
        return ""
    if data.startswith('"'):
        text: str = json.loads(data)
        text = text.encode(errors="replace").decode()  # half a surrogate pair can come through a layer
    else:
        text = _escaped(data)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _escaped(data: str) -> str:
    return data.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sse_envelope(event: Event, epoch: str) -> str:
    """Return an event for the livepush client: the envelope as data."""
    identity = "" if event.number is None else f"id: {epoch}-{event.number}\n"
    return f"{identity}{_data_lines(envelope(event, epoch))}\n\n"


def _data_lines(text: str) -> str:
    """Return text as ``data`` lines, one as a rule: ``send`` writes JSON without line breaks, other writers may not."""
    if "\n" in text or "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\ndata: ")
    return f"data: {text}"


def binary(event: Event, epoch: str) -> Binary:
    """Return an event whose data are bytes as a binary message.

    It is the envelope as one line of UTF-8 JSON with ``null`` for its data, a line feed, and the bytes.
    """
    head = envelope(event._replace(data="null"), epoch).encode()
    return Binary(head + b"\n" + base64.b64decode(event.data[len(BYTES) : -2]))


def encode(event: Event, epoch: str, format: Format) -> str | Binary:
    """Return an event in one format, not yet joined."""
    if format is Format.ARRAY and event.data.startswith(BYTES):
        return binary(event, epoch)
    if format is Format.SSE:
        return sse_event(event, epoch)
    if format is Format.SSE_TEXT:
        return sse_text(event, epoch)
    return envelope(event, epoch) if format in TEXTS else sse_envelope(event, epoch)


def join(parts: Sequence[str | Binary], format: Format) -> Frames:
    """Return the frames that carry some encoded events: one chunk, or for WebSockets one message or more."""
    if format is Format.TEXT:
        return tuple(parts)
    if format in TEXTS:
        return tuple(run if isinstance(run, Binary) else _array(run) for run in _runs(parts))
    return ("".join(map(str, parts)).encode(),)


def _array(run: list[str]) -> str:
    return f"[{','.join(run)}]" if len(run) > 1 else run[0]


def merge(frames: Sequence[bytes | str]) -> Frames:
    """Return chunks of a response joined into one; WebSocket messages stay separate."""
    if type(frames[0]) is bytes:
        return (b"".join(frame for frame in frames if isinstance(frame, bytes)),)
    return tuple(frames)


def on_the_wire(frames: Iterable[bytes | str]) -> bytes:
    """Return frames as servers send them: bytes as chunks (RFC 9112, 7.1), texts as messages (RFC 6455, 5.2)."""
    return b"".join(map(_on_the_wire, frames))


def _on_the_wire(frame: bytes | str) -> bytes:
    if isinstance(frame, str):
        return _message(0x81, frame.encode())
    return _message(0x82, frame) if isinstance(frame, Binary) else _chunk(frame)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _message(kind: int, data: bytes) -> bytes:
    """Return a whole WebSocket message; ``kind`` is 0x81 for text and 0x82 for bytes."""
    if len(data) < 126:
        return struct.pack("!BB", kind, len(data)) + data
    if len(data) < 65_536:
        return struct.pack("!BBH", kind, 126, len(data)) + data
    return struct.pack("!BBQ", kind, 127, len(data)) + data


def _runs(parts: Iterable[str | Binary]) -> list[list[str] | Binary]:
    """Return parts in runs of a bounded length: WebSocket clients refuse messages of a megabyte or so."""
    runs: list[list[str] | Binary] = []
    room = 0
    for part in parts:
        if isinstance(part, Binary):
            runs.append(part)
            room = 0
            continue
        room -= len(part)
        if room < 0 or not runs:
            room = LARGEST_ARRAY - len(part)
            run: list[str] = []
            runs.append(run)
        run.append(part)
    return runs
