"""Finds out which user makes a request, and which groups that user may read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, NamedTuple, cast
from urllib.parse import SplitResult, urlsplit

from asgiref.sync import async_to_sync
from django.apps import apps
from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject
from django.utils.http import is_same_domain

from livepush import tenants
from livepush.access import rules
from livepush.wire import Close, WireError

PORTS = {"http": 80, "https": 443}
"""The default port of each scheme of an origin."""


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
    """A client's user, and which of the requested groups that user may read."""

    user: Any
    granted: tuple[str, ...]
    refused: tuple[str, ...]
    tenant: str | None = None
    """The tenant whose groups these are; ``None`` in a project without tenants."""

    @property
    def stored(self) -> tuple[str, ...]:
        """The granted groups as the log and the hub have them."""
        return tenants.stored_groups(self.granted, self.tenant)


class Asked(NamedTuple):
    """What is known of a client before the async rules are asked."""

    user: Any
    granted: set[str]
    questions: rules.Questions
    tenant: str | None


def request_of(scope: Mapping[str, Any]) -> HttpRequest:
    """Return an ASGI scope (a WebSocket's too) as a Django request without a body.

    The request has no ``Content-Type``: it means nothing without a body, and Django raises if it is malformed. The
    schemes of WebSockets are HTTP's (RFC 6455, section 3), so that ``is_secure`` is right for them too.
    """
    headers = [(name, value) for name, value in scope.get("headers", ()) if name != b"content-type"]
    scheme = scope.get("scheme", "http").replace("ws", "http", 1)
    return ASGIRequest({"method": "GET", **scope, "scheme": scheme, "headers": headers}, BytesIO())


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

    The origin must be the requested host, or one of ``CSRF_TRUSTED_ORIGINS``. If the request is secure, so must the
    origin be: whoever controls the network can put a script into an ``http`` page. An ``https`` origin is accepted over
    what Django takes for ``http``, since browsers let no ``https`` page do that: a proxy that ends TLS is in between. A
    client that sends no origin is accepted: it is not a browser, so it can't be made to send a user's cookies.

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
    if _is_of_host(parts, handshake(request).host, request.is_secure()):
        return True
    return any(
        parts.scheme == trusted.scheme and is_same_domain(parts.netloc, trusted.netloc.lstrip("*"))
        for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS)
    )


def _is_of_host(origin: SplitResult, host: str, secure: bool) -> bool:
    """Return whether an origin is the requested host's, over a scheme that is no less secure than the request's."""
    if origin.scheme not in (("https",) if secure else ("http", "https")):
        return False
    default = f":{PORTS[origin.scheme]}"
    return origin.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)


def user_of(request: HttpRequest) -> Any:
    """Return the user of a request's session cookie, or an anonymous user; ``None`` without ``django.contrib.auth``.

    Uses the database. The session is never written, since these responses can't set the cookie of a new session key.
    """
    if not apps.is_installed("django.contrib.auth"):
        return None
    from django.contrib.auth import get_user
    from django.contrib.auth.models import AnonymousUser

    key = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    if not key or "\0" in key:  # a quoted cookie may hold a NUL, which no database accepts
        return AnonymousUser()
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    session.cycle_key = session.flush = lambda: None
    request.session = session
    return get_user(request)


def admit_sync(
    scope: Mapping[str, Any],
    request: HttpRequest,
    view: Handshake,
    groups: Iterable[str],
    right: str = rules.READ,
) -> Asked:
    """Return the user, the groups that sync rules grant, and the questions for async rules. Uses the database.

    In a project with tenants all of this runs for the request's tenant, in this thread. The async rules are asked here
    too: a schema is active on a thread's connection, and several rules would share that of the event loop.

    Raises WireError: the request is no tenant's.
    """
    tenant = tenants.of_request(request)
    with tenants.active(tenant):
        user = scope.get("user")
        if user is None:
            user = user_of(request)
        getattr(user, "is_authenticated", False)  # looked up here, if it is lazy
        granted, questions = rules.ask_sync(user, groups, view, right)
        if tenant is not None and questions:
            granted |= async_to_sync(rules.ask_async)(questions)
            questions = []
    return Asked(user, granted, questions, tenant)


def admission(asked: Asked, groups: Iterable[str], granted: set[str]) -> Admission:
    """Return which groups a user may read and which not, in the order in which they were requested."""
    groups = tuple(groups)
    return Admission(
        asked.user,
        tuple(group for group in groups if group in granted),
        tuple(group for group in groups if group not in granted),
        asked.tenant,
    )


def check_granted(admission: Admission) -> None:
    """Refuse a client that may read none of the groups. The refusal does not tell whether the groups exist.

    Raises WireError: no group was requested, or none is granted.
    """
    if not admission.granted and not admission.refused:
        raise WireError("no_group", "No group was asked for: add ?group=NAME, once for each group.")
    if not admission.granted:
        known = bool(getattr(admission.user, "is_authenticated", False))
        raise WireError(
            "forbidden",
            "None of the groups may be read: log in, or add a rule with @livepush.can_read in a live.py.",
            403,
            Close.FORBIDDEN if known else Close.UNAUTHENTICATED,
        )
