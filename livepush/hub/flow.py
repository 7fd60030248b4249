"""Decides what one client is sent, and when, and whether it is too slow. It has no event loop and no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import Enum, auto
from math import inf

from livepush.hub.fanout import Joined
from livepush.wire import (
    EVERYTHING,
    LARGEST_NUMBER,
    Event,
    Floor,
    Floors,
    Frames,
    Position,
    above,
    changed,
    highest,
    merge,
)


class State(Enum):
    """What a connection is doing."""

    REPLAYING = "replaying"
    """It reads what lies before the hub's position."""
    LIVE = "live"
    """It has sent everything up to the hub's position, or holds it in its buffer."""
    BEHIND = "behind"
    """It was too slow for its buffer, or lost the hub's thread, and reads from the log at its own pace."""
    CLOSED = "closed"
    """It gets no more events; ``reason`` says why."""


class Reason(Enum):
    """Why a connection was closed."""

    GONE = "gone"
    """The client went away."""
    SLOW = "slow"
    """A write made no progress for ``WRITE_TIMEOUT``."""
    DRAIN = "drain"
    """The server is going away."""
    REVOKED = "revoked"
    """The user may no longer read any of its groups."""
    TOO_LARGE = "too large"
    """An event is larger than the server lets a message be."""
    FAILED = "failed"
    """A write failed, or the log could not be read."""


class Next(Enum):
    """What to do when nothing is being written."""

    WAIT = auto()
    """Do nothing: the connection is live."""
    WRITE = auto()
    """Write what ``take`` returns."""
    READ = auto()
    """Read on from the log."""
    END = auto()
    """Tell the endpoint that the connection is closed."""


class Step(Enum):
    """What to do next while the log is read."""

    SAY = "say"
    """Write what ``take`` returns, then ask again."""
    RESET_EPOCH = "epoch"
    """Tell the client that its history is lost: the log has a new epoch."""
    RESET_PRUNED = "pruned"
    """Tell the client that its history is lost: events after the cursor were pruned."""
    PAGE = "page"
    """Read a page after the cursor."""
    DONE = "done"
    """Stop reading: the connection is live now, or closed."""


class Flow:
    """The state of a stream to one client.

    At most ``limit`` bytes wait for a slow client. A write may take ``write_timeout`` seconds.
    """

    __slots__ = ("_buffer", "_since", "_system", "_upto", "buffered", "busy_since", "cursor", "epoch", "floors",
                 "groups", "highest", "limit", "reason", "state", "write_timeout")  # fmt: skip

    def __init__(self, groups: Iterable[str], cursor: Position, limit: int, write_timeout: float = inf) -> None:
        self.floors: dict[str, Floor] = {}
        """Since when the client may read some of the groups; older events are not for it, whatever it asks for."""
        self.highest = EVERYTHING
        """The highest number and the latest time of ``floors``: no floor hides an event that is past both."""
        self.groups = dict.fromkeys(groups, 0)
        """Each group with the number after which the client wants its events."""
        self.epoch, self.cursor = cursor
        self.limit = limit
        self.write_timeout = write_timeout
        self.busy_since: float | None = None
        """When the write that is going on began; ``None`` if there is none."""
        self.state = State.REPLAYING
        self.reason: Reason | None = None
        self._buffer: list[bytes | str] = []
        self.buffered = 0
        self._upto = 0
        self._system: Frames = ()
        self._since: tuple[tuple[tuple[str, ...], int], ...] = ()

    # What comes in

    def offer(self, joined: Joined, idle: bool, any_size: bool = False) -> bool:
        """Take live frames; return whether to write them now. Otherwise they wait, or are read from the log later.

        Frames of ``any_size`` are livepush's own: they are not in the log, so nothing would bring them later.
        """
        if idle and (any_size or joined.size <= self.limit):
            self.cursor = joined.upto
            return True
        self._buffer += joined.frames
        self.buffered += joined.size
        self._upto = joined.upto
        if self.buffered > self.limit:
            self.fall_behind()
        return False

    def say(self, frames: Frames) -> bool:
        """Take frames of livepush's own, to go after the earlier events; return whether the client is too slow.

        A message that waits alone may have any size.
        """
        is_alone = not self._system
        self._system = (*self._system, *frames)  # apart from the buffer, which may be dropped
        self.fall_behind()
        return not is_alone and sum(map(len, self._system)) > self.limit

    def is_stuck(self, now: float) -> bool:
        """Return whether the write that is going on takes too long: the client does not read."""
        return self.busy_since is not None and now - self.busy_since > self.write_timeout

    def fall_behind(self) -> None:
        """Drop the buffer and go on from the log."""
        if self.state is State.LIVE:
            self._drop_buffer()
            self.state = State.BEHIND

    def lose_history(self) -> None:
        """Take the client's history for lost, as in a new epoch."""
        self.epoch = ""

    def limit_to(self, groups: Iterable[str], floors: Floors) -> None:
        """Note since when the client may read some groups: all of them, but for those that have a floor."""
        floors = changed(self.floors, groups, floors)
        if floors != self.floors:
            self._set_floors(floors)
            if self._buffer:
                self.fall_behind()  # what waits may lie below

    def add(self, groups: Iterable[str], number: int) -> None:
        """Add groups from a number on. Groups that it has already stay as they are."""
        for group in groups:
            self.groups.setdefault(group, number)

    def add_from(self, groups: Iterable[str], number: int) -> None:
        """Add groups from a number that may lie before the cursor: their events are read from the log first.

        Groups that it has already go back as well.
        """
        asked = tuple(groups)
        for group in asked:
            self.groups.setdefault(group, LARGEST_NUMBER)  # until the log is read
        self._since = (*self._since, (asked, number))
        self.fall_behind()

    def drop(self, groups: Iterable[str]) -> None:
        """Drop groups, and where they were to begin: they may be added again from somewhere else."""
        dropped = set(groups)
        self._set_floors(changed(self.floors, dropped, {}))
        for group in dropped:
            self.groups.pop(group, None)
        kept = ((tuple(each for each in asked if each not in dropped), since) for asked, since in self._since)
        self._since = tuple(kept)

    def close(self, reason: Reason, farewell: Frames = ()) -> None:
        """Close: nothing but the farewell is sent any more."""
        self.state, self.reason = State.CLOSED, reason
        self._drop_buffer()
        self._system = farewell

    def drop_farewell(self) -> None:
        """Drop the farewell too: the client can't receive it."""
        self._system = ()

    # What is next

    def next(self) -> Next:
        """Return what to do now that nothing is being written."""
        if self.state is State.CLOSED:
            return Next.WRITE if self._system else Next.END
        if self._buffer:
            return Next.WRITE
        return Next.WAIT if self.state is State.LIVE else Next.READ

    def step(self, position: Position, floor: int) -> Step:
        """Return what to do next while the log is read. At the hub's position the connection goes live."""
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
        """Return the frames to write now: livepush's own first, else the buffer."""
        if self._system:
            frames, self._system = merge(self._system), ()
            return frames
        frames = merge(self._buffer)
        self._drop_buffer()
        self.cursor = self._upto
        return frames

    def wanted(self, events: Sequence[Event]) -> Iterator[Event]:
        """Yield the events of a page that the client wants, each with those of its groups that the client wants."""
        for event in events:
            number = event.number or 0
            if number > self.cursor:
                groups = tuple(group for group in event.groups if number > self.groups.get(group, LARGEST_NUMBER))
                if groups:
                    yield from above([event.to(groups)], self.floors) if self.floors else [event.to(groups)]

    def reset(self, position: Position) -> None:
        """Go on from a position; the history before it is lost."""
        self.epoch, self.cursor = position
        self._since = ()
        self.groups = dict.fromkeys(self.groups, 0)
        self._set_floors({group: Floor(self.cursor, floor.time) for group, floor in self.floors.items()})

    def _rewind(self) -> None:
        """Go back to where groups were asked from. The other groups' events are not sent twice."""
        for asked, number in self._since:
            for group, since in self.groups.items():
                self.groups[group] = max(since, self.cursor)
            for group in asked:
                self.groups[group] = min(self.groups[group], number)
            self.cursor = min(self.cursor, number)
        self._since = ()

    def _set_floors(self, floors: dict[str, Floor]) -> None:
        self.floors, self.highest = floors, highest(floors)

    def _drop_buffer(self) -> None:
        self._buffer, self.buffered = [], 0
