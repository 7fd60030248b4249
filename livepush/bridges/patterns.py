"""Patterns of names: what a key may publish, and what a relay sends. ``*`` stands for any characters, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.utils.functional import Promise

from livepush.wire import INBOX_PREFIX, OWN_GROUPS

CLOSED = (OWN_GROUPS, INBOX_PREFIX.replace(".", ":"))
"""How the groups begin that only livepush itself sends to. Their events go to nobody else."""
MAX_LENGTH = 200
PATTERN = re.compile(rf"[A-Za-z0-9_.:/@+~=*-]{{1,{MAX_LENGTH}}}", re.ASCII)


def listed(given: str | Iterable[str]) -> list[str]:
    """Return patterns or names as a list. A text is one of them; an empty one is none."""
    given = [given] if isinstance(given, str | Promise) else given or ()
    return [text for text in map(str, given) if text]


def split(text: str) -> tuple[str, ...]:
    """Return the patterns in a text: between them stand spaces, commas or line breaks."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def problem(patterns: Iterable[str]) -> str | None:
    """Return the problem with the first malformed pattern, or ``None``."""
    for pattern in patterns:
        if not PATTERN.fullmatch(pattern):
            return f"{pattern!r} is not a pattern: expected 1 to {MAX_LENGTH} of letters, digits, _-.:/@+~= and *"
    return None


def matches(patterns: Iterable[str], name: str) -> bool:
    """Return whether one of the patterns stands for a name. It takes time in proportion to both, whatever they hold."""
    return any(_stands_for(pattern, name) for pattern in patterns)


def _stands_for(pattern: str, name: str) -> bool:
    begin, *parts = pattern.split("*")
    if not parts:
        return pattern == name
    place, end = len(begin), len(name) - len(parts[-1])
    if not (name.startswith(begin) and name.endswith(parts[-1])):
        return False
    for part in parts[:-1]:
        found = name.find(part, place, end)
        if found < 0:
            return False
        place = found + len(part)
    return place <= end
