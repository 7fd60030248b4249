"""Tells of streams: live text to readers in all processes, as hints; and a group that a stream began or ended."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from django.core import mail
from django.utils import timezone

from livepush import hints, publish
from livepush.exceptions import InvalidEvent
from livepush.forking import Flag, renewed
from livepush.process.connections import LIVE_THREAD, close_connections, limit_connecting
from livepush.streams import pieces, watching
from livepush.streams.buffer import Buffer, Passage
from livepush.streams.models import Stream
from livepush.wire import OWN_GROUPS, Batch, Event, public_name, timestamp

logger = logging.getLogger("livepush")

TICK = 0.005
"""For how long (seconds) live text is gathered before readers are told."""
LOST = 1.0
"""After how long (seconds) a tick that did not come counts as lost."""
NOTIFY_TICK = 0.05
"""For how long (seconds) text is gathered where NOTIFY tells other processes: without a hub, each is a statement."""
MAX_HINT, MAX_NOTIFY = 32_768, 3_500
"""The most bytes of a hint, and of one by NOTIFY. Readers find in the database what was too much for one."""
MAX_HINTS = 10_000
"""How many passages may wait to be hinted at."""
HINT_TYPE = "livepush.stream"
STARTED, FINISHED = "stream.started", "stream.finished"
"""The types of the events in a stream's group."""


BESIDE_METADATA = 100
"""The most bytes that such an event has beside the stream's metadata."""


def channel(id: str) -> str:
    """Return the group in which readers hear of a stream. Only livepush itself reads it."""
    return f"{OWN_GROUPS}stream:{id}"


def send_started(row: Stream, using: str) -> None:
    """Send a stream's group the event that it began, in the caller's transaction. Raises the database's errors."""
    _send(row.group, STARTED, {"stream": row.id, "format": row.format, "metadata": row.details}, using)


def send_ended(id: str, group: str, state: str, metadata: dict[str, Any], using: str) -> None:
    """Send a stream's group the event that it ended, in the caller's transaction. Raises the database's errors."""
    _send(group, FINISHED, {"stream": id, "state": state, "metadata": metadata}, using)


def _send(stored_group: str, type: str, data: dict[str, Any], using: str) -> None:
    """Send an event that is delivered once, though it may be sent again after a commit whose answer was lost."""
    try:
        content = publish.encode(data)
    except InvalidEvent:
        logger.exception("The group of a stream could not be told of it.")
        return
    sent = publish.Sent((public_name(stored_group),), type, content, None, False, (stored_group,))
    publish.send_checked(sent, using, f"{type}:{data['stream']}")


def hint_end(id: str) -> None:
    """Tell readers that a stream has ended: they find how in the database."""
    for listen in list(listeners):
        listen([(id, None)])
    _announce([_hint(id, '{"ended":true}')])


def _announce(events: list[Event]) -> None:
    hints.announce(Batch("", tuple(events)))


def _hint(id: str, text: str) -> Event:
    return Event(None, (channel(id),), HINT_TYPE, text, timestamp(timezone.now()))


def hint_of(id: str, passage: Passage, limit: int) -> Event:
    """Return the hint about a passage: its text, or only where it ends if the text is longer than ``limit`` bytes."""
    body = pieces.dumps(pieces.join(passage.pieces))
    known = f'"parts":{body},' if len(body.encode()) <= limit else ""
    return _hint(id, f'{{"start":{passage.start},{known}"end":{passage.end}}}')


STOP_TIMEOUT = 2.0
"""How long (seconds) ``stop`` waits for the thread."""
Told = Sequence[tuple[str, Passage | None]]
"""The new text of some streams, by their ids; ``None`` if a stream has ended."""
listeners: list[Callable[[Told], object]] = []
"""Called in any thread with what this process has written: its own readers need no hint."""
is_needed: list[Callable[[], bool]] = []
"""Each returns whether something may be written soon, so that the thread that tells of it is to go on."""


class Live:
    """Tells readers what producers write, every few milliseconds, for all streams together."""

    def __init__(self) -> None:
        self._fresh: dict[str, Buffer] = {}
        self._lock = threading.RLock()
        self._telling = threading.RLock()
        """Keeps passages in their order. Producers do not take it, so none waits for a thread that tells readers."""
        self._wake = Flag()
        self._thread: threading.Thread | None = None
        self._due_until = 0.0
        self._hints: list[tuple[str, Passage]] = []
        """The text that other processes are still to be told."""

    def tell(self, buffer: Buffer) -> None:
        """Have readers told what was written: by this thread's event loop if it has one, else by a thread."""
        if buffer.id in self._fresh:
            return
        with self._lock:
            self._fresh[buffer.id] = buffer
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.start_thread()
            self._wake.set()
            return
        now = time.monotonic()  # which threads compare with, so no loop's own clock
        if now >= self._due_until:  # a tick may be lost with its loop
            self._due_until = now + LOST
            loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._due_until = 0.0
        self.flush()

    def start_thread(self) -> None:
        """Start the thread unless it runs."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name=LIVE_THREAD, daemon=True)
                self._thread.start()

    def flush(self) -> None:
        """Tell readers now."""
        with self._telling:
            with self._lock:
                fresh, self._fresh = self._fresh, {}
            told = [(buffer.id, buffer.untold()) for buffer in fresh.values()]
            for listen in list(listeners):
                listen(told)
            if hints.chosen() is hints.Hint.NONE:
                return
            self._hints.extend(each for each in told if each[1].pieces)
            del self._hints[:-MAX_HINTS]
        self.start_thread()
        self._wake.set()

    def stop(self) -> None:
        """Tell readers what is left, and end the thread; it starts again when it is needed."""
        with self._lock:
            thread, self._thread = self._thread, None
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        limit_connecting(hints.alias())
        try:
            while self._is_wanted():
                self._wake.clear()
                time.sleep(NOTIFY_TICK if hints.chosen() is hints.Hint.NOTIFY else TICK)
                try:
                    if self._fresh and time.monotonic() >= self._due_until:  # else an event loop is about to
                        self.flush()
                    with watching.watch.over():  # NOTIFY may use the database
                        self._send_hints()
                except Exception:
                    logger.exception("Readers of streams could not be told; they find it in the database.")
        finally:
            close_connections()

    def _is_wanted(self) -> bool:
        was_woken = self._wake.wait(1.0)
        if self._thread is not threading.current_thread():  # it was stopped
            return bool(self._fresh or self._hints)
        return was_woken or bool(self._fresh or self._hints) or any(each() for each in is_needed)

    def _send_hints(self) -> None:
        """Tell other processes. NOTIFY may take a database connection, so no event loop does it."""
        with self._telling:
            waiting, self._hints = self._hints, []
        joined: dict[str, Passage] = {}
        for id, passage in waiting:
            known = joined.get(id)
            follows = known is not None and known.end == passage.start
            joined[id] = Passage(known.start, known.pieces + passage.pieces, passage.end) if follows else passage  # type: ignore[union-attr]
        if joined:
            limit = MAX_NOTIFY if hints.chosen() is hints.Hint.NOTIFY else MAX_HINT
            _announce([hint_of(id, passage, limit) for id, passage in joined.items()])
            if hasattr(mail, "outbox"):  # the test may be over soon, and its database with it
                close_connections()


live = renewed(globals(), "live", Live)  # the parent's thread is left to the parent
