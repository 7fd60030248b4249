"""Gathers what all streams of this process write: stores it in one statement, every ``FLUSH`` seconds.

A thread does it, with a database connection of its own, so that no producer waits for the database, and what it stores
does not hang on a producer's transaction. The thread ends when no stream is left.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Collection
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from math import inf

from django.core import mail
from django.db import Error, connections

from livepush.forking import Flag
from livepush.notes import Rarely, one_line
from livepush.process.connections import STREAM_THREAD, close_connections, give_back, limit_connecting
from livepush.streams import announcing, deleting, store, storing, watching
from livepush.streams.buffer import Buffer, Ending
from livepush.streams.compacting import Compactor
from livepush.streams.models import Stream, StreamState

logger = logging.getLogger("livepush")

FLUSH = 0.1
"""How often (seconds) what was written is stored."""
BEAT = 1.5
"""How often (seconds) this process says that it lives."""
LOOK = 0.5
"""How often (seconds) it asks which of its streams somebody asked to stop."""
LINGER = 2.0
"""How long (seconds) the thread waits for another stream before it ends, but in tests of a project."""
AT_ONCE = 50
"""How many streams begin, and how many end, in one turn: each is announced, and meanwhile this process says nothing."""
PAUSE = 0.5
"""How long (seconds) it waits after the database failed."""
ANSWER = 2.5
"""How long (seconds) the database may take to answer: others must hear in time that this process lives."""
END_TIMEOUT = 3.0
"""How long (seconds) a process that ends may take to store what is left."""


class Gatherer:
    """The producer of all streams of this process."""

    def __init__(self, using: str) -> None:
        self.name = secrets.token_hex(8)
        self._using = using
        self._lock = threading.RLock()
        self._wake = Flag()
        self._thread: threading.Thread | None = None
        self._buffers: dict[str, Buffer] = {}
        self._new: list[tuple[Stream, Buffer, Future[None]]] = []
        self._ending: dict[str, tuple[Buffer, Future[None]]] = {}
        self._beats_from = self._looks_from = 0.0
        self._limit = ANSWER
        """How long (seconds) a statement may take. After a failure that is more: the database may be slow."""
        self._entered = self._stopped = False
        self._compactor = Compactor(using)
        self._failures = Rarely(every=10.0)

    # What producers ask for

    def begin(self, row: Stream, buffer: Buffer) -> Future[None]:
        """Have a stream stored; the future is done when every process can find it."""
        done: Future[None] = Future()
        with self._lock:
            row.producer = self.name
            self._new.append((row, buffer, done))
            self._work()
        return done

    def end(self, buffer: Buffer, ending: Ending) -> Future[None]:
        """End a stream; the future is done when all of it and its end are stored. A second end changes nothing."""
        with self._lock:
            if buffer.id in self._ending:
                return self._ending[buffer.id][1]
            done: Future[None] = Future()
            if buffer.lost or buffer.ending is not None:
                buffer.settle(done)
                return done
            buffer.ending = ending
            self._ending[buffer.id] = (buffer, done)
            self._work()
        return done

    def buffer(self, id: str) -> Buffer | None:
        """Return the buffer of a stream that this process writes."""
        return self._buffers.get(id)

    def unfinished(self) -> list[Buffer]:
        """Return the streams that go on, and those that are not stored yet with all of their text and their end."""
        return [buffer for _, buffer, _ in self._new.copy()] + list(self._buffers.values())

    def is_idle(self) -> bool:
        """Return whether no stream is left."""
        return not (self._new or self._buffers) and self._compactor.is_idle()

    def hurry(self) -> None:
        """Store what waits at once: a producer waits for it."""
        self._wake.set()

    # The thread

    def _work(self) -> None:
        self._wake.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name=STREAM_THREAD, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        idle_since = time.monotonic()
        limit_connecting(self._using)
        try:
            while not self._stopped:
                self._wake.wait(FLUSH)
                self._wake.clear()
                with watching.watch.over():
                    if self._turn():
                        idle_since = time.monotonic()
                    elif time.monotonic() - idle_since > LINGER and self._may_end():
                        return
        finally:
            if self._thread is threading.current_thread():  # else it has left, and the next one may have entered
                self._compactor.settle(everybody=True)
                with watching.watch.over():
                    self._rest()

    def _may_end(self) -> bool:
        self._rest()
        with self._lock:
            if not self.is_idle():
                return False
            self._thread = None
            return True

    def _rest(self) -> None:
        """Leave the database alone, since no stream is left."""
        if self._entered:
            with suppress(Error):
                store.leave(self._using, self.name)
        self._entered, self._beats_from = False, 0.0
        close_connections()

    def stop(self) -> None:
        """End the thread, and wait until it has ended."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(END_TIMEOUT)

    def _turn(self) -> bool:
        """Do what is due; return whether there is any stream."""
        if self.is_idle():
            return False
        try:
            announcing.live.flush()  # what no tick has told
            with watching.watch.over(self._limit):
                self._beat()
            self._begin_new()
            with watching.watch.over(self._limit):
                self._store_all()
            self._end_all()
            with watching.watch.over(self._limit):
                self._look()
            if len(self._ending) < AT_ONCE:  # else these come first: their process may be about to end
                limited = partial(watching.watch.over, self._limit)
                self._compactor.work(limited, may_take_long=not self._buffers)  # without streams, beats may be late
            if self.is_idle() and hasattr(mail, "outbox"):  # the test may be over, and its database with it
                self._rest()
            self._compactor.settle()
            self._limit = ANSWER
        except Exception as error:
            self._compactor.settle(everybody=True)
            self._failed(error)
        finally:
            give_back()
        return True

    def _failed(self, error: Exception) -> None:
        for buffer in list(self._buffers.values()):
            buffer.doubtful = True
        connections[self._using].close()
        self._limit = inf
        if self._failures.times():
            logger.warning("Streams could not be stored (%s); trying again.", one_line(error))
        time.sleep(PAUSE)

    def _beat(self) -> None:
        now = time.monotonic()
        if now < self._beats_from:
            return
        if not self._entered:
            store.enter(self._using, self.name)
            self._entered = True
        elif not store.beat(self._using, self.name):
            self._lose_all()
            store.enter(self._using, self.name)
        self._beats_from = now + BEAT

    def _lose_all(self) -> None:
        """Give up the streams that others have ended, since they took this process for dead."""
        if self._buffers:
            logger.warning("Another process took this one for dead, and ended its %d streams.", len(self._buffers))
        self._lose(list(self._buffers))
        self.name = secrets.token_hex(8)

    def _lose(self, ids: Collection[str]) -> None:
        """Give up streams that others have ended or deleted; their producers are stopped."""
        for id in ids:
            self._buffers[id].lose()  # before its ending is taken, so that none comes after
            with self._lock:
                _, ending = self._buffers.pop(id), self._ending.pop(id, None)
            if ending is not None:
                ending[0].settle(ending[1])
        if ids:
            deleting.delete_late_text(self._using, ids)

    def _begin_new(self) -> None:
        new = self._new[:AT_ONCE]
        if not new:
            return
        if len(self._new) > AT_ONCE:
            self._wake.set()
        with watching.watch.over(self._limit):
            refused = storing.begin(self._using, self.name, [row for row, _, _ in new])
        with self._lock:
            self._buffers |= {buffer.id: buffer for _, buffer, _ in new}
            del self._new[: len(new)]
        for _, buffer, done in new:
            if buffer.id in refused:
                self._refuse(buffer, refused[buffer.id])
            buffer.settle(done)

    def _store_all(self) -> None:
        buffers = list(self._buffers.values())
        storing.settle_doubts(self._using, buffers)
        has_more, refused = storing.store_text(self._using, buffers)
        if has_more:
            self._wake.set()
        for id, error in refused.items():
            self._refuse(self._buffers[id], error)

    def _refuse(self, buffer: Buffer, error: Exception) -> None:
        """Have a stream end with what is stored of it."""
        with self._lock:
            buffer.refuse(error)
            buffer.ending = Ending(StreamState.INTERRUPTED)
            self._ending.setdefault(buffer.id, (buffer, Future()))

    def _end_all(self) -> None:
        done = [
            (buffer, future)
            for buffer, future in list(self._ending.values())
            if buffer.id in self._buffers and not buffer.unstored().pieces
        ]
        if not done:
            return
        if len(done) > AT_ONCE:
            done = done[:AT_ONCE]
            self._wake.set()
        announcing.live.flush()  # readers get the last text before their group hears of the end
        with watching.watch.over(self._limit):
            lost, refused = storing.end(self._using, self.name, [buffer for buffer, _ in done])
            self._lose(lost)
        for id, error in refused.items():
            self._refuse(self._buffers[id], error)
        done = [each for each in done if each[0].id not in lost | refused.keys()]
        with self._lock:
            for buffer, _ in done:
                del self._ending[buffer.id], self._buffers[buffer.id]
        for buffer, future in done:
            self._compactor.add(buffer.id, partial(buffer.settle, future))
        for buffer, _ in done:
            announcing.hint_end(buffer.id)

    def _look(self) -> None:
        now = time.monotonic()
        if now < self._looks_from:
            return
        self._looks_from = now + LOOK
        if not self._buffers:
            return
        known = store.running(self._using, self.name)
        self._lose([id for id in self._buffers if id not in known])
        for id, buffer in self._buffers.items():
            if known[id]:
                buffer.stop()
