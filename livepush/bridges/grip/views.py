"""The streams and polls of clients that come through a proxy, and the proxy's own requests for what it has missed."""

from __future__ import annotations

import random
import time
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse

from livepush import log
from livepush.access import identity
from livepush.bridges.grip import holds
from livepush.bridges.grip.config import edge
from livepush.bridges.grip.holds import SHORTEST_HOLD, TOKEN, Hold
from livepush.bridges.grip.items import is_large
from livepush.bridges.grip.signature import check_signature
from livepush.conf import get_settings
from livepush.consumers.answering import answers, json_response
from livepush.consumers.auditing import Client
from livepush.consumers.base import bye_reason, retry_in_ms, should_come_back
from livepush.consumers.entering import ASK_AGAIN
from livepush.consumers.views import FoundEvents, admitted, answer_of, look, query_of
from livepush.rights.grants import session_of
from livepush.wire import (
    Format,
    Position,
    Query,
    WireError,
    encode,
    hello,
    join,
    parse_position,
    position_of_header,
    system_frames,
)

EVENT_STREAM = "text/event-stream; charset=utf-8"
BACK_WITHIN = 1.0
"""Clients whose rules are to be asked again come back spread over this time (seconds)."""


def _away(request: HttpRequest, error: WireError) -> HttpResponse | None:
    """Return what has a client come back if the refusal passes. The proxy's own requests get the error."""
    fields = _fields(request)
    if TOKEN in fields or not should_come_back(error, "text/event-stream" in request.headers.get("Accept", "")):
        return None
    format = Format.SSE_ENVELOPE if fields.get("format") == "envelope" else Format.SSE
    return _stream(_bye(format, retry_in_ms(error), bye_reason(error)))


@answers("sse", "GET", away=_away)
def sse(request: HttpRequest, client: Client) -> HttpResponse:
    """Begin a stream that the proxy holds, or go on with one."""
    check_signature(request, edge().key)
    token = _fields(request).get(TOKEN)
    if token is not None:
        return _go_on(request, holds.hold_of(token))
    return _begin(request, client, query_of(request))


@answers("poll", "GET")
def poll(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer a poll, or have the proxy hold it until there are events. Then the proxy asks again."""
    check_signature(request, edge().key)
    query = query_of(request)
    admission = admitted(request, query, client)
    found = look(query.since, admission.stored, admission.floors)
    answer = json_response(answer_of(found, query, admission))
    wait = min(query.wait, get_settings().MAX_WAIT)
    if query.since is None or found.lost or found.events or found.has_more or wait < SHORTEST_HOLD:
        return answer
    hold = hold_for(request, query.format, admission)
    return holds.in_poll(answer, hold, edge(), found.position, _last(hold, found.position), wait)


def _begin(request: HttpRequest, client: Client, query: Query) -> HttpResponse:
    admission = admitted(request, query, client)
    found = look(query.since, admission.stored, admission.floors)
    settings, hold = get_settings(), hold_for(request, query.format, admission)
    begins_at = found.position if query.since is None or found.lost else query.since
    frames = hello(
        begins_at,
        query.format,
        heartbeat=settings.HEARTBEAT,
        retry=round(settings.RETRY * 1000),
        groups=admission.granted,
        refused=admission.refused,
        failed=admission.told_failed,
    )
    return _held(_text(frames), hold, found)


def _go_on(request: HttpRequest, hold: Hold) -> HttpResponse:
    """Answer the proxy what its client has not got yet, or tell the client to come back."""
    if hold.is_over:
        return _stream(_bye(hold.format, round(random.uniform(0, BACK_WITHIN) * 1000), "recheck"))
    linked = parse_position(_fields(request).get("since", ""))
    found = _after_items(hold, linked, request.headers.get("Grip-Last", ""))
    moved = found.position != linked and not found.events and not found.lost
    keeping = system_frames("position", hold.format, position=found.position) if moved else ()
    return _held(_text(keeping), hold, found)


def _after_items(hold: Hold, linked: Position, last: str) -> FoundEvents:
    """Return what comes after a link's position, and after the items that the client has got since.

    If the last one of them is large, the client has got a hint in its place, and so not the event.
    """
    reached = position_of_header(hold.last_item(last, edge()))
    if reached.epoch != linked.epoch or reached.number <= linked.number:
        return look(linked, hold.groups, hold.floors)
    found = look(Position(reached.epoch, reached.number - 1), hold.groups, hold.floors)
    missing = (event for event in found.events if event.number != reached.number or is_large(event))
    return found._replace(events=tuple(missing))


def _held(begun: bytes, hold: Hold, found: FoundEvents) -> HttpResponse:
    """Return a part of a stream, which the proxy holds once the client has all there is."""
    body = begun
    if found.lost is not None:
        hold = hold.reset(found.position)
        body += _text(system_frames("reset", hold.format, position=found.position, reason=found.lost))
    if found.events:
        epoch = found.position.epoch
        body += _text(join([encode(event, epoch, hold.format) for event in found.events], hold.format))
    last = None if found.has_more else _last(hold, found.position)
    return holds.in_stream(_stream(body), hold, edge(), found.position, last)


def hold_for(request: HttpRequest, format: Format, admission: identity.Admission) -> Hold:
    """Return the hold of a client that was let in."""
    stays = min(get_settings().RECHECK, ASK_AGAIN) if admission.failed else get_settings().RECHECK
    return Hold(
        groups=admission.stored,
        format=format,
        user=admission.identity.name,
        session=session_of(admission.identity, identity.handshake(request)),
        until=time.time() + stays * random.uniform(0.9, 1.0),
        floors=admission.floors,
    )


def _last(hold: Hold, position: Position) -> dict[str, int]:
    """Return the number of each group's last event up to a position."""
    return log.last_numbers(get_settings().DATABASE, hold.groups, position.number)


def _fields(request: HttpRequest) -> dict[str, str]:
    """Return the query's fields. ``request.GET`` refuses more than ``DATA_UPLOAD_MAX_NUMBER_FIELDS``."""
    return dict(parse_qsl(request.META.get("QUERY_STRING", "")))


def _bye(format: Format, retry: int, reason: str) -> bytes:
    return _text(system_frames("bye", format, retry=retry, reason=reason))


def _text(frames: tuple[bytes | str, ...]) -> bytes:
    return b"".join(each if isinstance(each, bytes) else each.encode() for each in frames)


def _stream(body: bytes) -> HttpResponse:
    return HttpResponse(body, content_type=EVENT_STREAM)
