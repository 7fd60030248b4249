"""Sending: names, one pipeline, and model events."""

from __future__ import annotations

from livepush.publish.names import Group, group_name, user_group
from livepush.publish.sending import (
    Delivery,
    Sent,
    after_commit,
    announce,
    asend,
    deliver,
    followers,
    on_good_connections,
    send,
    send_own,
    watchers,
)

__all__ = [
    "Delivery",
    "Group",
    "Sent",
    "after_commit",
    "announce",
    "asend",
    "deliver",
    "followers",
    "group_name",
    "on_good_connections",
    "send",
    "send_own",
    "user_group",
    "watchers",
]
