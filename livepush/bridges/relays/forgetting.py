"""Dead letters about a user: events that went to nobody but the user, and whose target did not take them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db.models import QuerySet

from livepush import tenants
from livepush.bridges.relays.models import DeadLetter
from livepush.conf import get_settings
from livepush.publish import user_group
from livepush.wire import public_name


def rows_about(readers: Iterable[str], using: str) -> QuerySet[DeadLetter]:
    """Return the dead letters of events in a user's own group alone; ``readers`` are the user's names in the tables.

    Letters of relays inwards are not among them: what a broker has sent is nobody's as long as it is no event.
    """
    found = []
    for reader in readers:
        group, tenant = user_group(public_name(reader)), tenants.of_stored(reader)
        rows = DeadLetter.objects.using(using).filter(content__contains=f'"{group}"')
        if tenant is not None:
            rows = rows.filter(relay__in=relays_of(tenant))
        found += [pk for pk, content in rows.values_list("pk", "content") if _is_for(group, json.loads(content))]
    return DeadLetter.objects.using(using).filter(pk__in=found)


def forget(rows: QuerySet[DeadLetter]) -> int:
    """Delete such letters, in the caller's transaction; return how many there were."""
    return rows.delete()[0]


def relays_of(tenant: str | None) -> list[str]:
    """Return the names of a tenant's relays."""
    return [name for name, given in get_settings().RELAYS.items() if given.get("TENANT") == tenant]


def _is_for(group: str, content: dict[str, Any]) -> bool:
    """Return whether what a letter holds is an event on its way out, to one group and nobody else."""
    if "number" not in content or content.get("group") != group:
        return False
    return len(json.loads(content["body"]).get("groups", [group])) == 1
