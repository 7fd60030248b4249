"""Since when a reader may read a group: what is older is not for that reader."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from livepush.wire.events import Event


class Floor(NamedTuple):
    """Where a reader's part of a group begins."""

    number: int = 0
    """The position's number after which the reader gets the group's events."""
    time: str = ""
    """The time (as in an event) from which on the reader gets them; empty for any time."""

    def hides(self, event: Event) -> bool:
        """Return whether an event lies below. An ephemeral one has no number: its time decides."""
        return (event.number is not None and event.number <= self.number) or event.time < self.time


EVERYTHING = Floor()
"""The floor of a reader who may read everything of a group."""

Floors = Mapping[str, Floor]
"""The floors of some groups. Other groups have none."""


def lower(one: Floor, other: Floor) -> Floor:
    """Return the floor of a reader to whom two rules give a part of a group: the lower one.

    If neither is lower in number and in time, it is the first.
    """
    return other if other.number <= one.number and other.time <= one.time else one


def changed(known: Floors, groups: Iterable[str], floors: Floors) -> dict[str, Floor]:
    """Return the floors of a reader to whom some groups are granted anew, each with its floor if it has one now."""
    again = set(groups)
    return {group: floor for group, floor in known.items() if group not in again} | dict(floors)


def highest(floors: Floors) -> Floor:
    """Return the highest number and the latest time of some floors: no floor hides an event that is past both."""
    values = floors.values()
    return Floor(max((each.number for each in values), default=0), max((each.time for each in values), default=""))


def readable(event: Event, groups: Iterable[str], floors: Floors) -> tuple[str, ...]:
    """Return those of some groups of an event in which it is not too old for a reader."""
    return tuple(group for group in groups if group not in floors or not floors[group].hides(event))


def above(events: Iterable[Event], floors: Floors) -> Iterator[Event]:
    """Yield the events that a reader may read, each with those of its groups in which it is not too old."""
    for event in events:
        if groups := readable(event, event.groups, floors):
            yield event.to(groups)


def without(events: Iterable[Event], forgotten: Mapping[str, int]) -> Iterator[Event]:
    """Yield what is left of events when those of some groups, up to a number, were deleted."""
    for event in events:
        number = event.number or 0
        groups = tuple(group for group in event.groups if number > forgotten.get(group, 0))
        if groups:
            yield event.to(groups)


def is_same(known: Event, found: Event) -> bool:
    """Return whether two reads brought the same event. It may have lost groups meanwhile, whose events were deleted."""
    one, other = set(known.groups), set(found.groups)
    return known == found or ((one <= other or other <= one) and known._replace(groups=found.groups) == found)


def parse_forgotten(data: str) -> list[str]:
    """Return the groups in the data of an event of type ``FORGOTTEN``; none if it makes no sense."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return []
    return [group for group in found if isinstance(group, str)] if isinstance(found, list) else []
