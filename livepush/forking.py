"""Makes anew in forked children what they can't take over from their parent.

A child has only the thread that forked. A lock that another thread held stays locked in it for ever, and what that
thread was changing stays half changed. So each module makes its locks, and what must be whole, by ``renewed``.
Use locks that one thread may take twice (``RLock``, ``Condition``, ``Flag``): a signal's handler may send too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def in_children(work: Callable[[], object]) -> None:
    """Have something called in each forked child, before it goes on. Windows does not fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=work)


def renewed(module: dict[str, Any], name: str, make: Callable[[], T]) -> T:
    """Return the value of a module's variable, which each forked child makes anew.

    ``module`` is what ``globals()`` returns there. Other modules must not import the variable by its name: they would
    keep the parent's value.
    """

    def renew() -> None:
        module[name] = make()

    in_children(renew)
    return make()


class Flag:
    """A ``threading.Event`` that a signal's handler may use while its own thread is in one of the methods."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_set = False

    def set(self) -> None:
        """Wake who waits."""
        with self._changed:
            self._is_set = True
            self._changed.notify_all()

    def clear(self) -> None:
        """Have those wait who come from now on."""
        with self._changed:
            self._is_set = False

    def wait(self, seconds: float) -> bool:
        """Wait until it is set, or the time is over; return whether it is set."""
        with self._changed:
            return self._changed.wait_for(lambda: self._is_set, seconds)
