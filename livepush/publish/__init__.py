"""Sending: names, the one pipeline, and model events."""

from __future__ import annotations

from livepush.publish.autocommit import committing, is_unnoticed, on_commit
from livepush.publish.data import as_json, encode
from livepush.publish.databases import in_real_transaction, log_of
from livepush.publish.names import Group, group_name, is_user, key_of, listed, root_model, user_group
from livepush.publish.pipeline import announce, deliver, on_settled, settle
from livepush.publish.senders import stamp
from livepush.publish.sending import (
    UNTRACED,
    Delivery,
    Sent,
    another,
    asend,
    checked,
    ephemeral,
    key_of_own,
    may_settle,
    on_good_connections,
    own_key_of,
    send,
    send_as,
    send_checked,
    send_own,
    tracers,
    watchers,
)
from livepush.publish.twins import has_async_twin

__all__ = [
    "UNTRACED",
    "Delivery",
    "Group",
    "Sent",
    "announce",
    "another",
    "as_json",
    "asend",
    "checked",
    "committing",
    "deliver",
    "encode",
    "ephemeral",
    "group_name",
    "has_async_twin",
    "in_real_transaction",
    "is_unnoticed",
    "is_user",
    "key_of",
    "key_of_own",
    "listed",
    "log_of",
    "may_settle",
    "on_commit",
    "on_good_connections",
    "on_settled",
    "own_key_of",
    "root_model",
    "send",
    "send_as",
    "send_checked",
    "send_own",
    "settle",
    "stamp",
    "tracers",
    "user_group",
    "watchers",
]
