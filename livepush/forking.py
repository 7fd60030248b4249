"""Makes anew in forked children what they can't take over from their parent.

A child has only the thread that forked. A lock that another thread held stays locked in it for ever, and what that
thread was changing stays half changed. So each module makes its locks, and what must be whole, by ``renewed``.
"""

from __future__ import annotations

import os
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
