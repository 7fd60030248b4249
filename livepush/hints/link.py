"""A thread of a hub's that listens to NOTIFY, on a session of its own, and sends ephemeral events on it."""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from livepush.hints import signing
from livepush.hints.outbox import Outbox
from livepush.hints.payloads import ephemeral
from livepush.hints.session import Session, session
from livepush.notes import note_once, one_line

logger = logging.getLogger("livepush")

BEAT = 2.0
"""How often (seconds) the thread asks the server whether it still listens."""
CALL_TIMEOUT = 5.0
"""How long (seconds) one statement may take before the session is cut: its other end may have vanished."""
PROOF_TIMEOUT = 3.0
"""How long (seconds) the thread waits for its first notification, which it sent itself."""
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
"""How long (seconds) the thread waits after a failure before it connects again: at first, and at most."""
DEAF_PAUSE = 300.0
"""How long (seconds) the thread waits if the session took the LISTEN and no notification came."""
MAX_SENT_BYTES = 65_536
"""About the most bytes of events that are sent in one transaction, unless a single event has more."""
DEAF = (
    "The database takes a LISTEN but brings no notification, as behind a pooler that gives out a session for each "
    "transaction (PgBouncer in transaction mode). Events of other processes arrive through the log. Name a direct "
    "connection in LIVEPUSH['NOTIFY_DATABASE'], or set LIVEPUSH['HINT'] to 'none'."
)
NOTIFIED = "SELECT 1 FROM pg_listening_channels()"


class NothingHeardError(Exception):
    """The session took a LISTEN, but it gets no notifications."""


class Link(threading.Thread):
    """Calls ``take`` with the payloads that come, and ``report`` with whether notifications come, in this thread.

    ``is_over`` tells whether nobody needs the thread any more, though nobody ended it.
    """

    def __init__(
        self,
        using: str,
        take: Callable[[Sequence[str]], None],
        report: Callable[[bool], None],
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(name="livepush-notify", daemon=True)
        self.outbox = Outbox()
        self.works = False
        """Whether notifications come."""
        self.deaf = False
        """Whether the last session took a LISTEN and brought nothing."""
        self.ended: Future[None] = Future()
        self._using = using
        self._take = take
        self._report = report
        self._is_over = is_over
        self._session: Session | None = None
        self._waker, self._wake = socket.socketpair()
        self._waker.setblocking(False)
        self._wake.setblocking(False)
        self._told_to_end = False
        self._busy_since: float | None = None

    # For other threads

    def wake(self) -> None:
        """Have the thread look at its outbox, and whether it is told to end."""
        with suppress(OSError):  # the buffer is full: it will wake; or it has ended
            self._waker.send(b"\0")

    def end(self) -> None:
        """Have the thread end soon."""
        self._told_to_end = True
        self.wake()

    def cut_if_stuck(self) -> None:
        """Shut the session if a statement has taken too long."""
        since = self._busy_since
        if since is not None and time.monotonic() - since > CALL_TIMEOUT:
            self.cut()

    def cut(self) -> None:
        """Shut the session, whatever the thread does on it."""
        if self._session is not None:
            self._session.cut()

    # In the thread

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._must_end():
            try:
                self._serve()
            except NothingHeardError:
                self.deaf = True
                note_once(DEAF, level=logging.WARNING)
            except Exception as error:
                logger.info("NOTIFY fails (%s); the log is read more often meanwhile.", one_line(error))
            if not self._must_end():
                pause = FIRST_PAUSE if self.works else min(pause * 2, LONGEST_PAUSE)
                self.works = False
                self._report(False)
                self._rest(DEAF_PAUSE if self.deaf else pause)
        self._waker.close()
        self._wake.close()
        self.ended.set_result(None)

    def _serve(self) -> None:
        """Listen, and send what waits, until the thread is to end. Raises what the database raises."""
        with self._busy(), session(self._using) as found:
            self._session = found
            channels = signing.groups()
            found.listen(channels)
            self._prove(found, channels[0])
            self.works, self.deaf = True, False
            self._report(True)
            beat = 0.0
            while not self._must_end():
                self._send(found, channels[0])
                if time.monotonic() >= beat:
                    self._check(found)
                    beat = time.monotonic() + BEAT * random.uniform(0.75, 1.25)
                self._hear(found, beat)
            self._send(found, channels[0])  # what was sent right before the end

    def _prove(self, found: Session, channel: str) -> None:
        """Wait for a notification. A pooler may return those of a statement with its answer, and no others.

        Raises NothingHeardError: none came.
        """
        proof = signing.sign_notice(None) or ""
        if found.is_direct:
            found.send(channel, [proof])
        else:
            with session(self._using) as other:
                other.send(channel, [proof])
        end = time.monotonic() + PROOF_TIMEOUT
        while proof not in self._hear(found, end):
            if time.monotonic() > end:
                found.run("UNLISTEN *")  # if it meets the same session of the server
                raise NothingHeardError
            if self._must_end():
                return

    def _hear(self, found: Session, until: float) -> Sequence[str]:
        """Pass on what comes until some time, the first payloads at most; return them."""
        self._busy_since = None
        payloads = found.wait(until - time.monotonic(), self._wake)
        self._busy_since = time.monotonic()
        with suppress(BlockingIOError):
            self._wake.recv(4096)
        if payloads:
            self._take(payloads)
        return payloads

    def _check(self, found: Session) -> None:
        if not found.run(NOTIFIED):
            raise ConnectionError("the session does not listen any more")

    def _send(self, found: Session, channel: str) -> None:
        """Send the ephemeral events that wait."""
        while (batch := self.outbox.next(MAX_SENT_BYTES)) is not None:
            payloads = ephemeral(batch)
            if payloads:
                self._busy_since = time.monotonic()
                found.send(channel, payloads)

    def _rest(self, seconds: float) -> None:
        """Wait for some time, or until the thread is to end."""
        end = time.monotonic() + seconds
        while not self._must_end() and (left := end - time.monotonic()) > 0:
            self._wake.settimeout(min(left, BEAT))
            with suppress(TimeoutError):
                self._wake.recv(4096)
        self._wake.setblocking(False)

    def _must_end(self) -> bool:
        return self._told_to_end or self._is_over()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = self._session = None
