"""Ends tasks whose work may lose a cancellation.

``asyncio.wait_for`` of Python 3.11 loses one that comes as what it waits for ends, and clients of brokers and of Redis
take one for a failure of their connection, and try again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN = 1.0
"""How long (seconds) a task may go on after it was cancelled before it is cancelled again."""


async def within(limit: float, work: Awaitable[T]) -> T:
    """Return the result of some work. Raises TimeoutError: it took more than ``limit`` seconds, so it was cancelled."""
    doing = asyncio.ensure_future(work)
    try:
        await asyncio.wait({doing}, timeout=limit)
    finally:
        await end(doing)
    if doing.cancelled():
        raise TimeoutError(f"It did not end within {limit:g} s, so it was cancelled.")
    return doing.result()


async def end(*given: asyncio.Future[Any] | None) -> None:
    """Cancel tasks until all of them have ended; ``None`` is a task that was not begun. Raises none of their errors."""
    tasks = [task for task in given if task is not None]
    while going := [task for task in tasks if not task.done()]:
        for task in going:
            task.cancel()
        await asyncio.wait(going, timeout=AGAIN)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asked for: else asyncio logs that nobody did
