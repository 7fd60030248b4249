"""What the processes of a site tell each other, and the signed messages that carry it.

A message is ``{"type": "livepush.hint", "body": text, "signature": HMAC-SHA256 of the body in hexadecimal}``. Its body
is the JSON array ``[origin, serial, time, epoch, [[number, [group, …], type, data, time, sender], …]]``, without events
if the process only says that it is there. A single event without groups stands for events that are too long for the
message: it only says up to which number the log goes.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from livepush.wire.encoding import dumps
from livepush.wire.events import Event
from livepush.wire.names import RESERVED_TYPES, TYPE, is_stored
from livepush.wire.positions import EPOCH, LARGEST_NUMBER, Position
from livepush.wire.records import Batch, size_of

MAX_BODY_LENGTH = 4 * 1_048_576
"""The most characters of a body. Only a send to some hundred thousand groups has more; hubs read that in the log."""
_ORIGIN = re.compile(r"[0-9a-f]{16}", re.ASCII)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_SIGNATURE_LENGTH = 64


class Announcement(NamedTuple):
    """What one process tells the others."""

    origin: str
    """The process's random name: 16 hexadecimal digits."""
    serial: int
    """The announcement's number in the process, from 1 on."""
    time: float
    """When it was made, in seconds since 1970 by the process's clock."""
    batch: Batch | None
    """What was settled, or one ephemeral event or more; ``None`` if the process only says that it is there."""
    upto: Position | None = None
    """Up to where the log goes, if what was settled is too long for the message."""


def split_batch(batch: Batch, max_bytes: int) -> list[Batch]:
    """Return a batch in parts. Each has at most about ``max_bytes``, or a single event."""
    parts: list[list[Event]] = []
    room = 0
    for event in batch.events:
        room -= size_of(event)
        if room < 0 or not parts:
            room = max_bytes - size_of(event)
            parts.append([])
        parts[-1].append(event)
    return [Batch(batch.epoch, tuple(events)) for events in parts]


def seal(announcement: Announcement, key: bytes) -> dict[str, str]:
    """Return an announcement as a signed message."""
    body = body_of(announcement)
    return {"type": "livepush.hint", "body": body, "signature": _sign(body, key)}


def body_of(announcement: Announcement) -> str:
    """Return the JSON of an announcement."""
    origin, serial, time, batch, upto = announcement
    if upto is not None:
        batch = Batch(upto.epoch, (Event(upto.number, (), "", "", ""),))
    return dumps([origin, serial, time, *(batch or ("", ()))])


def unseal(message: object, keys: Sequence[bytes]) -> str:
    """Return the body of a message that was signed with one of the keys.

    Raises ValueError: it was not, or it is no such message.
    """
    body, signature = (message.get("body"), message.get("signature")) if isinstance(message, dict) else (None, None)
    if not isinstance(body, str) or not isinstance(signature, str) or len(signature) != _SIGNATURE_LENGTH:
        raise ValueError("it is not signed")
    if len(body) > MAX_BODY_LENGTH:
        raise ValueError(f"it has {len(body)} characters, over the {MAX_BODY_LENGTH} that livepush reads")
    if not any(hmac.compare_digest(signature.encode(), _sign(body, key).encode()) for key in keys):
        raise ValueError("its signature is not made with SECRET_KEY or one of SECRET_KEY_FALLBACKS")
    return body


def origin_of(body: str) -> str:
    """Return the name of the process that made a body, without reading the rest of it."""
    return body[2:18]


def parse_announcement(body: str) -> Announcement:
    """Return the announcement in a body, with each of its fields checked.

    Raises ValueError: a field is malformed, or the numbers have a gap.
    """
    try:
        origin, serial, time, epoch, events = json.loads(body)
        upto = _upto(epoch, *events[0]) if len(events) == 1 and not events[0][1] else None
        found = () if upto is not None else tuple(_event(*values) for values in events)
        batch = Batch(epoch, found) if found else None
        valid = (
            _ORIGIN.fullmatch(origin)
            and type(serial) is int
            and 0 < serial <= LARGEST_NUMBER
            and type(time) is float
            and 0 < time < LARGEST_NUMBER  # JSON as Python reads it has NaN and Infinity
            and (batch is None or _is_batch(batch))
        )
    except (AttributeError, TypeError, LookupError, RecursionError) as error:
        raise ValueError(f"it is malformed: {error}") from error
    if not valid:
        raise ValueError("one of its fields is malformed")
    return Announcement(origin, serial, time, batch, upto)


def _upto(epoch: Any, number: Any, *rest: Any) -> Position:
    """Return the position in an event without groups."""
    if not (EPOCH.fullmatch(epoch) and type(number) is int and 0 < number <= LARGEST_NUMBER):
        raise ValueError("a position's field is malformed")
    return Position(epoch, number)


def _sign(body: str, key: bytes) -> str:
    return hmac.digest(key, body.encode(), "sha256").hex()


def _event(number: Any, groups: Any, type: Any, data: Any, time: Any, sender: Any = None) -> Event:
    """Return an event with its own fields checked, but for the number."""
    (data + (sender or "")).encode()  # JSON can escape half a surrogate pair, but UTF-8 can't encode it
    names = tuple(groups) if isinstance(groups, list) else ()
    if not (
        names
        and len(set(names)) == len(names)
        and all(map(is_stored, names))
        and TYPE.fullmatch(type)
        and type not in RESERVED_TYPES
        and _TIME.fullmatch(time)
        and (sender is None or isinstance(sender, str))
    ):
        raise ValueError("an event's field is malformed")
    return Event(number, names, type, data, time, sender)


def _is_batch(batch: Batch) -> bool:
    """Return whether a batch has contiguous numbers of one epoch, or ephemeral events alone."""
    epoch, events = batch
    first = events[0].number
    if first is None:
        return epoch == "" and all(event.number is None for event in events)
    return (
        EPOCH.fullmatch(epoch) is not None
        and 0 < first <= LARGEST_NUMBER - len(events)
        and all(type(event.number) is int and event.number == first + place for place, event in enumerate(events))
    )
