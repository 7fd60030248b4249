"""Says in a log, under ``DEBUG``, why a client has no right to a group. No rule is asked for it, and no database."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from django.conf import settings

from livepush import wire
from livepush.access import rules
from livepush.access.authenticating import Identity
from livepush.notes import OnceEach

logger = logging.getLogger("livepush")

_told = OnceEach(100)


def explain(right: rules.Right, known: Identity, groups: Iterable[str]) -> None:
    """Log under ``DEBUG`` why a client was refused some groups, each reason once; elsewhere do nothing."""
    if not settings.DEBUG:
        return
    for group in groups:
        reason = reason_of(right, known, group)
        if _told.is_new(reason):
            logger.warning("%s", reason)


def reason_of(right: rules.Right, known: Identity, group: str) -> str:
    """Return, in a sentence, why a client is refused a group that no rule grants."""
    verb = "read" if right.name == rules.READ.name else "send to"
    found = [] if group.startswith(wire.OWN_GROUPS) else rules.rules_of(right, group)
    if not found:
        return f"No rule of can_{right.name} has a pattern for {group!r}, so nobody may {verb} it."
    if not any(rule.allows(right.type, lambda: rules.is_handled(group, right.type)) for rule in found):
        return (
            f"No rule of can_send for {group!r} takes messages of the type {right.type!r}: name it in the rule's "
            "types, or add a handler with @livepush.receive."
        )
    if not known.may(group):
        return f"A token of user {known.name} has other groups than {group!r}, so its client may not {verb} it."
    who = "somebody who is not logged in" if known.name is None else f"user {known.name}"
    return f"The rule of can_{right.name} for {group!r} does not let {who} {verb} it."
