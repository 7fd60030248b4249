"""Clients' own events, ``client-…``: sent by livepush's rules, or given to a handler."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

from livepush import process, publish, tenants
from livepush.access import identity, rules
from livepush.access.identity import Admission
from livepush.access.languages import language_of
from livepush.bridges.pusher.channels import Channel, channel_of
from livepush.bridges.pusher.connection import PusherConnection
from livepush.bridges.pusher.frames import content
from livepush.conf import get_settings
from livepush.consumers.commands import Visitor
from livepush.consumers.messages import LATER, check_sent
from livepush.exceptions import InvalidEvent
from livepush.receiving import Message, handler_of, take_async
from livepush.wire import WireError, dumps, type_problem


async def send(visitor: Visitor, connection: PusherConnection, said: dict[str, Any]) -> None:
    """Send a client's event to the other subscribers of a channel. It is in the log, so nobody misses it.

    Raises WireError: the client is not subscribed to the channel, or no rule lets it send this.
    """
    channel = connection.channels.get(channel_of(said.get("channel")).name)
    if channel is None or not channel.needs_auth:
        raise WireError("forbidden", "Client events need a subscription to a private or presence channel.", 403)
    found = content(said["event"], said.get("data"))
    if problem := type_problem(said["event"]):
        raise WireError("bad_event", f"The event's name is malformed: {problem}.")
    admission = await visitor.admit((channel.group,), rules.Right(rules.SEND.name, found.type))
    check_sent(admission)
    if handler_of(channel.group, found.type) is None:
        work = partial(_pass_on, channel, found.type, found.data, admission, connection.socket, secrets.token_hex(16))
        await process.in_thread(work, LATER)
    else:
        message, language = Message(channel.group, *found), language_of(identity.request_of(visitor.scope))
        in_thread = partial(process.in_thread, level=LATER)
        await take_async(message, admission, visitor.entry.view, in_thread, process.tidy, language)


def _pass_on(channel: Channel, type: str, data: Any, admission: Admission, socket: str, key: str) -> None:
    """Send an event in its user's name. ``key`` keeps it from being sent twice if the first attempt fails late."""
    with tenants.active(admission.tenant):
        told = {**json.loads(publish.stamp(admission.identity.user)), "socket": socket, "channel": channel.name}
        if channel.has_members:
            told["member"] = admission.identity.name
        try:
            sent = publish.checked(channel.group, type, data)._replace(sender=dumps(told))
            publish.send_checked(sent, get_settings().DATABASE, f"pusher:{key}")
        except InvalidEvent as error:
            raise WireError("bad_event", str(error)) from error
