"""The recent events that a hub keeps in memory, so that reconnects cost no query."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable

from livepush.wire import Event

OVERHEAD = 400
"""What an event costs in memory beside its data, roughly (bytes)."""


class Window:
    """The newest events of the log, bounded by count and bytes, indexed by group."""

    def __init__(self, most_events: int, most_bytes: int) -> None:
        self.start = 0
        """Every event with a greater number, up to the hub's, is here."""
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._bytes = 0
        self._events: deque[Event] = deque()
        self._by_group: dict[str, deque[Event]] = {}

    def clear(self, start: int) -> None:
        """Forget everything up to a number."""
        self.start = start
        self._bytes = 0
        self._events.clear()
        self._by_group.clear()

    def extend(self, events: Iterable[Event]) -> None:
        """Add the events that follow, and drop the oldest that are too many."""
        for event in events:
            self._events.append(event)
            self._by_group.setdefault(event.group, deque()).append(event)
            self._bytes += len(event.data) + OVERHEAD
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
            send = self._drop_oldest()
            while send is not None and self._events and self._events[0].send == send:
                self._drop_oldest()  # a cursor at the start must not lie between the events of one send

    def after(self, groups: Collection[str], number: int) -> list[Event] | None:
        """Return the events of some groups from ``number`` on (that one included), in order.

        ``None`` where the window does not reach back that far.
        """
        if number < self.start:
            return None
        found = []
        for group in groups:
            for event in reversed(self._by_group.get(group, ())):
                if (event.number or 0) < number:
                    break
                found.append(event)
        found.sort(key=lambda event: event.number or 0)
        return found

    def _drop_oldest(self) -> int | None:
        event = self._events.popleft()
        members = self._by_group[event.group]
        members.popleft()
        if not members:
            del self._by_group[event.group]
        self._bytes -= len(event.data) + OVERHEAD
        self.start = event.number or self.start
        return event.send
