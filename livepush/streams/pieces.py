"""The content of a stream: pieces of text, and parts of JSON between them.

An offset counts a text's characters (code points), and 1 for each part. So a text may be cut and joined anywhere, and
an offset still means the same place. A chunk is stored as a JSON array: strings are text, and ``[value]`` is a part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.utils.functional import Promise

from livepush.exceptions import EventTooLarge, InvalidData
from livepush.publish import as_json


class Data(NamedTuple):
    """A part: a JSON value, encoded."""

    json: str

    @property
    def value(self) -> Any:
        """The value."""
        return json.loads(self.json)


_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # made once: it costs more than its work
Piece = str | Data
MAX_MESSAGE = 10_000
"""The most characters of the message with which a stream fails."""
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
Pieces = list[Piece]


def text(given: object) -> str:
    """Return a text that every database can store: half a surrogate pair becomes U+FFFD.

    Raises InvalidData: it is no text.
    """
    given = str(given) if isinstance(given, Promise) else given  # translated later
    if not isinstance(given, str):
        raise InvalidData(f"{given!r} is not text: write a str, or give JSON as data=.")
    if given.isascii():
        return str(given)
    return given.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def message(given: object) -> str:
    """Return a message that every database can store in a column: as ``text`` does, without NUL, and cut if it is long.

    Raises InvalidData: it is no text.
    """
    found = text(given).replace("\0", REPLACEMENT)
    return found if len(found) <= MAX_MESSAGE else f"{found[: MAX_MESSAGE - 1]}…"


def whole_characters(half: str, given: object) -> tuple[str, str]:
    """Return a text as ``text`` does, after half a surrogate pair or nothing, and the half with which it ends, if any.

    Raises InvalidData: it is no text.
    """
    given = str(given) if isinstance(given, Promise) else given
    if half and isinstance(given, str) and given:
        given, half = half + given, ""
    if isinstance(given, str) and given and "\ud800" <= given[-1] <= "\udbff":
        given, half = given[:-1], given[-1]
    return text(given), half


def data(value: object, max_bytes: int, beside: int = 0) -> Data:
    """Return a part with a value, which is sent with some bytes ``beside`` it.

    Raises InvalidData: JSON can't carry it. Raises EventTooLarge.
    """
    encoded = as_json(value)
    size = len(encoded.encode()) + beside
    if size > max_bytes:
        raise EventTooLarge(f"The part is {size} bytes as JSON, over the {max_bytes} of LIVEPUSH['MAX_EVENT_BYTES'].")
    return Data(encoded)


def part(value: object) -> Data:
    """Return a part with a value that came as JSON."""
    return Data(_encode(value))


def length(pieces: Iterable[Piece]) -> int:
    """Return how far an offset moves over some pieces."""
    return sum(len(piece) if isinstance(piece, str) else 1 for piece in pieces)


def size(pieces: Iterable[Piece]) -> int:
    """Return how many characters some pieces have; those of a part are its JSON's."""
    return sum(len(piece) if isinstance(piece, str) else len(piece.json) for piece in pieces)


def skip(pieces: Sequence[Piece], count: int) -> Pieces:
    """Return what follows the first ``count`` of some pieces, counted as offsets are."""
    for place, piece in enumerate(pieces):
        size = len(piece) if isinstance(piece, str) else 1
        if count < size:
            rest = list(pieces[place:])
            if count and isinstance(piece, str):
                rest[0] = piece[count:]
            return rest
        count -= size
    return []


def head(pieces: Sequence[Piece], count: int) -> Pieces:
    """Return the first ``count`` of some pieces, counted as offsets are."""
    found: Pieces = []
    for piece in pieces:
        if count <= 0:
            break
        found.append(piece[:count] if isinstance(piece, str) else piece)
        count -= len(piece) if isinstance(piece, str) else 1
    return found


def join(pieces: Iterable[Piece]) -> Pieces:
    """Return pieces with neighbouring texts made one."""
    found: Pieces = []
    texts: list[str] = []
    for piece in pieces:
        if isinstance(piece, str):
            texts.append(piece)
            continue
        if texts:
            found.append("".join(texts))
            texts = []
        found.append(piece)
    if texts:
        found.append("".join(texts))
    return found


def dumps(pieces: Iterable[Piece]) -> str:
    """Return pieces as a chunk stores them."""
    return f"[{','.join(_dumps(piece) for piece in pieces)}]"


def loads(body: str) -> Pieces:
    """Return the pieces of a chunk."""
    return [piece if isinstance(piece, str) else part(piece[0]) for piece in json.loads(body)]


def split(pieces: Iterable[Piece], max_chars: int) -> list[Pieces]:
    """Return pieces in runs of at most ``max_chars`` characters each, or of a single part."""
    runs: list[Pieces] = [[]]
    room = max_chars
    for piece in _cut(pieces, max_chars):
        chars = size([piece])
        if chars > room and runs[-1]:
            runs.append([])
            room = max_chars
        runs[-1].append(piece)
        room -= chars
    return runs if runs[-1] else []


def _cut(pieces: Iterable[Piece], max_chars: int) -> Iterable[Piece]:
    for piece in pieces:
        if isinstance(piece, str) and len(piece) > max_chars:
            yield from (piece[start : start + max_chars] for start in range(0, len(piece), max_chars))
        else:
            yield piece


def _dumps(piece: Piece) -> str:
    return _encode(piece) if isinstance(piece, str) else f"[{piece.json}]"
