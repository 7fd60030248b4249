"""A few daemon threads for work that blocks, each job with a time limit.

A database host that vanishes leaves a thread in a read that nothing ends. Such a thread is left behind, its connection
is cut where that is possible, and another takes its place.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")
FAREWELL = 2.0
"""How long (seconds) ``stop`` waits for jobs that are under way."""


class Threads:
    """Threads that belong to one event loop, started as they are needed.

    ``limit`` is how long (seconds) one job may take, once it has begun. ``finish`` is called by each thread at its end,
    ``cut`` with the ``ident`` of one that is left behind.
    """

    def __init__(
        self,
        most: int,
        name: str,
        limit: float,
        finish: Callable[[], object],
        cut: Callable[[int], object] = lambda ident: None,
    ) -> None:
        self.limit = limit
        self._most = most
        self._name = name
        self._finish = finish
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job[Any] | None] = SimpleQueue()
        self._unfinished = 0
        self._workers: set[_Worker] = set()
        self._look: asyncio.TimerHandle | None = None
        self._all_ended = asyncio.Event()

    async def run(self, work: Callable[[], T]) -> T:
        """Return what ``work`` returns in one of the threads.

        Raises what it raises, and TimeoutError where it takes longer than the limit.
        """
        job: _Job[T] = _Job(work, self._loop.create_future())
        if self._unfinished >= len(self._workers) < self._most:
            self._start_worker()
        self._unfinished += 1
        self._jobs.put(job)
        if self._look is None:
            self._look = self._loop.call_later(self.limit / 4, self._look_for_overdue)
        return await job.future

    async def stop(self) -> None:
        """End the threads; those that are stuck are left behind."""
        if self._look is not None:
            self._look.cancel()
        for _ in self._workers:
            self._jobs.put(None)
        try:
            async with asyncio.timeout(FAREWELL):
                while self._workers:
                    self._all_ended.clear()
                    await self._all_ended.wait()
        except TimeoutError:
            pass

    def _start_worker(self) -> None:
        worker = _Worker(self._name, self._jobs, self._report, self._finish)
        self._workers.add(worker)
        worker.start()

    def _report(self, outcome: Callable[[], None] | _Worker) -> None:
        """Carry what a thread has to say into the loop; a loop that is closed hears nothing any more."""
        try:
            if isinstance(outcome, _Worker):
                self._loop.call_soon_threadsafe(self._ended, outcome)
            else:
                self._loop.call_soon_threadsafe(self._finished, outcome)
        except RuntimeError:
            pass

    def _finished(self, outcome: Callable[[], None]) -> None:
        self._unfinished -= 1
        outcome()

    def _ended(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        if not self._workers:
            self._all_ended.set()

    def _look_for_overdue(self) -> None:
        self._look = None
        began_before = time.monotonic() - self.limit
        for worker in list(self._workers):
            job = worker.leave_behind(began_before)
            if job is not None:
                self._workers.discard(worker)
                job.fail(TimeoutError(f"The database did not answer within {self.limit:g} s."))
                self._cut(worker.ident or 0)
        missing = min(self._jobs.qsize(), self._most) - len(self._workers)
        for _ in range(missing):
            self._start_worker()
        if self._unfinished:
            self._look = self._loop.call_later(self.limit / 4, self._look_for_overdue)


class _Job(Generic[T]):
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], T], future: asyncio.Future[T]) -> None:
        self.work = work
        self.future = future

    def do(self) -> Callable[[], None]:
        """Do the work; return what brings its outcome to the loop."""
        try:
            result = self.work()
        except BaseException as raised:
            error = raised
            return lambda: self.fail(error)
        return lambda: self._succeed(result)

    def _succeed(self, result: T) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: BaseException) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class _Worker(threading.Thread):
    def __init__(
        self,
        name: str,
        jobs: SimpleQueue[_Job[Any] | None],
        report: Callable[[Callable[[], None] | _Worker], None],
        finish: Callable[[], object],
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._jobs = jobs
        self._report = report
        self._finish = finish
        self._lock = threading.Lock()
        self._job: _Job[Any] | None = None
        self._began = 0.0
        self._left_behind = False

    def run(self) -> None:
        try:
            while self._take():
                pass
        finally:
            with suppress(Exception):  # closing a connection that is dead
                self._finish()
            self._report(self)

    def leave_behind(self, began_before: float) -> _Job[Any] | None:
        """Take no further job, if the one at hand began before a time (``time.monotonic()``); return that one."""
        with self._lock:
            if self._job is None or self._began > began_before:
                return None
            self._left_behind = True
            return self._job

    def _take(self) -> bool:
        """Do one job; return whether to go on."""
        job = self._jobs.get()
        if job is None:
            return False
        with self._lock:
            self._job, self._began = job, time.monotonic()
        outcome = job.do()
        with self._lock:
            self._job = None
        self._report(outcome)
        return not self._left_behind
