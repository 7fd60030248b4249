"""A few daemon threads for work that blocks, each job with a time limit.

If a database host vanishes or freezes, a thread can hang in a read: psycopg has no time limit for reads, and the
operating system's own limits are minutes long. livepush abandons such a thread, cuts its connection if it can, and
starts another thread in its place. A ``ThreadPoolExecutor`` can't do that: a stuck thread keeps its place in the pool,
and the process can't end before the thread does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
FAREWELL = 2.0
"""How long (seconds) ``stop`` waits for running jobs."""


class Threads:
    """At most ``max_threads`` threads that belong to one event loop, started when they are needed.

    ``limit`` is how long (seconds) one job may take once it has begun. Each thread calls ``finish`` at its end.
    ``cut`` is called with the ``ident`` of an abandoned thread.
    """

    def __init__(
        self,
        max_threads: int,
        name: str,
        limit: float,
        finish: Callable[[], object],
        cut: Callable[[int], object] = lambda ident: None,
    ) -> None:
        self.limit = limit
        self._name = name
        self._finish = finish
        self._cut = cut
        self._slots = asyncio.Semaphore(max_threads)
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        """The threads that were started and not abandoned."""

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in one of the threads; return its result.

        Raises what ``work`` raises, and TimeoutError if it takes longer than the limit. If the caller is cancelled, the
        work still goes on.
        """
        await self._slots.acquire()
        return await asyncio.shield(asyncio.create_task(self._run_in_slot(work)))

    async def stop(self) -> None:
        """End the threads, and abandon those that are stuck."""
        for worker in self._workers:
            worker.end_after_job()
        ends = [asyncio.wrap_future(worker.ended) for worker in self._workers]
        if ends:
            await asyncio.wait(ends, timeout=FAREWELL)
        self._workers.clear()
        self._idle.clear()

    async def _run_in_slot(self, work: Callable[[], T]) -> T:
        worker = self._idle.pop() if self._idle else self._start_worker()
        try:
            outcome = asyncio.wrap_future(worker.do(work))
            await asyncio.wait([outcome], timeout=self.limit)
            if outcome.done():
                self._idle.append(worker)
                return outcome.result()
            self._abandon(worker)
            outcome.cancel()
            raise TimeoutError(f"The database did not answer within {self.limit:g} s.")
        finally:
            self._slots.release()

    def _start_worker(self) -> _Worker:
        worker = _Worker(self._name, self._finish)
        self._workers.add(worker)
        worker.start()
        return worker

    def _abandon(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        worker.end_after_job()
        self._cut(worker.ident or 0)


class _Worker(threading.Thread):
    """A thread that does one job after another."""

    def __init__(self, name: str, finish: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self.ended: Future[None] = Future()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()
        self._finish = finish

    def do(self, work: Callable[[], T]) -> Future[T]:
        """Do some work next; return a future for its outcome."""
        outcome: Future[T] = Future()
        self._jobs.put((work, outcome))
        return outcome

    def end_after_job(self) -> None:
        """End after the current job."""
        self._jobs.put(None)

    def run(self) -> None:
        while self._do_next():
            pass
        with suppress(Exception):  # the connection to close may be dead
            self._finish()
        self.ended.set_result(None)

    def _do_next(self) -> bool:
        """Do one job; return ``False`` when the thread must end."""
        job = self._jobs.get()
        if job is None:
            return False
        work, outcome = job
        if outcome.set_running_or_notify_cancel():  # from now on a cancellation has no effect
            try:
                result = work()
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(result)
        return True
