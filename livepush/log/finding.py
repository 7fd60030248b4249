"""Finding: the positions of events that were sent with a key."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connections

from livepush.models import Event, LogHead


def positions_of(
    using: str, keys: Iterable[str], groups: Iterable[str]
) -> tuple[str, dict[tuple[str, str], int]] | None:
    """Return the log's epoch, and the position of each pair of key and group that the log has, with one query.

    Returns ``None`` if one of the events has no position yet, or the log has no head.
    """
    keys, groups = list(keys), list(groups)
    with connections[using].cursor() as cursor:
        cursor.execute(_sql(using, len(keys), len(groups)), [*keys, *groups])
        rows = cursor.fetchall()
    if not rows or any(number is None and key is not None for _, key, _, number in rows):
        return None
    return rows[0][0], {(key, group): number for _, key, group, number in rows if key is not None}


def _sql(using: str, keys: int, groups: int) -> str:
    quote = connections[using].ops.quote_name
    event, head = (quote(model._meta.db_table) for model in (Event, LogHead))
    key, group, position = map(quote, ("key", "group", "position"))
    return (
        f"SELECT h.{quote('epoch')}, e.{key}, e.{group}, e.{position} FROM {head} h LEFT JOIN {event} e"  # noqa: S608
        f" ON e.{key} IN ({_marks(keys)}) AND e.{group} IN ({_marks(groups)}) WHERE h.{quote('id')} = 1"
    )


def _marks(count: int) -> str:
    return ",".join(["%s"] * count)
