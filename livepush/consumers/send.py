"""``POST send/``: a message of a client to a group."""

from __future__ import annotations

import logging
from typing import Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.csrf import csrf_exempt

from livepush import tenants
from livepush.access import handshakes, identity, limits, logins, origins, rules
from livepush.access.addresses import nearest_address
from livepush.access.identity import Admission
from livepush.conf import get_settings
from livepush.consumers.auditing import Client, client_of, scope_of
from livepush.consumers.identified import CSRF, identity_of, needs_csrf_token
from livepush.consumers.messages import check_sent, right_to_send
from livepush.consumers.views import for_origins, outside_transactions
from livepush.notes import Rarely
from livepush.receiving import Message, take
from livepush.wire import Sending, WireError, parse_message, unavailable

logger = logging.getLogger("livepush")

failures = Rarely(every=1.0)
MORE_BYTES = 4096
"""How many bytes a body may have besides the message's data."""


@login_not_required
@csrf_exempt
@outside_transactions
@for_origins
def send(request: HttpRequest) -> HttpResponse:
    """Take ``{"group", "type", "data", "key", "ephemeral", "login"}``; answer ``{"ok": true, "reply": …}``."""
    CSRF.process_request(request)
    client = client_of("send", request)
    try:
        response: HttpResponse = JsonResponse({"ok": True, "reply": _reply(request, client)})
    except WireError as error:
        response = _refused(error, client)
    except Exception as error:
        if times := failures.times():
            name = type(error).__name__
            logger.warning("%d messages of clients failed. The last one: %s: %s", times, name, error)
        response = _refused(unavailable(), client)
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    patch_vary_headers(response, ["Cookie", "Authorization"])
    return response


def _refused(error: WireError, client: Client) -> HttpResponse:
    client.refuse(error)
    response = JsonResponse({"ok": False, **error.fields()}, status=error.status, headers=dict(error.headers))
    if error.status == 405:
        response["Allow"] = "POST"
    if error.status == 503:
        response.setdefault("Retry-After", "2")
    return response


def _reply(request: HttpRequest, client: Client) -> Any:
    if request.method != "POST":
        raise WireError("bad_method", "This address answers POST.", 405)
    handshakes.check_sync(request)
    most = get_settings().MAX_EVENT_BYTES + MORE_BYTES
    if int(request.META.get("CONTENT_LENGTH") or 0) > most or len(request.body) > most:
        raise WireError("too_large", f"The body is over {most} bytes.", 413)
    sending = parse_message(request.body)
    client.groups = (sending.group,)
    tenant = client.tenant = tenants.of_request(request)
    with tenants.active(tenant):
        known = client.identity = identity_of(request)
        _check_site(request, known)
        _count(request, known, tenant, sending)
        logins.check_login(sending.login, request.COOKIES.get(settings.SESSION_COOKIE_NAME), tenant)
        message = Message(sending.group, sending.type, sending.data, sending.key, sending.ephemeral)
        view = identity.handshake(request)
        admission = _admission(request, known, message, view, tenant)
    check_sent(admission)
    return take(message, admission, view)


def _check_site(request: HttpRequest, known: Any) -> None:
    """Refuse a request that a page of another site may have made a browser send.

    Browsers tell the origin of every POST (WHATWG Fetch, section 3.2). Without one, the CSRF token must be right.
    """
    if not needs_csrf_token(request, known):
        return
    if "HTTP_ORIGIN" in request.META:
        origins.check_origin(request)
    elif CSRF.process_view(request, lambda request: HttpResponse(), (), {}) is not None:
        raise WireError("csrf", "Send the page's Origin, or the CSRF cookie's token as X-CSRFToken.", 403)


def _count(request: HttpRequest, known: Any, tenant: str | None, sending: Sending) -> None:
    """Count a message for its user, or for its address if nobody is logged in. Raises WireError: there are too many."""
    key = limits.user_key(tenant, known.name) or ("sender", nearest_address(scope_of(request)))
    budget = limits.budget_of(key)
    if sending.ephemeral:
        budget.ephemeral(len(request.body))
    else:
        budget.message(len(request.body))


def _admission(
    request: HttpRequest, known: Any, message: Message, view: identity.Handshake, tenant: str | None
) -> Admission:
    groups, right = (message.group,), right_to_send(message)
    answers, questions = rules.ask_sync(known.user, filter(known.may, groups), view, right)
    if questions:
        answers = rules.ask_async_here(questions, answers, get_settings().DATABASE_TIMEOUT, tenant)
    return identity.admission(identity.Asked(known, answers, [], tenant), groups, answers)
