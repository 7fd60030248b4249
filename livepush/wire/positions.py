"""Positions: places in the log, which clients keep and hand back unchanged."""

from __future__ import annotations

import re
from typing import NamedTuple

from livepush.wire.errors import WireError

LARGEST_NUMBER = 2**63 - 1
EPOCH = re.compile(r"[a-z0-9]{1,16}", re.ASCII)
POSITION = re.compile(rf"({EPOCH.pattern})-([0-9]{{1,19}})", re.ASCII)


class Position(NamedTuple):
    """A place in the log. Every event with this number or a smaller one has been offered."""

    epoch: str
    number: int

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


NOWHERE = Position("", 0)
"""A position in no epoch. No log continues it, so a client that presents it gets a reset."""


def parse_position(text: str) -> Position:
    """Return the position that a client sent.

    Raises WireError: the position is malformed.
    """
    match = POSITION.fullmatch(text)
    if match is None or int(match[2]) > LARGEST_NUMBER:
        raise WireError(
            "bad_position",
            "The position is malformed: expected the id of an event or the position of an answer, unchanged.",
        )
    return Position(match[1], int(match[2]))


def position_of_header(last_event_id: str) -> Position:
    """Return the position in a ``Last-Event-ID`` header; ``NOWHERE`` if it is no position of livepush's.

    An EventSource sends the last id that it got from this address, perhaps from another library, and gives up for good
    if it is refused (WHATWG HTML, section 9.2.3). So the header is never refused.
    """
    try:
        return parse_position(last_event_id)
    except WireError:
        return NOWHERE
