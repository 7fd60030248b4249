"""Rules: who may read or send to which groups. A group that no rule grants can't be read or written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple, TypeVar

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.db import InterfaceError, OperationalError, close_old_connections
from django.db.models import Model
from django.utils import timezone

from livepush import green, tenants, wire
from livepush.access import awaiting
from livepush.access.answers import Answer, Answers, Said, best, judge
from livepush.access.patterns import Pattern, origin
from livepush.exceptions import InvalidRule
from livepush.keys import key_of
from livepush.notes import Rarely, last_of, note_once
from livepush.wire import EVERYTHING, Floor, lower

logger = logging.getLogger("livepush")

RuleFunction = TypeVar("RuleFunction", bound=Callable[..., Any])
DATABASE_ERRORS = (OperationalError, InterfaceError)
"""What a rule raises if its database can't be reached."""
_late_ones = Rarely(every=1.0)


class Right(NamedTuple):
    """A right that a client asks for: to read some groups, or to send messages of a type to them."""

    name: str
    type: str | None = None


READ, SEND = Right("read"), Right("send")


class Rule(Pattern):
    """A pattern and the function that says who may read or send to the groups that match it."""

    def __init__(self, pattern: str, function: Callable[..., Any], right: str, types: tuple[str, ...] = ()) -> None:
        super().__init__(pattern, function, ("user",))
        self.right = right
        self.types = types
        """The types that clients may send; without any, those for which the group has a handler."""

    def allows(self, type: str | None, handled: Callable[[], bool]) -> bool:
        """Return whether it is a rule for a type (``None``: for any). ``handled`` tells whether a handler takes it."""
        return type is None or (type in self.types if self.types else handled())

    def ask(self, user: Any, values: dict[str, Any], request: Any) -> Any:
        """Ask the function. An async function's answer must be awaited."""
        return self.call(user, values=values, request=request)

    def judge(self, answer: object) -> Said:
        """Return what the function's answer means. A user who may read from a time to come may not send before it.

        Raises TypeError and ValueError: it means nothing.
        """
        said = judge(answer)
        if self.right == SEND.name and isinstance(said, Floor):
            return EVERYTHING if said.time <= wire.timestamp(timezone.now()) else Answer.NO
        return said


rules: list[Rule] = []


def can_read(pattern: str) -> Callable[[RuleFunction], RuleFunction]:
    """Let a function decide who may read the groups that match a pattern.

    The pattern is written as for Django's ``path()``, e.g. ``"order:<int:pk>"``. The function takes ``(user, pk)``,
    and ``request`` if it has a parameter of that name. It may be async. If several rules match, one yes is enough.
    It may also return since when the user may read: an aware datetime, or a position such as an event's ``id``.

    Raises InvalidRule: the pattern is malformed or has a rule already, or the function does not fit the pattern.
    """
    return _register(pattern, READ.name, ())


def can_send(pattern: str, types: Iterable[str] = ()) -> Callable[[RuleFunction], RuleFunction]:
    """Let a function decide who may send from a client to the groups that match a pattern. See ``can_read``.

    ``types`` are the types of messages that clients may send there, such as ``("chat", "typing")``. Without any, those
    that a handler takes; see ``receive``.

    Raises InvalidRule: as ``can_read`` does, and if a type is malformed.
    """
    if isinstance(types, str):
        raise InvalidRule(f"types is {types!r}: expected a tuple such as ({types!r},).")
    if not isinstance(types, Iterable):
        raise InvalidRule(f"types is {types!r}: expected a tuple such as ('chat', 'typing').")
    types = tuple(types)
    for type in types:
        if problem := wire.type_problem(type):
            raise InvalidRule(f"{type!r} is not a type: {problem}.")
    return _register(pattern, SEND.name, types)


def _register(pattern: str, right: str, types: tuple[str, ...]) -> Callable[[RuleFunction], RuleFunction]:
    if callable(pattern):  # a decorator without its parentheses
        name = getattr(pattern, "__name__", pattern)
        raise InvalidRule(f'The rule {name} has no pattern: write @livepush.can_{right}("order:<int:pk>").')

    def register(function: RuleFunction) -> RuleFunction:
        rule = Rule(pattern, function, right, types)
        for place, other in enumerate(rules):
            if (other.pattern, other.right) == (pattern, right):
                if origin(other.function) != origin(function):
                    raise InvalidRule(
                        f"{pattern!r} has a rule already, {'.'.join(origin(other.function))}: merge the two."
                    )
                rules[place] = rule  # the module was loaded again
                return function
        rules.append(rule)
        return function

    return register


def has_senders(group: str) -> bool:
    """Return whether there is a rule that says who may send to a group."""
    return bool(rules_of(SEND, group))


def has_readers(group: str) -> bool:
    """Return whether there is a rule that says who may read a group."""
    return bool(rules_of(READ, group))


def rules_of(right: Right, group: str) -> list[Rule]:
    """Return the rules of a right that have a pattern for a group, whatever the type."""
    return [rule for rule in rules if rule.right == right.name and rule.match(group) is not None]


handles: list[Callable[[str, str], bool]] = []
"""Functions that tell whether a handler takes the messages of a type that clients send to a group."""


def is_handled(group: str, type: str | None) -> bool:
    """Return whether a handler takes the messages of a type that clients send to a group."""
    return type is not None and any(takes(group, type) for takes in handles)


Questions = list[tuple[str, Callable[[], Awaitable[Said]]]]


def ask_sync(
    user: Any,
    groups: Iterable[str],
    request: Any,
    right: Right = READ,
    failing: Collection[str] = (),
    note: Callable[[str], object] = lambda group: None,
) -> tuple[Answers, Questions]:
    """Ask the sync rules; return their answers, and the questions that are left for async rules.

    Sync rules may use the database, so call this in a thread. A rule that raises denies, and is logged. The rules of
    the groups in ``failing`` are not asked: they count as failed. ``note`` is called with each group before its rules.
    If there are tenants, one is active; a name that is too long for it is denied.
    """
    answers, questions = Answers({}, set(failing)), Questions()
    for name in groups:
        if name in answers.failed or name.startswith(wire.OWN_GROUPS) or not tenants.can_store(name):
            continue  # no pattern of a project's, however wide, opens livepush's own groups, or one that can't be
        note(name)
        handled = partial(is_handled, name, right.type)
        matches = [
            (rule, values)
            for rule in rules
            if rule.right == right.name
            and (values := rule.match(name)) is not None
            and rule.allows(right.type, handled)
        ]
        said = _ask_until_yes(
            [partial(_ask, rule, user, values, request) for rule, values in matches if not rule.is_async]
        )
        if isinstance(said, Floor):
            answers.granted[name] = said
            if said == EVERYTHING:
                continue
        elif said is Answer.FAILED:
            answers.failed.add(name)
        questions += [
            (name, partial(_ask_async, rule, user, values, request)) for rule, values in matches if rule.is_async
        ]
    return answers, questions


def _ask_until_yes(asks: Iterable[Callable[[], Said]]) -> Said:
    """Return the first yes to everything, else the best answer."""
    found: Said = Answer.NO
    for ask in asks:
        found = best(found, ask())
        if found == EVERYTHING:
            break
    return found


async def ask_async(
    questions: Questions,
    answers: Answers,
    limit: float,
    around: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Answers:
    """Ask the async rules side by side, each inside ``around()``; return the answers with theirs.

    A rule that does not answer within ``limit`` seconds has failed.
    """

    async def ask_within(ask: Callable[[], Awaitable[Said]]) -> Said:
        with around():
            return await ask()

    tasks = {asyncio.ensure_future(ask_within(ask)): name for name, ask in questions}
    granted, failed = dict(answers.granted), set(answers.failed)
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=limit)
        for task, name in tasks.items():
            said = task.result() if task.done() else _late(name, limit)
            if isinstance(said, Floor):
                granted[name] = lower(granted[name], said) if name in granted else said
            elif said is Answer.FAILED:
                failed.add(name)
    finally:
        for task in tasks:
            task.cancel()
    return Answers(granted, failed - granted.keys())


def ask_async_here(questions: Questions, answers: Answers, limit: float, tenant: str | None = None) -> Answers:
    """Ask the async rules from sync code, for a tenant; return what ``ask_async`` returns.

    Where threads are green they deny, and that is logged.
    """
    try:
        ask = green.to_sync(ask_async)
    except ImproperlyConfigured as error:
        note_once(f"An async rule denies. {error}", level=logging.WARNING)
        return answers
    with tenants.active(tenant):
        return ask(questions, answers, limit)


def _late(name: str, limit: float) -> Answer:
    if times := _late_ones.times():
        logger.warning("The rule for %r did not answer within %g s.%s", name, limit, last_of(times))
    return Answer.FAILED


def _ask(rule: Rule, user: Any, values: dict[str, Any], request: Any) -> Said:
    try:
        try:
            return rule.judge(rule.ask(user, values, request))
        except DATABASE_ERRORS:
            close_old_connections()  # those that turned out dead
            return rule.judge(rule.ask(user, values, request))
    except Exception as error:
        return _raised(rule, error)


async def _ask_async(rule: Rule, user: Any, values: dict[str, Any], request: Any) -> Said:
    try:
        return rule.judge(await awaiting.twice(partial(rule.ask, user, values, request)))
    except Exception as error:
        return _raised(rule, error)


def _raised(rule: Rule, error: Exception) -> Answer:
    """Log what a rule raised. If its database can't be reached, the client must come back: it is not denied."""
    if isinstance(error, DATABASE_ERRORS):
        rule.log_outage("The rule for %r could not ask its database:", error)
        return Answer.FAILED
    rule.log_exception("The rule for %r raised, so it denies.")
    return Answer.NO


@can_read("user:<pk>")
@can_read("user:<path:pk>")  # a text that is a primary key may have slashes
def own_group(user: Any, pk: str) -> bool:
    """Let each user, and nobody else, read their own group."""
    if not getattr(user, "is_authenticated", False):
        return False
    if not isinstance(user, Model):
        return str(user.pk) == pk
    users = get_user_model()  # checked, since an instance of another model may have the same primary key
    return isinstance(user, users) and str(key_of(user, users)) == pk
