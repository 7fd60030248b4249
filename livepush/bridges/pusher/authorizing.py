"""The auth endpoint: signs what a user may read, by livepush's rules. It works under WSGI too."""

from __future__ import annotations

import json

from django.http import HttpRequest, HttpResponse

from livepush import tenants
from livepush.access import identity
from livepush.access.identity import Admission
from livepush.bridges.pusher import proving, signing
from livepush.bridges.pusher.channels import Channel, channel_of
from livepush.bridges.pusher.config import app
from livepush.consumers.answering import admit_here, answers, said
from livepush.consumers.auditing import Client
from livepush.consumers.identified import identity_of
from livepush.roster import rules as roster
from livepush.wire import WireError, dumps, unavailable


@answers("pusher", "POST")
def auth(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer the form ``socket_id=…&channel_name=…`` with ``{"auth", "channel_data"}``.

    A page of another site gains nothing from it: it can't read the answer, and nothing changes.
    """
    socket, channel = signing.check_socket(request.POST.get("socket_id")), channel_of(request.POST.get("channel_name"))
    if not channel.needs_auth:
        raise WireError("bad_channel", "Only channels that begin with 'private-' or 'presence-' need this.")
    admission = admit_here(request, client, (channel.group,))
    identity.check_granted(admission)
    data = _member(request, admission, channel) if channel.has_members else None
    text = signing.of_channel(socket, channel.name, data)
    more = {} if data is None else {"channel_data": data}
    return said({"auth": _auth(request, text, admission, channel.group), **more})


@answers("pusher", "POST")
def user_auth(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer the form ``socket_id=…`` with ``{"auth", "user_data"}`` of the user who is logged in."""
    with tenants.active(tenants.of_request(request)):
        known = client.identity = identity_of(request)
    socket = signing.check_socket(request.POST.get("socket_id"))
    if known.name is None:
        raise WireError("unauthenticated", "Nobody is logged in: log in, or send another authenticator's header.", 401)
    admission = admit_here(request, client, (f"user:{known.name}",))
    identity.check_granted(admission)
    data = dumps({"id": known.name})
    text = signing.of_user(socket, data)
    return said({"auth": _auth(request, text, admission, f"user:{known.name}"), "user_data": data})


def _auth(request: HttpRequest, text: str, admission: Admission, group: str) -> str:
    with tenants.active(admission.tenant):
        return proving.auth_of(app(), text, admission.identity, request, group)


def _member(request: HttpRequest, admission: Admission, channel: Channel) -> str:
    """Return what others see of a member, as JSON, by the presence rule. Raises WireError: nobody is to see it."""
    if admission.identity.name is None:
        raise WireError("unauthenticated", "Only users are members of a presence channel: log in.", 401)
    stored = tenants.stored(channel.group, admission.tenant)
    user, view = admission.identity.user, identity.handshake(request)
    [info] = roster.ask([roster.Question(stored, user, view, admission.tenant)])
    if isinstance(info, roster.Failed):
        raise unavailable()
    if info is None:
        raise WireError("forbidden", "No presence rule shows this user: add one with @livepush.presence.", 403)
    return dumps({"user_id": admission.identity.name, "user_info": json.loads(info)})
