"""What a sync function says when async code calls it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from django.core.exceptions import SynchronousOnlyOperation

P = ParamSpec("P")
T = TypeVar("T")


def has_async_twin(function: Callable[P, T]) -> Callable[P, T]:
    """Have a function of the public interface name its async twin where Django refuses the database to async code."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except SynchronousOnlyOperation as error:
            name = function.__name__
            raise SynchronousOnlyOperation(
                f"livepush.{name}() can't be called from async code: use await livepush.a{name}(), with the same "
                f"arguments, or call it in a thread."
            ) from error

    return wrapped
