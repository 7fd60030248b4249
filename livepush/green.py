"""Green threads: under gevent and eventlet all threads of a process share one real thread.

An event loop that runs in one of them marks that real thread, where the ORM then refuses to work for all the others.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

P = ParamSpec("P")
T = TypeVar("T")

PATCHES = (("gevent.monkey", "is_module_patched", "threading"), ("eventlet.patcher", "is_monkey_patched", "thread"))
"""How to ask gevent and eventlet whether a thread is one of theirs: a module, its function, and the argument."""


def package() -> str | None:
    """Return the package whose green threads this process has; ``None`` if its threads are real."""
    for name, function, argument in PATCHES:
        is_patched = getattr(sys.modules.get(name), function, None)
        if is_patched is not None and is_patched(argument):
            return name.partition(".")[0]
    return None


def to_sync(function: Callable[P, Awaitable[T]]) -> Callable[P, T]:
    """Return an async function as a sync one. Raises ImproperlyConfigured: threads are green."""
    name = package()
    if name is not None:
        raise ImproperlyConfigured(
            f"Under {name} livepush runs no async functions, since the ORM would fail in all other green threads "
            "meanwhile: write a sync function, or let the server use real threads."
        )
    return async_to_sync(function)
