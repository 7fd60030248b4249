"""A few daemon threads for work that blocks, each job with a time limit.

If a database host vanishes or freezes, a thread can hang in a read: psycopg has no time limit for reads, and the
operating system's own limits are minutes long. livepush abandons such a thread, cuts its connection if it can, and
starts another thread in its place. A ``ThreadPoolExecutor`` can't do that: a stuck thread keeps its place in the pool,
and the process can't end before the thread does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from livepush.longlived import Contexts
from livepush.progress import Progress

T = TypeVar("T")
Report = Callable[[Any, BaseException | None], object]
"""Takes the result of a job, or what it raised."""
IDLE = 1.0
"""How often (seconds) an idle thread looks whether its event loop was closed."""
STOP_TIMEOUT = 2.0
"""How long (seconds) ``stop`` waits for running jobs."""


class Overdue(TimeoutError):
    """A job has taken too long. A TimeoutError that the job itself raises, as of a mail server, is none of these."""


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
        self._loop = asyncio.get_running_loop()
        self._slots = Slots(max_threads)
        self._idle: list[_Worker] = []
        self._stopped = False
        self._workers: set[_Worker] = set()
        """The threads that were started and not abandoned."""

    async def run(self, work: Callable[[], T], level: int = 0, progress: Progress | None = None) -> T:
        """Run ``work`` in one of the threads; return its result. Work of lower levels goes first.

        ``progress`` has another limit than the threads', and the work may note there that it gets on.

        Raises what ``work`` raises, Overdue if it takes longer than the limit, and RuntimeError if no thread can be
        started, all were stopped, or ``work`` raises what is no Exception. If the caller is cancelled, the work still
        goes on.
        """
        return await self._do(await self._take(level), work, is_last=True, progress=progress)

    def _do(
        self, worker: _Worker, work: Callable[[], T], *, is_last: bool, progress: Progress | None = None
    ) -> asyncio.Future[T]:
        """Hand work to a thread that the caller has taken. The last job gives the thread back."""
        progress = progress or Progress(self.limit)
        outcome: asyncio.Future[T] = self._loop.create_future()
        if self._stopped or worker not in self._workers:
            outcome.set_exception(self._gone(progress.limit))
            return outcome
        progress.note()
        timer = self._loop.call_later(progress.limit, lambda: look())

        def look() -> None:
            nonlocal timer
            if (left := progress.left()) > 0:
                timer = self._loop.call_later(left, look)
            else:
                self._give_up(worker, outcome, progress.limit)

        def finished(result: Any, error: BaseException | None) -> None:
            timer.cancel()
            if is_last and worker in self._workers:  # it was not abandoned
                self._idle.append(worker)
                self._slots.release()
            if outcome.done():
                pass
            elif error is None:
                outcome.set_result(result)
            else:
                outcome.set_exception(_raisable(error))

        work = partial(progress.of, work)
        worker.do(work, lambda result, error: self._loop.call_soon_threadsafe(finished, result, error))
        return outcome

    async def stop(self) -> None:
        """End the threads, and abandon those that are stuck. Callers that wait for a thread get a RuntimeError."""
        workers = self.end_soon()
        if workers:
            await asyncio.wait([asyncio.wrap_future(worker.ended) for worker in workers], timeout=STOP_TIMEOUT)
        for worker in workers:
            if worker.ended.done():
                worker.join()  # it has nothing left to do
        for _ in self._workers:
            self._slots.release()
        self._workers.clear()
        self._idle.clear()

    def end_soon(self) -> list[_Worker]:
        """Let the threads end after their jobs; return them. Any thread may call it."""
        self._stopped = True
        workers = list(self._workers)
        for worker in workers:
            worker.end_after_job()
        return workers

    async def _take(self, level: int = 0) -> _Worker:
        """Wait for a thread; return one that is idle, or start one."""
        await self._slots.acquire(level)
        try:
            return self._take_worker()
        except BaseException:
            self._slots.release()  # for the next caller
            raise

    def _take_worker(self) -> _Worker:
        if self._stopped:
            raise self._gone(self.limit)
        if self._idle:
            return self._idle.pop()
        worker = _Worker(self._name, self._finish, self._loop.is_closed)
        worker.start()
        self._workers.add(worker)
        return worker

    def _give_up(self, worker: _Worker, outcome: asyncio.Future[Any], limit: float) -> None:
        """Abandon a thread whose job has taken too long."""
        if worker in self._workers:
            self._workers.discard(worker)
            self._slots.release()
            worker.end_after_job()
            self._cut(worker.ident or 0)
        if not outcome.done():
            outcome.set_exception(self._gone(limit))

    def _gone(self, limit: float) -> Exception:
        """Return the error for a thread that is not there any more."""
        if self._stopped:
            return RuntimeError("livepush's threads have been stopped, as at the server's end.")
        return Overdue(f"The database did not answer within {limit:g} s.")


class Slots:
    """A semaphore whose waiters of lower levels go first; those of one level in their order.

    Only work of level 0 and below may take all of the slots. Other work leaves half of them free, and so most of the
    processor to the event loop.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._spare = count // 2
        self._order = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    async def acquire(self, level: int = 0) -> None:
        """Wait for a slot."""
        if self._free > (self._spare if level > 0 else 0):
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (level, next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # for the next one
            raise

    def release(self) -> None:
        """Give a slot back."""
        self._free += 1
        while self._waiting and self._free > (self._spare if self._waiting[0][0] > 0 else 0):
            turn = heapq.heappop(self._waiting)[2]
            if not turn.done():
                self._free -= 1
                turn.set_result(None)


class BorrowedThread:
    """One of the threads for several jobs, one after another. It is taken with the first job, and kept until ``end``.

    Call its methods in the loop of the threads.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._taking: asyncio.Task[_Worker] | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread; return its result. Raises what ``Threads.run`` raises."""
        if self._taking is None:
            self._taking = asyncio.get_running_loop().create_task(self._threads._take())
        worker = await asyncio.shield(self._taking)
        return await self._threads._do(worker, work, is_last=False)

    def end(self, last: Callable[[], object]) -> None:
        """Do a last job in the thread if there is one, then give it back. Returns at once."""
        if self._taking is not None:
            self._taking.cancel()  # it may still wait for a thread
            self._taking.add_done_callback(partial(self._give_back, last))

    def _give_back(self, last: Callable[[], object], taking: asyncio.Task[_Worker]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            outcome = self._threads._do(taking.result(), last, is_last=True)
            outcome.add_done_callback(lambda done: done.exception())  # retrieved, since nobody awaits it


def _raisable(error: BaseException) -> Exception:
    """Return what a job has raised, or what stands for it.

    No future takes StopIteration. CancelledError would end the task that waits for the job, SystemExit its loop.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    found = RuntimeError(f"The work raised {type(error).__name__}.")
    found.__cause__ = error
    return found


class _Worker(threading.Thread):
    """A thread that does one job after another, and ends with its event loop, whatever ended that.

    No job finds in its context what an earlier one, perhaps another client's, has set there.
    """

    def __init__(self, name: str, finish: Callable[[], object], loop_is_closed: Callable[[], bool]) -> None:
        super().__init__(name=name, daemon=True)
        self.ended: Future[None] = Future()
        self._jobs: SimpleQueue[tuple[Callable[[], Any], Report] | None] = SimpleQueue()
        self._finish = finish
        self._loop_is_closed = loop_is_closed
        self._contexts = Contexts()

    def do(self, work: Callable[[], Any], report: Report) -> None:
        """Do some work next, then call ``report`` in this thread."""
        self._jobs.put((work, report))

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
        try:
            job = self._jobs.get(timeout=IDLE)
        except Empty:
            return not self._loop_is_closed()
        if job is None:
            return False
        work, report = job
        result, error = None, None
        try:
            result = self._contexts.run(work)
        except BaseException as raised:
            error = raised
        with suppress(RuntimeError):  # the loop is closed
            report(result, error)
        return True
