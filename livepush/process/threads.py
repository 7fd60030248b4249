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
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from livepush.process.workers import Job, Worker, raisable
from livepush.progress import Progress

T = TypeVar("T")
STOP_TIMEOUT = 2.0
"""How long (seconds) ``stop`` waits for running jobs."""


class Overdue(TimeoutError):
    """A job has taken too long. A TimeoutError that the job itself raises, as of a mail server, is none of these."""


class Threads:
    """At most ``max_threads`` threads that belong to one event loop, started when they are needed.

    Work of lower levels goes first. Only work of level 0 and below may take all of the threads. Other work leaves half
    of them free, and so most of the processor to the event loop. A thread that has done its job takes the next one by
    itself: to hand each over in the loop costs two switches of threads.

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
        self._max_threads = max_threads
        self.name = name
        self._finish = finish
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._stopped = False
        self._timer: asyncio.TimerHandle | None = None
        """When to look for jobs that take too long, while there are jobs."""
        self._outcomes: deque[tuple[Job, Any, BaseException | None]] = deque()
        self._is_woken = False
        """Whether the loop is about to look at the outcomes."""
        self._order = itertools.count()
        self._lock = threading.RLock()  # for what follows; a signal may come in between
        self._waiting: list[tuple[int, int, Job]] = []
        self._running: dict[Job, Worker] = {}
        self._workers: set[Worker] = set()
        """The threads that were started and not abandoned."""
        self._idle: list[Worker] = []

    async def run(self, work: Callable[[], T], level: int = 0, progress: Progress | None = None) -> T:
        """Run ``work`` in one of the threads; return its result. Work of lower levels goes first.

        ``progress`` has another limit than the threads', and the work may note there that it gets on.

        Raises what ``work`` raises, Overdue if it takes longer than the limit, and RuntimeError if no thread can be
        started, all were stopped, or ``work`` raises what is no Exception. If the caller is cancelled, work that has
        begun still goes on.
        """
        job = self._put(work, level, progress)
        try:
            result: T = await job.outcome
        except asyncio.CancelledError:
            with self._lock:
                if job not in self._running:
                    job.work = int  # nothing of a client that has left waits for a thread
            raise
        return result

    def _put(
        self, work: Callable[[], T], level: int = 0, progress: Progress | None = None, *, keeps: bool = False
    ) -> Job:
        """Have a thread do some work in its turn; return the job. With ``keeps`` it does what ``_do`` gives it next.

        Raises RuntimeError: no thread can be started, or all were stopped.
        """
        job = Job(work, progress or Progress(self.limit), self._loop.create_future(), keeps)
        with self._lock:
            if self._stopped:
                raise self._gone(job.progress.limit)
            heapq.heappush(self._waiting, (level, next(self._order), job))
            try:
                self._hand_out()
            except RuntimeError:
                if not self._workers:  # else one of these does it
                    job.outcome.cancel()
                    raise
        self._look_within(job.progress.limit)
        return job

    def _do(self, worker: Worker, work: Callable[[], T], *, is_last: bool) -> asyncio.Future[T]:
        """Give work to a thread that was kept. The last job gives the thread back."""
        job = Job(work, Progress(self.limit), self._loop.create_future(), not is_last)
        with self._lock:
            if self._stopped or worker not in self._workers:
                job.outcome.set_exception(self._gone(self.limit))
                return job.outcome
            self._begin(worker, job)
        self._look_within(self.limit)
        return job.outcome

    async def stop(self) -> None:
        """End the threads, and abandon those that are stuck. Callers that wait for a thread get a RuntimeError."""
        workers = self.end_soon()
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for _, _, job in waiting:
            if not job.outcome.done():
                job.outcome.set_exception(self._gone(self.limit))
        if workers:
            await asyncio.wait([asyncio.wrap_future(worker.ended) for worker in workers], timeout=STOP_TIMEOUT)
        for worker in workers:
            if worker.ended.done():
                worker.join()  # it has nothing left to do
        self._workers.clear()

    def end_soon(self) -> list[Worker]:
        """Let the threads end after their jobs; return them. Any thread may call it."""
        with self._lock:
            self._stopped = True
            workers = list(self._workers)
            self._idle.clear()
        for worker in workers:
            worker.jobs.put(None)
        return workers

    # With the lock

    def _hand_out(self) -> None:
        """Begin the jobs whose turn it is, as long as there are threads for them."""
        while (self._idle or len(self._workers) < self._max_threads) and self._is_turn():
            if not self._idle:
                worker = Worker(self)
                worker.start()
                self._workers.add(worker)
                self._idle.append(worker)
            self._begin(self._idle.pop(), heapq.heappop(self._waiting)[2])

    def _is_turn(self) -> bool:
        """Return whether one more thread may do the first job that waits."""
        while self._waiting and self._waiting[0][2].outcome.done():  # its caller was cancelled
            heapq.heappop(self._waiting)
        free = self._max_threads - len(self._workers) + len(self._idle)
        return bool(self._waiting) and free > (self._max_threads // 2 if self._waiting[0][0] > 0 else 0)

    def _begin(self, worker: Worker, job: Job) -> None:
        job.progress.note()
        self._running[job] = worker
        worker.jobs.put(job)

    # In the threads

    def done(self, worker: Worker, job: Job, result: Any, error: BaseException | None) -> None:
        """Take what a job has returned or raised, and give its thread the next one."""
        self._outcomes.append((job, result, error))
        with self._lock:
            self._running.pop(job, None)
            if worker in self._workers and not (job.keeps or self._stopped or self._loop.is_closed()):
                self._idle.append(worker)
                with suppress(RuntimeError):  # no thread can be started: the next job tries again
                    self._hand_out()
        if not self._is_woken:  # one waking of the loop serves many jobs
            self._is_woken = True
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._take_outcomes)

    def is_over(self) -> bool:
        """Return whether a thread that has nothing to do must end, since its loop was closed."""
        return self._loop.is_closed()

    def finish(self) -> None:
        """Do what is to be done as a thread ends."""
        with suppress(Exception):  # the connection to close may be dead
            self._finish()

    # In the loop

    def _take_outcomes(self) -> None:
        self._is_woken = False  # before it looks: what comes from now on wakes the loop again
        while self._outcomes:
            job, result, error = self._outcomes.popleft()
            if job.outcome.done():
                if job.work is _this_thread and isinstance(result, Worker):  # nobody waits for it
                    self._do(result, int, is_last=True)
            elif error is None:
                job.outcome.set_result(result)
            else:
                job.outcome.set_exception(raisable(error))

    def _look_within(self, seconds: float) -> None:
        """Look for jobs that take too long in so many seconds, unless it is looked earlier."""
        if self._timer is not None:
            if self._timer.when() <= self._loop.time() + seconds:
                return
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """Abandon the threads whose jobs take too long."""
        self._timer = None
        with self._lock:
            left = {job: job.progress.left() for job in self._running}
            overdue = {job: self._running.pop(job) for job, seconds in left.items() if seconds <= 0}
            abandoned = self._workers & set(overdue.values())
            self._workers -= abandoned
            with suppress(RuntimeError):  # no thread can be started: the next job tries again
                self._hand_out()
            soon = [left.get(job, job.progress.limit) for job in self._running]
            soon += [job.progress.limit for _, _, job in self._waiting]
        for job, worker in overdue.items():
            worker.jobs.put(None)
            if not job.outcome.done():
                job.outcome.set_exception(self._gone(job.progress.limit))
            if worker in abandoned:
                self._cut(worker.ident or 0)
        if soon:
            self._look_within(min(soon))

    def _gone(self, limit: float) -> Exception:
        """Return the error for a thread that is not there any more."""
        if self._stopped:
            return RuntimeError("livepush's threads have been stopped, as at the server's end.")
        return Overdue(f"The database did not answer within {limit:g} s.")


class BorrowedThread:
    """One of the threads for several jobs, one after another. It is taken with the first job, and kept until ``end``.

    Call its methods in the loop of the threads.
    """

    def __init__(self, threads: Threads) -> None:
        self._threads = threads
        self._taking: asyncio.Future[threading.Thread] | None = None
        self._has_ended = False

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` in the thread; return its result.

        Raises what ``Threads.run`` raises, and RuntimeError after ``end``.
        """
        if self._has_ended:
            raise RuntimeError("What this thread was taken for has ended.")
        if self._taking is None:
            self._taking = self._threads._put(_this_thread, keeps=True).outcome
        worker = await asyncio.shield(self._taking)
        assert isinstance(worker, Worker)
        return await self._threads._do(worker, work, is_last=False)

    def end(self, last: Callable[[], object]) -> None:
        """Do a last job in the thread if there is one, then give it back. Returns at once."""
        self._has_ended = True
        if self._taking is not None:
            self._taking.cancel()  # it may still wait for a thread
            self._taking.add_done_callback(partial(self._give_back, last))

    def _give_back(self, last: Callable[[], object], taking: asyncio.Future[threading.Thread]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            worker = taking.result()
            assert isinstance(worker, Worker)
            outcome = self._threads._do(worker, last, is_last=True)
            outcome.add_done_callback(lambda done: done.exception())  # retrieved, since nobody awaits it


def _this_thread() -> threading.Thread:
    """Return the thread that is taken. No job of a project's is this function."""
    return threading.current_thread()
