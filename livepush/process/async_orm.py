"""Gives async code the server's threads for its queries.

``sync_to_async``, and so every async method of the ORM, would run in asgiref's own thread. Nothing there replaces a
connection that is dead, gives one back to its pool, or gives up a query that hangs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import OperationalError

from livepush.notes import note_once
from livepush.process.connections import give_back
from livepush.process.hubs import threads
from livepush.process.threads import BorrowedThread, Overdue

T = TypeVar("T")


class _OneThread(Executor):
    """Runs what asgiref hands it in one of the server's threads, which it takes when the first job comes."""

    def __init__(self) -> None:
        self.thread = BorrowedThread(threads())
        self._loop = asyncio.get_running_loop()

    def submit(self, work: Callable[..., T], /, *args: Any, **options: Any) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(self._run(partial(work, *args, **options)), self._loop)

    async def _run(self, work: Callable[[], T]) -> T:
        try:
            return await self.thread.run(work)
        except Overdue as error:
            raise OperationalError(str(error)) from error


@contextmanager
def queries_in_threads() -> Iterator[None]:
    """Run the queries of async code in one of the server's threads, from its first query to the end of the block.

    A query that takes longer than ``DATABASE_TIMEOUT`` raises OperationalError.
    """
    executor = _OneThread()
    try:
        context, variable = ThreadSensitiveContext(), SyncToAsync.thread_sensitive_context
        SyncToAsync.context_to_thread_executor[context] = executor  # type: ignore[assignment, unused-ignore]
    except AttributeError:
        note_once("livepush does not know this version of asgiref: the queries of async rules run in asgiref's thread.")
        yield
        return
    token = variable.set(context)
    try:
        yield
    finally:
        variable.reset(token)
        SyncToAsync.context_to_thread_executor.pop(context, None)
        executor.thread.end(give_back)
