"""Which addresses a notification may lead to."""

from __future__ import annotations

import re

_SAFE = re.compile(r"(?:https?://|mailto:|/(?!/|\\)|[?#]|\./)[^\x00-\x20\x7f\\]*|", re.ASCII | re.IGNORECASE)


def is_safe(url: str) -> bool:
    """Return whether an address is a web address, a path or none: ``javascript:`` and its like run in the page."""
    return _SAFE.fullmatch(url) is not None
