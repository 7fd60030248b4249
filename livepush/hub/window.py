"""The recent events that a hub keeps in memory, so that reconnects cost no query."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterator, Sequence
from heapq import merge
from itertools import groupby
from operator import itemgetter

from livepush.wire import Event, memory_of, wire_size, without

MAX_FORGOTTEN = 10_000
"""Of how many groups it is remembered that their events were deleted; a read does not take so long."""


class Window:
    """The newest events of the log, bounded by count and bytes, indexed by group."""

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.start = 0
        """The window holds every event after this number, up to the hub's position."""
        self.full = False
        """Whether the bounds were reached, so that nothing older fits."""
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()
        self._by_group: dict[str, _Column] = {}
        self._forgotten: dict[str, int] = {}
        """Groups whose events up to a number were deleted: a read that began before may still bring them."""

    def begin(self, start: int, *, anew: bool) -> None:
        """Drop all events, and begin after a number of the log; with ``anew``, of another life of the log.

        In another life the numbers mean other events, so nothing that was deleted in this one counts there.
        """
        self.clear(start)
        self._forgotten = {} if anew else {group: last for group, last in self._forgotten.items() if last <= start}

    def clear(self, start: int) -> None:
        """Drop all events."""
        self.start = start
        self.full = False
        self._bytes = 0
        self._events.clear()
        self._by_group.clear()

    def fitting(self, size: int) -> int:
        """Return about how many events fit in ``size`` bytes, judging by those in the window."""
        return max(1, size * len(self._events) // self._bytes) if self._events else 100

    @property
    def room(self) -> int:
        """About how many more events fit, judging by those in the window."""
        return min(self._max_events - len(self._events), self.fitting(self._max_bytes - self._bytes))

    def extend(self, events: Sequence[Event]) -> None:
        """Add the events that follow, and drop the oldest ones that no longer fit."""
        for event in self._left(events):
            self._events.append(event)
            for group in event.groups:
                self._by_group.setdefault(group, _Column()).append(event)
            self._bytes += memory_of(event)
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            self.full = True
            self._drop_oldest()

    def prepend(self, events: Sequence[Event], start: int) -> None:
        """Add all events between ``start`` and the window. If they do not all fit, add none."""
        events = self._left(events)
        size = sum(map(memory_of, events))
        if len(self._events) + len(events) > self._max_events or self._bytes + size > self._max_bytes:
            self.full = True
            return
        self._events.extendleft(reversed(events))
        self._bytes += size
        self.start = start
        by_group: dict[str, list[Event]] = {}
        for event in events:
            for group in event.groups:
                by_group.setdefault(group, []).append(event)
        for group, members in by_group.items():
            self._by_group.setdefault(group, _Column()).prepend(members)

    def at(self, number: int) -> Event | None:
        """Return the event with a number; ``None`` if it is not in the window."""
        place = bisect_left(self._events, number, key=_number)
        found = self._events[place] if place < len(self._events) else None
        return found if found is not None and found.number == number else None

    def forget(self, groups: Collection[str], number: int) -> None:
        """Drop some groups' events up to a number, as the log has."""
        for group in groups:
            self._forgotten.pop(group, None)
            self._forgotten[group] = number
        while len(self._forgotten) > MAX_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]
        if not self._by_group.keys().isdisjoint(groups):
            start, full, events = self.start, self.full, list(self._events)
            self.clear(start)
            self.extend(events)
            self.full = full

    def after(self, groups: Collection[str], number: int, max_bytes: int) -> tuple[list[Event], bool] | None:
        """Return the events of some groups after ``number``, in order, each with those of the groups that it went to.

        They end with the event that takes them over ``max_bytes`` on the wire. Also returns whether there are more.
        Returns ``None`` if the window does not reach back to ``number``.
        """
        if number < self.start:
            return None
        found: list[Event] = []
        size = 0
        for event in self._merged(groups, number + 1):
            if size > max_bytes:
                return found, True
            found.append(event)
            size += wire_size(event)
        return found, False

    def _left(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return the events without what was forgotten of them."""
        return list(without(events, self._forgotten)) if self._forgotten else events

    def _merged(self, groups: Collection[str], first: int) -> Iterator[Event]:
        columns = [(group, self._by_group[group].since(first)) for group in groups if group in self._by_group]
        if len(columns) == 1:
            ((group, events),) = columns
            yield from (event.to((group,)) for event in events)
            return
        tagged = [_tagged(place, group, events) for place, (group, events) in enumerate(columns)]
        for _, members in groupby(merge(*tagged), key=itemgetter(0)):  # no two have the same number and place
            (_, _, group, event), *others = members
            yield event.to((group, *(other[2] for other in others)))

    def _drop_oldest(self) -> None:
        event = self._events.popleft()
        for group in event.groups:
            column = self._by_group[group]
            column.drop_first()
            if not column:
                del self._by_group[group]
        self._bytes -= memory_of(event)
        self.start = event.number or self.start


def _tagged(place: int, group: str, events: Iterator[Event]) -> Iterator[tuple[int, int, str, Event]]:
    return ((event.number or 0, place, group, event) for event in events)


class _Column:
    """One group's events: a list whose first ones were dropped."""

    __slots__ = ("_dropped", "_events")

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._events) - self._dropped

    def append(self, event: Event) -> None:
        self._events.append(event)

    def prepend(self, events: list[Event]) -> None:
        self._events[: self._dropped] = events
        self._dropped = 0

    def drop_first(self) -> None:
        self._events[self._dropped] = NOTHING
        self._dropped += 1
        if self._dropped * 2 > len(self._events):
            del self._events[: self._dropped]
            self._dropped = 0

    def since(self, number: int) -> Iterator[Event]:
        """Return the events from a number on."""
        place = bisect_left(self._events, number, self._dropped, key=_number)
        return map(self._events.__getitem__, range(place, len(self._events)))


NOTHING = Event(0, (), "", "", "")


def _number(event: Event) -> int:
    return event.number or 0
