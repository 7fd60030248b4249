"""Channels and their groups: ``room-7`` is the group ``eventstream:room-7``.

The prefix keeps channels apart from all other groups, since a channel manager may let anybody read any channel. A
character that no group's name may have stands as ``=`` and the two hexadecimal digits of each of its bytes in UTF-8.
"""

from __future__ import annotations

import re

PREFIX = "eventstream:"
_UNSAFE = re.compile(rb"[^A-Za-z0-9_.:/@+~-]")
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def group_of(channel: str) -> str:
    """Return the group that a channel's events go to, for rules and template tags of livepush's own."""
    escaped = _UNSAFE.sub(lambda match: b"=%02X" % match[0][0], str(channel).encode())
    return PREFIX + escaped.decode()


def channel_of(group: str) -> str:
    """Return the channel of a group. Raises ValueError: the name is none that ``group_of`` makes."""
    escaped = group.removeprefix(PREFIX)
    parts = _ESCAPED.split(escaped)
    return b"".join(bytes.fromhex(part) if place % 2 else part.encode() for place, part in enumerate(parts)).decode()
