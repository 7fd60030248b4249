"""The patterns of groups, as Django's ``path()`` has them, each with a function that takes what varies in it."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.urls.resolvers import RoutePattern

from livepush import wire
from livepush.access import awaiting
from livepush.cancelling import contained
from livepush.exceptions import InvalidRule
from livepush.notes import Rarely, last_of, one_line

logger = logging.getLogger("livepush")

CONVERTED = re.compile("<[^>]*>")
"""The parts of a pattern that are not literal."""


class Pattern:
    """A pattern of groups such as ``order:<int:pk>``, and a function of some arguments and of what varies.

    ``arguments`` names the function's first arguments. It gets the ``request`` too if it has a parameter of that name.

    Raises InvalidRule: the pattern is malformed or matches no group, or the function does not fit it.
    """

    def __init__(self, pattern: str, function: Callable[..., Any], arguments: tuple[str, ...]) -> None:
        if not isinstance(pattern, str):
            raise InvalidRule(f'{pattern!r} is not a pattern of a group: expected a text such as "order:<int:pk>".')
        if not callable(function) or isinstance(function, type):
            raise InvalidRule(f"{function!r} stands under the pattern {pattern!r}: expected a function.")
        self.pattern = pattern
        self.function = function
        self.is_async = awaiting.is_async(function)
        self._prefix = pattern.partition("<")[0]  # most groups are told apart by it
        self._failures = Rarely()
        self._outages = Rarely(every=1.0)
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
            values = dict.fromkeys(names)
            inspect.signature(function).bind(*(None for _ in arguments), **values, **self._extra(None))
        except TypeError as error:
            expected = ", ".join([*arguments, *names])
            raise InvalidRule(
                f"The function for {pattern!r} does not fit its pattern ({error}): "
                f"expected {function.__name__}({expected})."
            ) from error

    def match(self, group: str) -> dict[str, Any] | None:
        """Return the pattern's values in a group's name, or ``None``."""
        if not group.startswith(self._prefix):
            return None
        try:
            found = self._route.match(group)
        except Exception:  # the project may have its own path converters
            self.log_exception("The pattern %r raised, so it does not match.")
            return None
        return None if found is None else found[2]

    def call(self, *arguments: Any, values: dict[str, Any], request: Any) -> Any:
        """Call the function. An async function's answer must be awaited.

        Raises what it raises, as ``contained`` has it.
        """
        with contained():
            return self.function(*arguments, **values, **self._extra(request))

    def log_exception(self, message: str) -> None:
        """Log what was raised, but rarely: a request may ask for many groups, and clients come back."""
        if times := self._failures.times():
            logger.exception(f"{message}{last_of(times)}", self.pattern)

    def log_outage(self, message: str, error: Exception) -> None:
        """Log that the function could not use its database, but rarely: that concerns everybody who comes meanwhile."""
        if times := self._outages.times():
            logger.warning(f"{message} %s.%s", self.pattern, one_line(error).rstrip("."), last_of(times))

    def _extra(self, request: Any) -> dict[str, Any]:
        return {"request": request} if self.wants_request else {}


def origin(function: Callable[..., Any]) -> tuple[str, str]:
    """Return where a function comes from: equal for two that are one, loaded twice."""
    return function.__module__, function.__qualname__
