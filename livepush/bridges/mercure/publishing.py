"""``POST /.well-known/mercure``: a publisher's update. It works under WSGI too."""

from __future__ import annotations

from urllib.parse import parse_qsl

from django.db import Error
from django.http import HttpRequest, HttpResponse

from livepush import tallies, tenants
from livepush.access.limits import PublishingBudget
from livepush.bridges.mercure import tokens, updates
from livepush.bridges.mercure.updates import Update
from livepush.conf import get_settings
from livepush.consumers.answering import answers
from livepush.consumers.auditing import Client
from livepush.exceptions import EventTooLarge, InvalidEvent
from livepush.wire import WireError, unavailable

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 1000
budget = PublishingBudget()
"""The events that all publishers together may still send in this process."""


@answers("mercure", "POST")
def publish(request: HttpRequest, client: Client) -> HttpResponse:
    """Send an update, and answer its id. It is committed by then."""
    client.tenant = tenants.of_request(request)
    claims = tokens.publisher_of(request, client.tenant)
    update = _update(request)
    if not claims.publish.match_all(update.topics):
        raise WireError("forbidden", 'The token\'s "mercure.publish" does not allow all of these topics.', 403)
    budget.spend()
    try:
        with tenants.active(client.tenant):
            id = update.send(get_settings().DATABASE)
    except EventTooLarge as error:
        raise WireError("too_large", str(error), 413) from error
    except InvalidEvent as error:
        raise WireError("bad_event", str(error)) from error
    except Error as error:
        raise unavailable() from error
    tallies.note("published", "event")
    return HttpResponse(id, content_type="text/plain; charset=utf-8")


def _update(request: HttpRequest) -> Update:
    """Return the update in a form. Raises WireError: it is malformed."""
    kind = request.content_type or ""
    if kind != FORM:
        raise WireError("bad_body", f"The body is {kind[:100]!r}: expected {FORM}.", 415)
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise WireError("bad_body", f"The form is malformed, not UTF-8, or has over {MAX_FIELDS} fields.") from error
    given = dict(reversed(pairs))  # the first of each name counts
    retry = given.get("retry", "")
    if retry and not (retry.isascii() and retry.isdigit() and len(retry) <= 10):
        raise WireError("bad_event", f"retry is {retry[:100]!r}: expected milliseconds.")
    return updates.checked(
        (value for name, value in pairs if name == "topic"),
        given.get("data", ""),
        "private" in given,
        given.get("id") or None,
        given.get("type", ""),
        int(retry) if retry else None,
    )
