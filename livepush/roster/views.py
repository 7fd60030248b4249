"""``{prefix}presence/``: who is there in a group, and what a member's page says of itself."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import get_token
from django.utils import timezone

from livepush import publish, tenants
from livepush.access import limits
from livepush.access.identity import Admission
from livepush.conf import get_settings
from livepush.consumers.answering import answers, said
from livepush.consumers.auditing import Client
from livepush.consumers.identified import check_site, identity_of
from livepush.consumers.views import admitted
from livepush.roster import table
from livepush.roster.reading import Member, snapshot
from livepush.roster.who import member_of_request
from livepush.wire import WireError, check_get, check_group, parse_query, timestamp

MAX_STATE = 1_024
"""The largest state of one member, as UTF-8 JSON."""
MAX_BODY = 8_192
EXAMPLE = '{"group": "room:lobby", "state": {"away": true}}'


@answers("presence", "GET", "POST")
def presence(request: HttpRequest, client: Client) -> HttpResponse:
    """Answer ``GET ?group=NAME`` with who is there, and take ``POST {"group": NAME, "state": {…}}``."""
    with tenants.active(tenants.of_request(request)):
        return said(_update(request, client) if request.method == "POST" else _members(request, client))


# Who is there


def _members(request: HttpRequest, client: Client) -> dict[str, Any]:
    check_get(request.method or "", request.META.get("CONTENT_LENGTH") or "", MAX_BODY)
    query = parse_query(request.META.get("QUERY_STRING", "").encode(), max_groups=get_settings().MAX_GROUPS)
    client.groups = query.groups
    if len(query.groups) > 1:
        raise WireError("too_many_groups", "Ask for the members of one group at a time.")
    with limits.handshake(client.scope, request, is_new=False):
        admission = admitted(request, query, client)
        found = snapshot(admission.granted[0])
    get_token(request)  # a visitor who is nobody in particular is known by the cookie that comes with it
    return {"position": str(found.position), "members": _visible(found.members, admission, found.position.number)}


def _visible(members: list[Member], admission: Admission, head: int) -> list[dict[str, Any]]:
    """Return members as JSON; without what is older than a newcomer may know, and none before the membership begins."""
    floor = next(iter(admission.since.values()), None)
    if floor is None:
        return [member._asdict() for member in members]
    if floor.number > head or floor.time > timestamp(timezone.now()):
        raise WireError("forbidden", "The group may not be read yet.", 403)
    since = floor.time if floor.time else None
    return [
        {**member._asdict(), "since": max(member.since, since) if since is not None else None} for member in members
    ]


# What a member says of itself


def _update(request: HttpRequest, client: Client) -> dict[str, Any]:
    body = limits.body_of(request, MAX_BODY, f"expected JSON such as {EXAMPLE}")  # first: a look for a form reads it
    known = client.identity = identity_of(request)
    tenant = client.tenant = tenants.current()
    check_site(request, known)
    group, state = _asked(body)
    client.groups = (group,)
    member = member_of_request(request, known, tenant)
    if member is None or not known.may(group):
        raise _absent()
    key = tenants.stored(group, tenant), member
    if not table.rows_of(get_settings().DATABASE, [key]):
        raise _absent()
    limits.budget_of(limits.user_key(tenant, member)).message(len(state.encode()))
    if not table.change_state(get_settings().DATABASE, key, state):
        raise _absent()
    return {"id": member}


def _absent() -> WireError:
    return WireError("not_present", "The client is no visible member of the group: connect to it first.", 409)


def _asked(body: bytes) -> tuple[str, str]:
    """Return the group and the state, as JSON, that a body names."""
    try:
        found = json.loads(body)
        group, state = check_group(found["group"]), found["state"]
        if not isinstance(state, dict):
            raise TypeError
        text = publish.as_json(state)
    except WireError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WireError("bad_body", f"The body is malformed: expected JSON such as {EXAMPLE}.") from error
    if len(text.encode()) > MAX_STATE:
        raise WireError("too_large", f"The state is over {MAX_STATE} bytes as JSON: keep less in it.", 413)
    return group, text
