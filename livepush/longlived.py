"""Keeps what one job of a project's code leaves behind in a long-lived thread from the next job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from django.core.cache import BaseCache, caches

T = TypeVar("T")


class Contexts:
    """Runs one thread's jobs, each in a context of its own: a variable or a language that one sets ends with it.

    Database connections are the thread's own, whatever the context. Caches are not, so the next jobs get those that
    earlier ones have opened: each job would else connect anew.
    """

    def __init__(self) -> None:
        self._base = Context()
        self._kept = 0

    def run(self, work: Callable[..., T], *args: Any) -> T:
        """Do a job; return its result. All jobs must be done in the same thread."""
        context = self._base.copy()
        try:
            return context.run(work, *args)
        finally:
            with suppress(Exception):  # a Django that has changed, or settings of caches that are wrong
                found = context.run(_opened)
                if len(found) != self._kept:
                    self._base.run(_keep, found)
                    self._kept = len(found)


def _opened() -> dict[str, BaseCache]:
    found = caches._connections  # type: ignore[attr-defined]
    return {alias: caches[alias] for alias in caches if hasattr(found, alias)}


def _keep(found: Mapping[str, BaseCache]) -> None:
    for alias, cache in found.items():
        caches[alias] = cache
