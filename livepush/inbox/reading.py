"""Lists and counts a reader's notifications. Nothing is written here.

A reader's marks say up to which position everything was seen, read and archived. ``NotificationState`` holds the
exceptions. So each question has two parts: the entries on one side of a mark that are not exceptions, found through
each audience's index, and the exceptions, found through the reader's index. Both parts stop at a limit, however large
the tables are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

from django.db import connections

from livepush.conf import get_settings
from livepush.inbox import filing, recipients, tenancy
from livepush.inbox.models import InboxState, Notification, NotificationState
from livepush.wire import LARGEST_NUMBER, Position

MAX_COUNTED = 100
"""Counting stops here. This count means "100 or more", and is shown as 99+."""
PAGE = 20
MAX_PAGE = 100
AT_ONCE = 100
"""The largest number of audiences in one statement with a union. SQLite allows 500 parts."""
NAMED_AT_ONCE = 1_000
"""The largest number of positions that one statement names. SQLite may allow no more than 32,766 parameters."""


class Tab(StrEnum):
    """Which entries are listed."""

    ALL = "all"
    """Those that are not archived."""
    UNREAD = "unread"
    ARCHIVED = "archived"


class Marks(NamedTuple):
    """The positions up to which a reader has seen, read and archived everything. Each change raises the version."""

    seen: int = 0
    read: int = 0
    archived: int = 0
    version: int = 0


class Counts(NamedTuple):
    """How many entries a reader has not seen, and how many not read. Each count stops at ``MAX_COUNTED``."""

    unseen: int
    unread: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One notification as one reader has it."""

    notification: Notification
    seen: bool
    read: bool
    archived: bool

    @property
    def number(self) -> int:
        """The number of the entry's position. ``mark`` names entries by it."""
        return self.notification.position


class Standing(NamedTuple):
    """How a reader stands to the entry at one position."""

    number: int
    read: bool
    archived: bool


class Page(NamedTuple):
    """Entries, the newest first, and the position before which the next page begins; ``None`` on the last page."""

    entries: list[Entry]
    next: Position | None


Said = tuple[bool | None, bool | None]
"""Whether an exception makes an entry read, and archived; ``None`` leaves it to the marks."""


def in_batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    """Yield the numbers in lists, each short enough for one statement."""
    remaining = iter(numbers)
    while some := list(islice(remaining, NAMED_AT_ONCE)):
        yield some


def _stands(marks: Marks, number: int, said: Said) -> tuple[bool, bool]:
    """Return whether the entry at a position is read, and archived."""
    read, archived = said
    return number <= marks.read if read is None else read, number <= marks.archived if archived is None else archived


class Inbox:
    """One reader's inbox as it is now.

    It holds every notification up to ``position``. Events bring the later ones.
    """

    def __init__(self, user: Any, using: str | None = None, position: Position | None = None) -> None:
        self.using = using or get_settings().DATABASE
        self.reader = tenancy.reader_of(user)
        self.position = position or filing.catch_up(self.using)
        self.audiences = recipients.audiences(user, self.using)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {audience.group: place for place, audience in enumerate(self.audiences)}

    @cached_property
    def marks(self) -> Marks:
        """The reader's marks; all 0 for a reader who never marked anything."""
        rows = InboxState.objects.using(self.using).filter(reader=self.reader)
        return Marks(*(rows.values_list(*Marks._fields).first() or ()))

    def counts(self) -> Counts:
        """Count the entries up to the inbox's position that were not seen, and not read. Runs at most three queries."""
        marks, end = self.marks, self.position.number + 1
        unread = self._plain(marks.read, _NOT_READ, MAX_COUNTED, end)
        unseen = unread if marks.seen <= marks.read else self._plain(marks.seen, _NOT_READ, MAX_COUNTED, end)
        others = self._exceptions(_UNREAD, 0, marks.read, MAX_COUNTED)
        found = (len(unseen) + sum(number > marks.seen for number in others), len(unread) + len(others))
        return Counts(*(min(count, MAX_COUNTED) for count in found))

    def page(self, tab: Tab = Tab.ALL, category: str = "", before: int = LARGEST_NUMBER, limit: int = PAGE) -> Page:
        """Return the newest ``limit`` entries before a position, the newest first. Runs four queries."""
        numbers = self._listed(tab, category, before, limit + 1)  # one more, to know whether there is a next page
        more = len(numbers) > limit
        return Page(self.entries(numbers[:limit]), Position(self.position.epoch, numbers[limit - 1]) if more else None)

    def upto(self, upto: int, tab: Tab, category: str = "") -> list[Standing]:
        """Return all that a tab lists up to a position, however many; of one category, if one is given."""
        numbers = self._listed(tab, category, upto + 1, LARGEST_NUMBER)
        marks, said = self.marks, self.exceptions_at(numbers)
        return [Standing(number, *_stands(marks, number, said.get(number, (None, None)))) for number in numbers]

    def exceptions_at(self, numbers: Iterable[int]) -> dict[int, Said]:
        """Return what the reader's exceptions at some positions say; a position without one is left out."""
        own = NotificationState.objects.using(self.using).filter(reader=self.reader)
        found: dict[int, Said] = {}
        for some in in_batches(numbers):
            rows = own.filter(position__in=some).values_list("position", "read", "archived")
            found.update((position, (read, archived)) for position, read, archived in rows)
        return found

    def newest(self, upto: int) -> int:
        """Return the position of the newest entry that is not after ``upto``; 0 if there is none."""
        return max(self._plain(0, _ANY, 1, upto + 1, newest=True), default=0)

    def unread_between(self, end: int, limit: int) -> list[int]:
        """Return at most ``limit`` positions of unread entries after the mark, up to ``end``."""
        return self._plain(self.marks.read, _NOT_READ, limit, end + 1)

    def entries(self, numbers: Iterable[int]) -> list[Entry]:
        """Return the reader's entries at these positions, the newest first."""
        wanted = list(numbers)
        rows = Notification.objects.using(self.using).filter(position__in=wanted, group__in=self._places)
        mine: dict[int, Notification] = {}
        for row in sorted(rows, key=lambda row: (-row.position, self._places[row.group])):
            if row.position > self.audiences[self._places[row.group]].since:
                mine.setdefault(row.position, row)
        marks, said = self.marks, self.exceptions_at(mine)
        found = []
        for number, row in mine.items():
            read, archived = _stands(marks, number, said.get(number, (None, None)))
            found.append(Entry(row, read or number <= marks.seen, read, archived))
        return found

    # The two parts of each question, as positions

    def _listed(self, tab: Tab, category: str, before: int, limit: int) -> list[int]:
        """Return the positions of the newest entries that a tab lists, the newest first."""
        marks = self.marks
        if tab is Tab.UNREAD:
            found = self._plain(marks.read, _NOT_READ, limit, before, category, newest=True)
            found += self._exceptions(_UNREAD, 0, min(marks.read, before - 1), limit, category)
        elif tab is Tab.ALL:
            found = self._plain(marks.archived, _NOT_ARCHIVED, limit, before, category, newest=True)
            found += self._exceptions(_UNARCHIVED, 0, min(marks.archived, before - 1), limit, category)
        else:
            found = self._plain(0, _ARCHIVED, limit, min(marks.archived + 1, before), category, newest=True)
            found += self._exceptions(_ARCHIVED_ONE, marks.archived, before - 1, limit, category)
        return sorted(found, reverse=True)[:limit]

    def _plain(
        self, mark: int, condition: str, limit: int, before: int, category: str = "", newest: bool = False
    ) -> list[int]:
        """Return positions after ``mark`` and before ``before`` for which a condition holds: the newest, or any."""
        found: list[int] = []
        lateral = connections[self.using].vendor == "postgresql"
        step = len(self.audiences) if lateral else AT_ONCE
        inner, params = self._of_one_audience(condition, limit, before, category, newest)
        for start in range(0, len(self.audiences), step):
            pairs = [(group, max(since, mark)) for group, since in self.audiences[start : start + step]]
            found += (self._by_lateral if lateral else self._by_union)(pairs, inner, params, limit, newest)
        found = list(set(found))  # a reader in two audiences of one notification has one entry
        return sorted(found, reverse=True)[:limit] if newest else found[:limit]

    def _of_one_audience(
        self, condition: str, limit: int, before: int, category: str, newest: bool
    ) -> tuple[str, list[Any]]:
        """Return a query for one audience's positions, and its parameters. Put in ``{name}`` and ``{since}`` first."""
        quote = connections[self.using].ops.quote_name
        table, state = quote(Notification._meta.db_table), quote(NotificationState._meta.db_table)
        asked = condition.format(
            quote("read"), quote("archived"), state=f"FROM {state} s WHERE s.reader = %s AND s.position = n.position"
        )
        # This is the index's order. Without it a planner may prefer another index.
        order = f"n.{quote('group')} DESC, n.position DESC" if newest else f"n.{quote('group')}, n.position"
        sql = (
            f"SELECT n.position FROM {table} n WHERE n.{quote('group')} = {{name}} AND n.position > {{since}}"  # noqa: S608
            f" AND n.position < %s{' AND n.category = %s' if category else ''} AND {asked} ORDER BY {order} LIMIT %s"
        )
        return sql, [before, *([category] if category else []), self.reader, limit]

    def _by_lateral(
        self, pairs: list[tuple[str, int]], inner: str, params: list[Any], limit: int, newest: bool
    ) -> list[int]:
        """Query all audiences with one LATERAL join. With IN, planners walk all positions, which come in order."""
        names, marks = zip(*pairs, strict=True)
        sql = (
            "SELECT DISTINCT e.position FROM unnest(%s::text[], %s::bigint[]) AS a(name, since),"  # noqa: S608
            f" LATERAL ({inner.format(name='a.name', since='a.since')}) AS e"
            f"{' ORDER BY e.position DESC' if newest else ''} LIMIT %s"
        )
        return self._numbers(sql, [list(names), list(marks), *params, limit])

    def _by_union(
        self, pairs: list[tuple[str, int]], inner: str, params: list[Any], limit: int, newest: bool
    ) -> list[int]:
        part = inner.format(name="%s", since="%s")
        parts = " UNION ".join(f"SELECT position FROM ({part}) AS e{number}" for number in range(len(pairs)))  # noqa: S608
        sql = f"SELECT position FROM ({parts}) AS e{' ORDER BY position DESC' if newest else ''} LIMIT %s"  # noqa: S608
        return self._numbers(sql, [*(value for pair in pairs for value in (*pair, *params)), limit])

    def _numbers(self, sql: str, params: list[Any]) -> list[int]:
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql, params)
            return [number for (number,) in cursor.fetchall()]

    def _exceptions(self, condition: str, after: int, upto: int, limit: int, category: str = "") -> list[int]:
        """Return the largest positions in ``(after, upto]`` where the reader has an exception of this kind."""
        if upto <= after:
            return []
        quote = connections[self.using].ops.quote_name
        table, state = quote(Notification._meta.db_table), quote(NotificationState._meta.db_table)
        whose, values = self._mine()
        sql = (
            f"SELECT DISTINCT s.position FROM {state} s JOIN {table} n ON n.position = s.position"  # noqa: S608
            f" WHERE s.reader = %s AND {condition.format(quote('read'), quote('archived'))}"
            f" AND s.position > %s AND s.position <= %s AND {whose}{' AND n.category = %s' if category else ''}"
            " ORDER BY s.position DESC LIMIT %s"
        )
        return self._numbers(sql, [self.reader, after, upto, *values, *([category] if category else []), limit])

    def _mine(self) -> tuple[str, list[Any]]:
        """Return a condition that selects the reader's notifications, and its parameters."""
        group = connections[self.using].ops.quote_name("group")
        if connections[self.using].vendor == "postgresql":
            # One lookup in a JSON object: planning a condition for each audience takes longer than the whole query.
            return f"n.position > (%s::jsonb ->> n.{group})::bigint", [json.dumps(dict(self.audiences))]
        late = [audience for audience in self.audiences if audience.since]
        sql = f"n.{group} IN ({', '.join(['%s'] * len(self.audiences))})"
        if late:  # one flat CASE: SQLite allows an expression 1,000 levels, and many ANDs have one level each
            sql += f" AND n.position > CASE n.{group}{' WHEN %s THEN %s' * len(late)} ELSE 0 END"
        return sql, [*(name for name, _ in self.audiences), *(value for audience in late for value in audience)]


# A subquery for each row is one lookup in the reader's index. With a join, a planner may read all of that index.
_NOT_READ = "NOT COALESCE((SELECT s.{0} {state}), FALSE)"
_NOT_ARCHIVED = "NOT COALESCE((SELECT s.{1} {state}), FALSE)"
# A bare parameter has no type where the server binds it, so that PostgreSQL would refuse it.
_ANY = "%s <> ''"
_ARCHIVED = "COALESCE((SELECT s.{1} {state}), TRUE)"
_UNREAD, _ARCHIVED_ONE = "s.{0} = FALSE", "s.{1} = TRUE"
# The index holds what is not null. PostgreSQL does not conclude by itself that a false value is not null.
_UNARCHIVED = "s.{1} = FALSE AND s.{1} IS NOT NULL"
