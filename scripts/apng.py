"""Joins pictures to a moving one: an animated PNG, in which each frame holds only what has changed.

Written after the PNG specification, third edition: https://www.w3.org/TR/png-3/
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

SIGNATURE = b"\x89PNG\r\n\x1a\n"
DEPTH = 3
"""Bytes of a pixel: red, green and blue."""


class Picture(NamedTuple):
    """An opaque picture: its size, and its rows of pixels."""

    width: int
    height: int
    rows: list[bytes]


class Box(NamedTuple):
    """A part of a picture."""

    left: int
    top: int
    width: int
    height: int


def join(pictures: list[bytes], seconds: list[float]) -> bytes:
    """Return an animated PNG of some PNGs of one size, each shown for a while, over and over again.

    Raises ValueError: a picture is no PNG with eight bits for each of three colours.
    """
    decoded = [decode(each) for each in pictures]
    first = decoded[0]
    head = struct.pack(">IIBBBBB", first.width, first.height, 8, 2, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), chunk(b"acTL", struct.pack(">II", len(decoded), 0))]
    before, number = None, 0
    for picture, duration in zip(decoded, seconds, strict=True):
        box = changed(before, picture) if before else Box(0, 0, first.width, first.height)
        control = struct.pack(">IIIIIHHBB", number, *_place(box), round(1000 * duration), 1000, 0, 0)
        chunks.append(chunk(b"fcTL", control))
        data = zlib.compress(filtered(picture, box), 9)
        chunks.append(chunk(b"fdAT", struct.pack(">I", number + 1) + data) if before else chunk(b"IDAT", data))
        number += 2 if before else 1
        before = picture
    return SIGNATURE + b"".join(chunks) + chunk(b"IEND", b"")


def _place(box: Box) -> tuple[int, int, int, int]:
    return box.width, box.height, box.left, box.top


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def chunks_of(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield each chunk's kind and data."""
    place = len(SIGNATURE)
    while place < len(png):
        (length,) = struct.unpack_from(">I", png, place)
        yield png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        place += 12 + length


def decode(png: bytes) -> Picture:
    """Return the pixels of a PNG."""
    found = list(chunks_of(png))
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", found[0][1])
    if (bits, colour, interlaced) != (8, 2, 0):
        raise ValueError(f"expected eight bits for each of three colours, in one pass; found {bits}, {colour}")
    data = zlib.decompress(b"".join(data for kind, data in found if kind == b"IDAT"))
    step = width * DEPTH + 1
    rows, above = [], bytes(step - 1)
    for start in range(0, height * step, step):
        above = unfiltered(data[start], data[start + 1 : start + step], above)
        rows.append(above)
    return Picture(width, height, rows)


def unfiltered(kind: int, row: bytes, above: bytes) -> bytes:
    """Undo the filter of a row."""
    if kind == 0:
        return row
    if kind == 2:
        return bytes((each + up) & 255 for each, up in zip(row, above, strict=True))
    found = bytearray(DEPTH) + row
    for place in range(DEPTH, len(found)):
        left, up = found[place - DEPTH], above[place - DEPTH]
        corner = above[place - 2 * DEPTH] if place >= 2 * DEPTH else 0
        guess = {1: left, 3: (left + up) // 2, 4: nearest(left, up, corner)}[kind]
        found[place] = (found[place] + guess) & 255
    return bytes(found[DEPTH:])


def nearest(left: int, up: int, corner: int) -> int:
    """Return that neighbour which is nearest to left + up - corner (Paeth's predictor)."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda each: abs(guess - each))


def changed(before: Picture, after: Picture) -> Box:
    """Return the smallest part that holds all that differs; one pixel where nothing does."""
    rows = [number for number in range(after.height) if before.rows[number] != after.rows[number]]
    if not rows:
        return Box(0, 0, 1, 1)
    places = [place for number in rows for place in edges(before.rows[number], after.rows[number])]
    left, right = min(places) // DEPTH, max(places) // DEPTH
    return Box(left, rows[0], right - left + 1, rows[-1] - rows[0] + 1)


def edges(one: bytes, other: bytes) -> tuple[int, int]:
    """Return the first and the last place where two rows differ."""
    differing = [place for place, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
    return differing[0], differing[-1]


def filtered(picture: Picture, box: Box) -> bytes:
    """Return a part's rows as PNG holds them. They are not filtered: flat surfaces compress best as they are."""
    start, end = box.left * DEPTH, (box.left + box.width) * DEPTH
    return b"".join(b"\x00" + row[start:end] for row in picture.rows[box.top : box.top + box.height])
