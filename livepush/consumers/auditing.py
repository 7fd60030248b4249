"""The audit's view of a client: its user, as far as known, and what happens to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from django.http import HttpRequest

from livepush import audit, tallies
from livepush.access.addresses import shown_address
from livepush.access.authenticating import Identity
from livepush.access.identity import Admission
from livepush.hub import Reason
from livepush.wire import Close, WireError, public_name

Check = Callable[[Identity, str | None], object]
REASONS = frozenset({"logout", "session", "token", "user", "permission", "revoked"})
"""Livepush's own reasons to take groups away. A project gives ``recheck`` any: these are counted together."""


class Client:
    """A client of one request, command or stream."""

    __slots__ = ("_transport", "broke", "groups", "identity", "resumes", "scope", "tenant", "type")

    def __init__(self, transport: str, scope: Mapping[str, Any]) -> None:
        self._transport = transport
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
        tallies.note("refused", self._transport, error.code)
        if error.code == "throttled":
            self._tell("throttled", asked, limit=error.limit, retry=error.retry)
        elif _is_denial(error):
            self._tell("denied", asked, type=type or self.type, code=error.code, status=error.status)

    def revoke(self, revoke: Callable[[Collection[str], str], object], groups: Collection[str], reason: str) -> object:
        """Take groups away by ``revoke``, then tell so: nothing that fails may keep a right from ending."""
        tallies.note("revoked", self._transport, reason if reason in REASONS else "other")
        done = revoke(groups, reason)
        self._tell("revoked", map(public_name, groups), reason=reason)
        return done

    def connected(self, admission: Admission) -> None:
        """Tell that a stream is open."""
        tallies.note("connected", self._transport, "resumed" if self.resumes else "new")
        self._tell("connected", admission.granted, refused=admission.refused)

    def disconnected(self, admission: Admission, seconds: float, reason: Reason | None) -> None:
        """Tell that a stream has ended, after how long and why."""
        said = (reason or Reason.GONE).value
        if self.broke is not None:
            said = self.broke.name.lower().replace("_", " ")
        tallies.note("disconnected", self._transport, said)
        self._tell("disconnected", admission.granted, seconds=seconds, reason=said)

    def _tell(self, name: str, groups: Any, **more: Any) -> None:
        if not audit.is_wanted(name):
            return
        known = self.identity
        audit.tell(
            name,
            user=None if known is None or known.name is None else known.user,
            tenant=self.tenant,
            transport=self._transport,
            address=shown_address(self.scope),
            groups=tuple(groups),
            **more,
        )


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
