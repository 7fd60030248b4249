"""The system check of handlers: whether any rule lets clients send what they take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Warning, register

from livepush.access.patterns import CONVERTED
from livepush.access.rules import SEND, Rule, rules
from livepush.receiving.handlers import Handler, handlers


@register("livepush")
def check_handlers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that for each handler there is a rule that can let its messages in."""
    return [
        Warning(
            f"No rule lets clients send {handler.type!r} to {handler.pattern!r}, so its handler is never called.",
            hint=f"Add a function with @livepush.can_send({handler.pattern!r}), or name the type in the rule's types.",
            id="livepush.W018",
        )
        for handler in handlers
        if not any(_may_let_in(rule, handler) for rule in rules)
    ]


def _may_let_in(rule: Rule, handler: Handler) -> bool:
    """Return whether a rule names a handler's type, or no types, and some group may match both patterns."""
    if rule.right != SEND.name or not rule.allows(handler.type, lambda: True):
        return False
    one, other = (CONVERTED.split(pattern)[0] for pattern in (rule.pattern, handler.pattern))
    if rule.pattern == one:  # a group of its own
        return handler.match(rule.pattern) is not None
    if handler.pattern == other:
        return rule.match(handler.pattern) is not None
    return one.startswith(other) or other.startswith(one)
