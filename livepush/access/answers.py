"""The answers of rules: yes, no, or since when."""

from __future__ import annotations

import inspect
from datetime import date, datetime
from enum import Enum
from typing import NamedTuple

from django.utils import timezone

from livepush import wire
from livepush.wire import Floor, Position


class Answer(Enum):
    """An answer of a rule that is not a yes."""

    NO = "no"
    """The user may not, or the rule raised."""
    FAILED = "failed"
    """The rule could not reach its database, or did not answer in time: the client must come back."""


Said = Answer | Floor
"""An answer of a rule. A floor is a yes, and tells since when."""


class Answers(NamedTuple):
    """The rules' answers about some groups."""

    granted: dict[str, Floor]
    """The groups that the user may read, and since when."""
    failed: set[str]
    """Groups that no rule grants, and of which a rule failed."""


def judge(answer: object) -> Said:
    """Return what a rule's answer means: text is a position, and what else is true is a yes.

    Raises TypeError: it is a date, a time without a zone, or an awaitable. Raises ValueError: it is other text.
    """
    if isinstance(answer, Floor):
        return answer
    if isinstance(answer, Position):
        return Floor(answer.number)
    if isinstance(answer, str) and answer:
        return Floor(_position(answer).number)
    if isinstance(answer, datetime):
        if timezone.is_naive(answer):
            raise TypeError(
                f"it returned {answer!r}, which has no time zone: expected an aware datetime, as from make_aware()."
            )
        return Floor(time=wire.timestamp(answer))
    if isinstance(answer, date):
        raise TypeError(f"it returned {answer!r}: expected an aware datetime, which says when the day begins.")
    if not inspect.isawaitable(answer):
        return wire.EVERYTHING if answer else Answer.NO
    if inspect.iscoroutine(answer):
        answer.close()
    raise TypeError("a sync function returned an awaitable, which does not count as a yes: make it async def.")


def _position(text: str) -> Position:
    try:
        return wire.parse_position(text)
    except wire.WireError as error:
        raise ValueError(
            f"it returned {text[:80]!r}: text must be a position, such as an event's id ('k3x9-1042'). "
            "If it was to be a yes, return True."
        ) from error


def best(one: Said, other: Said) -> Said:
    """Return the more favourable of two rules' answers: one yes is enough."""
    if isinstance(one, Floor) and isinstance(other, Floor):
        return wire.lower(one, other)
    if isinstance(one, Floor) or isinstance(other, Floor):
        return one if isinstance(one, Floor) else other
    return one if one is Answer.FAILED else other
