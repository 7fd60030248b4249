"""Subscriptions, sign-ins, and livepush's own extension: to go on from a position."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

from livepush import process, tenants
from livepush.access import limits
from livepush.access.identity import Admission
from livepush.bridges.pusher import frames, posting, proving, signing, snapshots
from livepush.bridges.pusher.channels import Channel, channel_of
from livepush.bridges.pusher.config import app
from livepush.bridges.pusher.connection import PusherConnection
from livepush.consumers.commands import Visitor
from livepush.consumers.entering import ask_again_later
from livepush.rights import confirm
from livepush.wire import NOWHERE, WireError, parse_position, unavailable

Said = dict[str, Any]


async def subscribe(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    """Subscribe to a channel whose group the user may read. Raises WireError."""
    asked, entry = said["data"], visitor.entry
    channel = channel_of(asked.get("channel"))
    if channel.name in connection.channels:
        raise WireError("subscribed", f"There is a subscription to {channel.name!r} already.")
    heard = entry.rights.heard_for(visitor.grant)
    own: tuple[str, Any] | None = None
    _check_count(visitor, channel.group)
    if channel.needs_auth:
        own = await _authorize(visitor, connection, channel, asked)
    elif channel.is_of_user and channel.group != f"user:{connection.user}":
        raise WireError("unauthenticated", "Sign in as this user first.", 401)
    admission = await _admitted(visitor, channel.group)
    extra = await snapshots.of(channel, admission, entry.hub.position, connection.since_of(channel.name))
    since, lost = await entry.hub.admit(extra.since)
    admission, heard = await confirm(entry.rights, admission, visitor.grant.view, heard)
    ask_again_later(connection, admission)
    # From here on nothing waits, so that the client hears that it is subscribed before it gets an event.
    members = None
    if extra.members is not None and own is not None:
        here = _members_here(visitor, channel, admission.stored)
        members = {**here, **extra.members, own[0]: own[1]}
    said_first = [frames.succeeded(channel.name, members), *extra.cached(channel.name)]
    if lost is not None:
        said_first.append(frames.message("livepush:reset", {"position": str(since), "reason": lost}))
    if sum(map(len, said_first)) > entry.hub.options.buffer_bytes // 2 or not connection.fits(said_first[0]):
        raise WireError("too_large", "The channel has too many members for one message.", 413)
    is_held = connection.groups.keys() >= set(admission.stored)  # by another channel, whose events need not come again
    connection.limit_to(admission.stored, admission.floors)
    connection.enter(channel)
    if lost is not None:
        connection.begin_anew(since)
    if members is not None and own is not None:
        connection.own[channel.name] = own
        connection.meet(channel, members, members.keys() - (extra.members or {}).keys() - {own[0]})
    connection.say(tuple(said_first))
    entry.hub.subscribe(connection, admission.stored, None if is_held and extra.since is None else since)
    entry.rights.tell(visitor.grant)
    entry.rights.check(visitor.grant, heard)
    if extra.last == "":
        await posting.note_cache_miss(channel.name)


async def unsubscribe(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    """Drop a channel from now on. Raises WireError: the name is malformed."""
    group = connection.forget(channel_of(said["data"].get("channel")).name)
    if group is not None and group != f"user:{connection.user}":
        visitor.entry.hub.unsubscribe(connection, tenants.stored_groups((group,), visitor.grant.tenant))
        visitor.entry.rights.tell(visitor.grant)


async def sign_in(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    """Take the user for known whom the user-auth endpoint has signed. Raises WireError.

    The connection reads the user's own group from now on, so that it ends when the user's connections are terminated.
    The user's own channel, to which clients subscribe next, goes on from here.
    """
    data = said["data"].get("user_data")
    text = signing.of_user(connection.socket, data if isinstance(data, str) else "")
    proof = proving.check_auth(app(), text, said["data"].get("auth"))
    user = str(_object(data).get("id"))
    heard = visitor.entry.rights.heard_for(visitor.grant)
    await _become(visitor, connection, text, proof)
    if visitor.grant.identity.name != user:
        raise WireError("other_user", "The sign-in is not of this user: use livepush's user-auth endpoint.", 403)
    admission = await _admitted(visitor, f"user:{user}")
    connection.say((frames.message("pusher:signin_success", {"user_data": data}),))
    connection.sign_in(user, visitor.entry.hub.subscribe(connection, admission.stored))
    visitor.entry.rights.tell(visitor.grant)
    visitor.entry.rights.check(visitor.grant, heard)


async def resume(visitor: Visitor, connection: PusherConnection, said: Said) -> None:
    """Tell the client positions from now on; with one, go on from there in all channels, those to come too.

    If what follows the position is lost, go on from where the client starts over. Raises WireError: it is malformed.
    """
    given, hub = said["data"].get("position"), visitor.entry.hub
    since = None
    if given is not None:
        since = parse_position(given) if isinstance(given, str) else NOWHERE
    position, lost = await hub.admit(since)
    connection.tells_position = True
    if lost is not None:
        connection.say((frames.message("livepush:reset", {"position": str(position), "reason": lost}),))
    if since is not None:
        connection.resume(position)
        if connection.groups:
            hub.subscribe(connection, tuple(connection.groups), position)


async def _admitted(visitor: Visitor, group: str) -> Admission:
    """Return the admission to one group. Raises WireError: it may not be read, or the rule could not be asked."""
    admission = await visitor.admit((group,))
    if admission.granted:
        return admission
    if admission.failed:
        raise unavailable()
    raise WireError("forbidden", f"No rule lets this client read the group {group!r}.", 403)


def _check_count(visitor: Visitor, group: str) -> None:
    stored = tenants.stored_groups((group,), visitor.grant.tenant)
    count = len(visitor.connection.groups.keys() | set(stored))
    limits.check_groups(visitor.grant.identity.name is not None, count)


def _members_here(visitor: Visitor, channel: Channel, stored: tuple[str, ...]) -> dict[str, Any]:
    """Return the members whose clients are subscribed in this process: livepush may not have written them down yet."""
    found = {}
    for subscribers in visitor.entry.hub.router.routes.audiences(stored).values():
        for each in subscribers:
            if isinstance(each, PusherConnection) and channel.name in each.own:
                id, info = each.own[channel.name]
                found[id] = info
    return found


async def _authorize(
    visitor: Visitor, connection: PusherConnection, channel: Channel, asked: Said
) -> tuple[str, Any] | None:
    """Check what the auth endpoint has signed; return the member that the client is, if any. Raises WireError."""
    data = asked.get("channel_data") if channel.has_members else None
    if channel.has_members and not isinstance(data, str):
        raise WireError("bad_auth", "channel_data are missing: expected what the auth endpoint answered.", 401)
    text = signing.of_channel(connection.socket, channel.name, data)
    await _become(visitor, connection, text, proving.check_auth(app(), text, asked.get("auth")))
    if not channel.has_members:
        return None
    told = _object(data)
    if visitor.grant.identity.name is None or str(told.get("user_id")) != visitor.grant.identity.name:
        raise WireError("other_user", "A member must be a user whom livepush's auth endpoint has signed.", 403)
    return visitor.grant.identity.name, told.get("user_info")


async def _become(visitor: Visitor, connection: PusherConnection, text: str, proof: str) -> None:
    """Go on as the user whom a proof names, if the client was nobody so far. Raises WireError: it was another user."""
    if not proof:
        return
    grant, rights = visitor.grant, visitor.entry.rights
    fresh = await process.in_thread(partial(_proved, text, proof, connection.kept_waiting(), grant.tenant))
    if rights.has_ended(fresh.session):
        raise WireError("bad_auth", "The login of this auth has ended: log in again.", 401)
    if grant.identity.name not in (None, fresh.identity.name):
        raise WireError("other_user", "The connection is another user's: connect again.", 403)
    if grant.identity.name is None:
        visitor.entry.seat.count_for(limits.user_key(grant.tenant, fresh.identity.name))
        rights.replace(grant, fresh.identity, fresh.session)
        visitor.entry.client.identity = fresh.identity
        if fresh.identity.ends is not None:
            connection.leave_after(max(0.0, fresh.identity.ends - time.time()))


def _proved(text: str, proof: str, waited: float, tenant: str | None) -> proving.Proof:
    with tenants.active(tenant):
        return proving.proved(text, proof, waited)


def _object(data: Any) -> dict[str, Any]:
    """Return the JSON object in a text that was signed. Raises WireError: it is none."""
    try:
        found = json.loads(data)
        if not isinstance(found, dict):
            raise TypeError
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError("bad_auth", "The signed data are no JSON object.", 401) from error
    return found
