"""Finds out which user makes a request, and which groups that user may read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.request import HttpHeaders
from django.utils.functional import SimpleLazyObject

from livepush import tenants
from livepush.access import reasons, rules
from livepush.access.answers import Answers
from livepush.access.authenticating import Identity, identify
from livepush.wire import EVERYTHING, Close, Floors, WireError, bad_query, unavailable

NOTHING: frozenset[str] = frozenset()
SUBPROTOCOLS = b"sec-websocket-protocol"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a rule gets as ``request``: a read-only view of the client's request."""

    headers: Mapping[str, str]
    """The headers. The case of their names does not matter."""
    host: str
    """The requested host, with its port if one was given. It was checked against ``ALLOWED_HOSTS``."""
    session_key: str | None
    """The session key from the client's cookie. The session itself may not exist."""
    path: str
    """The requested path."""


class Admission(NamedTuple):
    """A client's identity, and the requested groups that the client may read."""

    identity: Identity
    granted: tuple[str, ...]
    refused: tuple[str, ...]
    """The other groups, those that failed among them."""
    failed: frozenset[str]
    """Groups whose rules could not be asked, so that the client must come back."""
    tenant: str | None = None
    """The tenant whose groups these are; ``None`` in a project without tenants."""
    since: Floors = {}
    """Since when the client may read some of the granted groups. It may read all events of the others."""

    @property
    def told_failed(self) -> tuple[str, ...]:
        """The groups that failed, in the order in which they were requested."""
        return tuple(group for group in self.refused if group in self.failed)

    @property
    def asked(self) -> tuple[str, ...]:
        """All the groups that the client has asked for."""
        return self.granted + self.refused

    @property
    def floors(self) -> Floors:
        """Since when the client may read some groups, as the log and the hub have them."""
        return dict(zip(tenants.stored_groups(self.since, self.tenant), self.since.values(), strict=True))

    @property
    def stored(self) -> tuple[str, ...]:
        """The granted groups as the log and the hub have them."""
        return tenants.stored_groups(self.granted, self.tenant)


class Asked(NamedTuple):
    """A client's identity and the sync rules' answers, before the async rules are asked."""

    identity: Identity
    answers: Answers
    """The answers of the sync rules."""
    questions: rules.Questions
    """The questions for the async rules."""
    tenant: str | None


def request_of(scope: Mapping[str, Any]) -> HttpRequest:
    """Return an ASGI scope (a WebSocket's too) as a Django request without a body.

    The request has no ``Content-Type``: it means nothing without a body, and Django raises if it is malformed. The
    schemes of WebSockets are HTTP's (RFC 6455, section 3), so that ``is_secure`` is right for them too. Over HTTP/2
    each cookie may be a header of its own (RFC 9113, section 8.2.3); Django would join them by commas. A header with an
    underscore in its name is left out: Django, before its release of April 2026, takes it for the one with a hyphen,
    which a proxy may have set or removed. uvicorn's wsproto tells the subprotocols without their header.

    Raises WireError: the query is no UTF-8, which Django decodes.
    """
    given = [(name, value) for name, value in scope.get("headers", ()) if b"_" not in name]
    headers = [(name, value) for name, value in given if name not in (b"content-type", b"cookie")]
    if cookies := [value for name, value in given if name == b"cookie"]:
        headers.append((b"cookie", b"; ".join(cookies)))
    offered = ",".join(scope.get("subprotocols", ()))
    if offered and offered.isascii() and all(name != SUBPROTOCOLS for name, _ in headers):
        headers.append((SUBPROTOCOLS, offered.encode()))
    scheme = scope.get("scheme", "http").replace("ws", "http", 1)
    try:
        return ASGIRequest({"method": "GET", **scope, "scheme": scheme, "headers": headers}, BytesIO())
    except UnicodeDecodeError as error:
        raise bad_query() from error


def host_of(request: HttpRequest) -> str:
    """Return the requested host.

    Raises WireError: ``ALLOWED_HOSTS`` does not allow it.
    """
    try:
        return request.get_host()
    except DisallowedHost as error:
        raise WireError("bad_host", "The host is not one of ALLOWED_HOSTS.", 400, Close.FORBIDDEN) from error


def handshake(request: HttpRequest) -> Handshake:
    """Return the view of a request that rules get.

    Raises WireError: ``ALLOWED_HOSTS`` does not allow the host.
    """
    host = host_of(request)
    # Few rules read the headers. This keeps their texts, and not the request.
    headers = cast(Mapping[str, str], SimpleLazyObject(partial(HttpHeaders, request.META)))
    return Handshake(headers, host, request.COOKIES.get(settings.SESSION_COOKIE_NAME), request.path)


def admit_sync(
    scope: Mapping[str, Any],
    request: HttpRequest,
    view: Handshake,
    groups: Iterable[str],
    right: rules.Right = rules.READ,
    failing: Collection[str] = (),
    note: Callable[[str], object] = lambda group: None,
    check: Callable[[Identity, str | None], object] = lambda found, tenant: None,
) -> Asked:
    """Return who it is, the answers of the sync rules, and the questions for async rules. Uses the database.

    In a project with tenants all of this runs for the request's tenant. ``failing`` and ``note`` are those of
    ``rules.ask_sync``. ``check`` is called with who it is and the tenant before any rule is asked.

    Raises WireError: the request is no tenant's, or brings a token that is not valid.
    """
    tenant = tenants.of_request(request)
    with tenants.active(tenant):
        found = scope.get("livepush.identity") or identify(request, scope)
        check(found, tenant)
        answers, questions = rules.ask_sync(found.user, filter(found.may, groups), view, right, failing, note)
    return Asked(found, answers, questions, tenant)


def admission(asked: Asked, groups: Iterable[str], answers: Answers, right: rules.Right = rules.READ) -> Admission:
    """Return for which groups a client has a right and for which not, in the order in which they were requested.

    Under ``DEBUG`` the log says why it has none.
    """
    groups = tuple(groups)
    refused = tuple(group for group in groups if group not in answers.granted)
    reasons.explain(right, asked.identity, (group for group in refused if group not in answers.failed))
    return Admission(
        asked.identity,
        tuple(group for group in groups if group in answers.granted),
        refused,
        frozenset(answers.failed) if answers.failed else NOTHING,
        asked.tenant,
        {group: floor for group, floor in answers.granted.items() if floor != EVERYTHING},
    )


def check_granted(admission: Admission) -> None:
    """Refuse a client that may read none of the groups. The refusal does not tell whether the groups exist.

    Raises WireError: no group was requested, none is granted, or the rules could not be asked.
    """
    if admission.granted:
        return
    if not admission.refused:
        raise WireError("no_group", "No group was asked for: add ?group=NAME, once for each group.")
    if admission.failed:
        raise unavailable()
    raise WireError(
        "forbidden",
        "None of the groups may be read: log in, or add a rule with @livepush.can_read in a live.py.",
        403,
        Close.UNAUTHENTICATED if admission.identity.name is None else Close.FORBIDDEN,
    )
