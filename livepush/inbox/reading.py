"""Lists and counts a reader's notifications. Nothing is written here.

What a reader has done with an entry follows from the reader's marks (everything up to here was seen, read, archived)
and from what ``NotificationState`` says otherwise. So each question has two parts: the entries on one side of a mark
that are no exceptions, found through the index of each audience, and the exceptions, found through the reader's own.
Both stop at a limit, whatever the log holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, NamedTuple

from django.db import connections

from livepush.conf import get_settings
from livepush.inbox import filing, recipients
from livepush.inbox.models import InboxState, Notification, NotificationState
from livepush.wire import LARGEST_NUMBER, Position

MOST = 100
"""The most that is counted: a hundred stands for a hundred and more, and is shown as 99+."""
PAGE = 20
LARGEST_PAGE = 100
_AT_ONCE = 100
"""The most audiences in one statement, where each is a part of a union: SQLite takes 500."""


class Tab(StrEnum):
    """Which entries are listed."""

    ALL = "all"
    """Those that are not archived."""
    UNREAD = "unread"
    ARCHIVED = "archived"


class Marks(NamedTuple):
    """How far a reader has come; the version grows with each change."""

    seen: int = 0
    read: int = 0
    archived: int = 0
    version: int = 0


class Counts(NamedTuple):
    """How many entries a reader has not seen and not read, ``MOST`` at most."""

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
        """The number of its position, by which it is marked."""
        return self.notification.position


class Page(NamedTuple):
    """Entries, the newest first, and behind which position the next page begins; ``None`` where there is none."""

    entries: list[Entry]
    next: Position | None


class Inbox:
    """One reader's inbox, as it is when it is opened.

    ``position`` is how far it is whole: what follows, events bring.
    """

    def __init__(self, user: Any, using: str | None = None, position: Position | None = None) -> None:
        self.using = using or get_settings().DATABASE
        self.reader = recipients.reader_of(user)
        self.position = position or filing.catch_up(self.using)
        self.audiences = recipients.audiences(user, self.using)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {audience.group: place for place, audience in enumerate(self.audiences)}

    @cached_property
    def marks(self) -> Marks:
        """How far the reader has come."""
        rows = InboxState.objects.using(self.using).filter(reader=self.reader)
        return Marks(*(rows.values_list(*Marks._fields).first() or ()))

    def counts(self) -> Counts:
        """Count what was not seen and not read up to the inbox's position, in three queries at most."""
        marks, end = self.marks, self.position.number + 1
        unread = self._plain(marks.read, _NOT_READ, MOST, end)
        unseen = unread if marks.seen <= marks.read else self._plain(marks.seen, _NOT_READ, MOST, end)
        others = self._exceptions(_UNREAD, 0, marks.read, MOST)
        found = (len(unseen) + sum(number > marks.seen for number in others), len(unread) + len(others))
        return Counts(*(min(count, MOST) for count in found))

    def page(self, tab: Tab = Tab.ALL, category: str = "", before: int = LARGEST_NUMBER, limit: int = PAGE) -> Page:
        """Return the entries below a position, the newest first, in four queries."""
        most, marks = limit + 1, self.marks
        if tab is Tab.UNREAD:
            found = self._plain(marks.read, _NOT_READ, most, before, category, newest=True)
            found += self._exceptions(_UNREAD, 0, min(marks.read, before - 1), most, category)
        elif tab is Tab.ALL:
            found = self._plain(marks.archived, _NOT_ARCHIVED, most, before, category, newest=True)
            found += self._exceptions(_UNARCHIVED, 0, min(marks.archived, before - 1), most, category)
        else:
            found = self._plain(0, _ARCHIVED, most, min(marks.archived + 1, before), category, newest=True)
            found += self._exceptions(_ARCHIVED_ONE, marks.archived, before - 1, most, category)
        numbers = sorted(found, reverse=True)[:most]
        more = len(numbers) == most
        return Page(self.entries(numbers[:limit]), Position(self.position.epoch, numbers[limit - 1]) if more else None)

    def newest(self, upto: int) -> int:
        """Return the last entry's position up to another; 0 where there is none."""
        return max(self._plain(0, _ANY, 1, upto + 1, newest=True), default=0)

    def unread_between(self, end: int, most: int) -> list[int]:
        """Return up to ``most`` positions that were not read behind the mark, up to an end."""
        return self._plain(self.marks.read, _NOT_READ, most, end + 1)

    def entries(self, numbers: Iterable[int]) -> list[Entry]:
        """Return the reader's entries that have these positions now, the newest first."""
        wanted = list(numbers)
        rows = Notification.objects.using(self.using).filter(position__in=wanted, group__in=self._places)
        mine: dict[int, Notification] = {}
        for row in sorted(rows, key=lambda row: (-row.position, self._places[row.group])):
            if row.position > self.audiences[self._places[row.group]].since:
                mine.setdefault(row.position, row)
        own = NotificationState.objects.using(self.using).filter(reader=self.reader, position__in=list(mine))
        said = {
            position: (read, archived) for position, read, archived in own.values_list("position", "read", "archived")
        }
        return [self._entry(row, *said.get(number, (None, None))) for number, row in mine.items()]

    def _entry(self, row: Notification, read: bool | None, archived: bool | None) -> Entry:
        marks = self.marks
        is_read = row.position <= marks.read if read is None else read
        is_archived = row.position <= marks.archived if archived is None else archived
        return Entry(row, is_read or row.position <= marks.seen, is_read, is_archived)

    # The two parts of each question, as positions

    def _plain(
        self, mark: int, condition: str, most: int, before: int, category: str = "", newest: bool = False
    ) -> list[int]:
        """Return positions behind a mark and below another for which a condition holds: the newest, or any."""
        found: list[int] = []
        lateral = connections[self.using].vendor == "postgresql"
        step = len(self.audiences) if lateral else _AT_ONCE
        inner, params = self._of_one_audience(condition, most, before, category, newest)
        for start in range(0, len(self.audiences), step):
            pairs = [(group, max(since, mark)) for group, since in self.audiences[start : start + step]]
            found += (self._by_lateral if lateral else self._by_union)(pairs, inner, params, most, newest)
        found = list(set(found))  # who is in two audiences of one notification has it once
        return sorted(found, reverse=True)[:most] if newest else found[:most]

    def _of_one_audience(
        self, condition: str, most: int, before: int, category: str, newest: bool
    ) -> tuple[str, list[Any]]:
        """Return a query for one audience's positions; its name and mark are to be put in, before the parameters."""
        quote = connections[self.using].ops.quote_name
        table, state = quote(Notification._meta.db_table), quote(NotificationState._meta.db_table)
        asked = condition.format(
            quote("read"), quote("archived"), state=f"FROM {state} s WHERE s.reader = %s AND s.position = n.position"
        )
        # In the order of the index, without which a planner may prefer another one.
        order = f"n.{quote('group')} DESC, n.position DESC" if newest else f"n.{quote('group')}, n.position"
        sql = (
            f"SELECT n.position FROM {table} n WHERE n.{quote('group')} = {{name}} AND n.position > {{since}}"  # noqa: S608
            f" AND n.position < %s{' AND n.category = %s' if category else ''} AND {asked} ORDER BY {order} LIMIT %s"
        )
        return sql, [before, *([category] if category else []), self.reader, most]

    def _by_lateral(
        self, pairs: list[tuple[str, int]], inner: str, params: list[Any], most: int, newest: bool
    ) -> list[int]:
        """Ask for all audiences in one go: with IN, planners walk all positions for the sake of their order."""
        names, marks = zip(*pairs, strict=True)
        sql = (
            "SELECT DISTINCT e.position FROM unnest(%s::text[], %s::bigint[]) AS a(name, since),"  # noqa: S608
            f" LATERAL ({inner.format(name='a.name', since='a.since')}) AS e"
            f"{' ORDER BY e.position DESC' if newest else ''} LIMIT %s"
        )
        return self._numbers(sql, [list(names), list(marks), *params, most])

    def _by_union(
        self, pairs: list[tuple[str, int]], inner: str, params: list[Any], most: int, newest: bool
    ) -> list[int]:
        part = inner.format(name="%s", since="%s")
        parts = " UNION ".join(f"SELECT position FROM ({part}) AS e{number}" for number in range(len(pairs)))  # noqa: S608
        sql = f"SELECT position FROM ({parts}) AS e{' ORDER BY position DESC' if newest else ''} LIMIT %s"  # noqa: S608
        return self._numbers(sql, [*(value for pair in pairs for value in (*pair, *params)), most])

    def _numbers(self, sql: str, params: list[Any]) -> list[int]:
        with connections[self.using].cursor() as cursor:
            cursor.execute(sql, params)
            return [number for (number,) in cursor.fetchall()]

    def _exceptions(self, condition: str, after: int, upto: int, most: int, category: str = "") -> list[int]:
        """Return the largest positions in ``(after, upto]`` of which the reader's own state says something."""
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
        return self._numbers(sql, [self.reader, after, upto, *values, *([category] if category else []), most])

    def _mine(self) -> tuple[str, list[Any]]:
        """Return a condition that a notification is the reader's, and its parameters."""
        group = connections[self.using].ops.quote_name("group")
        if connections[self.using].vendor == "postgresql":
            # One look into an object: to plan a condition for each audience takes longer than to run the query.
            return f"n.position > (%s::jsonb ->> n.{group})::bigint", [json.dumps(dict(self.audiences))]
        late = [audience for audience in self.audiences if audience.since]
        sql = f"n.{group} IN ({', '.join(['%s'] * len(self.audiences))})"
        sql += f" AND NOT (n.{group} = %s AND n.position <= %s)" * len(late)
        return sql, [*(name for name, _ in self.audiences), *(value for audience in late for value in audience)]


# A subquery for each row is a look into the reader's index: of a join, a planner may make reading all of it.
_NOT_READ = "NOT COALESCE((SELECT s.{0} {state}), FALSE)"
_NOT_ARCHIVED = "NOT COALESCE((SELECT s.{1} {state}), FALSE)"
_ANY = "%s IS NOT NULL"
_ARCHIVED = "COALESCE((SELECT s.{1} {state}), TRUE)"
_UNREAD, _ARCHIVED_ONE = "s.{0} = FALSE", "s.{1} = TRUE"
# PostgreSQL does not see by itself that what is false is not null, which is what the index holds.
_UNARCHIVED = "s.{1} = FALSE AND s.{1} IS NOT NULL"
