"""``send_event`` and its companions, in place of those of ``django_eventstream``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async

import livepush
from livepush import log, publish
from livepush.bridges import patterns
from livepush.bridges.eventstream.channelmanager import manager
from livepush.bridges.eventstream.channels import group_of
from livepush.bridges.eventstream.encoding import WRAPPED
from livepush.conf import get_settings


class EventPermissionError(Exception):
    """A user may not read some channels; for code that names it in an ``except``."""

    def __init__(self, message: str, channels: Iterable[str] | None = None) -> None:
        super().__init__(message)
        self.channels = list(channels or ())


@publish.has_async_twin
def send_event(
    channel: str,
    event_type: str,
    data: Any,
    skip_user_ids: str | Iterable[Any] | None = None,
    async_publish: bool = True,
    json_encode: bool = True,
) -> None:
    """Send an event to a channel when the caller's transaction commits (at once outside of one).

    With ``json_encode=False``, ``data`` is a text that clients get as it is. The bridge's streams leave out the users
    with one of ``skip_user_ids``. Clients of livepush's own get the event, and these ids with it. An event of a channel
    that the channel manager calls unreliable is not stored. ``async_publish`` changes nothing: nobody waits for
    clients.

    Raises InvalidEvent before anything is written: the type is malformed, the channel's name is too long, or the data
    are too large.
    """
    skipped = patterns.listed(skip_user_ids or ())
    if skipped or not json_encode:
        event_type, data = f"{WRAPPED}{event_type}", _wrapped(data, skipped, json_encode)
    livepush.send(group_of(channel), event_type, data, ephemeral=not manager().is_channel_reliable(channel))


async def asend_event(
    channel: str,
    event_type: str,
    data: Any,
    skip_user_ids: str | Iterable[Any] | None = None,
    async_publish: bool = True,
    json_encode: bool = True,
) -> None:
    """Send an event from async code; see ``send_event``."""
    send = sync_to_async(publish.on_good_connections)
    await send(send_event, channel, event_type, data, skip_user_ids, async_publish, json_encode)


@publish.has_async_twin
def channel_permission_changed(user: Any, channel: str) -> None:
    """Have the channel manager asked again about a user's open streams; ``None`` stands for everybody.

    A stream that may no longer read one of its channels ends with ``stream-error``.
    """
    livepush.recheck(livepush.everyone if user is None else user)


async def achannel_permission_changed(user: Any, channel: str) -> None:
    """Have the channel manager asked again from async code; see ``channel_permission_changed``."""
    await sync_to_async(publish.on_good_connections)(channel_permission_changed, user, channel)


def get_current_event_id(channels: Iterable[str]) -> str:
    """Return an id for ``lastEventId``, after which a page's stream is to begin. It is good for any channels."""
    using = get_settings().DATABASE
    publish.settle(using)
    return str(log.state(using).position)


def _wrapped(data: Any, skipped: list[str], json_encode: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"data": data} if json_encode else {"text": _text(data)}
    return {**found, "skip": skipped} if skipped else found


def _text(data: Any) -> str:
    return data if isinstance(data, str) else json.dumps(data) if isinstance(data, dict | list) else str(data)
