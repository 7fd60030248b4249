"""The record that takes a reader's last change back, as the reader's row stores it."""

from __future__ import annotations

import json
from typing import NamedTuple

from livepush.inbox.reading import Said


class Undo(NamedTuple):
    """A reader's last change, as ``InboxState.undo`` holds it: as text that begins with the version."""

    version: int
    """The version that the change made."""
    action: str
    entries: int | None
    """How many entries it changed; ``None`` if it moved marks, which count nothing."""
    marks: tuple[int, int, int]
    """The positions up to which everything was seen, read and archived before the change."""
    seen: int
    """The position up to which everything was seen after it."""
    said: dict[int, Said]
    """The exceptions that it changed, as they were before, by position."""

    def dump(self) -> str:
        """Return the record as text. Positions are grouped by what was said, since there may be very many."""
        grouped: dict[Said, list[int]] = {}
        for number, said in self.said.items():
            grouped.setdefault(said, []).append(number)
        return json.dumps([*self[:-1], [[*said, numbers] for said, numbers in grouped.items()]])


def undo_of(record: str, version: int) -> Undo | None:
    """Return what takes a change back, if it is a reader's last one and made this version."""
    if not record.startswith(f"[{version},"):
        return None
    _, action, entries, marks, seen, grouped = json.loads(record)
    said = {number: (read, archived) for read, archived, numbers in grouped for number in numbers}
    return Undo(version, action, entries, tuple(marks), seen, said)
