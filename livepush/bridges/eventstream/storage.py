"""A storage for those who stay with django-eventstream and want livepush's log: atomic, ordered, with a bounded length.

::

    EVENTSTREAM_STORAGE_CLASS = "livepush.bridges.eventstream.storage.LivepushStorage"

Ids are the log's numbers: they grow, but not by one from event to event of a channel.
"""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import Any

from django_eventstream.event import Event
from django_eventstream.storage import EventDoesNotExist, StorageBase

from livepush import log, publish, tenants
from livepush.bridges.eventstream.channels import group_of
from livepush.bridges.settling import Parcel, carry_out, wait
from livepush.conf import get_settings
from livepush.exceptions import LivepushError
from livepush.wire import parse_position


class LivepushStorage(StorageBase):  # type: ignore[misc]
    """Keeps the events of channels in livepush's log, for as long as ``RETENTION`` says."""

    def append_event(self, channel: str, event_type: str, data: Any) -> Event:
        """Send an event, and return it with its number.

        In a transaction it has no number yet, and gets that of the last event before it: then a client that reconnects
        may get it once more, and misses nothing.
        """
        using = get_settings().DATABASE
        sent = publish.checked(group_of(channel), event_type, data)
        if publish.in_real_transaction(using):
            publish.send_checked(sent, using)
            return Event(channel, event_type, data, id=log.state(using).position.number)
        key = f"new:{secrets.token_hex(8)}"
        parcel = Parcel(partial(publish.send_checked, sent, using, key), publish.own_key_of(key), sent.stored)
        (position,) = carry_out([parcel], using, None) or wait([parcel], using) or [None]
        if position is None:
            raise LivepushError("The event was stored, but has no position yet: the process that settles may be stuck.")
        return Event(channel, event_type, data, id=parse_position(position).number)

    def get_events(self, channel: str, last_id: int, limit: int = 100) -> list[Event]:
        """Return the events of a channel after a number. Raises EventDoesNotExist: the log no longer has them."""
        using = get_settings().DATABASE
        publish.settle(using)
        state = log.state(using)
        head = state.position.number
        if not state.floor <= last_id <= head:
            raise EventDoesNotExist(f"No such event {last_id}", head)
        groups = tenants.stored_groups([group_of(channel)], tenants.current())
        found = log.read(using, groups, last_id, head, limit).events
        return [Event(channel, each.type, json.loads(each.data), id=each.number) for each in found]

    def get_current_id(self, channel: str) -> int:
        """Return the number of the log's last event."""
        using = get_settings().DATABASE
        publish.settle(using)
        return log.state(using).position.number
