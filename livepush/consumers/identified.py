"""What plain views need to know of who asks, and whether a page of another site may have made the browser ask."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware, get_token

from livepush.access import origins
from livepush.access.authenticating import Identity, identify
from livepush.wire import WireError

BY_BROWSERS = ("", "basic", "digest", "negotiate", "ntlm")
"""The kinds of authentication that browsers send by themselves, and none."""


class _Csrf(CsrfViewMiddleware):
    """Django's check of the CSRF token, for which the origins of ``ALLOWED_ORIGINS`` count as trusted too."""

    def _origin_verified(self, request: HttpRequest) -> bool:
        trusted = origins.is_trusted(request.META["HTTP_ORIGIN"])
        return trusted or bool(super()._origin_verified(request))  # type: ignore[misc]


CSRF = _Csrf(lambda request: HttpResponse())
HEADER = "HTTP_X_CSRFTOKEN"
"""The header in which livepush's scripts send the CSRF token, whatever ``CSRF_HEADER_NAME`` is."""


def identity_of(request: HttpRequest) -> Identity:
    """Return who makes a request: the user of ``AuthenticationMiddleware``, else whom an authenticator knows.

    Raises WireError: the request brings a token that is not valid.
    """
    return identify(request, {"user": request.user} if getattr(request, "user", None) is not None else {})


def check_csrf(request: HttpRequest, known: Identity) -> None:
    """Refuse a request that a page of another site could have made a browser send. Raises WireError."""
    if needs_csrf_token(request, known) and csrf_refusal(request) is not None:
        raise WireError("csrf", "The CSRF token is missing or wrong: send the cookie's as X-CSRFToken.", 403)


def check_site(request: HttpRequest, known: Identity) -> None:
    """Refuse a POST that a page of another site could have made a browser send. Raises WireError.

    Browsers tell the origin of every POST (WHATWG Fetch, section 3.2), so the site's own pages need no CSRF token: a
    login in another tab makes theirs useless. Without an origin, the token must be right.
    """
    if not needs_csrf_token(request, known):
        return
    origins.check_origin(request)
    if "HTTP_ORIGIN" not in request.META:
        check_csrf(request, known)


def csrf_refusal(request: HttpRequest) -> HttpResponse | None:
    """Return Django's page for a request without the right CSRF token; ``None`` if it is right, or none is needed."""
    if HEADER in request.META:
        request.META.setdefault(settings.CSRF_HEADER_NAME, request.META[HEADER])
    return CSRF.process_view(request, lambda request: HttpResponse(), (), {})


def needs_csrf_token(request: HttpRequest, known: Identity) -> bool:
    """Return whether a page of another site could have made a browser send this: not what only a program sends."""
    if known.token is not None:
        return False
    kind = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")[0].lower()
    is_by_cookie = known.session in (None, request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return (known.again is None and is_by_cookie) or kind in BY_BROWSERS


def new_token(request: HttpRequest) -> dict[str, str]:
    """Return a CSRF token as ``csrf`` for a browser with the cookie; a login in another tab makes a page's useless."""
    return {"csrf": get_token(request)} if "CSRF_COOKIE" in request.META else {}
