"""Pusher's HTTP API, for servers that publish and ask: each request is signed with the app's secret."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.db import Error
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt

from livepush import tallies, tenants
from livepush.access.limits import PublishingBudget, body_of
from livepush.bridges import settling
from livepush.bridges.pusher import drafts, occupancy, signing
from livepush.bridges.pusher.channels import channel_of
from livepush.bridges.pusher.config import app
from livepush.conf import get_settings
from livepush.consumers.answering import MALFORMED, bad_request, kept_as_it_is, outside_transactions, said
from livepush.consumers.auditing import client_of
from livepush.consumers.views import needs_asgi
from livepush.exceptions import InvalidGroup
from livepush.notes import Rarely
from livepush.rights import announcing
from livepush.roster import reading
from livepush.wire import WireError, unavailable

logger = logging.getLogger("livepush")
failures = Rarely()
MAX_BATCH = 10
INFO = ("user_count", "subscription_count")
Respond = Callable[..., Any]
budget = PublishingBudget()


def signed(method: str) -> Callable[[Respond], Callable[..., HttpResponse]]:
    """Make a view of a function that takes a request whose signature is right, and returns what is answered."""

    def decorate(answer: Respond) -> Callable[..., HttpResponse]:
        @wraps(answer)
        def view(request: HttpRequest, app_id: str | None = None, **kwargs: Any) -> HttpResponse:
            try:
                if request.method != method:
                    raise WireError("bad_method", f"This address answers {method}.", 405)
                _check(request, app_id)
                with tenants.active(tenants.of_request(request)):
                    response = said(answer(request, **kwargs))
            except WireError as error:
                client_of("pusher", request).refuse(error)
                response = _refused(error, method)
            except MALFORMED as error:
                response = _refused(bad_request(error), method)
            except Error:
                if failures.times():
                    logger.warning("A request of Pusher's API failed.", exc_info=True)
                response = _refused(unavailable(), method)
            return kept_as_it_is(response)

        return login_not_required(csrf_exempt(outside_transactions(view)))

    return decorate


def needs_websocket(request: HttpRequest, key: str) -> HttpResponse:
    """Say that clients connect by WebSocket, which needs ASGI."""
    return needs_asgi(request)


@signed("POST")
def events(request: HttpRequest) -> dict[str, Any]:
    """Publish ``{"name", "data", "channels" or "channel", "socket_id"}``."""
    draft = drafts.draft_of(_body(request))
    info = _info(draft.info)
    _publish([draft])
    return {"channels": _attributes(draft.channels, info)} if info else {}


@signed("POST")
def batch_events(request: HttpRequest) -> dict[str, Any]:
    """Publish ``{"batch": [event, …]}``: all of them or none."""
    batch = _body(request).get("batch")
    if not isinstance(batch, list) or not 0 < len(batch) <= MAX_BATCH:
        raise WireError("bad_body", f"batch is malformed: expected a list of 1 to {MAX_BATCH} events.")
    found = [drafts.draft_of(each) for each in batch]
    infos = [_info(draft.info) for draft in found]
    _publish(found)
    if not any(infos):
        return {}
    named = _attributes([draft.channels[0] for draft in found], {each for info in infos for each in info})
    told = [(named[draft.channels[0]], info) for draft, info in zip(found, infos, strict=True)]
    return {"batch": [{each: known[each] for each in info if each in known} for known, info in told]}


@signed("GET")
def channels(request: HttpRequest) -> dict[str, Any]:
    """Answer which channels have subscribers."""
    prefix, info = request.GET.get("filter_by_prefix", ""), _info(request.GET.get("info", ""))
    if "user_count" in info and not prefix.startswith("presence-"):
        raise WireError("bad_info", "user_count needs filter_by_prefix=presence-.")
    names = [name for name in occupancy.occupied() if name.startswith(prefix) and not name.startswith("#")]
    return {"channels": _attributes(names, info)}


@signed("GET")
def channel(request: HttpRequest, channel: str) -> dict[str, Any]:
    """Answer whether a channel has subscribers, and how many."""
    info, found = _info(request.GET.get("info", "")), channel_of(channel)
    if "user_count" in info and not found.has_members:
        raise WireError("bad_info", "user_count is for channels that begin with 'presence-'.")
    here = occupancy.is_occupied(found.name) or (found.has_members and bool(reading.members(found.group)))
    return {"occupied": here, **_attributes([channel], info)[channel]}


@signed("GET")
def users(request: HttpRequest, channel: str) -> dict[str, Any]:
    """Answer who is in a presence channel, in any process."""
    found = channel_of(channel)
    if not found.has_members:
        raise WireError("bad_channel", "Only channels that begin with 'presence-' have users.")
    return {"users": [{"id": member.id} for member in reading.members(found.group)]}


@signed("POST")
def terminate(request: HttpRequest, user_id: str) -> dict[str, Any]:
    """End a user's connections in all processes, those of livepush's own clients among them."""
    if user_id == announcing.EVERYONE:
        raise WireError("bad_user", f"{user_id!r} is no user's primary key.")
    try:
        announcing.revoke(user_id)
    except InvalidGroup as error:
        raise WireError("bad_user", str(error)) from error
    return {}


def _refused(error: WireError, method: str) -> HttpResponse:
    headers = error.answer_headers(method)
    headers.pop("WWW-Authenticate", None)  # the signature is no bearer's token
    return HttpResponse(error.body(), "application/json", error.status, headers=headers)


def _check(request: HttpRequest, app_id: str | None) -> None:
    known = app()
    if app_id not in (None, known.id):
        raise WireError("unknown_app", "There is no app with this id: compare LIVEPUSH['PUSHER']['APP_ID'].", 404)
    body = body_of(request, drafts.max_body(), "send fewer or smaller events")
    signing.check_request(known, request.method or "", request.path, request.GET.dict(), body, time.time())


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        found = json.loads(request.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise WireError("bad_body", "The body is malformed: expected a JSON object.")
    return found


def _publish(found: Sequence[drafts.Draft]) -> None:
    """Send some events, all or none. Raises WireError: one can't be sent, or there are too many."""
    using = get_settings().DATABASE
    parcels = [draft.parcel(using) for draft in found]
    budget.spend(len(parcels))
    settling.carry_out(parcels, using, None)
    tallies.note("published", "event", by=len(parcels))


def _info(given: str) -> tuple[str, ...]:
    """Return the attributes that are asked for. Raises WireError: one is unknown."""
    found = tuple(filter(None, given.split(",")))
    if not set(found) <= set(INFO):
        raise WireError("bad_info", f"info is malformed: expected some of {', '.join(INFO)}, with commas in between.")
    return found


def _attributes(names: Sequence[str], info: Collection[str]) -> dict[str, dict[str, int]]:
    """Return the attributes of some channels that are asked for, as far as they have them."""
    groups = {name: channel.group for name in names if (channel := channel_of(name)).has_members}
    members = occupancy.member_counts(set(groups.values())) if "user_count" in info else {}
    counts = occupancy.counts_everywhere() if "subscription_count" in info else {}
    found: dict[str, dict[str, int]] = {name: {} for name in names}
    for name in names:
        if "user_count" in info and name in groups:
            found[name]["user_count"] = members.get(groups[name], 0)
        if "subscription_count" in info:
            found[name]["subscription_count"] = counts.get(name, 0)
    return found
