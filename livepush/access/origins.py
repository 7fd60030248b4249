"""Origins: which other sites' pages may connect, and what their browsers must be told (Fetch standard, CORS)."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils.http import is_same_domain

from livepush.access.authenticating import IGNORED
from livepush.access.identity import host_of
from livepush.conf import get_settings
from livepush.wire import Close, WireError

PORTS = {"http": 80, "https": 443}
"""The default port of each scheme of an origin."""
ANY = "*"
"""In ``ALLOWED_ORIGINS``: every origin, but without cookies, so only with a token."""
REQUESTED = "HTTP_ACCESS_CONTROL_REQUEST_HEADERS"
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": (
        "Authorization, Cache-Control, Content-Type, Last-Event-ID, X-CSRFToken, X-Session-Token"
    ),
    "Access-Control-Max-Age": "600",
}


def check_origin(request: HttpRequest) -> None:
    """Refuse a browser's handshake from another site (RFC 6455, section 10.2).

    The origin must be the requested host, or one of ``CSRF_TRUSTED_ORIGINS`` or ``ALLOWED_ORIGINS``. A client that
    sends no origin is accepted: it is not a browser, so it can't be made to send a user's cookies. If the request is
    secure, so must the origin be: whoever controls the network can put a script into an ``http`` page. An ``https``
    origin is accepted over what Django takes for ``http``, since browsers let no ``https`` page do that: a proxy that
    ends TLS is in between.

    Raises WireError: the origin is another site's.
    """
    origin = request.META.get("HTTP_ORIGIN")
    if origin is None or _is_ours(origin, request) or is_trusted(origin):
        return
    if ANY not in get_settings().ALLOWED_ORIGINS and not _is_listed(origin):
        raise WireError(
            "bad_origin",
            "The origin is another site's: add it to LIVEPUSH['ALLOWED_ORIGINS'] or CSRF_TRUSTED_ORIGINS.",
            403,
            Close.FORBIDDEN,
        )
    _ignore_cookies(request)


def headers(request: HttpRequest) -> dict[str, str]:
    """Return the headers with which a browser hands an answer to a page of another origin, if that is allowed.

    The cookies of a page of the origin ``null``, or of one that only ``"*"`` allows, are ignored.
    """
    allowed = get_settings().ALLOWED_ORIGINS
    if not allowed:
        return {}
    found, origin = {"Vary": "Origin"}, request.META.get("HTTP_ORIGIN")
    try:
        if origin is None or _is_own(origin, request):
            return found
    except WireError:  # a host that is not allowed: whatever answers such requests refuses this one
        return found
    if is_trusted(origin):
        found |= {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true"}
    elif ANY in allowed or _is_listed(origin):
        _ignore_cookies(request)
        found["Access-Control-Allow-Origin"] = origin if _is_listed(origin) else ANY
    else:
        return found
    found["Access-Control-Expose-Headers"] = "Retry-After"
    if request.method == "OPTIONS":
        found |= PREFLIGHT
        if found["Access-Control-Allow-Origin"] != ANY and (asked := request.META.get(REQUESTED)):
            found["Access-Control-Allow-Headers"] = asked  # one of the project's authenticators may read it
    return found


def is_preflight(request: HttpRequest) -> bool:
    """Return whether a browser asks whether a page of another origin may make a request."""
    asks = request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.META
    return asks and bool(get_settings().ALLOWED_ORIGINS)


def is_possible(origin: str) -> bool:
    """Return whether a browser may send this as an origin (RFC 6454, section 6.2): no path, wildcard, default port."""
    if origin in (ANY, "null", "file://"):
        return True
    try:
        parts = urlsplit(origin.lower().rstrip("/"))
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    written = f"{parts.scheme}://{host}" if port is None else f"{parts.scheme}://{host}:{port}"
    is_whole = bool(parts.scheme and host) and written == origin.lower().rstrip("/")
    return is_whole and "*" not in origin and port != PORTS.get(parts.scheme, 0)


def _ignore_cookies(request: HttpRequest) -> None:
    """Forget the cookies, and the user that a middleware has found by them."""
    request.COOKIES.clear()
    request.META.pop("HTTP_COOKIE", None)
    setattr(request, IGNORED, True)


def is_trusted(origin: str) -> bool:
    """Return whether ``ALLOWED_ORIGINS`` trusts the pages of an origin as ``CSRF_TRUSTED_ORIGINS`` does.

    ``null`` is trusted by neither, though it may be listed: any site can make a page of that origin.
    """
    return origin.lower().rstrip("/") != "null" and _is_listed(origin)


def _is_listed(origin: str) -> bool:
    listed = (each.lower().rstrip("/") for each in get_settings().ALLOWED_ORIGINS if each != ANY)
    return origin.lower().rstrip("/") in listed  # both, for "file://"


def _is_own(origin: str, request: HttpRequest) -> bool:
    """Return whether an origin is the requested host's, over a scheme that is no less secure than the request's.

    Raises WireError: ``ALLOWED_HOSTS`` does not allow the host.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:  # for example "http://[", which no browser sends
        return False
    if parts.scheme not in (("https",) if request.is_secure() else ("http", "https")):
        return False
    default = f":{PORTS[parts.scheme]}"
    return parts.netloc.lower().removesuffix(default) == host_of(request).lower().removesuffix(default)


def _is_ours(origin: str, request: HttpRequest) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return _is_own(origin, request) or any(
        parts.scheme == trusted.scheme and is_same_domain(parts.netloc, trusted.netloc.lstrip("*"))
        for trusted in map(urlsplit, settings.CSRF_TRUSTED_ORIGINS)
    )
