"""Asks about clients again: soon about those whom a change concerns, and now and then about everybody.

Rules may be slow, and a client chooses which of them are asked. So no client waits for another one's rules, and whoever
takes too long is told to come back: then the rules are asked before anything is sent.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from itertools import islice

from livepush import process
from livepush.access.authenticating import Identity
from livepush.hub import Hub
from livepush.notes import Rarely, one_line
from livepush.rights.asking import ask_left
from livepush.rights.grants import Grant
from livepush.rights.questions import Answer, Question, each_again

logger = logging.getLogger("livepush")

BATCH = 200
"""How many clients one job in a thread asks about: others' jobs run in between."""
BUDGET = 1.0
"""After how long (seconds) a job leaves the other clients of its batch to the next one."""
PATIENCE = 3.0
"""How long (seconds) a client keeps its groups, after a change that concerns it, while its rules do not answer."""
PAUSE = 1.0
"""How long (seconds) to wait after the database failed."""
PERMISSION = "permission"
"""The reason that clients get when nothing more is known than that they may not read a group any more."""

_late = Rarely(every=10.0)
_failing = Rarely(every=1.0)

Settle = Callable[[Grant, Answer, bool], object]
"""Notes who a client is now, and whether all rules have answered."""
Tell = Callable[[Grant], object]
"""Tells other packages that a client has other groups now."""


class Queue:
    """Clients to ask about, each with the reason that it gets if it loses groups."""

    def __init__(self, jobs: int, patience: float | None, level: int) -> None:
        self.free = asyncio.Semaphore(jobs)
        """As many batches are asked about at once."""
        self.patience = patience
        """How long (seconds) a client's rules may take; ``None`` for as long as any job in a thread."""
        self.level = level
        """The priority of its jobs: ``level`` of ``process.in_thread``."""
        self.size = BATCH
        """How many clients the next batch has: fewer after one that took too long."""
        self.filled = asyncio.Event()
        """Set while somebody is due."""
        self._due: dict[Grant, str] = {}

    def __contains__(self, grant: Grant) -> bool:
        return grant in self._due

    def put(self, grants: Iterable[Grant], reason: str) -> None:
        """Ask about some clients."""
        self._add(dict.fromkeys(grants, reason))

    def put_back(self, batch: Mapping[Grant, str]) -> None:
        """Ask about some clients next that were taken out."""
        due, self._due = self._due, dict(batch)
        self._add(due)

    def drop(self, grant: Grant) -> None:
        """Do not ask about a client any more."""
        self._due.pop(grant, None)
        self._tell()

    def take(self) -> dict[Grant, str]:
        """Take a batch out, the clients of each tenant together."""
        found = list(islice(self._due.items(), self.size))
        for grant, _ in found:
            del self._due[grant]
        self._tell()
        return dict(sorted(found, key=lambda each: each[0].tenant or ""))

    def _add(self, due: Mapping[Grant, str]) -> None:
        """Ask about some clients. One that is due already keeps a reason that says more than ``PERMISSION``."""
        told = {grant: reason for grant, reason in due.items() if reason != PERMISSION or grant not in self._due}
        self._due.update(told)
        self._tell()

    def _tell(self) -> None:
        if self._due:
            self.filled.set()
        else:
            self.filled.clear()


class Job:
    """Asks about some clients in a thread, until the time is up. The answers that it has by then count."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self.answers: list[Answer] = []
        self.begun = 0
        """How many clients it has begun to ask about by themselves."""
        self._questions = questions

    def __call__(self) -> None:
        self.answers, self.begun, end = [], 0, time.monotonic() + BUDGET
        with closing(each_again(self._questions, self._begin)) as found:
            for answer in found:
                self.answers.append(answer)
                if time.monotonic() > end:
                    return

    def _begin(self) -> None:
        self.begun += 1


class Rechecks:
    """Asks what the clients of one hub may still read. While the database can't be asked, they keep what they have."""

    def __init__(self, hub: Hub, interval: float, grants: Mapping[Grant, object], settle: Settle, tell: Tell) -> None:
        self.soon = Queue(jobs=4, patience=PATIENCE, level=-1)
        """The clients whom a change concerns: they are asked about before anybody is let in."""
        self.later = Queue(jobs=2, patience=None, level=0)
        """The clients that are asked about because all are."""
        self._loop = hub.loop
        self._interval = interval
        self._grants = grants
        self._settle = settle
        self._tell = tell
        self._open: Counter[Grant] = Counter()
        """The clients that are being asked about, and how many jobs ask about each."""
        hub.keep(self._run())

    def is_due(self, grant: Grant) -> bool:
        """Return whether it is to be found out what a client may read."""
        return grant in self.soon or grant in self.later or grant in self._open

    def drop(self, grant: Grant) -> None:
        """Do not ask about a client any more."""
        for queue in (self.soon, self.later):
            queue.drop(grant)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as self._jobs:
            for queue in (self.soon, self.later):
                self._jobs.create_task(self._work(queue))
            while True:  # a little before the time is over, and not when all processes do
                await asyncio.sleep(self._interval * random.uniform(0.8, 1))
                self.later.put(self._grants, PERMISSION)

    async def _work(self, queue: Queue) -> None:
        while True:
            await queue.free.acquire()
            await queue.filled.wait()
            job = self._jobs.create_task(self._ask_about(queue, queue.take()))
            job.add_done_callback(lambda _: queue.free.release())

    async def _ask_about(self, queue: Queue, batch: dict[Grant, str]) -> None:
        asked = {grant: Question(grant.identity, grant.view, grant.groups(), grant.tenant) for grant in batch}
        self._open.update(list(asked))
        job = Job(list(asked.values()))
        failure = await self._do(job, queue)
        answers = list(job.answers)
        for (grant, question), answer in zip(asked.items(), answers, strict=False):
            work = self._conclude(queue, grant, question, answer, batch.pop(grant))
            if answer.questions:
                self._jobs.create_task(work)  # nobody waits for another one's async rules
            else:
                await work
        if failure is None:
            queue.size = BATCH
        elif job.begun > len(answers):
            grant = next(iter(batch))
            self._put_aside(queue, grant, batch.pop(grant), failure)
            self._close(grant)
        else:
            queue.size = max(1, len(asked) // 2)  # it may have been too much to look up at once
            self._note(failure)
            await asyncio.sleep(PAUSE)
        queue.put_back({grant: reason for grant, reason in batch.items() if grant in self._grants})
        for grant in batch:
            self._close(grant)

    def _close(self, grant: Grant) -> None:
        self._open[grant] -= 1
        if not self._open[grant]:
            del self._open[grant]

    async def _do(self, job: Job, queue: Queue) -> Exception | None:
        """Have a job done; return what kept it from its end."""
        try:
            async with asyncio.timeout(queue.patience):
                await process.in_thread(job, queue.level)
        except Exception as error:
            return error
        return None

    async def _conclude(self, queue: Queue, grant: Grant, question: Question, answer: Answer, reason: str) -> None:
        """Ask the async rules, and take away what is not granted any more."""
        try:
            async with asyncio.timeout(queue.patience):
                said = await ask_left(answer.questions, answer.answers, grant.tenant)
            if grant not in self._grants:
                return  # it has gone
            if grant.identity is not question.identity:
                queue.put([grant], reason)  # it has been logged out meanwhile
                return
            reason = _told(question.identity, answer.identity, reason)
            self._settle(grant, answer, not said.failed)
            grant.limit_to(said.granted)
            kept = said.granted.keys() | said.failed
            gone = grant.take([group for group in question.groups if group not in kept], reason)
            if not gone and question.identity.token is not None and grant.identity.name is None:
                grant.revoke((), reason)  # it may get another token before it misses this one
            self._tell(grant)
            if said.failed:
                self._ask_later(queue, grant, reason)
        except Exception as error:
            self._put_aside(queue, grant, reason, error)
        finally:
            self._close(grant)

    def _put_aside(self, queue: Queue, grant: Grant, reason: str, failure: Exception) -> None:
        """Go on without a client that could not be asked about; if that took too long, it must come back."""
        if not isinstance(failure, TimeoutError):
            self._note(failure)
            self._ask_later(queue, grant, reason)
        elif grant in self._grants:
            if times := _late.times():
                logger.warning("%d clients must come back, since their rules did not answer in time.", times)
            grant.come_back()

    def _ask_later(self, queue: Queue, grant: Grant, reason: str) -> None:
        self._loop.call_later(PAUSE, lambda: queue.put({grant} & self._grants.keys(), reason))

    def _note(self, error: Exception) -> None:
        if times := _failing.times():
            message = "Could not find out what clients may still read (%d times; the last: %s); trying again."
            logger.warning(message, times, one_line(error))


def _told(was: Identity, now: Identity, reason: str) -> str:
    """Return the reason that a client gets: that its login has ended, if so, since it may have another one by now."""
    if reason != PERMISSION or was.name is None or now.name is not None:
        return reason
    if was.token is not None:
        return "token"
    return "user" if was.session is None else "session"
