"""The audit's view of a client: its user, as far as known, and what happens to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.http import HttpRequest

from livepush import audit, tallies
from livepush.access.addresses import shown_address
from livepush.access.authenticating import Identity
from livepush.access.identity import Admission
from livepush.hub import Connection, Reason
from livepush.wire import Close, WireError, public_name

Check = Callable[[Identity, str | None], object]
REASONS = frozenset({"logout", "session", "token", "user", "permission", "revoked"})
"""Livepush's own reasons to take groups away. A project gives ``recheck`` any: these are counted together."""


class Client:
    """A client of one request, command or stream."""

    __slots__ = ("broke", "groups", "identity", "resumes", "scope", "tenant", "transport", "type")

    def __init__(self, transport: str, scope: Mapping[str, Any]) -> None:
        self.transport = transport
        self.scope = scope
        self.groups: tuple[str, ...] = ()
        """The groups that it asks for."""
        self.type: str | None = None
        """The type of the message that it wants to send."""
        self.identity: Identity | None = None
        """Its user, as last known."""
        self.tenant: str | None = None
        self.resumes = False
        """Whether it presents a position."""
        self.broke: Close | None = None
        """With which code a WebSocket is closed whose client did something wrong."""

    def noted_by(self, check: Check) -> Check:
        """Return a check that also notes who it is."""

        def noted(found: Identity, tenant: str | None) -> object:
            self.identity, self.tenant = found, tenant
            return check(found, tenant)

        return noted

    def refuse(self, error: WireError, groups: tuple[str, ...] | None = None, type: str | None = None) -> None:
        """Tell the audit that the client is refused, if the reason is its identity or a limit.

        ``type`` is the type of the message that the client sent.
        """
        asked = self.groups if groups is None else groups
        tallies.note("refused", self.transport, error.code)
        if error.code == "throttled":
            self.tell("throttled", asked, limit=error.limit, retry=error.retry)
        elif _is_denial(error):
            self.tell("denied", asked, type=type or self.type, code=error.code, status=error.status)

    def revoking(self, revoke: Callable[[Collection[str], str], object]) -> Callable[[Collection[str], str], object]:
        """Return what takes groups away, and tells so afterwards: nothing that fails may keep a right from ending."""

        def revoked(groups: Collection[str], reason: str) -> object:
            tallies.note("revoked", self.transport, reason if reason in REASONS else "other")
            done = revoke(groups, reason)
            self.tell("revoked", map(public_name, groups), reason=reason)
            return done

        return revoked

    def connected(self, admission: Admission, connection: Connection) -> Connected:
        """Tell that a stream is open, and afterwards that it has ended."""
        return Connected(self, admission, connection)

    def tell(self, name: str, groups: Any, **more: Any) -> None:
        """Tell the audit what happens to the client, if the audit wants to know."""
        if not audit.is_wanted(name):
            return
        known = self.identity
        audit.tell(
            name,
            user=None if known is None or known.name is None else known.user,
            tenant=self.tenant,
            transport=self.transport,
            address=shown_address(self.scope),
            groups=tuple(groups),
            **more,
        )


class Connected:
    """Tells the audit of a client's stream as a ``with`` begins, and as it ends."""

    __slots__ = ("_admission", "_begun", "_client", "_connection")

    def __init__(self, client: Client, admission: Admission, connection: Connection) -> None:
        self._client, self._admission, self._connection = client, admission, connection

    def __enter__(self) -> None:
        self._begun = time.monotonic()
        tallies.note("connected", self._client.transport, "resumed" if self._client.resumes else "new")
        self._client.tell("connected", self._admission.granted, refused=self._admission.refused)

    def __exit__(self, *raised: object) -> None:
        seconds, reason = time.monotonic() - self._begun, (self._connection.reason or Reason.GONE).value
        if self._client.broke is not None:
            reason = self._client.broke.name.lower().replace("_", " ")
        tallies.note("disconnected", self._client.transport, reason)
        self._client.tell("disconnected", self._admission.granted, seconds=seconds, reason=reason)


def client_of(transport: str, request: HttpRequest) -> Client:
    """Return the client of a plain view's request."""
    return Client(transport, scope_of(request))


def scope_of(request: HttpRequest) -> dict[str, Any]:
    """Return what a plain view's request tells of its address, as an ASGI scope has it."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").encode("latin-1", "replace")
    client = (request.META.get("REMOTE_ADDR", ""), 0)
    return {"client": client, "headers": [(b"x-forwarded-for", forwarded)]}


def _is_denial(error: WireError) -> bool:
    """Return whether somebody else might have been let in: the request is neither malformed nor untimely."""
    return (
        error.code == "refused" or error.status in (401, 403) or error.close in (Close.UNAUTHENTICATED, Close.FORBIDDEN)
    )
