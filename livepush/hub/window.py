"""The recent events that a hub keeps in memory, so that reconnects cost no query."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge

from livepush.wire import Event

OVERHEAD = 400
"""What an event costs in memory beside its data, roughly (bytes)."""


class Window:
    """The newest events of the log, bounded by count and bytes, indexed by group."""

    def __init__(self, most_events: int, most_bytes: int) -> None:
        self.start = 0
        """Every event with a greater number, up to the hub's, is here."""
        self.full = False
        """Whether the bounds were reached, so that nothing older fits."""
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()
        self._by_group: dict[str, _Column] = {}

    def clear(self, start: int) -> None:
        """Forget everything up to a number."""
        self.start = start
        self.full = False
        self._bytes = 0
        self._events.clear()
        self._by_group.clear()

    def fitting(self, size: int) -> int:
        """Return how many events hold about ``size`` bytes, going by those that are here."""
        return max(1, size * len(self._events) // self._bytes) if self._events else 100

    @property
    def room(self) -> int:
        """How many more events fit, going by those that are here."""
        return min(self._most_events - len(self._events), self.fitting(self._most_bytes - self._bytes))

    def extend(self, events: Sequence[Event]) -> None:
        """Add the events that follow, and drop the oldest that are too many."""
        for event in events:
            self._events.append(event)
            self._by_group.setdefault(event.group, _Column()).append(event)
            self._bytes += len(event.data) + OVERHEAD
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
            self.full = True
            send = self._drop_oldest()
            while send is not None and self._events and self._events[0].send == send:
                self._drop_oldest()  # a cursor at the start must not lie between the events of one send

    def prepend(self, events: Sequence[Event], start: int) -> None:
        """Add the events that come before, all those behind ``start``; none of them where not all fit.

        The event at ``start`` is to be there too, unless it is gone: a cursor at the window's start must not lie
        between the events of one send.
        """
        added = deque(event for event in events if (event.number or 0) > start)
        before = events[0] if len(events) > len(added) else None
        while before is not None and before.send is not None and added and added[0].send == before.send:
            start = added.popleft().number or start
        size = sum(len(event.data) + OVERHEAD for event in added)
        if len(self._events) + len(added) > self._most_events or self._bytes + size > self._most_bytes:
            self.full = True
        elif start >= self.start:
            self.full = True  # one send that is longer than what was read: who is before it reads the log
        else:
            self._events.extendleft(reversed(added))
            self._bytes += size
            self._prepend_columns(added)
            self.start = start

    def _prepend_columns(self, events: Iterable[Event]) -> None:
        by_group: dict[str, list[Event]] = {}
        for event in events:
            by_group.setdefault(event.group, []).append(event)
        for group, members in by_group.items():
            self._by_group.setdefault(group, _Column()).prepend(members)

    def at(self, number: int) -> Event | None:
        """Return the event with a number, ``None`` where it is not here."""
        place = number - self.start - 1
        found = self._events[place] if 0 <= place < len(self._events) else None
        return found if found is not None and found.number == number else None

    def after(self, groups: Collection[str], number: int, most_bytes: int) -> list[Event] | None:
        """Return the events of some groups behind ``number``, in order: all of them, or the first, up to the one that
        takes their data over a size. The event at ``number`` comes before them, whatever its group.

        ``None`` where the window does not reach back that far.
        """
        if number < self.start:
            return None
        columns = [column.since(number + 1) for group in groups if (column := self._by_group.get(group)) is not None]
        events = columns[0] if len(columns) == 1 else merge(*columns)  # by their numbers, which differ
        at = self.at(number)
        found = [at] if at is not None else []
        size = 0
        for event in events:
            if size > most_bytes:
                break
            found.append(event)
            size += len(event.data)
        return found

    def _drop_oldest(self) -> int | None:
        event = self._events.popleft()
        column = self._by_group[event.group]
        column.drop_first()
        if not column:
            del self._by_group[event.group]
        self._bytes -= len(event.data) + OVERHEAD
        self.start = event.number or self.start
        return event.send


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


NOTHING = Event(0, "", "", "", "")


def _number(event: Event) -> int:
    return event.number or 0
