"""What a sync function says when async code calls it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

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
            home, name = _home(function), function.__name__
            raise SynchronousOnlyOperation(
                f"{home}.{name}() can't be called from async code: use await {home}.a{name}(), with the same "
                f"arguments, or call it in a thread."
            ) from error

    return wrapped


def _home(function: Callable[..., Any]) -> str:
    """Return the name of the module that users import a function from."""
    module = function.__module__
    homes = ("livepush", module.rpartition(".")[0])
    return next((home for home in homes if function.__name__ in getattr(sys.modules[home], "__all__", ())), module)


def in_async_code() -> bool:
    """Return whether an event loop runs in this thread, unless ``DJANGO_ALLOW_ASYNC_UNSAFE`` allows sync code there.

    Playwright's sync API leaves its loop running in the thread of a test, which is no async code.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
