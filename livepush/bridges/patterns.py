"""Patterns of names: what a key may publish, and what a relay sends. ``*`` stands for any characters, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

MAX_LENGTH = 200
PATTERN = re.compile(rf"[A-Za-z0-9_.:/@+~=*-]{{1,{MAX_LENGTH}}}", re.ASCII)


def split(text: str) -> tuple[str, ...]:
    """Return the patterns in a text: between them stand spaces, commas or line breaks."""
    return tuple(dict.fromkeys(text.replace(",", " ").split()))


def problem(patterns: Iterable[str]) -> str | None:
    """Return the problem with the first malformed pattern, or ``None``."""
    for pattern in patterns:
        if not PATTERN.fullmatch(pattern):
            return f"{pattern!r} is not a pattern: expected 1 to {MAX_LENGTH} of letters, digits, _-.:/@+~= and *"
    return None


def matches(patterns: tuple[str, ...], name: str) -> bool:
    """Return whether one of the patterns stands for a name."""
    return bool(patterns) and _compiled(patterns).fullmatch(name) is not None


@lru_cache(maxsize=1000)
def _compiled(patterns: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(".*".join(map(re.escape, re.split(r"\*+", each))) for each in patterns))
