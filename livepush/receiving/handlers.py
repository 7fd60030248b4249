"""Handlers: the project's functions that take the messages that clients send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from livepush import wire
from livepush.access import rules
from livepush.access.patterns import Pattern, origin
from livepush.exceptions import InvalidRule
from livepush.receiving.schemas import Check, check_of

Function = TypeVar("Function", bound=Callable[..., Any])


class Handler(Pattern):
    """A function that takes the messages of one type to the groups that match a pattern."""

    def __init__(
        self, pattern: str, type: str, function: Callable[..., Any], schema: Any = None, *, atomic: bool = True
    ) -> None:
        super().__init__(pattern, function, ("user", "data"))
        self.type = type
        self.check: Check = check_of(schema)
        """Returns the data as the function takes them."""
        self.has_schema = schema is not None
        self.is_atomic = atomic and not self.is_async
        """Whether it runs in a transaction."""


class Found(NamedTuple):
    """The handler of a message, and what varies in its group's name."""

    handler: Handler
    values: dict[str, Any]


handlers: list[Handler] = []


def receive(pattern: str, type: str, *, schema: Any = None, atomic: bool = True) -> Callable[[Function], Function]:
    """Let a function take the messages of a type that clients send to the groups that match a pattern.

    The pattern is written as for ``can_read``. The function takes ``(user, data, **values)``, and ``request`` if it has
    a parameter of that name. Its result (JSON values, or ``None``) is the answer to the client. Nobody else hears
    of the message: the function sends what others are to hear. It may be async.

    Who may send is the rule's matter (``can_send``). ``schema`` is a Django form, a dataclass, or a Pydantic model: the
    function gets the form's ``cleaned_data``, or an instance. If the data do not fit, or the function raises
    ValidationError, the client hears ``invalid`` with the error's texts; if it raises PermissionDenied, ``forbidden``.
    Anything else that it raises is logged, and the client hears ``failed``.

    The function runs in a transaction of ``LIVEPUSH["DATABASE"]``, in which the message's key is noted too: the message
    takes effect once however often it is sent. With ``atomic=False``, and if the function is async, there is no
    transaction: the key is noted as done after the function. If the process dies before that, or the database is away
    then, the function may be called again. An async function is cancelled if it takes longer than four fifths of
    ``DATABASE_TIMEOUT``.

    Raises InvalidRule: the pattern, the type or the schema can't be used, the function does not fit the pattern, or the
    pattern has a handler of that type already.
    """
    if callable(pattern) or not isinstance(type, str):
        raise InvalidRule('A handler needs a pattern and a type: write @livepush.receive("room:<slug:name>", "chat").')
    if problem := wire.type_problem(type):
        raise InvalidRule(f"{type!r} is not a type: {problem}.")

    def register(function: Function) -> Function:
        handler = Handler(pattern, type, function, schema, atomic=atomic)
        for place, other in enumerate(handlers):
            if (other.pattern, other.type) == (pattern, type):
                if origin(other.function) != origin(function):
                    raise InvalidRule(
                        f"{type!r} in {pattern!r} has a handler already, {'.'.join(origin(other.function))}: "
                        f"merge the two."
                    )
                handlers[place] = handler  # the module was loaded again
                return function
        handlers.append(handler)
        return function

    return register


def handler_of(group: str, type: str) -> Found | None:
    """Return the first handler that takes a group's messages of a type; ``None`` if they are passed on as they are."""
    for handler in handlers:
        if handler.type == type and (values := handler.match(group)) is not None:
            return Found(handler, values)
    return None


rules.handles.append(lambda group, type: handler_of(group, type) is not None)
