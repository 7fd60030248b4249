"""Ends tasks whose work may lose a cancellation, and keeps apart whose cancellation it is.

``asyncio.wait_for`` of Python 3.11 loses one that comes as what it waits for ends, and clients of brokers and of Redis
take one for a failure of their connection, and try again. Somebody else's code may also raise CancelledError though
nobody cancelled its task: it awaits another task, which was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")

AGAIN = 1.0
"""How long (seconds) a task may go on after it was cancelled before it is cancelled again."""


async def within(limit: float, work: Awaitable[T]) -> T:
    """Return the result of some work.

    Raises what the work raises, as ``contained`` has it, and TimeoutError: it took more than ``limit`` seconds, so it
    was cancelled.
    """
    doing = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({doing}, timeout=limit)
    finally:
        await end(doing)
    if doing.cancelled() and not done:
        raise TimeoutError(f"It did not end within {limit:g} s, so it was cancelled.")
    with contained():
        return doing.result()


class contained:  # noqa: N801 (used like a function)
    """Runs somebody else's code in a ``with``.

    Raises RuntimeError instead of a CancelledError that comes though nobody cancelled this task, and instead of
    StopIteration: no future takes that, so before Python 3.12 whoever awaits a thread would wait for ever.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, asyncio.CancelledError):
            heed_cancellation()
            message = "It raised CancelledError, as of a task that it awaits and that was cancelled."
            raise RuntimeError(message) from error
        if isinstance(error, StopIteration):
            raise RuntimeError("It raised StopIteration.") from error


def heed_cancellation() -> None:
    """Raise CancelledError if this task was cancelled. Does nothing in a thread without an event loop."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


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
