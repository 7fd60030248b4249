"""What one client is sent, and when: decisions alone, with no event loop and no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto

from livepush.hub.fanout import Joined
from livepush.wire import LARGEST_NUMBER, Event, Frames, Position, merge


class State(Enum):
    """What a connection is doing."""

    REPLAYING = "replaying"
    """It reads what lies before the hub's position."""
    LIVE = "live"
    """It has had everything up to the hub's position, or holds it in its buffer."""
    BEHIND = "behind"
    """It was too slow for its buffer, or lost the hub's thread, and reads from the log at its own pace."""
    CLOSED = "closed"
    """It gets nothing any more; ``reason`` says why."""


class Reason(Enum):
    """Why a connection was closed."""

    GONE = "gone"
    """The client went away."""
    SLOW = "slow"
    """A write made no progress for ``WRITE_TIMEOUT``."""
    DRAIN = "drain"
    """The server is going away."""
    REVOKED = "revoked"
    """No right to any of its groups is left."""
    FAILED = "failed"
    """A write failed, or the log could not be read."""


class Next(Enum):
    """What to do when nothing is being written."""

    WAIT = auto()
    """Nothing: it is live."""
    WRITE = auto()
    """Write what ``take`` returns."""
    READ = auto()
    """Read on from the log."""
    END = auto()
    """Tell the endpoint that it is over."""


class Step(Enum):
    """What to do next while the log is read."""

    SAY = "say"
    """Write what ``take`` returns, then ask again."""
    RESET_EPOCH = "epoch"
    """The log is another one."""
    RESET_PRUNED = "pruned"
    """What follows the cursor is gone."""
    PAGE = "page"
    """Read a page behind the cursor."""
    DONE = "done"
    """It is live now, or closed."""


class Flow:
    """The state of a stream to one client. ``limit`` is the most that waits for a slow client, in bytes."""

    __slots__ = ("_buffer", "_buffered", "_since", "_system", "_upto", "cursor", "epoch", "groups", "limit", "reason",
                 "state")  # fmt: skip

    def __init__(self, groups: Iterable[str], cursor: Position, limit: int) -> None:
        self.groups = dict.fromkeys(groups, 0)
        """Each group with the number behind which its events are wanted."""
        self.epoch, self.cursor = cursor
        self.limit = limit
        self.state = State.REPLAYING
        self.reason: Reason | None = None
        self._buffer: list[bytes | str] = []
        self._buffered = 0
        self._upto = 0
        self._system: list[bytes | str] = []
        self._since: list[tuple[tuple[str, ...], int]] = []

    # What comes in

    def offer(self, joined: Joined, idle: bool) -> bool:
        """Take what is live; return whether to write it now, else it waits or is read from the log later."""
        if idle and joined.size <= self.limit:
            self.cursor = joined.upto
            return True
        self._buffer += joined.frames
        self._buffered += joined.size
        self._upto = joined.upto
        if self._buffered > self.limit:
            self.fall_behind()
        return False

    def say(self, frames: Frames) -> bool:
        """Take what livepush itself says, behind the events that came before; return whether the client is too slow."""
        self._system += frames  # apart from the buffer, which may be dropped
        self.fall_behind()
        return sum(map(len, self._system)) > self.limit

    def fall_behind(self) -> None:
        """Read on from the log: what was buffered is dropped."""
        if self.state is State.LIVE:
            self._drop_buffer()
            self.state = State.BEHIND

    def add(self, groups: Iterable[str], number: int) -> None:
        """Want more groups, from a number on; those it has stay as they are."""
        for group in groups:
            self.groups.setdefault(group, number)

    def add_from(self, groups: Iterable[str], number: int) -> None:
        """Want more groups from a number on that may lie before the cursor: they are read from the log first."""
        new = tuple(group for group in groups if group not in self.groups)
        for group in new:
            self.groups[group] = LARGEST_NUMBER  # until the log is read
        self._since.append((new, number))
        self.fall_behind()

    def drop(self, groups: Iterable[str]) -> None:
        """Want some groups no longer."""
        for group in groups:
            self.groups.pop(group, None)

    def close(self, reason: Reason, farewell: Frames = ()) -> None:
        """Get nothing any more, but for the farewell."""
        self.state, self.reason = State.CLOSED, reason
        self._drop_buffer()
        self._system = list(farewell)

    def drop_farewell(self) -> None:
        """Say nothing more: the client can't hear it."""
        self._system.clear()

    # What is next

    def next(self) -> Next:
        """Return what to do now that nothing is being written."""
        if self.state is State.CLOSED:
            return Next.WRITE if self._system else Next.END
        if self._buffer:
            return Next.WRITE
        return Next.WAIT if self.state is State.LIVE else Next.READ

    def step(self, position: Position, floor: int) -> Step:
        """Return what to do next while the log is read, given where the hub stands; goes live at the hub's position."""
        if self.state is State.CLOSED:
            return Step.DONE
        if self._system:
            return Step.SAY
        if self.epoch != position.epoch:
            return Step.RESET_EPOCH
        self._rewind()
        if self.cursor < floor:
            return Step.RESET_PRUNED
        if self.cursor < position.number:
            return Step.PAGE
        self.state = State.LIVE
        return Step.DONE

    def take(self) -> Frames:
        """Return what is to be written now: what livepush says, else what is buffered."""
        if self._system:
            frames, self._system = merge(self._system), []
            return frames
        frames = merge(self._buffer)
        self._drop_buffer()
        self.cursor = self._upto
        return frames

    def wanted(self, events: Sequence[Event]) -> Iterator[Event]:
        """Yield those events of a page that the client wants, each with those of its groups that are wanted."""
        for event in events:
            number = event.number or 0
            if number > self.cursor:
                groups = tuple(group for group in event.groups if number > self.groups.get(group, LARGEST_NUMBER))
                if groups:
                    yield event.to(groups)

    def reset(self, position: Position) -> None:
        """Go on from a position; what lies before it is lost."""
        self.epoch, self.cursor = position
        self._since.clear()
        self.groups = dict.fromkeys(self.groups, 0)

    def _rewind(self) -> None:
        """Go back to where added groups are wanted from; of the others nothing is wanted twice."""
        for new, number in self._since:
            for group, since in self.groups.items():
                self.groups[group] = max(since, self.cursor)
            for group in new:
                if group in self.groups:
                    self.groups[group] = number
            self.cursor = min(self.cursor, number)
        self._since.clear()

    def _drop_buffer(self) -> None:
        self._buffer, self._buffered = [], 0
