"""Decides what a change of presence writes, and which events tell of it. Pure functions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from livepush.wire import PRESENCE_PREFIX, dumps, timestamp

EVENT_BYTES = 32_768
"""About how many bytes of members one event has at most."""

Key = tuple[str, str]
"""A group, as the log has it, and a member."""


class Kind(StrEnum):
    """The members that an event is about."""

    JOIN = f"{PRESENCE_PREFIX}join"
    LEAVE = f"{PRESENCE_PREFIX}leave"
    UPDATE = f"{PRESENCE_PREFIX}update"


class Seat(NamedTuple):
    """The row of a member as a process wants it."""

    group: str
    member: str
    info: str
    """The data that others see of the member, as JSON."""
    connections: int

    @property
    def key(self) -> Key:
        return self.group, self.member


class Row(NamedTuple):
    """A row of a member, of any process."""

    pk: int | None
    group: str
    member: str
    process: str
    info: str
    state: str
    connections: int
    since: int

    @property
    def key(self) -> Key:
        return self.group, self.member


class News(NamedTuple):
    """One member in an event."""

    kind: Kind
    group: str
    member: str
    """The member as JSON."""


class Plan(NamedTuple):
    """The rows that a change writes, and the events that tell of it."""

    fresh: list[Row]
    changed: list[Row]
    gone: list[int]
    news: list[News]


def plan(rows: Iterable[Row], process: str, seats: Iterable[Seat], gone: Iterable[Key], now: int) -> Plan:
    """Decide how the rows change when a process has some seats and no longer has others.

    ``rows`` are all rows of these members, whatever their process. A member joins with the first row and leaves with
    the last. All rows of a member say what the newest seat says of it.
    """
    found, of = Plan([], [], [], []), by_key(rows)
    for seat in seats:
        _take(found, of.get(seat.key, []), process, seat, now)
    for key in dict.fromkeys(gone):
        before = of.get(key, [])
        mine = [row.pk for row in before if row.process == process and row.pk is not None]
        found.gone.extend(mine)
        if mine and len(mine) == len(before):
            found.news.append(left(key))
    return found


def plan_end(dead: Iterable[Row], living: Iterable[Key]) -> list[News]:
    """Return what is told when the rows of processes that have ended go, while other rows stay."""
    staying = set(living)
    return [left(key) for key in by_key(dead) if key not in staying]


def plan_state(rows: Sequence[Row], state: str) -> Plan:
    """Decide how the rows of one member change when the member has another state."""
    after = [row._replace(state=state) for row in rows]
    if not rows or list(rows) == after:
        return Plan([], [], [], [])
    return Plan([], after, [], [News(Kind.UPDATE, rows[0].group, shown(after))])


def by_key(rows: Iterable[Row]) -> dict[Key, list[Row]]:
    """Return rows by their group and member."""
    found: defaultdict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.key].append(row)
    return found


def left(key: Key) -> News:
    """Return what is told of a member who leaves."""
    return News(Kind.LEAVE, key[0], dumps({"id": key[1]}))


def shown(rows: Sequence[Row]) -> str:
    """Return a member, given by all of its rows, as the JSON that others get."""
    first = rows[0]
    since = dumps(moment(min(row.since for row in rows)))
    count = sum(row.connections for row in rows)
    return (
        f'{{"id":{dumps(first.member)},"info":{first.info},"state":{first.state},'
        f'"connections":{count},"since":{since}}}'
    )


def moment(milliseconds: int) -> str:
    """Return a time of the database's clock as events have it."""
    return timestamp(datetime.fromtimestamp(milliseconds / 1000, UTC))


def events(news: Iterable[News], size: int) -> Iterator[tuple[str, str, str]]:
    """Yield the events that tell some news: group, type, data. Each has as many members as fit into ``size`` bytes."""
    ordered = sorted(news, key=lambda each: (each.group, each.kind))
    for (group, kind), told in groupby(ordered, key=lambda each: (each.group, each.kind)):
        for members in _parts([each.member for each in told], size):
            yield group, str(kind), f'{{"members":[{",".join(members)}]}}'


def _parts(members: Iterable[str], size: int) -> Iterator[list[str]]:
    part: list[str] = []
    room = size
    for member in members:
        room -= len(member.encode()) + 1
        if part and room < 0:
            yield part
            part, room = [], size - len(member.encode()) - 1
        part.append(member)
    if part:
        yield part


def _take(found: Plan, before: list[Row], process: str, seat: Seat, now: int) -> None:
    """Plan one seat."""
    state, since = (before[0].state, min(row.since for row in before)) if before else ("{}", now)
    mine = next((row for row in before if row.process == process), None)
    wanted = Row(mine.pk if mine else None, *seat.key, process, seat.info, state, seat.connections, since)
    others = [row for row in before if row is not mine]
    moved = [row._replace(info=seat.info) for row in others if row.info != seat.info]
    found.changed.extend(moved)
    if mine is None:
        found.fresh.append(wanted)
    elif mine != wanted:
        found.changed.append(wanted)
    after = [wanted, *(row._replace(info=seat.info) for row in others)]
    if not before:
        found.news.append(News(Kind.JOIN, seat.group, shown(after)))
    elif any(row.info != seat.info for row in before):
        found.news.append(News(Kind.UPDATE, seat.group, shown(after)))
