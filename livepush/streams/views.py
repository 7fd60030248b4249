"""The plain views of streams: polling, which works under WSGI too, and the request to stop."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from livepush import tenants
from livepush.access import identity, limits, rules
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.consumers.answering import admit_here, answers
from livepush.consumers.auditing import Client
from livepush.consumers.identified import check_csrf, identity_of
from livepush.streams import formats, leases, store
from livepush.streams.asking import Asked, asked_of, away, check_readable, checked_id, unknown
from livepush.streams.buffer import Ending
from livepush.streams.formats import FORMATS
from livepush.streams.here import local
from livepush.streams.models import Stream, StreamState
from livepush.streams.responding import ended
from livepush.wire import WireError, check_get, public_name, unavailable


def _asked(request: HttpRequest) -> Asked:
    query = request.META.get("QUERY_STRING", "").encode()
    return asked_of(request.path, query, request.headers.get("Last-Event-ID", ""))


def _away(request: HttpRequest, error: WireError) -> HttpResponse | None:
    try:
        body = away(_asked(request), error, request.headers.get("Accept", ""))
    except WireError:
        return None
    return None if body is None else HttpResponse(body, content_type=FORMATS["livepush"].content_type)


@answers("stream", "GET", away=_away)
def stream(request: HttpRequest, client: Client, stream: str) -> HttpResponseBase:
    """Answer a poll at once. Without ``wait``, answer with a finished stream; one that runs needs ASGI."""
    check_get(request.method or "", request.META.get("CONTENT_LENGTH") or "", get_settings().MAX_EVENT_BYTES)
    asked = _asked(request)
    row = _admitted(request, asked.id, client, rules.READ)
    asked = asked.of(row)
    if asked.has_all and not row.is_running:
        return HttpResponse(status=204)  # an EventSource does not come back after that
    if asked.wait is None and row.is_running and asked.format not in ("", "livepush"):
        raise WireError(
            "needs_asgi", "A stream that runs needs ASGI for this format: poll it with wait=0, or run ASGI.", 501
        )
    if asked.wait is None and not row.is_running:
        return ended(row.id, asked.format or row.format, asked.after)
    return HttpResponse(_poll(row, asked), content_type="application/json")


@answers("stream", "POST")
def stop(request: HttpRequest, client: Client, stream: str) -> HttpResponse:
    """Ask a stream's producer to stop: ``POST streams/<id>/stop/``."""
    with tenants.active(tenants.of_request(request)):
        known = client.identity = identity_of(request)
    check_csrf(request, known)
    row = _admitted(request, checked_id(stream), client, rules.SEND)
    store.stop(get_settings().DATABASE, row.id)
    buffer = local(row.id)
    if buffer is not None:
        buffer.stop()
    return HttpResponse(status=204)


def _admitted(request: HttpRequest, id: str, client: Client, right: rules.Right) -> Stream:
    """Return a stream that the client may read, or stop. Raises WireError."""
    using = get_settings().DATABASE
    leases.look(using)
    row = store.find(using, id)
    if row is None:
        raise unknown()

    def check(found: Identity, tenant: str | None) -> None:
        limits.check_groups(found.name is not None, 1)

    admission = admit_here(request, client, (public_name(row.group),), right, check)
    if not admission.granted:
        raise _refusal(admission, right)
    if right == rules.READ:
        check_readable(row, admission)
    elif row.group not in admission.stored:
        raise unknown()
    return row


def _refusal(admission: identity.Admission, right: rules.Right) -> WireError:
    if admission.failed:
        return unavailable()
    verb = "stopped" if right == rules.SEND else "read"
    return WireError("forbidden", f"The stream may not be {verb}: its group's rule (can_{right.name}) says no.", 403)


def _poll(row: Stream, asked: Asked) -> str:
    passage = store.read(get_settings().DATABASE, row.id, asked.after, row.length)
    is_done = not row.is_running and passage.end >= (row.length or 0)
    if not is_done:
        return formats.answer(passage, Ending(StreamState.RUNNING), row.details)
    return formats.answer(passage._replace(end=row.length or 0), Ending(StreamState(row.state), row.error), row.details)
