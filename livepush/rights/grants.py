"""The groups that one open stream or held poll was granted, and how to take them away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from django.conf import settings

from livepush.access.authenticating import Identity, nobody
from livepush.access.identity import Handshake
from livepush.access.logins import CHANGING
from livepush.hub import Connection, Waiter
from livepush.wire import EVERYTHING, Floors, public_name

ALL_SESSIONS = "user-"
"""The name of all sessions of a user begins with it; see ``sessions_of``."""
Revoke = Callable[[Collection[str], str], object]
"""Takes groups away from a client, and tells it the reason."""


class Grant:
    """Who reads a stream, and how to take groups away from it."""

    __slots__ = ("_subscriber", "identity", "is_member", "is_settled", "revoke", "session", "tenant", "timer", "view")

    def __init__(
        self,
        identity: Identity,
        view: Handshake,
        subscriber: Connection | Waiter,
        revoke: Revoke,
        tenant: str | None = None,
        *,
        is_member: bool = True,
    ) -> None:
        self.identity = identity
        self.view = view
        """What rules get as ``request``."""
        self._subscriber = subscriber
        self.revoke = revoke
        self.tenant = tenant
        """The tenant whose groups these are; ``None`` in a project without tenants."""
        self.is_member = is_member
        """Whether it counts as present in its groups. A client that reads only a growing text of a group does not."""
        self.is_settled = True
        """Whether the rules were asked what it may read as who it is now. If not, it is to be shown to nobody."""
        self.session = session_of(identity, view)
        """By which the end of its session is known; empty without a session."""
        self.timer: Any = None
        """Runs out when its session does."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The groups that the stream has now, as the log and the hub have them."""
        return tuple(self._subscriber.groups)

    def groups(self) -> tuple[str, ...]:
        """Return the groups that the stream has now, as rules and clients know them."""
        return tuple(map(public_name, self._subscriber.groups))

    def take(self, groups: Collection[str], reason: str) -> bool:
        """Take those of the groups away that it has; return whether it has any."""
        gone = [name for name in self._subscriber.groups if public_name(name) in groups]
        if gone:
            self.revoke(gone, reason)
        return bool(gone)

    def limit_to(self, granted: Floors) -> None:
        """Note since when it may read those of its groups that are granted again."""
        again = {name: granted[public_name(name)] for name in self._subscriber.groups if public_name(name) in granted}
        self._subscriber.limit_to(again, {name: floor for name, floor in again.items() if floor != EVERYTHING})

    def come_back(self) -> None:
        """Tell the client to come back, since it takes too long to find out what it may still read."""
        if isinstance(self._subscriber, Waiter):
            self._subscriber.come_back()
        else:
            self._subscriber.leave(0)

    def become(self, identity: Identity, is_settled: bool = False) -> None:
        """Note who it is now. ``is_settled`` says whether the rules were asked what somebody new may read."""
        self.is_settled = is_settled or (self.is_settled and identity.name == self.identity.name)
        self.identity = identity

    def log_out(self) -> None:
        """Forget who it is, since the session has ended."""
        self.become(Identity(nobody()))
        self.view = replace(self.view, session_key=None)


def session_of(identity: Identity, view: Handshake) -> str:
    """Return the name under which the log announces the end of a client's session; empty without a session.

    The session that names the user counts before the cookie's, which may be an anonymous one.
    """
    key = identity.session or view.session_key or ""
    if settings.SESSION_ENGINE != CHANGING:
        return digest(key)
    return "" if not key or identity.name is None or identity.token is not None else sessions_of(identity.name)


def sessions_of(user: str) -> str:
    """Return the name in the log for all sessions of a user.

    It is used where a session's key changes with its content (signed cookies).
    """
    return f"{ALL_SESSIONS}{digest(user)}"


def digest(key: str) -> str:
    """Return what stands for a session's key in the log, where the key itself must not be."""
    return hashlib.sha256(f"livepush.session:{key}".encode()).hexdigest()[:32] if key else ""
