"""The polling view, which answers at once under WSGI and ASGI, and the answer that streams need ASGI."""

from __future__ import annotations

from typing import NamedTuple

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from livepush import log, publish
from livepush.access import identity, limits
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.consumers.answering import admit_here, answers, json_response, outside_transactions
from livepush.consumers.auditing import Client
from livepush.wire import (
    Event,
    Floors,
    LogState,
    Position,
    Query,
    WireError,
    above,
    check_get,
    parse_query,
    poll_answer,
)


class FoundEvents(NamedTuple):
    """What the log has after a client's position."""

    events: tuple[Event, ...]
    position: Position
    """Up to where the client has everything with them."""
    lost: str | None = None
    """Why its history is lost; ``None`` if it is not."""
    has_more: bool = False
    """Whether the log has more, for the next answer."""


@answers("poll", "GET")
def poll(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer ``GET poll/?group=…&since=POSITION`` at once. Only the ASGI endpoint obeys ``wait``.

    Settles first, since there may be no hub that does.
    """
    query = query_of(request)
    admission = admitted(request, query, client)
    return json_response(answer_of(look(query.since, admission.stored, admission.floors), query, admission))


def answer_of(found: FoundEvents, query: Query, admission: identity.Admission) -> bytes:
    """Return a poll's answer. Its position stays where the client is if the rule of a group could not be asked."""
    failed, is_lost = admission.told_failed, found.lost is not None
    position = found.position if is_lost or not failed else query.since or found.position
    return poll_answer(found.events, position, is_lost, admission.refused, failed)


@login_not_required
@csrf_exempt
@outside_transactions
def needs_asgi(request: HttpRequest) -> HttpResponse:
    """Say that the streaming endpoints need ASGI."""
    error = WireError(
        "needs_asgi",
        "This endpoint streams, so it needs ASGI: take get_asgi_application from livepush.asgi in your asgi.py "
        "and run an ASGI server. Or have Pushpin hold the clients, see docs/grip.md. Polling works as it is.",
        501,
    )
    return json_response(error.body(), error.status)


def query_of(request: HttpRequest) -> Query:
    """Return what a request asks for. Raises WireError: its query is malformed, or it has a large body."""
    check_get(request.method or "", request.META.get("CONTENT_LENGTH") or "", get_settings().MAX_EVENT_BYTES)
    return query_alone(request)


def query_alone(request: HttpRequest) -> Query:
    """Return what a request of any method asks for, whatever its body is. Raises WireError: the query is malformed."""
    return parse_query(
        request.META.get("QUERY_STRING", "").encode(),
        request.headers.get("Last-Event-ID", ""),
        max_groups=get_settings().MAX_GROUPS,
    )


def admitted(request: HttpRequest, query: Query, client: Client) -> identity.Admission:
    """Return who makes a request, and which of the groups may be read. Raises WireError: none of them."""

    def check(found: Identity, tenant: str | None) -> None:
        limits.check_groups(found.name is not None, len(query.groups))

    admission = admit_here(request, client, query.groups, check=check)
    identity.check_granted(admission)
    return admission


def look(since: Position | None, groups: tuple[str, ...], floors: Floors) -> FoundEvents:
    """Return what some groups have after a position, as the log names them; nothing if there is no position."""
    using = get_settings().DATABASE
    before = log.state(using)
    if before.waiting:
        publish.deliver(using)
        before = log.state(using)
    head = before.position
    if since is None:
        return FoundEvents((), head)
    if reason := _lost(since, before):
        return FoundEvents((), head, reason)
    if since == head:
        return FoundEvents((), head)
    page = log.read(using, groups, since.number, head.number)
    if reason := _lost(since, page.state):
        return FoundEvents((), page.state.position, reason)
    events = tuple(above(page.events, floors))
    return FoundEvents(events, Position(head.epoch, page.upto), None, page.upto < head.number)


def _lost(since: Position, state: LogState) -> str | None:
    """Return why the log no longer holds what follows a client's position; ``None`` if it does."""
    if since.epoch != state.position.epoch:
        return "epoch"
    if since.number > state.position.number:
        return "ahead"
    return "pruned" if since.number < state.floor else None
