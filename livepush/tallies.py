"""Counts of what happens seldom in a process: connects, refusals, resets. Never of what happens for each event."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from threading import RLock

from livepush.forking import renewed

counts: Counter[tuple[str, ...]] = renewed(globals(), "counts", Counter)
"""How often each thing happened since the process began: its name, and what tells one kind from another. None is ever
dropped, so a kind is one of livepush's own words, and no text of a client's or of the project's."""
_lock = renewed(globals(), "_lock", RLock)


def note(*what: str, by: int = 1) -> None:
    """Count something, from any thread."""
    with _lock:
        counts[what] += by


class Times:
    """How long something took: how often it took at most as long as each bound, and all of it together (seconds)."""

    BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

    def __init__(self) -> None:
        self.counts = [0] * (len(self.BOUNDS) + 1)
        """How often it took longer than one bound, and not longer than the next; at last those over all bounds."""
        self.sum = 0.0

    def note(self, seconds: float) -> None:
        """Count one more, from any thread."""
        with _lock:
            self.counts[bisect_left(self.BOUNDS, seconds)] += 1
            self.sum += seconds


settles = renewed(globals(), "settles", Times)
"""How long this process took to give committed events their positions, each time."""
