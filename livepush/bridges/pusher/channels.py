"""Channels and their groups: ``private-order;7`` is the group ``order:7``, since no channel's name has a colon.

A name's prefix says how a client must ask for it: the group of ``board``, ``private-board`` and
``presence-cache-board`` is ``board``. Pure functions.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from livepush.wire import WireError, check_group

MAX_LENGTH = 200
SERVER_TO_USER = "#server-to-user-"
ENCRYPTED = "private-encrypted-"
PREFIXES = ("private-cache-", "presence-cache-", "private-", "presence-", "cache-")
"""Longer prefixes come first, since the first that fits counts."""
_NAME = re.compile(rf"[A-Za-z0-9_=@,.;-]{{1,{MAX_LENGTH}}}", re.ASCII)
_TO_GROUP = str.maketrans(";,", ":/")
_TO_CHANNEL = str.maketrans(":/", ";,")


class Channel(NamedTuple):
    """A channel, and the group that it stands for."""

    name: str
    group: str
    prefix: str
    """What stands before the group in the name; empty for a public channel."""

    @property
    def needs_auth(self) -> bool:
        """Whether a client must show a signature of the auth endpoint."""
        return self.prefix.startswith(("private-", "presence-"))

    @property
    def has_members(self) -> bool:
        """Whether its subscribers see each other."""
        return self.prefix.startswith("presence-")

    @property
    def is_cached(self) -> bool:
        """Whether a new subscriber gets the last event."""
        return self.prefix.endswith("cache-")

    @property
    def is_of_user(self) -> bool:
        """Whether it is the channel of one user, who must have signed in."""
        return self.prefix == SERVER_TO_USER


def channel_of(name: object) -> Channel:
    """Return the channel of a name. Raises WireError: the name is malformed, or the kind is not supported."""
    if isinstance(name, str) and name.startswith(SERVER_TO_USER):
        return Channel(name, _group(f"user:{_checked(name.removeprefix(SERVER_TO_USER))}"), SERVER_TO_USER)
    text = _checked(name)
    if text.startswith(ENCRYPTED):
        raise WireError("bad_channel", f"Channels that begin with {ENCRYPTED!r} are not supported: use 'private-'.")
    prefix = next((prefix for prefix in PREFIXES if text.startswith(prefix)), "")
    return Channel(text, _group(text.removeprefix(prefix)), prefix)


def is_name(name: object) -> bool:
    """Return whether a channel may have this name. Groups have characters that channels have not."""
    try:
        channel_of(name)
    except WireError:
        return False
    return True


def name_of(group: str, prefix: str = "") -> str:
    """Return the name of the channel with which a client asks for a group."""
    return prefix + group.translate(_TO_CHANNEL)


def _group(text: str) -> str:
    return check_group(text.translate(_TO_GROUP))


def _checked(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise WireError(
            "bad_channel",
            f"A channel's name is malformed: expected 1 to {MAX_LENGTH} of letters, digits and _-=@,.; "
            "(write a semicolon where the group has a colon).",
        )
    return name
