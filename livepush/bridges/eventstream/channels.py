"""Channels and their groups: ``room-7`` is the group ``eventstream:room-7``.

The prefix keeps channels apart from all other groups, since a channel manager may let anybody read any channel. What no
group's name may have is escaped.
"""

from __future__ import annotations

import re

from livepush.bridges.escaping import escaped

PREFIX = "eventstream:"
_ESCAPED = re.compile(r"=([0-9A-F]{2})")


def group_of(channel: str) -> str:
    """Return the group that a channel's events go to, for rules and template tags of livepush's own."""
    return PREFIX + escaped(str(channel))


def channel_of(group: str) -> str:
    """Return the channel of a group. Raises ValueError: the name is none that ``group_of`` makes."""
    parts = _ESCAPED.split(group.removeprefix(PREFIX))
    return b"".join(bytes.fromhex(part) if place % 2 else part.encode() for place, part in enumerate(parts)).decode()
