"""The members as a page shows them before its script runs, and without one."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from django.http import HttpRequest

from livepush import tenants
from livepush.access import identity, reasons, rules
from livepush.conf import get_settings
from livepush.consumers.identified import identity_of
from livepush.roster.reading import Member, Snapshot, snapshot
from livepush.wire import WireError

HUES = 6
"""How many colours there are for members without a picture."""


class Face(NamedTuple):
    """A member as the list shows it; the script makes the same."""

    name: str
    initials: str
    avatar: str
    hue: int
    away: bool


def found(request: HttpRequest, group: str) -> Snapshot | None:
    """Return who is there in a group; ``None`` if the user of a page may not read the group, or it is no tenant's page.

    Raises WireError: the request brings a token that is not valid.
    """
    try:
        tenant = tenants.of_request(request)
    except WireError:
        return None
    with tenants.active(tenant):
        known = identity_of(request)
        answers, questions = rules.ask_sync(known.user, filter(known.may, [group]), identity.handshake(request))
        if questions:
            limit = get_settings().DATABASE_TIMEOUT
            answers = rules.ask_async_here(questions, answers, limit, tenants.current())
        if group in answers.granted:
            return snapshot(group)
        if group not in answers.failed:
            reasons.explain(rules.READ, known, [group])
        return None


def faces(members: list[Any]) -> list[Face]:
    """Return members as the list shows them."""
    return [
        Face(
            name_of(member),
            _initials(name_of(member)),
            str(member.info.get("avatar") or ""),
            ord(member.id[-1]) % HUES,
            bool(member.state.get("away")),
        )
        for member in members
    ]


def name_of(member: Member) -> str:
    """Return a member's name as text, whatever the rule has returned: empty if there is none."""
    name = member.info.get("name")
    return "" if name is None else str(name)


def _initials(name: str) -> str:
    return re.sub(r"(\S)\S*\s*", r"\1", name)[:2] or "?"
