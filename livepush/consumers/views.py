"""The polling view, which answers at once under WSGI and ASGI, and the answer that streams need ASGI."""

from __future__ import annotations

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from livepush import log, publish
from livepush.access import identity, limits
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.consumers.answering import admit_here, answers, as_json, outside_transactions
from livepush.consumers.auditing import Client
from livepush.wire import LogState, Position, Query, WireError, above, check_get, parse_query, poll_answer


@answers("poll", "GET")
def poll(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer ``GET poll/?group=…&since=POSITION`` at once. Only the ASGI endpoint obeys ``wait``.

    Settles first, since there may be no hub that does.
    """
    check_get(request.method or "", request.META.get("CONTENT_LENGTH") or "", get_settings().MAX_EVENT_BYTES)
    query = parse_query(
        request.META.get("QUERY_STRING", "").encode("latin-1"),
        request.headers.get("Last-Event-ID", ""),
        get_settings().MAX_GROUPS,
    )
    return as_json(_answer(query, admitted(request, query, client)))


@login_not_required
@csrf_exempt
@outside_transactions
def needs_asgi(request: HttpRequest) -> HttpResponse:
    """Say that the streaming endpoints need ASGI."""
    error = WireError(
        "needs_asgi",
        "This endpoint streams, so it needs ASGI: take get_asgi_application from livepush.asgi in your asgi.py "
        "and run an ASGI server. Polling works as it is.",
        501,
    )
    return as_json(error.body(), error.status)


def admitted(request: HttpRequest, query: Query, client: Client) -> identity.Admission:
    """Return who makes a request, and which of the groups may be read. Raises WireError: none of them."""

    def check(found: Identity, tenant: str | None) -> None:
        limits.check_groups(found.name is not None, len(query.groups))

    admission = admit_here(request, client, query.groups, check=check)
    identity.check_granted(admission)
    return admission


def _answer(query: Query, admission: identity.Admission) -> bytes:
    using = get_settings().DATABASE
    before = log.state(using)
    if before.waiting:
        publish.deliver(using)
        before = log.state(using)
    since, head = query.since, before.position
    if since is None:
        return poll_answer((), head, False, admission.refused)
    if _lost(since, before):
        return poll_answer((), head, True, admission.refused)
    page = log.read(using, admission.stored, since.number, head.number)
    if _lost(since, page.state):
        return poll_answer((), page.state.position, True, admission.refused)
    return poll_answer(
        tuple(above(page.events, admission.floors)), Position(head.epoch, page.upto), False, admission.refused
    )


def _lost(since: Position, state: LogState) -> bool:
    """Return whether the log no longer holds what follows a client's position."""
    return since.epoch != state.position.epoch or not state.floor <= since.number <= state.position.number
