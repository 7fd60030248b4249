"""Tells what clients do: in lines of the log ``livepush.audit``, and by signals. Nobody waits for who listens."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import connections, reset_queries
from django.dispatch import Signal

from livepush import signals, tenants
from livepush.ending import AtEnd
from livepush.forking import renewed
from livepush.longlived import Contexts
from livepush.notes import AtMost, Rarely, note_once, one_line

logger = logging.getLogger("livepush.audit")
_overflowing = Rarely(every=10.0)

LINES = 100
"""How many lines of each kind are logged in a second."""
MAX_GROUPS = 10
"""How many groups a line names."""
MAX_BYTES = 32 * 1_048_576
"""How much may wait for receivers."""
RECORD_BYTES = 1000
"""How many bytes a record takes, but for the names of its groups."""
IDLE = 1.0
"""How long (seconds) a thread without work waits before it ends."""
STUCK = 30.0
"""After how long (seconds) with one record another thread goes on in place of the one that has it."""
MAX_STUCK = 4
"""How many threads may be stuck before nobody goes on."""
END_TIMEOUT = 2.0
"""How long (seconds) a process that ends waits for receivers."""


class Kind(NamedTuple):
    """A kind of record in an audit."""

    signal: Signal
    level: int
    lines: AtMost
    max_bytes: int
    """How much may wait when one more comes. Kinds that anybody can cause at will leave room for the others."""


KINDS = {
    "connected": Kind(signals.connected, logging.INFO, AtMost(LINES), MAX_BYTES),
    "disconnected": Kind(signals.disconnected, logging.INFO, AtMost(LINES), MAX_BYTES),
    "denied": Kind(signals.denied, logging.WARNING, AtMost(LINES), MAX_BYTES // 2),
    "revoked": Kind(signals.revoked, logging.WARNING, AtMost(LINES), MAX_BYTES),
    "throttled": Kind(signals.throttled, logging.WARNING, AtMost(LINES), MAX_BYTES // 2),
}


def is_wanted(name: str) -> bool:
    """Return whether anybody listens to a kind."""
    kind = KINDS[name]
    return bool(kind.signal.receivers) or logger.isEnabledFor(kind.level)


def tell(name: str, **fields: Any) -> None:
    """Tell of one thing, with the arguments that ``livepush.signals`` lists. Returns at once, and never raises."""
    kind = KINDS[name]
    if logger.isEnabledFor(kind.level) and (left_out := kind.lines.left_out()) is not None:
        try:
            _log(name, kind.level, fields, left_out)
        except Exception as error:
            _note_unlogged(error)
    if kind.signal.receivers:
        _receivers.put(kind, fields)


def waiting() -> int:
    """Return how many records wait for receivers, those that receivers have now among them."""
    return _receivers.count()


def _log(name: str, level: int, fields: Mapping[str, Any], left_out: int) -> None:
    shown = {key: value for key, value in fields.items() if value is not None}
    if "user" in shown:
        shown["user"] = str(shown["user"].pk)
    for key in ("groups", "refused"):
        if key in shown:
            shown[f"{key}_count"] = len(shown[key])
            shown[key] = list(shown[key][:MAX_GROUPS])
    for key in ("seconds", "retry"):
        if key in shown:
            shown[key] = round(shown[key], 3)
    if left_out:
        shown["left_out"] = left_out
    told = {key: value for key, value in shown.items() if value != [] and not _is_plain_count(key, value)}
    text = " ".join(f"{key}={_word(value)}" for key, value in told.items())
    extra = {"audit": name, **shown}
    try:
        logger.log(level, "%s %s", name, text, extra=extra)
    except KeyError:  # the project's records have some of these fields already, by a factory of its own
        taken = vars(logging.makeLogRecord({}))
        left = {key: value for key, value in extra.items() if key not in taken}
        logger.log(level, "%s %s", name, text, extra=left)


def _note_unlogged(error: Exception) -> None:
    message = "A line of livepush.audit can't be logged, since a LogRecord factory or a filter fails: %s"
    with suppress(Exception):  # it may fail for this line too
        note_once(message, one_line(error), level=logging.ERROR)


def _is_plain_count(key: str, value: Any) -> bool:
    """Return whether a count says no more than the names before it."""
    return key.endswith("_count") and value <= MAX_GROUPS


def _word(value: Any) -> str:
    """Return a value as one word, in quotation marks unless it is a plain one."""
    text = ",".join(value) if isinstance(value, list) else str(value)
    return text if text.isprintable() and not set(text) & set(' "=') else json.dumps(text)


class Receivers:
    """Calls receivers in a thread of their own, one record after another. The thread ends when there is no work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._records: deque[tuple[Kind, Mapping[str, Any], int]] = deque()
        self._bytes = 0
        self._worker: threading.Thread | None = None
        self._busy_since: float | None = None
        """When the worker took the record that it has."""
        self._stuck: set[threading.Thread] = set()

    def put(self, kind: Kind, fields: Mapping[str, Any]) -> None:
        """Have the receivers called, unless too much waits for them."""
        names = (*fields["groups"], *fields.get("refused", ()))
        size = RECORD_BYTES + sum(map(len, names)) + 50 * len(names)
        with self._changed:
            fits = self._bytes + size <= kind.max_bytes
            if fits:
                self._records.append((kind, fields, size))
                self._bytes += size
                self._changed.notify_all()
            self._work_on()
        if not fits and (times := _overflowing.times()):
            message = "The receivers of livepush.signals are too slow: %d signals for an audit were left out."
            logging.getLogger("livepush").warning(message, times)

    def count(self) -> int:
        """Return how many records are not done."""
        return len(self._records) + (self._busy_since is not None)

    def wait(self, seconds: float) -> None:
        """Wait until all records are done, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: not self.count(), seconds)

    def _work_on(self) -> None:
        """Start a thread if there is none, or in place of one that is stuck."""
        worker, since = self._worker, self._busy_since
        if worker is not None:
            if since is None or time.monotonic() - since < STUCK or len(self._stuck) >= MAX_STUCK:
                return
            self._stuck.add(worker)
        self._busy_since = None
        _at_end.in_this_process()
        self._worker = threading.Thread(target=self._work, name="livepush-audit", daemon=True)
        try:
            self._worker.start()
        except RuntimeError:  # the process ends, or has too many threads: the next one tries again
            self._worker = None

    def _work(self) -> None:
        contexts = Contexts()
        try:
            while (record := self._next()) is not None:
                contexts.run(_call, *record)
        finally:
            _close_connections()
            with self._changed:
                self._stuck.discard(threading.current_thread())

    def _next(self) -> tuple[Signal, Mapping[str, Any]] | None:
        """Return what to do next; ``None`` if there is nothing, or another thread goes on."""
        if not self._records:
            _close_connections()  # others may wait for one, and it may die meanwhile
        with self._changed:
            if self._worker is not threading.current_thread():
                return None
            self._busy_since = None
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._records, IDLE):
                self._worker = None
                return None
            kind, fields, size = self._records.popleft()
            self._bytes -= size
            self._busy_since = time.monotonic()
            return kind.signal, fields


def _call(signal: Signal, fields: Mapping[str, Any]) -> None:
    try:
        with tenants.active(fields["tenant"]):
            said = signal.send_robust(sender=None, **fields)
        raised = any(isinstance(answer, BaseException) for _, answer in said)
        # A receiver may have taken care of a dead connection's error by itself.
        failed = raised or any(each.errors_occurred for each in connections.all(initialized_only=True))
    except BaseException:
        logging.getLogger("livepush").exception("The receivers of a signal for an audit could not be called.")
        failed = True
    if failed:
        _close_connections()  # the failure may be a dead connection's


def _close_connections() -> None:
    try:
        connections.close_all()
        reset_queries()
    except Exception:
        logging.getLogger("livepush").warning("A receiver's database connection could not be closed.", exc_info=True)


_receivers = renewed(globals(), "_receivers", Receivers)  # the parent's records are left to the parent
_at_end = AtEnd(lambda seconds: _receivers.wait(seconds), END_TIMEOUT, priority=20)
