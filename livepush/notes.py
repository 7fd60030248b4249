"""What a process notes in its log once, or once in a while."""

from __future__ import annotations

import logging
import time
from math import inf
from threading import RLock

from livepush.forking import renewed

logger = logging.getLogger("livepush")

_noted: set[str] = set()
"""What this process has noted; a set of the code's own sentences, so it stays small."""
_lock = renewed(globals(), "_lock", RLock)


class Rarely:
    """Tells when to log what may happen very often: the first time, and then at most once in a while."""

    def __init__(self, every: float = 60.0) -> None:
        self.every = every
        """How long (seconds) nothing is logged after something was."""
        self._count = 0
        self._logged_at = -inf

    def times(self) -> int:
        """Count one more time. Return how many there were since this last returned a number; 0 if it is too soon."""
        self._count += 1
        now = time.monotonic()
        if now - self._logged_at < self.every:
            return 0
        self._logged_at, count, self._count = now, self._count, 0
        return count


def last_of(times: int) -> str:
    """Return the sentence by which a line of the log says how many it stands for; nothing if it is one."""
    return f" It is the last of {times} times." if times > 1 else ""


class AtMost:
    """Tells when to log what may come in floods: so many a second, with how many were left out before."""

    def __init__(self, per_second: int) -> None:
        self.per_second = per_second
        self._begun = -inf
        self._count = self._left_out = 0

    def left_out(self) -> int | None:
        """Count one more. Return how many were left out before it; ``None`` if it is to be left out itself."""
        with _lock:
            now = time.monotonic()
            if now - self._begun >= 1:
                self._begun, self._count = now, 0
            if self._count >= self.per_second:
                self._left_out += 1
                return None
            self._count += 1
            found, self._left_out = self._left_out, 0
            return found


class OnceEach:
    """Tells what is to be logged once each. After a number of different things nothing more is logged."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._seen: set[str] = set()

    def is_new(self, what: str) -> bool:
        """Return whether this is asked about something for the first time, and there were not too many before."""
        if what in self._seen or len(self._seen) >= self.most:
            return False
        self._seen.add(what)
        return True


def note_once(message: str, *args: object, level: int = logging.INFO) -> None:
    """Log a message unless this process has logged it before, whatever its arguments."""
    if message not in _noted:
        _noted.add(message)
        logger.log(level, message, *args)


MAX_LINE = 500


def one_line(error: object) -> str:
    """Return an error's name and text for a log or a table, in one line of printable characters that is not long.

    The text may hold what a stranger has sent, who could otherwise write lines of a log.
    """
    text = str(error) if isinstance(error, str) else f"{type(error).__name__}: {error}".removesuffix(": ")
    return "".join(each if each.isprintable() else "\ufffd" for each in text[:MAX_LINE])
