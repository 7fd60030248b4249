"""``POST publish/`` and ``POST publish/notify/``, under WSGI and ASGI."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from django.db import Error, IntegrityError
from django.http import HttpRequest, HttpResponse

from livepush import log, tallies, tenants
from livepush.bridges import settling
from livepush.bridges.publishing import authorizing, idempotency, reading
from livepush.bridges.publishing.authorizing import Publisher
from livepush.bridges.publishing.models import PublishReceipt
from livepush.bridges.settling import Parcel, Positions
from livepush.conf import get_settings
from livepush.consumers.auditing import Client, client_of
from livepush.notes import Rarely
from livepush.wire import WireError, dumps, unavailable

logger = logging.getLogger("livepush")
failures = Rarely()
Read = Callable[[reading.Request, Publisher], reading.Work]


class Outcome(NamedTuple):
    """The outcome of a request."""

    size: int
    """How many events or notifications."""
    positions: Positions | None
    """``None`` if they were not waited for, or did not come in time."""
    is_repeated: bool
    """Whether an earlier request with the same key had done it."""


def publish(request: HttpRequest) -> HttpResponse:
    """Answer one event, a list of them, or CloudEvents; see ``docs/publishing.md``."""
    return _respond(request, reading.events)


def notify(request: HttpRequest) -> HttpResponse:
    """Answer one notification, or a list of them."""
    return _respond(request, reading.notifications)


def refusal(request: HttpRequest) -> HttpResponse | None:
    """Return the answer to a request that shows no valid key; ``None`` if it shows one. The body is not read."""
    client = client_of("publish", request)
    try:
        client.tenant = tenants.of_request(request)
        with tenants.active(client.tenant):
            authorizing.publisher_of(request)
    except WireError as error:
        return _refused(error, client)
    return None


def _respond(request: HttpRequest, read: Read) -> HttpResponse:
    client = client_of("publish", request)
    try:
        return _kept(_answer(_outcome(request, read, client), reading.wants_no_positions(request)))
    except WireError as error:
        return _refused(error, client)


def _refused(error: WireError, client: Client) -> HttpResponse:
    client.refuse(error)
    headers = error.answer_headers("POST")
    return _kept(HttpResponse(error.body(), status=error.status, content_type="application/json", headers=headers))


def _kept(response: HttpResponse) -> HttpResponse:
    response["Cache-Control"] = "private, no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _outcome(request: HttpRequest, read: Read, client: Client) -> Outcome:
    if request.method != "POST":
        raise WireError("bad_method", "This address answers POST.", 405)
    try:
        client.tenant = tenants.of_request(request)
        with tenants.active(client.tenant):
            return _publish(request, read)
    except Error as error:
        if failures.times():
            logger.warning("Events could not be published.", exc_info=True)
        raise unavailable() from error


def _publish(request: HttpRequest, read: Read) -> Outcome:
    publisher = authorizing.publisher_of(request)
    asked = reading.request_of(request)
    work = read(asked, publisher)
    authorizing.spend(publisher, work.size)
    using, marker = get_settings().DATABASE, secrets.token_hex(8)
    receipt = None
    if asked.key is not None:
        receipt = PublishReceipt(
            owner=publisher.prefix,
            key=asked.key,
            fingerprint=asked.fingerprint,
            marker=marker,
            created=log.dialect(using).now(),
        )
    parcels, positions, is_repeated = _carry_out_once(work, using, marker, receipt)
    if not is_repeated:
        tallies.note("published", work.kind, by=work.size)
    if positions is None and not asked.wants_no_positions:
        positions = settling.wait(parcels, using)
    return Outcome(work.size, positions, is_repeated)


def _carry_out_once(
    work: reading.Work, using: str, marker: str, receipt: PublishReceipt | None
) -> tuple[Sequence[Parcel], Positions | None, bool]:
    """Send a request's events, unless it is a repeated one; return them with what is known of their positions."""
    parcels = work.parcels(marker)
    if receipt is None:
        return parcels, settling.carry_out(parcels, using, None), False
    try:
        settling.carry_out(parcels, using, receipt)
    except IntegrityError:
        first = idempotency.first(receipt, using)
        if first is not None:
            return work.parcels(first.marker), None, True
        settling.carry_out(parcels, using, receipt)  # the receipt was an old one
    idempotency.prune_sometimes(using)
    return parcels, None, False


def _answer(outcome: Outcome, wants_no_positions: bool) -> HttpResponse:
    said: dict[str, Any] = {"accepted": outcome.size}
    if outcome.positions is not None:
        said["positions"] = outcome.positions
    status = 202 if outcome.positions is None else 200
    response = HttpResponse(dumps(said), status=status, content_type="application/json")
    if wants_no_positions and status == 202:
        response["Preference-Applied"] = "respond-async"
    if outcome.is_repeated:
        response["Idempotent-Replayed"] = "true"
    return response
