"""django-eventstream's interface on livepush's log: its functions, URLs, streams and channel managers.

::

    from livepush.bridges.eventstream import send_event

    send_event("room-7", "message", {"text": "hello"})

The docstring of each module says what it stands in for. ``docs/eventstream.md`` is the way from there to here.
"""

from __future__ import annotations

from livepush.bridges.eventstream import urls
from livepush.bridges.eventstream.channels import group_of
from livepush.bridges.eventstream.sending import (
    EventPermissionError,
    achannel_permission_changed,
    asend_event,
    channel_permission_changed,
    get_current_event_id,
    send_event,
)

__all__ = [
    "EventPermissionError",
    "achannel_permission_changed",
    "asend_event",
    "channel_permission_changed",
    "get_current_event_id",
    "group_of",
    "send_event",
    "urls",
]
