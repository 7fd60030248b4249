"""The text of one stream that its producer has written and nobody has passed on yet. Any thread may use it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from livepush.exceptions import StreamError, StreamLost, StreamNotStored
from livepush.streams import pieces
from livepush.streams.models import StreamState
from livepush.streams.pieces import Piece, Pieces

logger = logging.getLogger("livepush")

MAX_WAITING = 262_144
"""How many characters of one stream may wait to be stored, before its producer has to wait."""


class Passage(NamedTuple):
    """The content of a stream from an offset on."""

    start: int
    pieces: Pieces
    end: int


class Ending(NamedTuple):
    """How a stream ended, and what its readers are told about it."""

    state: StreamState
    error: str = ""
    metadata: str | None = None
    """The metadata as JSON if they changed."""


class Buffer:
    """The unstored end of a stream."""

    def __init__(self, id: str, group: str, format: str, metadata: str) -> None:
        self.id = id
        self.group = group
        """The group as the log has it: with its tenant, if there are tenants."""
        self.format = format
        self.metadata = metadata
        self.stop_requested = False
        self._on_stop: Callable[[], object] | None = None
        self.ending: Ending | None = None
        """How it ends once all is stored; ``None`` while the producer may write."""
        self.lost = False
        """Whether others have ended or deleted the stream, or the database refused it."""
        self.error: StreamError | None = None
        """The error that its producer gets if it was lost."""
        self.doubtful = False
        """Whether the last attempt to store failed, so that some of it may be stored all the same."""
        self.turn = 0
        """The number of its last turn to be stored: streams with lower ones come first."""
        self._make_locks()
        self._stored = self._told = self._end = 0
        self._waiting: Pieces = []
        self._size = 0
        self._unheard: Pieces = []

    def _make_locks(self) -> None:
        self._lock = threading.RLock()  # a signal's handler may write too
        self._changed = threading.Condition(self._lock)

    @property
    def is_full(self) -> bool:
        """Whether the producer has to wait."""
        return self._size > MAX_WAITING and not self.lost

    @property
    def end(self) -> int:
        """The offset after all that was written."""
        return self._end

    def write(self, piece: Piece) -> None:
        """Add a piece. Nothing is added to a stream that was lost."""
        size = len(piece) if isinstance(piece, str) else 1
        with self._lock:
            if self.lost:
                return
            self._waiting += [piece]  # no call is in between, in which a signal's handler could write
            self._unheard += [piece]
            self._size += size if isinstance(piece, str) else len(piece.json)
            self._end += size

    def wait(self, seconds: float) -> None:
        """Wait until the producer need not wait any more, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self.is_full, seconds)

    def unstored(self) -> Passage:
        """Return what is not stored yet."""
        with self._changed:
            return Passage(self._stored, self._waiting.copy(), self._end)

    def is_stored(self, end: int) -> None:
        """Note up to which offset everything is stored."""
        with self._changed:
            self._waiting = pieces.skip(self._waiting, max(0, end - self._stored))
            self._stored = max(self._stored, end)
            self._size = sum(len(each) if isinstance(each, str) else len(each.json) for each in self._waiting)
            self._changed.notify_all()

    def lose(self) -> None:
        """Drop what is not stored: others took this process for dead, and ended the stream, or they have deleted it."""
        with self._changed:
            self.lost = True
            self.error = self.error or StreamLost(
                f"The stream {self.id} is lost: somebody has deleted it, or others took this process for dead.", self.id
            )
            self._waiting, self._size, self._stored = [], 0, self._end
            self._changed.notify_all()
        self.stop()

    def leave_to_parent(self) -> None:
        """Drop in a forked child what the parent stores, and what will be written to it here."""
        self._make_locks()
        self.lost = True
        self._waiting, self._unheard, self._size = [], [], 0
        self._told = self._stored = self._end

    def refuse(self, error: Exception) -> None:
        """Drop what is not stored: the database refuses it. The stream is to end with what is stored."""
        logger.error("The database refused the stream %s in %r, which ends: %s", self.id, self.group, error)
        with self._changed:
            self.lost, self.error = (
                True,
                StreamNotStored(f"The database refused the stream {self.id}: {error}", self.id),
            )
            self._waiting, self._unheard, self._size = [], [], 0
            self._told = self._end = self._stored
            self._changed.notify_all()
        self.stop()

    def settle(self, done: Future[None]) -> None:
        """Tell a producer that waits that the stream has begun or ended, or that it was lost."""
        if self.error is None:
            done.set_result(None)
        else:
            done.set_exception(self.error)

    def stop(self) -> None:
        """Have the producer stop: somebody asked for it, or the stream was lost."""
        with self._lock:
            call = None if self.stop_requested else self._on_stop
            self.stop_requested = True
        if call is not None:
            call()

    def on_stop(self, call: Callable[[], object]) -> None:
        """Have something called once the producer is to stop, in any thread."""
        with self._lock:
            self._on_stop = call
            is_late = self.stop_requested
        if is_late:
            call()

    def untold(self) -> Passage:
        """Return what no reader was told yet; it counts as told from now on."""
        with self._lock:
            found = Passage(self._told, self._unheard, self._end)
            self._told, self._unheard = self._end, []
            return found
