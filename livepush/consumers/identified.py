"""What plain views need to know of who asks, and whether a page of another site may have made the browser ask."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware

from livepush.access.authenticating import Identity, identify

CSRF = CsrfViewMiddleware(lambda request: HttpResponse())


def identity_of(request: HttpRequest) -> Identity:
    """Return who makes a request: the user of ``AuthenticationMiddleware``, else whom an authenticator knows.

    Raises WireError: the request brings a token that is not valid.
    """
    return identify(request, {"user": request.user} if getattr(request, "user", None) is not None else {})


def needs_csrf_token(request: HttpRequest, known: Identity) -> bool:
    """Return whether a page of another site could have made a browser send this: not what only a program sends."""
    if known.token is not None:
        return False
    kind = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")[0].lower()
    return known.again is None or kind in ("", "basic")  # browsers send basic authentication by themselves
