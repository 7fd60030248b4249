"""Deletes rows with no signals and no cascade: nothing refers to these rows.

``QuerySet.delete`` would open a transaction of its own, which a script's transaction can't hold.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db import connections
from django.db.models import Model

from livepush.models import Event

IDS_AT_ONCE = 10_000
"""How many ids one statement names; SQLite allows 32,766 by default."""


def delete_by_id(using: str, model: type[Model], ids: Collection[int]) -> int:
    """Delete the rows with these ids; return how many there were."""
    count, left = 0, list(ids)
    while left:
        part, left = left[:IDS_AT_ONCE], left[IDS_AT_ONCE:]
        count += _delete(using, model, f"{{id}} IN ({', '.join(['%s'] * len(part))})", part)
    return count


def delete_settled(using: str, after: int, upto: int) -> int:
    """Delete the events with positions after a number and up to another; return how many there were."""
    return _delete(using, Event, "{position} > %s AND {position} <= %s", [after, upto])


def _delete(using: str, model: type[Model], condition: str, params: list[int]) -> int:
    quote = connections[using].ops.quote_name
    where = condition.format(id=quote("id"), position=quote("position"))
    with connections[using].cursor() as cursor:
        cursor.execute(f"DELETE FROM {quote(model._meta.db_table)} WHERE {where}", params)  # noqa: S608
        return int(cursor.rowcount)
