"""The stream of some channels' events, in place of ``django_eventstream.views.events``. It needs ASGI."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, cast
from urllib.parse import urlencode

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from livepush.bridges.eventstream import encoding, headers, reading
from livepush.bridges.eventstream.channelmanager import manager
from livepush.bridges.eventstream.channels import group_of
from livepush.bridges.eventstream.streaming import stream
from livepush.cancelling import contained
from livepush.consumers.answering import outside_transactions
from livepush.consumers.base import COME_BACK
from livepush.consumers.entering import enter
from livepush.wire import WireError, unavailable

__all__ = ["events", "reading"]

MAX_CHANNELS = 10
NEEDS_ASGI = (
    "A stream needs ASGI: take get_asgi_application from livepush.asgi in your asgi.py, and run an ASGI server.\n"
)
NO_RESUME = "Invalid request: Can't resume session after stream-error.\n"


async def _events(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
    """Stream the events of the channels that the URL or the query names."""
    response = await _respond(request, kwargs)
    headers.add(response, request)
    return response


events: Callable[..., Any] = login_not_required(csrf_exempt(outside_transactions(cast(Any, _events))))
"""The view; the channel manager says who may read."""


async def _respond(request: HttpRequest, view_kwargs: dict[str, Any]) -> HttpResponseBase:
    if not isinstance(request, ASGIRequest):
        return HttpResponse(NEEDS_ASGI, "text/plain", 501)
    last = _last_event_id(request)
    if last == "error":
        return HttpResponseBadRequest(NO_RESUME, "text/plain")
    channels = await sync_to_async(_asked)(request, view_kwargs)
    if not 0 < len(channels) <= MAX_CHANNELS:
        what = "Channel limit exceeded" if channels else "No channels specified"
        return _error(encoding.error("bad-request", f"Invalid request: {what}."))
    return await _admitted(request, channels, last)


def _asked(request: HttpRequest, view_kwargs: dict[str, Any]) -> Any:
    with contained():
        return manager().get_channels_for_request(request, view_kwargs)


async def _admitted(request: ASGIRequest, channels: Collection[str], last: str) -> HttpResponseBase:
    try:
        entry = await enter(_scope(request, channels, last), "eventstream")
    except WireError as error:
        return _refusal(error, channels)
    admission = entry.admission
    refused = [channel for channel in channels if group_of(channel) in admission.refused]
    if refused:
        entry.seat.leave()
        if admission.failed:
            return _refusal(unavailable(), channels)
        return _error(encoding.forbidden(refused))
    return StreamingHttpResponse(stream(entry, channels), content_type="text/event-stream")


def _last_event_id(request: HttpRequest) -> str:
    """Return the last event id that a client knows: of the header, else the last of the query's that is not empty."""
    given = reversed(request.GET.getlist("lastEventId"))
    return request.headers.get("Last-Event-ID") or next(filter(None, given), "")


def _scope(request: ASGIRequest, channels: Collection[str], last: str) -> dict[str, Any]:
    """Return the request's scope as one of livepush's own endpoints would have it."""
    query = urlencode([("group", group_of(channel)) for channel in sorted(channels)])
    kept = [each for each in request.scope["headers"] if each[0] != b"last-event-id"]
    named = [(b"last-event-id", last.encode("latin-1", "replace"))] if last else []
    known = {name: getattr(request, name) for name in ("user", "session") if hasattr(request, name)}
    return {**request.scope, **known, "query_string": query.encode(), "headers": [*kept, *named]}


def _refusal(error: WireError, channels: Collection[str]) -> HttpResponse:
    """Return what keeps an EventSource from coming back, or lets it come back if the refusal will pass."""
    if error.status in COME_BACK:
        return _error(f"retry: {round(1000 * (error.retry or 2.0))}\n\n".encode())
    if error.code == "forbidden":
        return _error(encoding.forbidden(channels))
    return _error(encoding.error("bad-request", f"Invalid request: {error.message}"))


def _error(content: bytes) -> HttpResponse:
    return HttpResponse(content, "text/event-stream")
