"""The changes of rights, as livepush's own events in the log tell them."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class Change(NamedTuple):
    """A change of rights, and whom it concerns: everybody, unless it says who."""

    user: str | None = None
    session: str | None = None
    """The name of a session that has ended, or of all sessions of a user; see ``grants.session_of``."""
    groups: frozenset[str] | None = None
    """The groups that are taken away; ``None`` for all."""
    tenant: str | None = None
    reason: str = "permission"
    ask: bool = True
    """Whether the rules are to be asked. Otherwise the groups are taken away, whatever the rules say."""

    def concerns(self, user: str | None, session: str, tenant: str | None) -> bool:
        """Return whether it concerns a client. ``session`` is ``Grant.session``."""
        if self.session is not None:
            return self.session == session
        return self.user in (None, user) and self.tenant in (None, tenant)


def parse_change(data: str) -> Change:
    """Return the change that an event's data describe.

    Raises ValueError, AttributeError or TypeError if the data are not a change.
    """
    told: dict[str, Any] = json.loads(data)
    groups = told.get("groups")
    return Change(
        told.get("user"),
        told.get("session"),
        None if groups is None else frozenset(groups),
        told.get("tenant"),
        str(told.get("reason")),
        bool(told.get("ask")),
    )
