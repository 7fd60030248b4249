"""What a hub routes in one go, encoded once for all its subscribers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import NamedTuple

from livepush.wire import COPIES, Event, Format, encode, join, on_the_wire

Frames = Sequence[bytes | str]
Came = tuple[int | str, ...]
"""How a client came: the number behind which it reads, and its groups."""


class Joined:
    """Frames that go out in one write."""

    def __init__(self, frames: Frames, now: float) -> None:
        self.frames = frames
        self.time = now
        """When they were made (the loop's time): one number for all their readers, where each would have its own."""
        self.size = sum(map(len, frames))
        """Their length, together."""

    @cached_property
    def raw(self) -> bytes:
        """The same as it goes over the wire."""
        return on_the_wire(self.frames)


class Round:
    """What is routed in one go: each event is encoded once for each format, each set of groups joined once."""

    def __init__(self, epoch: str, events: Iterable[Event], now: float, ephemeral: bool = False) -> None:
        self.epoch = epoch
        self.time = now
        """When it is routed (the loop's time)."""
        self.ephemeral = ephemeral
        self.by_group: dict[str, list[tuple[int, Event]]] = {}
        for place, event in enumerate(events):
            self.by_group.setdefault(event.group, []).append((place, event))
        self._encoded: dict[tuple[int, Format], str] = {}

    def joined(self, groups: Sequence[str], format: Format) -> Joined:
        """Return the frames that bring the events of some groups, in order, each send once or each of its copies."""
        found = self._of(groups, format in COPIES)
        return Joined(join([self._encode(*event, format) for event in found], format), self.time)

    def _of(self, groups: Sequence[str], copies: bool) -> list[tuple[int, Event]]:
        if len(groups) == 1:
            return self.by_group[groups[0]]
        events: list[tuple[int, Event]] = []
        last = None
        for place, event in sorted(pair for group in groups for pair in self.by_group[group]):
            if copies or event.send is None or event.send != last:
                events.append((place, event))
            last = event.send
        return events

    def _encode(self, place: int, event: Event, format: Format) -> str:
        text = self._encoded.get((place, format))
        if text is None:
            text = self._encoded[place, format] = encode(event, self.epoch, format)
        return text


class Replay(NamedTuple):
    """All that some groups had behind a number when the hub was at ``upto``, in one write."""

    frames: Frames
    upto: int
    send: int | None
    """The send of its last event."""


class Encoder:
    """Encodes events for replays, and keeps what it made a moment ago: a crowd comes back for the same events.

    Bounded in characters; what was made is forgotten all at once, since the next crowd comes for other events.
    """

    def __init__(self, epoch: str, format: Format, most: int) -> None:
        self.replays: dict[Came, Replay] = {}
        """What was written to those who came with a number and groups, without which 1,000 clients that resume 50
        events behind take a seventh longer."""
        self._epoch = epoch
        self._format = format
        self._most = most
        self._size = 0
        self._replayed = 0
        self._texts: dict[int | None, str] = {}

    def keep(self, came: Came, replay: Replay) -> None:
        """Keep a replay for others that come as this one did."""
        size = sum(map(len, replay.frames))
        if self._replayed + size > self._most:
            self.replays.clear()
            self._replayed = 0
        self.replays[came] = replay
        self._replayed += size

    def encode(self, event: Event) -> str:
        """Return an event of the log as text."""
        text = self._texts.get(event.number)
        if text is None:
            text = encode(event, self._epoch, self._format)
            if self._size + len(text) > self._most:
                self._texts.clear()
                self._size = 0
            self._texts[event.number] = text
            self._size += len(text)
        return text


class Share:
    """What a round brings to all who have the same of its groups, encoded when the first of them asks for it."""

    __slots__ = ("_groups", "_joined", "_round", "ephemeral")

    def __init__(self, round: Round, groups: Sequence[str]) -> None:
        self.ephemeral = round.ephemeral
        self._round = round
        self._groups = groups
        self._joined: dict[Format, Joined] = {}

    def joined(self, format: Format) -> Joined:
        """Return the frames in a format."""
        found = self._joined.get(format)
        if found is None:
            found = self._joined[format] = self._round.joined(self._groups, format)
        return found
