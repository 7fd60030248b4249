"""Takes the colours and movements of terminals out of text (ECMA-48, section 5)."""

from __future__ import annotations

import re

MAX_SEQUENCE = 4096
"""The most characters of a sequence that is kept until its end comes. A longer one is none."""
_CONTROL = r"(?:\x1b\[|\x9b)[0-?]*[ -/]*"
_STRING = r"\x1b[\]P_^Xk][^\x07\x1b\n]*"
"""A title, a link or the like. Its end is BEL or ST; a line's end ends it too, in case that it has none."""
_WHOLE = re.compile(rf"{_CONTROL}[@-~]|{_STRING}(?:\x07|\x1b\\|(?=\n))|\x1b[ -/]*[0-OQ-WYZ\\`-jl-~]")
_BEGUN = re.compile(rf"(?:{_CONTROL}|{_STRING}\x1b?|\x1b[ -/]*)\Z")


class Stripper:
    """Strips a text that comes in pieces: a sequence may be cut in two."""

    def __init__(self) -> None:
        self._rest = ""

    def feed(self, text: str) -> str:
        """Return a piece without its sequences. An end that may begin one waits for the next piece."""
        if not self._rest and "\x1b" not in text and "\x9b" not in text:
            return text
        text = _WHOLE.sub("", self._rest + text)
        begun = _BEGUN.search(text)
        self._rest = ""
        if begun is not None and len(begun[0]) <= MAX_SEQUENCE:
            text, self._rest = text[: begun.start()], begun[0]
        return text

    def end(self) -> str:
        """Return what was kept at the end of the text: a title without an end may be text."""
        rest, self._rest = self._rest, ""
        return rest[2:].rstrip("\x1b") if re.match(_STRING, rest) else ""


def strip(text: str) -> str:
    """Return a whole text without its sequences."""
    stripper = Stripper()
    return stripper.feed(text) + stripper.end()
