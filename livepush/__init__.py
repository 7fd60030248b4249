"""Live notifications for Django that never lose an event.

::

    livepush.send("order:7", "status", {"status": "shipped"})

The names below are the whole public interface of Python code; ``livepush.exceptions`` and ``livepush.testing`` go
with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from livepush.groups import group, sender
    from livepush.publishing import asend, group_name, send, user_group
    from livepush.signals import ModelEvents, asend_for, register, send_for

__all__ = [
    "ModelEvents",
    "asend",
    "asend_for",
    "group",
    "group_name",
    "register",
    "send",
    "send_for",
    "sender",
    "user_group",
]
__version__ = "0.1.0"

_HOMES = {
    "ModelEvents": "signals",
    "asend": "publishing",
    "asend_for": "signals",
    "group": "groups",
    "group_name": "publishing",
    "register": "signals",
    "send": "publishing",
    "send_for": "signals",
    "sender": "groups",
    "user_group": "publishing",
}


def __getattr__(name: str) -> Any:
    """Import on first use: Django imports this package before its models can be."""
    if name not in _HOMES:
        raise AttributeError(f"module 'livepush' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"livepush.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
