"""The polling view, which answers at once under WSGI and ASGI, and the answer that streams need ASGI."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from livepush import log, publish
from livepush.access import handshakes, identity, limits, origins, rules
from livepush.conf import get_settings
from livepush.consumers.auditing import Client, client_of
from livepush.wire import LogState, Position, Query, WireError, above, check_get, parse_query, poll_answer

View = TypeVar("View", bound=Callable[..., HttpResponse])


def outside_transactions(view: View) -> View:
    """Exempt a view from ``ATOMIC_REQUESTS`` on every database: settle commits its own transactions."""
    for alias in connections:
        view = transaction.non_atomic_requests(using=alias)(view)
    return view


def for_origins(view: View) -> View:
    """Tell browsers which pages of other origins may read the answers; see ``livepush.access.origins``."""

    @wraps(view)
    def answered(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        headers = origins.headers(request)
        response = HttpResponse(status=204) if origins.is_preflight(request) else view(request, *args, **kwargs)
        for name, value in headers.items():
            if name == "Vary":
                patch_vary_headers(response, [value])
            else:
                response.headers[name] = value
        return response

    return cast(View, answered)


@login_not_required  # rules say who may read, and some let anybody
@csrf_exempt  # the view changes nothing, and answers other methods with livepush's own error
@outside_transactions
@for_origins
def poll(request: HttpRequest) -> HttpResponse:
    """Answer ``GET poll/?group=…&since=POSITION`` at once. Only the ASGI endpoint obeys ``wait``.

    Settles first, since there may be no hub that does.
    """
    client = client_of("poll", request)
    try:
        check_get(request.method or "", request.META.get("CONTENT_LENGTH") or "", get_settings().MAX_EVENT_BYTES)
        query = parse_query(
            request.META.get("QUERY_STRING", "").encode("latin-1"),
            request.headers.get("Last-Event-ID", ""),
            get_settings().MAX_GROUPS,
        )
        client.groups = query.groups
        handshakes.check_sync(request)
        return _respond(_answer(query, admitted(request, query, client)))
    except WireError as error:
        client.refuse(error)
        response = _respond(error.body(), error.status)
        for name, value in error.headers.items():
            response[name] = value
        if error.status == 405:
            response["Allow"] = "GET"
        return response


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
    return _respond(error.body(), error.status)


def admitted(request: HttpRequest, query: Query, client: Client) -> identity.Admission:
    """Return who makes a request, and which of the groups may be read. Raises WireError: none of them."""
    scope = {"user": request.user} if getattr(request, "user", None) is not None else {}
    asked = identity.admit_sync(
        scope,
        request,
        identity.handshake(request),
        query.groups,
        check=client.noted_by(
            lambda found, tenant: limits.check_groups(found.name is not None, len(query.groups)),
        ),
    )
    answers = asked.answers
    if asked.questions:
        answers = rules.ask_async_here(asked.questions, answers, get_settings().DATABASE_TIMEOUT, asked.tenant)
    admission = identity.admission(asked, query.groups, answers)
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


def _respond(body: bytes, status: int = 200) -> HttpResponse:
    response = HttpResponse(body, status=status, content_type="application/json")
    response["Cache-Control"] = "no-store, no-transform"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Encoding"] = "identity"  # GZipMiddleware skips responses with this header
    return response
