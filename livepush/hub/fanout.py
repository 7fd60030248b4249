"""Encodes the events of a round once for all subscribers."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from functools import cached_property
from sys import getsizeof

from livepush.wire import (
    FORGOTTEN,
    Binary,
    Cache,
    Event,
    Floor,
    Floors,
    Format,
    Frames,
    encode,
    join,
    memory_of,
    on_the_wire,
    readable,
)


class Joined:
    """Frames that go out in one write."""

    __slots__ = ("_raw", "frames", "size", "time", "upto")

    def __init__(self, frames: Frames, now: float, upto: int) -> None:
        self.frames = frames
        self.time = now
        """When they were made (the loop's time). All readers share this number."""
        self.upto = upto
        """The number up to which a reader has received everything after these were written."""
        self.size = sum(map(len, frames))
        """Their total length."""
        self._raw = b""

    @property
    def raw(self) -> bytes:
        """The frames as bytes on the wire."""
        if not self._raw:
            self._raw = on_the_wire(self.frames)
        return self._raw


class Round:
    """Some events that are routed together. Each is encoded once for each format and set of groups."""

    def __init__(self, epoch: str, events: Sequence[Event], routes: Container[str], now: float, upto: int) -> None:
        self.events = events
        self.by_group: dict[str, list[int]] = {}
        """The indexes of each group's events, for the groups that have readers."""
        for place, event in enumerate(events):
            for group in event.groups:
                if group in routes:
                    self.by_group.setdefault(group, []).append(place)
        self._epoch = epoch
        self._time = now
        self._upto = upto
        self._encoded: dict[tuple[int, tuple[str, ...], Format], str | Binary] = {}

    @cached_property
    def oldest(self) -> str:
        """The time of the event that was sent first."""
        return min(event.time for event in self.events)

    @property
    def ephemeral(self) -> bool:
        """Whether its events are ephemeral, so that they are not in the log."""
        return self.events[0].number is None

    def joined(self, groups: tuple[str, ...], format: Format) -> Joined:
        """Return the frames for readers of these groups, in their order, with each event once."""
        parts = [self._encode(place, matching, format) for place, matching in self.of(groups)]
        return Joined(join(parts, format), self._time, self._upto)

    def joined_above(self, groups: tuple[str, ...], format: Format, floors: Floors) -> Joined | None:
        """Return what ``joined`` does, without what lies below a reader's floors; ``None`` if nothing is left."""
        found = [(place, readable(self.events[place], matching, floors)) for place, matching in self.of(groups)]
        parts = [self._encode(place, matching, format) for place, matching in found if matching]
        return Joined(join(parts, format), self._time, self._upto) if parts else None

    def is_above(self, floor: Floor) -> bool:
        """Return whether a floor hides none of its events."""
        first = self.events[0].number
        return (first is None or first > floor.number) and self.oldest >= floor.time

    def of(self, groups: tuple[str, ...]) -> Iterable[tuple[int, tuple[str, ...]]]:
        """Return the indexes of the events in some groups, each with those of the groups that it went to."""
        if len(groups) == 1:  # the usual case
            return [(place, groups) for place in self.by_group[groups[0]]]
        found: dict[int, list[str]] = {}
        for group in groups:
            for place in self.by_group[group]:
                found.setdefault(place, []).append(group)
        return [(place, tuple(found[place])) for place in sorted(found)]

    def _encode(self, place: int, groups: tuple[str, ...], format: Format) -> str | Binary:
        key = (place, groups, format)
        text = self._encoded.get(key)
        if text is None:
            text = self._encoded[key] = encode(self.events[place].to(groups), self._epoch, format)
        return text


class Share(dict[Format, Joined]):
    """A round's events for all readers of the same groups, by format: encoded when the first reader needs them.

    A dict, since each of thousands of readers looks in.
    """

    __slots__ = ("_groups", "_round", "ephemeral")

    def __init__(self, round: Round, groups: tuple[str, ...]) -> None:
        self.ephemeral = round.ephemeral
        self._round = round
        self._groups = groups

    @property
    def events(self) -> list[Event]:
        """The events, for a subscriber that encodes them itself."""
        return [self._round.events[place] for place, _ in self._round.of(self._groups)]

    def __missing__(self, format: Format) -> Joined:
        found = self[format] = self._round.joined(self._groups, format)
        return found

    def above(self, floors: Floors, highest: Floor, format: Format) -> Joined | None:
        """Return the frames without the events below a reader's floors; ``None`` if no event is left."""
        if self._round.is_above(highest):  # the usual case
            return self[format]
        return self._round.joined_above(self._groups, format, floors)


class Encoder:
    """Encodes events for replays, and keeps the texts for a while: many returning clients need the same events.

    The texts take at most about ``max_bytes``.
    """

    def __init__(self, max_bytes: int) -> None:
        self.texts: Cache[str | Binary] = Cache(max_bytes)

    def hear(self, event: Event) -> None:
        """Forget all texts if events were deleted: a text may be of one of them."""
        if event.type == FORGOTTEN:
            self.texts.clear()

    def lose_track(self) -> None:
        """Forget all texts: they are of another life of the log."""
        self.texts.clear()

    def encode(self, event: Event, epoch: str, format: Format) -> str | Binary:
        """Return an event of the log as text."""
        key = (epoch, event.number, event.groups, format)
        text = self.texts.get(key)
        if text is None:
            text = encode(event, epoch, format)
            self.texts.put(key, text, getsizeof(text) + memory_of(event) - getsizeof(event.data))
        return text
