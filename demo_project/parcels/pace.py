"""How often the simulated day notifies one customer: seldom enough that a visitor can read what comes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

SECONDS = 20
"""How long a customer has peace after a simulated notification."""

_is_simulated = ContextVar("is_simulated", default=False)
_told: dict[int, float] = {}
"""When each customer was last notified, by the customer's key."""


@contextmanager
def simulated() -> Iterator[None]:
    """Mark what happens inside as simulated: no visitor did it."""
    before = _is_simulated.set(True)
    try:
        yield
    finally:
        _is_simulated.reset(before)


def may_notify(customer: int) -> bool:
    """Return whether a customer is notified now: always of what a visitor did, else once in ``SECONDS``."""
    if not _is_simulated.get():
        return True
    now = time.monotonic()
    if now - _told.get(customer, -SECONDS) < SECONDS:
        return False
    _told[customer] = now
    return True
