"""The rule for the groups of topics: whoever comes by the hub reads them, and gets what the token allows."""

from __future__ import annotations

import time
from typing import Any

from livepush.access import rules
from livepush.access.authenticating import Identity
from livepush.bridges.mercure.tokens import Claims
from livepush.bridges.mercure.topics import PREFIX


class Subscriber:
    """Stands for a user of Django's where livepush asks who reads."""

    def __init__(self, claims: Claims) -> None:
        self._ends = claims.ends
        self.pk = f"{PREFIX}{claims.subject}"
        self.is_authenticated = bool(claims.subject)

    def __str__(self) -> str:
        return self.pk

    def again(self) -> Subscriber | None:
        """Return this subscriber for as long as its token is valid."""
        return self if self._ends is None or time.time() < self._ends else None


def identity_of(claims: Claims) -> Identity:
    """Return who a subscriber is, as long as its token is valid."""
    user = Subscriber(claims)
    return Identity(user, again=user.again, ends=claims.ends)


@rules.can_read(f"{PREFIX}<path:name>")
def may_read(user: Any, name: str) -> bool:
    """Let nobody read but the hub's subscribers: livepush's own clients do not know what is private."""
    return isinstance(user, Subscriber)
