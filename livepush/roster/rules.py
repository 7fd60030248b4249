"""The rules of presence: in which groups there are members, and what others may see of each."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import close_old_connections

from livepush import publish, tenants
from livepush.access import awaiting
from livepush.access.patterns import origin
from livepush.access.rules import DATABASE_ERRORS, Rule, RuleFunction
from livepush.conf import get_settings
from livepush.exceptions import InvalidRule
from livepush.notes import OnceEach
from livepush.wire import public_name

logger = logging.getLogger("livepush")

MAX_INFO = 2_048
"""The largest info of one member, as UTF-8 JSON."""
PRESENCE = "presence"

registry: list[Rule] = []
_told = OnceEach(100)


def presence(pattern: str) -> Callable[[RuleFunction], RuleFunction]:
    """Have members in the groups that match a pattern, and let a function decide what others see of each.

    The pattern is written as for ``can_read``. The function takes ``(user, name)`` for ``"room:<slug:name>"``, and
    ``request`` if it has a parameter of that name. It may be async. It returns a dict, such as ``{"name": "Ann",
    "avatar": "/ann.jpg"}``, or ``None`` for a member whom nobody sees. Everyone who may read the group sees it.

    Raises InvalidRule: the pattern is malformed or has a rule already, or the function does not fit the pattern.
    """
    if callable(pattern):  # a decorator without its parentheses
        name = getattr(pattern, "__name__", pattern)
        raise InvalidRule(f'The rule {name} has no pattern: write @livepush.presence("room:<slug:name>").')

    def register(function: RuleFunction) -> RuleFunction:
        rule = Rule(pattern, function, PRESENCE)
        for place, other in enumerate(registry):
            if other.pattern == pattern:
                if origin(other.function) != origin(function):
                    known = ".".join(origin(other.function))
                    raise InvalidRule(f"{pattern!r} has a presence rule already, {known}: merge the two.")
                registry[place] = rule  # the module was loaded again
                return function
        registry.append(rule)
        return function

    return register


def has_members(name: str) -> bool:
    """Return whether there is a presence rule for a group."""
    return any(rule.match(name) is not None for rule in registry)


def no_rule_for(name: str) -> str:
    """Return, in a sentence, that there is no presence rule for a group."""
    return f"No rule of presence has a pattern for {name!r}, so nobody is ever there."


def note_missing(name: str) -> None:
    """Log under ``DEBUG``, once for each group, that there is no presence rule for it; elsewhere do nothing."""
    if settings.DEBUG and not has_members(name) and _told.is_new(name):
        logger.warning("%s", no_rule_for(name))


class Question(NamedTuple):
    """Of whom a rule is asked."""

    group: str
    """The group as the log has it."""
    user: Any
    request: Any
    tenant: str | None


class Failed(Exception):
    """A rule could not ask its database: ask again later."""


Said = str | None | Failed
"""The data that others see, as JSON; ``None`` for none."""


def ask(questions: Sequence[Question]) -> list[Said]:
    """Ask the rules what others see of some members. Uses the database, so call it in a thread.

    A rule that raises, or returns what it can't, makes its member invisible; that is logged.
    """
    found: dict[int, Said] = {}
    later: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, question in enumerate(questions):
        rule, values = _rule_of(question)
        if rule is None:
            found[place] = None
        elif rule.is_async:
            later[question.tenant].append(place)
        else:
            found[place] = _ask(rule, values, question)
    for tenant, places in later.items():
        with tenants.active(tenant):
            found |= async_to_sync(_ask_side_by_side)(questions, places)
    return [found[place] for place in range(len(questions))]


def _rule_of(question: Question) -> tuple[Rule | None, dict[str, Any]]:
    """Return the first rule of a group, with the values of its pattern."""
    for rule in registry:
        values = rule.match(public_name(question.group))
        if values is not None:
            return rule, values
    return None, {}


def _ask(rule: Rule, values: dict[str, Any], question: Question) -> Said:
    try:
        with tenants.active(question.tenant):
            try:
                return _checked(rule.ask(question.user, values, question.request))
            except DATABASE_ERRORS:
                close_old_connections()  # those that turned out dead
                return _checked(rule.ask(question.user, values, question.request))
    except Exception as error:
        return _raised(rule, error)


async def _ask_side_by_side(questions: Sequence[Question], places: Iterable[int]) -> dict[int, Said]:
    places = list(places)
    limit = awaiting.SHARE * get_settings().DATABASE_TIMEOUT
    return dict(zip(places, await asyncio.gather(*(_aask(questions[place], limit) for place in places)), strict=True))


async def _aask(question: Question, limit: float) -> Said:
    rule, values = _rule_of(question)
    assert rule is not None
    try:
        async with asyncio.timeout(limit):
            return _checked(await awaiting.twice(partial(rule.ask, question.user, values, question.request)))
    except Exception as error:
        return _raised(rule, error)


def _raised(rule: Rule, error: Exception) -> Said:
    if isinstance(error, (*DATABASE_ERRORS, TimeoutError)):
        return Failed(f"The presence rule for {rule.pattern!r}: {type(error).__name__}: {error}")
    rule.log_exception("The presence rule for %r raised, so its member is invisible.")
    return None


def _checked(info: Any) -> str | None:
    """Return a rule's answer as JSON. Raises TypeError and ValueError: it is none."""
    if info is None:
        return None
    if inspect.iscoroutine(info):
        info.close()
    if not isinstance(info, dict):
        raise TypeError(f"it returned {str(info)[:80]!r}: expected a dict, or None for a member whom nobody sees.")
    text, limit = publish.as_json(info), min(MAX_INFO, get_settings().MAX_EVENT_BYTES // 4)
    if len(text.encode()) > limit:
        raise ValueError(f"it returned {len(text.encode())} bytes as JSON: expected {limit} at most.")
    return text
