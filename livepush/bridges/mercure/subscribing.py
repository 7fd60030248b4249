"""``GET /.well-known/mercure?topic=…``: the stream of updates. It needs ASGI."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from livepush import process, tenants
from livepush.access import origins
from livepush.bridges.mercure import encoding, reading, resuming, tokens
from livepush.bridges.mercure.resuming import Place
from livepush.bridges.mercure.selectors import ALL, Selectors, unsupported
from livepush.bridges.mercure.streaming import Subscription, stream
from livepush.bridges.mercure.topics import EARLIEST, EVERY, group_of, problem_of
from livepush.conf import get_settings
from livepush.consumers.auditing import client_of
from livepush.consumers.base import COME_BACK
from livepush.consumers.entering import Entry, enter
from livepush.notes import Rarely, one_line
from livepush.wire import Position, WireError, bad_query, unavailable

logger = logging.getLogger("livepush")
failures = Rarely(every=1.0)
T = TypeVar("T")

STREAM = "text/event-stream"
EXACT = ("match", "match_exact")
"""How the protocol's later revision asks for one topic."""
NEEDS_ASGI = "A stream needs ASGI: take get_asgi_application from livepush.asgi, and run an ASGI server."
HEADERS = {
    "Cache-Control": "private, no-store, no-transform",
    "X-Content-Type-Options": "nosniff",
    "X-Accel-Buffering": "no",
    "Content-Encoding": "identity",  # GZipMiddleware skips responses with this header
}


async def subscribe(request: HttpRequest) -> HttpResponseBase:
    """Stream the updates that a subscriber asks for and may have."""
    shown = origins.headers(request)  # first, since a foreign page's cookies may have to be ignored
    try:
        response = await _respond(request)
    except WireError as error:
        response = _refusal(request, error)
    for name, value in {**HEADERS, **shown}.items():
        if name != "Vary":
            response.headers[name] = value
    if "Access-Control-Allow-Origin" in shown:
        response.headers["Access-Control-Expose-Headers"] += ", Last-Event-ID"
    patch_vary_headers(response, ["Cookie", "Authorization", *filter(None, [shown.get("Vary")])])
    return response


async def _respond(request: HttpRequest) -> HttpResponseBase:
    if not isinstance(request, ASGIRequest):
        raise WireError("needs_asgi", NEEDS_ASGI, 501)
    try:
        tenant = None if tenants.hook() is None else await _in_thread(partial(tenants.of_request, request))
        claims = tokens.subscriber_of(request, tenant)
        wanted = _selectors(request)
        last = resuming.id_of(request)
        place = None if last is None else await _in_thread(partial(resuming.place_of, last, request))
    except WireError as error:
        client_of("mercure", request).refuse(error)
        raise
    subscription = Subscription(wanted, claims.subscribe)
    if request.method == "HEAD":
        return HttpResponse(content_type=STREAM)
    is_lost = place is not None and place.is_lost
    entry = await enter(_scope(request, subscription, claims, place), "mercure")
    if entry.lost is not None:
        entry = _from_the_beginning(entry)
        is_lost = True
    response = StreamingHttpResponse(stream(entry, subscription), content_type=STREAM)
    if last is not None:
        response.headers["Last-Event-ID"] = EARLIEST if is_lost else last.encode().decode("latin-1")
    return response


async def _in_thread(work: Callable[[], T]) -> T:
    """Return what the database says of a subscriber. Raises WireError: it can't be found out now."""
    try:
        return await process.in_thread(work)
    except WireError:
        raise
    except Exception as error:
        if times := failures.times():
            told = "The places or tenants of %d subscribers can't be found. The last one: %s"
            logger.warning(told, times, one_line(error))
        raise unavailable() from error


def _selectors(request: HttpRequest) -> Selectors:
    """Return what a subscriber asks for. Raises WireError: nothing, too much, or something malformed."""
    most = get_settings().MAX_GROUPS
    try:
        pairs = parse_qsl(request.META.get("QUERY_STRING", ""), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise bad_query() from error
    for name, value in pairs:
        if name.lower().startswith("match") and (name not in EXACT or ("{" in value and value != ALL)):
            raise WireError("bad_query", f"{name[:100]!r} is not supported: use topic=, or match= with one topic.")
    found = list(dict.fromkeys(value for name, value in pairs if name in ("topic", *EXACT)))
    if not found:
        raise WireError("no_group", "No topic was asked for: add ?topic=…, once for each.")
    if len(found) > most:
        raise WireError("too_many_groups", f"{len(found)} topics were asked for: expected {most} at most.")
    for each in found:
        if problem := problem_of(each) or unsupported(each):
            raise WireError("bad_query", f"A topic {problem}.")
    return Selectors(found)


def _scope(
    request: ASGIRequest, subscription: Subscription, claims: tokens.Claims, place: Place | None
) -> dict[str, Any]:
    """Return the request's scope as one of livepush's own endpoints would have it."""
    wanted = subscription.wanted
    groups = list(map(group_of, wanted.texts)) if wanted.are_topics else [EVERY]
    kept = [each for each in request.scope["headers"] if each[0] != b"last-event-id"]
    named = [] if place is None else [(b"last-event-id", str(place.position).encode())]
    query = urlencode([("group", group) for group in groups]).encode()
    known = {"livepush.identity": reading.identity_of(claims)}
    return {**request.scope, **known, "query_string": query, "headers": [*kept, *named]}


def _from_the_beginning(entry: Entry) -> Entry:
    """Return an entry that begins with the first update that the log still has."""
    return entry._replace(cursor=Position(entry.hub.position.epoch, entry.hub.floor), lost=None)


def _refusal(request: HttpRequest, error: WireError) -> HttpResponse:
    """Return a refusal. An EventSource, which gives up after any error, is told to come back if it will pass."""
    if error.status in COME_BACK and STREAM in request.headers.get("Accept", ""):
        return HttpResponse(encoding.retry(round(1000 * (error.retry or get_settings().RETRY))), STREAM)
    response = HttpResponse(error.body(), "application/json", error.status)
    for name, value in error.answer_headers("GET, HEAD, POST, OPTIONS").items():
        response.headers[name] = value
    return response
