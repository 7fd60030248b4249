"""``POST send/``: a message of a client to a group."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from livepush.access import identity, limits, logins
from livepush.access.addresses import nearest_address
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.consumers.answering import admit_here, answers, said
from livepush.consumers.auditing import Client, scope_of
from livepush.consumers.identified import check_site
from livepush.consumers.messages import check_sent, is_fleeting, right_to_send, send_here
from livepush.receiving import Message
from livepush.wire import MORE_BYTES, Sending, WireError, dumps, parse_message


def refusal(error: WireError) -> bytes:
    """Return a refusal in the form of the answers: ``{"ok": false, "code": …, "message": …}``."""
    return dumps({"ok": False, **error.fields()}).encode()


@answers("send", "POST", refusal=refusal)
def send(request: HttpRequest, client: Client) -> HttpResponse:
    """Take ``{"group", "type", "data", "key", "ephemeral", "login"}``; answer ``{"ok": true, "reply": …}``."""
    most = get_settings().MAX_EVENT_BYTES + MORE_BYTES
    body = limits.body_of(request, most, "send less data, or raise LIVEPUSH['MAX_EVENT_BYTES']")
    sending = parse_message(body)
    client.type = sending.type

    def check(known: Identity, tenant: str | None) -> None:
        check_site(request, known)
        _count(request, known, tenant, sending)
        logins.check_login(sending.login, request.COOKIES.get(settings.SESSION_COOKIE_NAME), tenant, known)

    message = Message(sending.group, sending.type, sending.data, sending.key, sending.ephemeral)
    admission = admit_here(request, client, (message.group,), right_to_send(message), check)
    check_sent(admission)
    return said({"ok": True, "reply": send_here(message, admission, identity.handshake(request))})


def _count(request: HttpRequest, known: Identity, tenant: str | None, sending: Sending) -> None:
    """Count a message for its user, or for its address if nobody is logged in. Raises WireError: there are too many."""
    key = limits.user_key(tenant, known.name) or ("sender", nearest_address(scope_of(request)))
    budget = limits.budget_of(key)
    if is_fleeting(sending):
        budget.ephemeral(sending.size)
    else:
        budget.message(sending.size)
