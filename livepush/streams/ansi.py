"""Takes the colours and movements of terminals out of text (ECMA-48, section 5)."""

from __future__ import annotations

import re

MAX_SEQUENCE = 256
"""The most characters of a sequence that is kept until its end comes. A longer one is none."""
_WHOLE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-Z\\^_`-~])")
_BEGUN = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]*\x1b?|[ -/]*)\Z")


class Stripper:
    """Strips a text that comes in pieces: a sequence may be cut in two."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        """Return a piece without its sequences. What may be the beginning of one waits for the next piece."""
        if not self._rest and "\x1b" not in text:
            return text
        text = _WHOLE.sub("", self._rest + text)
        begun = _BEGUN.search(text)
        self._rest = ""
        if begun is not None and len(begun[0]) <= MAX_SEQUENCE:
            text, self._rest = text[: begun.start()], begun[0]
        return text


def strip(text: str) -> str:
    """Return a whole text without its sequences."""
    return _WHOLE.sub("", text)
