"""Awaits a project's async functions: each for a limited time, and once more if its connection turns out dead."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.db import InterfaceError, OperationalError, close_old_connections

from livepush import cancelling, green
from livepush.conf import get_settings

T = TypeVar("T")
Ask = Callable[[], Awaitable[T]]
Around = Callable[[], AbstractContextManager[object]]
"""Makes the context in which a function is awaited, such as one that gives it a thread for its queries."""
SHARE = 0.8
"""How much of ``DATABASE_TIMEOUT`` a function has for which a thread waits. After all of it, the thread is given up."""


def is_async(function: Any) -> bool:
    """Return whether a project's function, or instance with ``__call__``, is async."""
    return bool(iscoroutinefunction(function) or iscoroutinefunction(function.__call__))


async def twice(ask: Ask[T]) -> T:
    """Return what a function returns; if it could not use its database, ask again on a new connection.

    Raises what it raises, as ``cancelling.contained`` has it.
    """
    with cancelling.contained():
        try:
            return await ask()
        except (OperationalError, InterfaceError):
            await sync_to_async(close_old_connections)()
            return await ask()


async def within(ask: Ask[T], limit: float, around: Around = nullcontext) -> T:
    """Return what a function returns. Raises what it raises, and TimeoutError: it took more than ``limit`` seconds."""
    with around():
        return await cancelling.within(limit, twice(ask))


def here(ask: Ask[T]) -> T:
    """Return what a function returns, in this thread. Raises what ``within`` raises."""
    found: T = green.to_sync(within)(ask, SHARE * get_settings().DATABASE_TIMEOUT)
    return found
