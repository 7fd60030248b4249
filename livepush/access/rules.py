"""Rules: who may read or send to which groups. A group that no rule grants can't be read or written."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction
from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError
from django.db.models import Model
from django.urls.resolvers import RoutePattern

from livepush import wire
from livepush.exceptions import InvalidRule
from livepush.notes import Rarely

logger = logging.getLogger("livepush")

RuleFunction = TypeVar("RuleFunction", bound=Callable[..., Any])
READ, SEND = "read", "send"
CONVERTED = re.compile("<[^>]*>")
"""The parts of a pattern that are not literal."""


class Rule:
    """A pattern and the function that says who may read or send to the groups that match it."""

    def __init__(self, pattern: str, function: Callable[..., Any], right: str) -> None:
        self.pattern = pattern
        self.function = function
        self.right = right
        self._failures = Rarely()
        for character in set(CONVERTED.sub("", pattern)):
            if not wire.GROUP.fullmatch(character):
                raise InvalidRule(
                    f"{pattern!r} matches no group: no name has {character!r}. "
                    f'A part that varies is written as in Django\'s path(), as in "order:<int:pk>".'
                )
        try:
            self._route = RoutePattern(pattern, is_endpoint=True)
            names = self._route.converters
        except ImproperlyConfigured as error:
            raise InvalidRule(f"{pattern!r} is not a pattern of a group: {error}") from error
        parameters = inspect.signature(function).parameters
        self.wants_request = "request" in parameters and "request" not in names
        try:
            inspect.signature(function).bind(None, **dict.fromkeys(names), **self._extra(None))
        except TypeError as error:
            expected = ", ".join(["user", *names])
            raise InvalidRule(
                f"The rule for {pattern!r} does not fit its pattern ({error}): "
                f"expected {function.__name__}({expected})."
            ) from error

    def match(self, group: str) -> dict[str, Any] | None:
        """Return the pattern's values in a group's name, or ``None``."""
        try:
            found = self._route.match(group)
        except Exception:  # the project may have its own path converters
            self.log_exception("The pattern %r raised, so it does not match.")
            return None
        return None if found is None else found[2]

    def ask(self, user: Any, values: dict[str, Any], request: Any) -> bool | Awaitable[bool]:
        """Ask the function. An async function's answer must be awaited."""
        answer: bool | Awaitable[bool] = self.function(user, **values, **self._extra(request))
        return answer

    def log_exception(self, message: str) -> None:
        """Log what was raised, but rarely: a request may ask for many groups, and clients come back."""
        if times := self._failures.times():
            often = f" It is the last of {times} times." if times > 1 else ""
            logger.exception(f"{message}{often}", self.pattern)

    @property
    def is_async(self) -> bool:
        """Whether the function is async."""
        return bool(iscoroutinefunction(self.function))

    def _extra(self, request: Any) -> dict[str, Any]:
        return {"request": request} if self.wants_request else {}


rules: list[Rule] = []


def can_read(pattern: str) -> Callable[[RuleFunction], RuleFunction]:
    """Let a function decide who may read the groups that match a pattern.

    The pattern is written as for Django's ``path()``, e.g. ``"order:<int:pk>"``. The function takes ``(user, pk)``,
    and ``request`` if it has a parameter of that name. It may be async. If several rules match, one yes is enough.

    Raises InvalidRule: the pattern is malformed or has a rule already, or the function does not fit the pattern.
    """
    return _register(pattern, READ)


def can_send(pattern: str) -> Callable[[RuleFunction], RuleFunction]:
    """Let a function decide who may send from a client to the groups that match a pattern. See ``can_read``."""
    return _register(pattern, SEND)


def _register(pattern: str, right: str) -> Callable[[RuleFunction], RuleFunction]:
    if callable(pattern):  # a decorator without its parentheses
        name = getattr(pattern, "__name__", pattern)
        raise InvalidRule(f'The rule {name} has no pattern: write @livepush.can_{right}("order:<int:pk>").')

    def register(function: RuleFunction) -> RuleFunction:
        rule = Rule(pattern, function, right)
        for place, other in enumerate(rules):
            if (other.pattern, other.right) == (pattern, right):
                if _origin(other.function) != _origin(function):
                    raise InvalidRule(
                        f"{pattern!r} has a rule already, {'.'.join(_origin(other.function))}: merge the two."
                    )
                rules[place] = rule  # the module was loaded again
                return function
        rules.append(rule)
        return function

    return register


def _origin(function: Callable[..., Any]) -> tuple[str, str]:
    return function.__module__, function.__qualname__


Questions = list[tuple[str, Callable[[], Awaitable[bool]]]]


def ask_sync(user: Any, groups: Iterable[str], request: Any, right: str = READ) -> tuple[set[str], Questions]:
    """Ask the sync rules; return the groups that they grant, and the questions that are left for async rules.

    Sync rules may use the database, so call this in a thread. A rule that raises denies, and is logged.
    """
    granted: set[str] = set()
    questions: Questions = []
    for name in groups:
        matches = [(rule, values) for rule in rules if rule.right == right and (values := rule.match(name)) is not None]
        if any(_ask(rule, user, values, request) for rule, values in matches if not rule.is_async):
            granted.add(name)
        else:
            questions += [
                (name, partial(_answer, rule, user, values, request)) for rule, values in matches if rule.is_async
            ]
    return granted, questions


async def ask_async(questions: Questions) -> set[str]:
    """Ask the async rules; return the groups that they grant."""
    return {name for name, ask in questions if await ask()}


def _ask(rule: Rule, user: Any, values: dict[str, Any], request: Any) -> bool:
    try:
        answer = rule.ask(user, values, request)
        if not inspect.isawaitable(answer):
            return bool(answer)
        if inspect.iscoroutine(answer):
            answer.close()
        raise TypeError("a sync function returned an awaitable, which does not count as a yes: make it async def.")
    except (OperationalError, InterfaceError):
        raise  # the database can't be reached: the client must come back, it is not denied
    except Exception:
        rule.log_exception("The rule for %r raised, so it denies.")
        return False


async def _answer(rule: Rule, user: Any, values: dict[str, Any], request: Any) -> bool:
    try:
        return bool(await rule.ask(user, values, request))  # type: ignore[misc]
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        rule.log_exception("The rule for %r raised, so it denies.")
        return False


@can_read("user:<pk>")
def own_group(user: Any, pk: str) -> bool:
    """Let each user, and nobody else, read their own group."""
    if not getattr(user, "is_authenticated", False):
        return False
    if not isinstance(user, Model):
        return str(user.pk) == pk
    users = get_user_model()  # checked, since an instance of another model may have the same primary key
    return isinstance(user, users) and str(getattr(user, users._meta.pk.attname)) == pk
