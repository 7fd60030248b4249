"""Live notifications for Django that never lose an event.

::

    livepush.send("order:7", "status", {"status": "shipped"})

The names below are the whole public interface of Python code; ``livepush.exceptions`` and ``livepush.testing`` go
with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepush import streams
    from livepush.access.rules import can_read, can_send
    from livepush.hints import flush
    from livepush.inbox.forgetting import aexport, aforget, export, forget
    from livepush.inbox.kinds import NotificationType, notification
    from livepush.inbox.notifying import anotify, notify
    from livepush.inbox.recipients import ajoin, aleave, everyone, join, leave
    from livepush.process import stop
    from livepush.publish import asend, group_name, send, user_group
    from livepush.publish.model_events import ModelEvents, asend_for, register, send_for
    from livepush.publish.senders import public_user
    from livepush.receiving.handlers import receive
    from livepush.rights.announcing import arecheck, arevoke, recheck, revoke
    from livepush.rights.issuing import atoken, token
    from livepush.roster.reading import ais_present, amembers, is_present, members
    from livepush.roster.rules import presence
    from livepush.signals import marked, notified

__all__ = [
    "ModelEvents",
    "NotificationType",
    "aexport",
    "aforget",
    "ais_present",
    "ajoin",
    "aleave",
    "amembers",
    "anotify",
    "arecheck",
    "arevoke",
    "asend",
    "asend_for",
    "atoken",
    "can_read",
    "can_send",
    "everyone",
    "export",
    "flush",
    "forget",
    "group_name",
    "is_present",
    "join",
    "leave",
    "marked",
    "members",
    "notification",
    "notified",
    "notify",
    "presence",
    "public_user",
    "receive",
    "recheck",
    "register",
    "revoke",
    "send",
    "send_for",
    "stop",
    "streams",
    "token",
    "user_group",
]
__version__ = "0.1.0"

_HOMES = {
    "ModelEvents": "publish.model_events",
    "NotificationType": "inbox.kinds",
    "aexport": "inbox.forgetting",
    "aforget": "inbox.forgetting",
    "ais_present": "roster.reading",
    "ajoin": "inbox.recipients",
    "aleave": "inbox.recipients",
    "amembers": "roster.reading",
    "anotify": "inbox.notifying",
    "arecheck": "rights.announcing",
    "arevoke": "rights.announcing",
    "asend": "publish",
    "asend_for": "publish.model_events",
    "atoken": "rights.issuing",
    "can_read": "access.rules",
    "can_send": "access.rules",
    "everyone": "inbox.recipients",
    "export": "inbox.forgetting",
    "flush": "hints",
    "forget": "inbox.forgetting",
    "group_name": "publish",
    "is_present": "roster.reading",
    "join": "inbox.recipients",
    "leave": "inbox.recipients",
    "marked": "signals",
    "members": "roster.reading",
    "notification": "inbox.kinds",
    "notified": "signals",
    "notify": "inbox.notifying",
    "presence": "roster.rules",
    "public_user": "publish.senders",
    "receive": "receiving.handlers",
    "recheck": "rights.announcing",
    "register": "publish.model_events",
    "revoke": "rights.announcing",
    "send": "publish",
    "send_for": "publish.model_events",
    "stop": "process",
    "token": "rights.issuing",
    "user_group": "publish",
}


def __getattr__(name: str) -> Any:
    """Import on first use: Django imports this package before its models can be."""
    from importlib import import_module

    if name == "streams":
        return import_module("livepush.streams")
    if name not in _HOMES:
        raise AttributeError(f"module 'livepush' has no attribute {name!r}")
    return getattr(import_module(f"livepush.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
