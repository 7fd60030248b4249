"""livepush's own messages in a stream. Their types begin with ``livepush.``."""

from __future__ import annotations

import re
from typing import Any

from livepush.wire.caching import Cache
from livepush.wire.encoding import dumps
from livepush.wire.events import TEXTS, Format, Frames
from livepush.wire.names import RESERVED_PREFIX
from livepush.wire.positions import Position

SUBPROTOCOL = "livepush.v1"
"""A WebSocket client that offers this subprotocol gets several envelopes as one JSON array."""
PROTOCOL = 1
"""The protocol's version, which every hello carries. It grows when older clients would misread the new protocol."""


def system_frames(type: str, format: Format, **fields: Any) -> Frames:
    """Return the frames of one of livepush's own messages, e.g. ``system_frames("bye", Format.SSE, retry=500)``.

    Except in a reply, a ``position`` is also sent as ``id``. A ``retry`` (milliseconds) is also sent as an
    EventSource's reconnection time.
    """
    moves = "position" in fields and type != "reply"
    if moves:
        fields = {"id": str(fields["position"]), **fields, "position": str(fields["position"])}
    text = dumps({"type": RESERVED_PREFIX + type, **fields})
    if format in TEXTS:
        return (text,)
    identity = f"id: {fields['position']}\n" if moves else ""
    retry = f"retry: {fields['retry']}\n" if "retry" in fields else ""
    name = f"event: {RESERVED_PREFIX}{type}\n" if format is not Format.SSE_ENVELOPE else ""
    return (f"{identity}{retry}{name}data: {text}\n\n".encode(),)


CACHE_BYTES = 262_144
"""How many bytes of hellos are kept."""
_hellos: Cache[Frames] = Cache(CACHE_BYTES)  # many clients come back to the same position at once


def hello(
    position: Position,
    format: Format,
    *,
    heartbeat: float,
    retry: int,
    groups: tuple[str, ...],
    refused: tuple[str, ...],
    failed: tuple[str, ...] = (),
) -> Frames:
    """Return the first frame of every stream; ``position`` is the cursor that the replay starts from.

    ``failed`` are those of the refused groups that the client is to ask for again from there.
    """
    key = (position, format, heartbeat, retry, groups, refused, failed)
    frames = _hellos.get(key)
    if frames is None:
        frames = system_frames(
            "hello",
            format,
            protocol=PROTOCOL,
            position=position,
            heartbeat=heartbeat,
            retry=retry,
            groups=list(groups),
            refused=list(refused),
            **still_owed(failed),
        )
        _hellos.put(key, frames, 1000 + 2 * sum(map(len, frames)) + 100 * (len(groups) + len(refused)))
    return frames


def still_owed(failed: tuple[str, ...]) -> dict[str, list[str]]:
    """Return the field that names the groups whose rules could not be asked; none if there are no such groups."""
    return {"failed": list(failed)} if failed else {}


_ID_LINE = re.compile(rb"^id: [^\n]*\n(?!retry: )", re.MULTILINE)
_ID = re.compile(r'^\{"id":"[^"]*",')
_POSITION = f'{{"type":"{RESERVED_PREFIX}position"'


def without_ids(frames: Frames) -> Frames:
    """Return frames after which a plain client does not move on: it comes back from where its hello began.

    This is for a client that does not know what is still owed to it. Hello keeps its id.
    """
    return tuple(_ID_LINE.sub(b"", each) if isinstance(each, bytes) else _text_without_id(each) for each in frames)


def _text_without_id(text: str) -> str:
    return dumps({"type": RESERVED_PREFIX + "heartbeat"}) if text.startswith(_POSITION) else _ID.sub("{", text)


HEARTBEAT = b":\n"
"""An SSE comment line with no blank line after it: some clients dispatch on the blank line."""
