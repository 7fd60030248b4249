"""Tells visitors who are not logged in apart, by what only a visitor's own browser knows."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.http import parse_cookie

from livepush.access.identity import Handshake


def cookies_of(view: Handshake) -> dict[str, str]:
    """Return the cookies of a client's request."""
    return parse_cookie(view.headers.get("Cookie", ""))


def secret_of(cookies: Mapping[str, str], session: str | None) -> str | None:
    """Return the secret of a visitor's CSRF cookie, or else the session's key; ``None`` if there is neither."""
    return cookies.get(settings.CSRF_COOKIE_NAME) or session or None
