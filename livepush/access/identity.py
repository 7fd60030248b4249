"""Finds out which user makes a request, and which groups that user may read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.http import is_same_domain

from livepush.access import rules, sessions
from livepush.wire import Close, WireError


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


class Identity(NamedTuple):
    """Who a client is."""

    user: Any
    """A user, an anonymous user, or ``None`` without ``django.contrib.auth``."""
    session: str | None = None
    """The key of the session that names the user; ``None`` if something else does."""
    ends: float | None = None
    """When (Unix time) this must be found out again, if it is known: the session ends then."""

    @property
    def name(self) -> str | None:
        """The user's primary key as text; ``None`` if nobody is logged in."""
        return str(self.user.pk) if getattr(self.user, "is_authenticated", False) else None


class Admission(NamedTuple):
    """Who a client is, and which of the requested groups the client may read."""

    identity: Identity
    granted: tuple[str, ...]
    refused: tuple[str, ...]


def request_of(scope: Mapping[str, Any]) -> HttpRequest:
    """Return an ASGI scope (a WebSocket's too) as a Django request without a body.

    The request has no ``Content-Type``: it means nothing without a body, and Django raises if it is malformed.
    """
    headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"content-type"]
    return ASGIRequest({"method": "GET", **scope, "headers": headers}, BytesIO())


def handshake(request: HttpRequest) -> Handshake:
    """Return the view of a request that rules get.

    Raises WireError: ``ALLOWED_HOSTS`` does not allow the host.
    """
    try:
        host = request.get_host()
    except DisallowedHost as error:
        raise WireError("bad_host", "The host is not one of ALLOWED_HOSTS.", 400, Close.FORBIDDEN) from error
    headers = cast(Mapping[str, str], SimpleLazyObject(lambda: request.headers))  # few rules read them
    return Handshake(headers, host, request.COOKIES.get(settings.SESSION_COOKIE_NAME), request.path)


def check_origin(request: HttpRequest) -> None:
    """Refuse a browser's handshake from another site (RFC 6455, section 10.2).

    The origin must be the requested host, or one of ``CSRF_TRUSTED_ORIGINS``. A client that sends no origin is
    accepted: it is not a browser, so it can't be made to send a user's cookies.

    Raises WireError: the origin is another site's.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is not None and not _is_ours(origin, request):
        raise WireError(
            "bad_origin", "The origin is another site's: add it to CSRF_TRUSTED_ORIGINS.", 403, Close.FORBIDDEN
        )


def _is_ours(origin: str, request: HttpRequest) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:  # for example "http://[", which no browser sends
        return False
    if parts.netloc and parts.netloc == handshake(request).host:
        return True
    return any(
        parts.scheme == trusted.scheme and is_same_domain(parts.netloc, trusted.netloc.lstrip("*"))
        for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS)
    )


def nobody() -> Any:
    """Return an anonymous user; ``None`` without ``django.contrib.auth``."""
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth.models import AnonymousUser

    return AnonymousUser()


def identify(request: HttpRequest, scope: Mapping[str, Any] | None = None) -> Identity:
    """Return who makes a request: the user that a middleware has put into the scope, or that of the session's cookie.

    Uses the database. The session is never written, since these responses can't set the cookie of a new session key.
    """
    user = (scope or {}).get("user")
    if user is not None:
        return Identity(user, getattr((scope or {}).get("session"), "session_key", None) if _is_known(user) else None)
    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return of_sessions([key])[key] if key and apps.is_installed("django.contrib.auth") else Identity(nobody())


def of_sessions(keys: Iterable[str]) -> dict[str, Identity]:
    """Return whom sessions name, by key; in a few queries, however many they are."""
    keys = tuple(keys)
    known = sessions.load(keys)
    users = sessions.users(known)
    return {
        key: Identity(users[key], key, ends.timestamp() if (ends := known[key].ends) else None)
        if key in users
        else Identity(nobody())
        for key in keys
    }


def _is_known(user: Any) -> bool:
    return bool(getattr(user, "is_authenticated", False))


def user_of(request: HttpRequest) -> Any:
    """Return the user of a request's session cookie, or an anonymous user; ``None`` without ``django.contrib.auth``."""
    return identify(request).user


def admit_sync(
    scope: Mapping[str, Any],
    request: HttpRequest,
    view: Handshake,
    groups: Iterable[str],
    right: str = rules.READ,
) -> tuple[Identity, set[str], rules.Questions]:
    """Return who it is, the groups that sync rules grant, and the questions for async rules. Uses the database."""
    identity = identify(request, scope)
    granted, questions = rules.ask_sync(identity.user, groups, view, right)
    return identity, granted, questions


def admission(identity: Identity, groups: Iterable[str], granted: set[str]) -> Admission:
    """Return which groups a client may read and which not, in the order in which they were requested."""
    groups = tuple(groups)
    return Admission(
        identity,
        tuple(group for group in groups if group in granted),
        tuple(group for group in groups if group not in granted),
    )


def check_granted(admission: Admission) -> None:
    """Refuse a client that may read none of the groups. The refusal does not tell whether the groups exist.

    Raises WireError: no group was requested, or none is granted.
    """
    if not admission.granted and not admission.refused:
        raise WireError("no_group", "No group was asked for: add ?group=NAME, once for each group.")
    if not admission.granted:
        known = admission.identity.name is not None
        raise WireError(
            "forbidden",
            "None of the groups may be read: log in, or add a rule with @livepush.can_read in a live.py.",
            403,
            Close.FORBIDDEN if known else Close.UNAUTHENTICATED,
        )
