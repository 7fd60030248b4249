"""What a process notes in its log once: where it does without something that it does not know."""

from __future__ import annotations

import logging

logger = logging.getLogger("livepush")

_noted: set[str] = set()
"""What this process has noted; a set of the code's own sentences, so it stays small."""


def note_once(message: str, *args: object, level: int = logging.INFO) -> None:
    """Log a message unless this process has logged it before, whatever its arguments."""
    if message not in _noted:
        _noted.add(message)
        logger.log(level, message, *args)
