"""Rules for the names of groups and types."""

from __future__ import annotations

import re

from livepush.wire.errors import WireError

MAX_GROUP_LENGTH = 200
MAX_TYPE_LENGTH = 100
GROUP = re.compile(rf"[A-Za-z0-9_.:/@+~=-]{{1,{MAX_GROUP_LENGTH}}}", re.ASCII)
TYPE = re.compile(rf"[A-Za-z0-9_.:-]{{1,{MAX_TYPE_LENGTH}}}", re.ASCII)
SURROGATE = re.compile("[\ud800-\udfff]")
RESERVED_TYPES = frozenset({"error", "open"})
RESERVED_PREFIX = "livepush."
INBOX_PREFIX = "inbox."
PRESENCE_PREFIX = "presence."
OWN_GROUPS = "livepush:"
"""The prefix of the groups that only livepush itself reads and sends to."""
RIGHTS = f"{OWN_GROUPS}rights"
"""The group of the events that say whose rights have changed."""
FORGOTTEN = "livepush.forgotten"
"""The type of the events that say which groups' events, up to their own position, were deleted: a JSON list."""
MARK = "|"
"""What stands between a tenant and a group where groups are stored. It can be in no name that a client gives."""


def check_group(group: str) -> str:
    """Return the name of a group if it is valid.

    Raises WireError: the name is malformed.
    """
    if not GROUP.fullmatch(group):
        raise WireError(
            "bad_group",
            f"A group's name is malformed: expected 1 to {MAX_GROUP_LENGTH} of letters, digits and _-.:/@+~=.",
        )
    return group


def type_problem(name: object) -> str | None:
    """Return the problem with a type's name, or ``None``."""
    if not isinstance(name, str) or not TYPE.fullmatch(name):
        return f"expected 1 to {MAX_TYPE_LENGTH} of letters, digits and _-.:"
    if name in RESERVED_TYPES:
        return f"{name!r} is EventSource's own"
    for prefix in (RESERVED_PREFIX, INBOX_PREFIX, PRESENCE_PREFIX):
        if name.startswith(prefix):
            return f"names that begin with {prefix!r} are livepush's own"
    return None


def public_name(group: str) -> str:
    """Return a stored group's name as clients know it: without its tenant."""
    return group.rpartition(MARK)[2]


def is_stored(group: str) -> bool:
    """Return whether a name is well-formed as the log stores it: a group, with its tenant before it if it has one."""
    tenant, mark, name = group.rpartition(MARK)
    return (
        bool(GROUP.fullmatch(name)) and len(group) <= MAX_GROUP_LENGTH and bool(mark) == bool(GROUP.fullmatch(tenant))
    )
