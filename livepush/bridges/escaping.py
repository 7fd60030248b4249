"""Escapes texts that become parts of groups' names."""

from __future__ import annotations

import re

_UNSAFE = re.compile(rb"[^A-Za-z0-9_.:/@+~-]")


def escaped(text: str) -> str:
    """Return a text as a part of a group's name.

    A character that no name may have stands as ``=`` and two hexadecimal digits for each of its bytes in UTF-8.
    """
    return _UNSAFE.sub(lambda match: b"=%02X" % match[0][0], text.encode()).decode()
