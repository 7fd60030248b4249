"""The data that presence keeps about a user: the rows of the groups in which the user is there now."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.models import QuerySet

from livepush import tenants
from livepush.roster import table
from livepush.roster.changes import Row
from livepush.roster.models import Presence
from livepush.wire import public_name


def rows_about(readers: Iterable[str], using: str) -> QuerySet[Presence]:
    """Return the rows of a user, who is given by the names in the inbox's tables, one for each tenant."""
    names = list(readers)
    rows = Presence.objects.using(using).filter(member__in={public_name(name) for name in names})
    of = {tenants.of_stored(name) for name in names}
    if None in of:
        return rows
    ids = [pk for pk, group in rows.values_list("pk", "group") if tenants.of_stored(group) in of]
    return rows.filter(pk__in=ids)


def forget(rows: QuerySet[Presence]) -> int:
    """Delete such rows, and tell that their members have left, in the caller's transaction; return how many."""
    using = rows.db
    if not rows.exists():
        return 0
    with table.alone(using):
        found = [Row(*values) for values in rows.values_list(*table.COLUMNS)]
        table.remove(using, found)
    return len(found)
