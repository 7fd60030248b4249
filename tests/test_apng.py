"""The script that joins pictures for the README."""

from __future__ import annotations

import struct
import zlib

import pytest

from scripts import apng
from tests.docs_blocks import ROOT

RED, BLUE = b"\xff\x00\x00", b"\x00\x00\xff"


def png(*rows: bytes, colour: int = 2) -> bytes:
    """Return a picture, as other programs write it."""
    head = struct.pack(">IIBBBBB", len(rows[0]) // apng.DEPTH, len(rows), 8, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\x00" + row for row in rows))
    return apng.SIGNATURE + b"".join(apng.chunk(*each) for each in ((b"IHDR", head), (b"IDAT", data), (b"IEND", b"")))


def test_a_frame_holds_only_what_has_changed() -> None:
    first, second = png(RED * 3, RED * 3, RED * 3), png(RED * 3, RED + BLUE + RED, RED * 3)
    made = dict(enumerate(apng.chunks_of(apng.join([first, second], [1, 0.5]))))
    assert [kind for kind, _ in made.values()] == [b"IHDR", b"acTL", b"fcTL", b"IDAT", b"fcTL", b"fdAT", b"IEND"]
    assert struct.unpack(">IIIIIHHBB", made[4][1]) == (1, 1, 1, 1, 1, 500, 1000, 0, 0)
    assert zlib.decompress(made[5][1][4:]) == b"\x00" + BLUE


def test_what_is_joined_can_be_read_again() -> None:
    picture = png(RED + BLUE, BLUE + RED)
    assert apng.decode(apng.join([picture], [1])).rows == [RED + BLUE, BLUE + RED]


@pytest.mark.parametrize("kind", range(5))
def test_each_filter_of_png_is_undone(kind: int) -> None:
    row, above = bytes(range(0, 240, 20)), bytes(range(7, 247, 20))
    guesses = {
        0: lambda left, up, corner: 0,
        1: lambda left, up, corner: left,
        2: lambda left, up, corner: up,
        3: lambda left, up, corner: (left + up) // 2,
    }
    guess = guesses.get(kind, apng.nearest)
    filtered = bytes(
        (row[place] - guess(row[place - 3] if place > 2 else 0, above[place], above[place - 3] if place > 2 else 0))
        & 255
        for place in range(len(row))
    )
    assert apng.unfiltered(kind, filtered, above) == row


def test_other_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="eight bits for each of three colours"):
        apng.decode(png(RED * 2, colour=6))


def test_the_picture_of_the_readme_moves_and_is_light() -> None:
    picture = (ROOT / "docs" / "images" / "demo.png").read_bytes()
    (frames,) = [struct.unpack(">II", data)[0] for kind, data in apng.chunks_of(picture) if kind == b"acTL"]
    assert frames >= 8
    assert len(picture) < 300_000
