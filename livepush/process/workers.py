"""One of livepush's threads, and the jobs that it does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from livepush.longlived import Contexts
from livepush.progress import Progress

IDLE = 1.0
"""How often (seconds) an idle thread looks whether its event loop was closed."""


class Job:
    """Some work, how it gets on, and who waits for it."""

    __slots__ = ("keeps", "outcome", "progress", "work")

    def __init__(self, work: Callable[[], Any], progress: Progress, outcome: asyncio.Future[Any], keeps: bool) -> None:
        self.work, self.progress, self.outcome = work, progress, outcome
        self.keeps = keeps
        """Whether its thread waits for what ``Threads._do`` gives it afterwards."""


class Pool(Protocol):
    """The part of ``Threads`` that its threads see."""

    name: str

    def done(self, worker: Worker, job: Job, result: Any, error: BaseException | None) -> None: ...
    def is_over(self) -> bool: ...
    def finish(self) -> None: ...


class Worker(threading.Thread):
    """A thread that does one job after another, and ends with its event loop, whatever ended that.

    No job finds in its context what an earlier one, perhaps another client's, has set there.
    """

    def __init__(self, pool: Pool) -> None:
        super().__init__(name=pool.name, daemon=True)
        self.ended: Future[None] = Future()
        self.jobs: SimpleQueue[Job | None] = SimpleQueue()
        """The jobs that it was given; ``None`` ends it."""
        self._pool = pool
        self._contexts = Contexts()

    def run(self) -> None:
        while self._do_next():
            pass
        self._pool.finish()
        self.ended.set_result(None)

    def _do_next(self) -> bool:
        """Do one job; return ``False`` when the thread must end."""
        try:
            job = self.jobs.get(timeout=IDLE)
        except Empty:
            return not self._pool.is_over()
        if job is None:
            return False
        result, error = None, None
        try:
            result = self._contexts.run(job.progress.of, job.work)
        except BaseException as raised:
            error = raised
        self._pool.done(self, job, result, error)
        return True


def raisable(error: BaseException) -> Exception:
    """Return what a job has raised, or what stands for it.

    No future takes StopIteration. CancelledError would end the task that waits for the job, SystemExit its loop.
    """
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    found = RuntimeError(f"The work raised {type(error).__name__}.")
    found.__cause__ = error
    return found
