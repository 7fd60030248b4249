"""Dead letters that are deleted: about a user who is forgotten, and those that are too old."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from livepush import log, tenants
from livepush.bridges.relays.models import DeadLetter
from livepush.conf import get_settings
from livepush.wire import public_name

logger = logging.getLogger("livepush")
DELETED_AT_ONCE = 1_000


def rows_about(readers: Iterable[str], using: str) -> QuerySet[DeadLetter]:
    """Return the dead letters of events in a user's own group alone; ``readers`` are the user's names in the tables.

    Letters of relays inwards are not among them: what a broker has sent is nobody's as long as it is no event.
    """
    found = []
    for reader in readers:
        group, tenant = f"user:{public_name(reader)}", tenants.of_stored(reader)
        rows = DeadLetter.objects.using(using).filter(content__contains=f'"{group}"')
        if tenant is not None:
            rows = rows.filter(relay__in=relays_of(tenant))
        found += [pk for pk, content in rows.values_list("pk", "content") if _is_for(group, json.loads(content))]
    return DeadLetter.objects.using(using).filter(pk__in=found)


def forget(rows: QuerySet[DeadLetter]) -> int:
    """Delete such letters, in the caller's transaction; return how many there were."""
    return rows.delete()[0]


def connect() -> None:
    """Have hubs delete old dead letters when they prune."""
    log.jobs.append(prune)


def prune(using: str) -> int:
    """Delete dead letters that are older than their retention, and log how many; return their number.

    About a thousand go at once. Two processes that do this together delete and log each letter once.
    """
    before = log.dialect(using).ago(get_settings().DEAD_LETTER_RETENTION)
    rows, old = DeadLetter.objects.using(using), defaultdict(list)
    for pk, relay in rows.filter(created__lt=before).values_list("pk", "relay")[:DELETED_AT_ONCE]:
        old[relay].append(pk)
    deleted = 0
    for relay, pks in old.items():
        if count := rows.filter(pk__in=pks).delete()[0]:
            what = "%d dead letters of the relay %r were deleted, since they were older than DEAD_LETTER_RETENTION."
            logger.warning(what, count, relay)
            deleted += count
    return deleted


def relays_of(tenant: str | None) -> list[str]:
    """Return the names of a tenant's relays."""
    return [name for name, given in get_settings().RELAYS.items() if given.get("TENANT") == tenant]


def _is_for(group: str, content: dict[str, Any]) -> bool:
    """Return whether what a letter holds is an event on its way out, to one group and nobody else."""
    if "number" not in content or content.get("group") != group:
        return False
    return len(json.loads(content["body"]).get("groups", [group])) == 1
