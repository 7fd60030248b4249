"""What a webhook says: events of the log as Pusher's webhooks name them, and the request. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

from livepush.bridges.pusher.channels import channel_of, is_name, name_of
from livepush.bridges.pusher.config import App
from livepush.bridges.pusher.occupying import GROUP, SIGN
from livepush.bridges.pusher.signing import sign
from livepush.roster.changes import Kind
from livepush.wire import OWN_GROUPS, Event, dumps

CACHE_MISS = "cache_miss"
"""The type of the event in ``GROUP`` that tells of one."""
VISITOR = "~"
"""How the ids of members begin who are no users."""
Said = dict[str, Any]


def said_of(event: Event, wanted: Collection[str]) -> list[Said]:
    """Return what webhooks say of an event of the log, of the kinds that are wanted."""
    return [said for said in _said_of(event) if said["name"] in wanted]


def request(app: App, said: list[Said], milliseconds: int) -> tuple[bytes, dict[str, str]]:
    """Return the body and the headers of a webhook."""
    body = dumps({"time_ms": milliseconds, "events": said})
    headers = {"Content-Type": "application/json", "X-Pusher-Key": app.key, "X-Pusher-Signature": sign(app, body)}
    return body.encode(), headers


def _said_of(event: Event) -> Iterator[Said]:
    group = event.groups[0]
    if group == GROUP:
        yield from _of_channels(event)
    elif event.type in (Kind.JOIN, Kind.LEAVE) and not group.startswith(OWN_GROUPS):
        yield from _of_members(event)
    elif event.type.startswith("client-") and event.sender:
        yield from _of_client(event)


def _of_channels(event: Event) -> Iterator[Said]:
    if event.type == CACHE_MISS:
        yield {"name": "cache_miss", "channel": json.loads(event.data)["channel"]}
        return
    for member in json.loads(event.data)["members"]:
        channel = str(member["id"]).removeprefix(SIGN)
        if event.type == Kind.LEAVE:
            yield {"name": "channel_vacated", "channel": channel}
        elif event.type == Kind.JOIN:
            yield {"name": "channel_occupied", "channel": channel}
        count = member.get("connections", 0)
        is_told = event.type == Kind.LEAVE or count > 0  # the last one leaves twice: its row says so, and goes
        if is_told and not channel_of(channel).has_members:  # as Pusher: those of presence channels are members
            yield {"name": "subscription_count", "channel": channel, "subscription_count": count}


def _of_members(event: Event) -> Iterator[Said]:
    name = "member_added" if event.type == Kind.JOIN else "member_removed"
    for group in event.groups:
        channel = name_of(group, "presence-")
        for member in json.loads(event.data)["members"] if is_name(channel) else ():
            if not str(member["id"]).startswith(VISITOR):
                yield {"name": name, "channel": channel, "user_id": str(member["id"])}


def _of_client(event: Event) -> Iterator[Said]:
    sender = json.loads(event.sender or "{}")
    if "channel" not in sender:  # it is of livepush's own client
        return
    data = json.loads(event.data)
    found = {
        "name": "client_event",
        "channel": sender["channel"],
        "event": event.type,
        "data": data if isinstance(data, str) else event.data,
        "socket_id": sender["socket"],
    }
    yield {**found, "user_id": sender["member"]} if "member" in sender else found
