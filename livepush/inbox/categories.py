"""Lists the categories that a reader has entries of, without reading the entries.

The index by audience and category holds each category's entries side by side. So a database can jump from one category
to the next. MariaDB and MySQL do that for GROUP BY; for the others the jump is written out, as a recursive query.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import connections

from livepush.inbox.models import Notification
from livepush.inbox.reading import AT_ONCE, Inbox
from livepush.inbox.recipients import Audience

MAX_CATEGORIES = 50
"""How many categories are listed at most. In each audience, the jumps stop at as many."""


def categories(inbox: Inbox) -> list[str]:
    """Return the categories of a reader's entries, sorted; at most ``MAX_CATEGORIES``. Runs one query."""
    vendor = connections[inbox.using].vendor
    step = len(inbox.audiences) if vendor == "postgresql" else AT_ONCE
    found: set[str] = set()
    for start in range(0, len(inbox.audiences), step):
        audiences = inbox.audiences[start : start + step]
        found.update((_grouped if vendor == "mysql" else _jumped)(inbox.using, audiences))
    return sorted(found)[:MAX_CATEGORIES]


def _grouped(using: str, audiences: Sequence[Audience]) -> Iterable[str]:
    """Ask for the last entry of each category. MariaDB says "Using index for group-by" of this."""
    since = dict(audiences)
    sql = (
        f"SELECT `group`, category, MAX(position) FROM {Notification._meta.db_table}"  # noqa: S608
        f" WHERE `group` IN ({', '.join(['%s'] * len(since))}) GROUP BY `group`, category"
    )
    rows = _rows(using, sql, list(since))
    return {category for name, category, last in rows if category and last > since[name]}


def _jumped(using: str, audiences: Sequence[Audience]) -> Iterable[str]:
    """Ask each audience for the next category after one, again and again, and then whether the reader has any of it."""
    quote = connections[using].ops.quote_name
    table, group = quote(Notification._meta.db_table), quote("group")
    source, params = _as_table(using, audiences)
    after = (
        f"SELECT n.category FROM {table} n WHERE n.{group} = {{0}}.name AND n.category > {{1}}"  # noqa: S608
        f" ORDER BY n.{group}, n.category LIMIT 1"
    )
    first, following = after.format("a", "''"), after.format("f", "f.category")
    sql = (
        "WITH RECURSIVE found(name, since, category, step) AS ("  # noqa: S608
        f"SELECT a.name, a.since, ({first}), 1 FROM {source} UNION ALL"
        f" SELECT f.name, f.since, ({following}), f.step + 1 FROM found f"
        " WHERE f.category IS NOT NULL AND f.step < %s)"
        " SELECT DISTINCT f.category FROM found f WHERE f.category IS NOT NULL AND EXISTS (SELECT 1"
        f" FROM {table} n WHERE n.{group} = f.name AND n.category = f.category AND n.position > f.since)"
    )
    return [category for (category,) in _rows(using, sql, [*params, MAX_CATEGORIES])]


def _as_table(using: str, audiences: Sequence[Audience]) -> tuple[str, list[Any]]:
    if connections[using].vendor == "postgresql":
        names, marks = zip(*audiences, strict=True)
        return "unnest(%s::text[], %s::bigint[]) AS a(name, since)", [list(names), list(marks)]
    rows = " UNION ALL ".join(["SELECT %s AS name, %s AS since"] * len(audiences))
    return f"({rows}) AS a", [value for audience in audiences for value in audience]


def _rows(using: str, sql: str, params: list[Any]) -> list[Any]:
    with connections[using].cursor() as cursor:
        cursor.execute(sql, params)
        return list(cursor.fetchall())
