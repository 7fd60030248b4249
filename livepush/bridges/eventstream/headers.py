"""The headers of a stream: no caching, and what ``EVENTSTREAM_ALLOW_ORIGINS`` and its companions let other pages do."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.utils.cache import patch_vary_headers


def add(response: HttpResponseBase, request: HttpRequest) -> None:
    """Add the headers to a response."""
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Accel-Buffering"] = "no"
    response.headers["Content-Encoding"] = "identity"  # GZipMiddleware skips responses with this header
    allowed: Any = getattr(settings, "EVENTSTREAM_ALLOW_ORIGIN", "") or getattr(
        settings, "EVENTSTREAM_ALLOW_ORIGINS", ""
    )
    origin = allowed if isinstance(allowed, str) else _asked(request, allowed)
    if origin:
        response.headers["Access-Control-Allow-Origin"] = origin
    if not isinstance(allowed, str):
        patch_vary_headers(response, ["Origin"])
    if _setting("ALLOW_CREDENTIALS"):
        response.headers["Access-Control-Allow-Credentials"] = "true"
    if names := _setting("ALLOW_HEADERS"):
        response.headers["Access-Control-Allow-Headers"] = names


def _asked(request: HttpRequest, allowed: list[str]) -> str:
    """Return the origin that the request's page has, if it is one of the allowed ones."""
    given = request.headers.get("Origin") or request.headers.get("Referer") or ""
    try:
        parts = urlsplit(given)
    except ValueError:  # for example "http://[", which no browser sends
        return ""
    origin = f"{parts.scheme}://{parts.netloc}"
    return origin if origin in [each.rstrip("/") for each in allowed] else ""


def _setting(name: str) -> Any:
    return getattr(settings, f"EVENTSTREAM_{name}", "")
