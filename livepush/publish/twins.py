"""What a sync function says when async code calls it."""

from __future__ import annotations

import asyncio
import os
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


def in_async_code() -> bool:
    """Return whether an event loop runs in this thread, unless ``DJANGO_ALLOW_ASYNC_UNSAFE`` allows sync code there.

    Playwright's sync API leaves its loop running in the thread of a test, which is no async code.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
