"""Reading: the events after a position, in order, each with those of its groups that were requested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from math import inf
from operator import itemgetter

from django.db import connections
from django.db.models import Count, Max, Q

from livepush.log import epochs
from livepush.log.dialects import dialect
from livepush.models import Event as Row
from livepush.wire import Event, LogPage, timestamp, wire_size

GROUPS_AT_ONCE = 500
"""How many groups one query names. SQLite allows no more than 999 values."""
LAST_AT_ONCE = 200
"""Of how many groups one query finds the last events."""
_Values = tuple[int, str, str, str, str | None, datetime]
"""A row's number, group, type, data, sender and time."""


def read(
    using: str,
    groups: Sequence[str] | None,
    after: int,
    upto: int,
    limit: int = 500,
    max_bytes: int = 1_048_576,
) -> LogPage:
    """Return the events of some groups (``None``: of all) with numbers in ``(after, upto]``, in order.

    A page has about ``limit`` rows at most, and ends with the event that takes it over ``max_bytes`` on the wire.
    ``upto`` must not be greater than the log's position when the caller last read it. The page is read before its
    state: if the state's floor is above ``after``, or its epoch is another, events may be missing and the page must
    not be served.
    """
    events, end = (
        _of_all(using, after, upto, limit) if groups is None else _of_groups(using, groups, after, upto, limit)
    )
    found, cut = _up_to_bytes(events, max_bytes)
    if cut:
        end = found[-1].number
    return LogPage(tuple(found), max(after, upto) if end is None else end, epochs.state(using))


def has_events(using: str, group: str, after: int) -> bool:
    """Return whether a group has an event after a number, or one that waits for its number."""
    rows = Row.objects.using(using).filter(group=group)
    return rows.filter(Q(position__gt=after) | Q(position__isnull=True)).exists()


def last_after(using: str, groups: Iterable[str], after: int) -> dict[str, float]:
    """Return the number of each group's last event, for the groups that have one after a number.

    Infinity stands for an event that waits for its number. Takes a query for each ``GROUPS_AT_ONCE``.
    """
    names, found = list(dict.fromkeys(groups)), dict[str, float]()
    rows = Row.objects.using(using).filter(Q(position__gt=after) | Q(position__isnull=True)).order_by()
    summed = rows.values("group").annotate(last=Max("position"), waiting=Count("pk", filter=Q(position__isnull=True)))
    for start in range(0, len(names), GROUPS_AT_ONCE):
        part = summed.filter(group__in=names[start : start + GROUPS_AT_ONCE])
        found |= {
            group: inf if waiting else number for group, number, waiting in part.values_list("group", "last", "waiting")
        }
    return found


def last(using: str, group: str, upto: int, besides: Sequence[str] = ()) -> Event | None:
    """Return the last event of a group with a number up to ``upto``, if there is one.

    Events whose type begins with one of ``besides`` do not count.
    """
    rows = Row.objects.using(using).filter(group=group, position__lte=upto).order_by("-position")
    for prefix in besides:
        rows = rows.exclude(type__startswith=prefix)
    values: list[_Values] = list(rows.values_list("position", "group", "type", "data", "sender", "created")[:1])  # type: ignore[arg-type]
    return next(_events(values), None)


def last_numbers(using: str, groups: Iterable[str], upto: int) -> dict[str, int]:
    """Return the number of each group's last event up to a number, for the groups that have one.

    Each is one look into the index. Of a list of groups, a database would read all of their events.
    """
    names, found = list(dict.fromkeys(groups)), dict[str, int | None]()
    quote = connections[using].ops.quote_name
    event, group, position = map(quote, (Row._meta.db_table, "group", "position"))
    last = f"(SELECT MAX({position}) FROM {event} WHERE {group} = %s AND {position} <= %s)"  # noqa: S608
    for start in range(0, len(names), LAST_AT_ONCE):
        part = names[start : start + LAST_AT_ONCE]
        with connections[using].cursor() as cursor:
            cursor.execute(f"SELECT {', '.join([last] * len(part))}", [each for name in part for each in (name, upto)])
            found |= zip(part, cursor.fetchone(), strict=True)
    return {name: number for name, number in found.items() if number is not None}


def _of_groups(using: str, groups: Sequence[str], after: int, upto: int, limit: int) -> tuple[list[Event], int | None]:
    """Return events with their groups in the order of ``groups``, and the last number read if there may be more."""
    limit = max(limit, len(groups)) + 1  # so that at least one event has all its rows
    rows: list[_Values] = list(dialect(using).rows_of_groups(groups, after, upto, limit))
    end = None
    if len(rows) == limit:
        rows = _without_last(rows)
        end = rows[-1][0]
    place = {group: place for place, group in enumerate(groups)}
    own = [row for row in rows if row[1] in place]  # a database may compare names without regard to case
    events = [event.to(tuple(sorted(event.groups, key=place.__getitem__))) for event in _events(own)]
    return events, end


def _of_all(using: str, after: int, upto: int, limit: int) -> tuple[list[Event], int | None]:
    """Return events with all their groups in the order of sending, and the last number read if there may be more."""
    ordered = Row.objects.using(using).order_by("position", "id")
    values = ordered.filter(position__gt=after, position__lte=upto).values_list(
        "position", "group", "type", "data", "sender", "created"
    )
    rows: list[_Values] = list(values[: limit + 1])  # type: ignore[arg-type]
    if len(rows) <= limit:
        return list(_events(rows)), None
    whole = _without_last(rows)
    if whole:
        return list(_events(whole)), whole[-1][0]
    number = rows[0][0]  # one send has more groups than that: read the data, which its rows share, only once
    names = tuple(ordered.filter(position=number).values_list("group", flat=True))
    (event,) = _events(rows[:1])
    return [event.to(names)], number


def _without_last(rows: list[_Values]) -> list[_Values]:
    """Return rows without those of the last number, which may be incomplete."""
    last = rows[-1][0]
    return [row for row in rows if row[0] != last]


def _events(rows: Iterable[_Values]) -> Iterator[Event]:
    """Yield one event for all rows with the same number."""
    for number, members in groupby(rows, key=itemgetter(0)):
        (_, group, type, data, sender, created), *others = members
        yield Event(number, (group, *(other[1] for other in others)), type, data, timestamp(created), sender)


def _up_to_bytes(events: Iterable[Event], max_bytes: int) -> tuple[list[Event], bool]:
    """Return the events up to the one that takes them over ``max_bytes`` on the wire, and whether there are more."""
    found: list[Event] = []
    size = 0
    for event in events:
        if size > max_bytes:
            return found, True
        found.append(event)
        size += wire_size(event)
    return found, False
