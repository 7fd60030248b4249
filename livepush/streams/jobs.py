"""The logs of jobs: what a command prints, and what Python code logs."""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import subprocess
import threading
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from django.db import connections

from livepush import publish
from livepush.exceptions import StreamError
from livepush.process import in_own_thread
from livepush.process.connections import LIVE_THREAD, STREAM_THREAD
from livepush.publish import Group
from livepush.streams.models import StreamState
from livepush.streams.watching import WATCH_THREAD
from livepush.streams.writing import SyncStream, open

STOP_LOOK = 0.2
"""How often (seconds) a command that prints nothing is looked at: somebody may have asked to stop it."""
KILL_AFTER = 5.0
"""How long (seconds) a command may take to end after SIGTERM, before it is killed."""
END_LOOK = 0.05
"""How often (seconds) a command that got SIGTERM is looked at."""
AFTER_END = 1.0
"""For how long (seconds) the output is read after the command's end, if what it has started still holds it open."""
READ = 65_536
MAX_LEFT = 1_048_576
"""The most bytes that are read after that: as much as a pipe holds."""


@publish.has_async_twin
def run(
    command: Sequence[str],
    group: Group,
    *,
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "strip",
    **options: Any,
) -> int:
    """Run a command, write what it prints to a new stream, and return its exit code.

    Both its outputs are written as they come, as UTF-8. The metadata get its ``exit`` code at the end; another than 0
    fails the stream. When a reader asks to stop, the command gets SIGTERM, and SIGKILL after 5 seconds. ``options`` are
    those of ``subprocess.Popen``, such as ``cwd`` and ``env``.

    On POSIX the command has a process group of its own, unless the options say otherwise. The signals go to all of the
    group, and Ctrl-C in a terminal does not reach it: ``run`` ends the command when it is interrupted itself. What the
    command leaves behind when it ends by itself lives on, and is read for another second.

    Raises what ``open`` and ``Popen`` raise, such as FileNotFoundError; then the stream fails. Raises StreamLost.
    """
    return _run(command, group, metadata, ansi, options, threading.Event())


def _run(
    command: Sequence[str],
    group: Group,
    metadata: Mapping[str, Any] | None,
    ansi: str,
    options: dict[str, Any],
    cancelled: threading.Event,
) -> int:
    if os.name == "posix" and not options.keys() & {"process_group", "start_new_session"}:
        options["process_group"] = 0
    with open(group, metadata=metadata, ansi=ansi) as log:
        process = subprocess.Popen(  # noqa: S603 (the caller's command)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options
        )
        has_group = options.get("process_group") == 0 or bool(options.get("start_new_session"))
        end = partial(_end, process, has_group and os.name == "posix")
        watch = threading.Thread(target=_end_when_asked, args=(process, log, cancelled, end), daemon=True)
        watch.start()
        try:
            _copy(process, log)
            code = process.wait()
        finally:
            end()
            watch.join()
        if cancelled.is_set():
            log._wait(log._end(StreamState.INTERRUPTED))
        elif log.stop_requested:
            log._wait(log._ends_with(None))
        elif code:
            log.fail(f"The command ended with exit code {code}.", {"exit": code})
        else:
            log.finish({"exit": code})
    return process.returncode  # a wish to stop that comes during a write ends the block early, and quietly


async def arun(
    command: Sequence[str],
    group: Group,
    *,
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "strip",
    **options: Any,
) -> int:
    """Run a command in async code, in a thread of its own; see ``run``.

    It ends if the task that waits for it is cancelled.
    """
    cancelled = threading.Event()

    def work() -> int:
        try:
            return _run(command, group, metadata, ansi, options, cancelled)
        finally:
            connections.close_all()

    try:
        return await in_own_thread(work, "livepush-command")
    finally:
        cancelled.set()


def _copy(process: subprocess.Popen[bytes], log: SyncStream) -> None:
    """Write what a process prints until it prints no more. A character may be cut by the end of a read."""
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    for data in _output(process):
        text = decoder.decode(data)
        if text and not log.stop_requested:
            log.write(text)
    if (rest := decoder.decode(b"", final=True)) and not log.stop_requested:
        log.write(rest)


def _output(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what a process prints. A process that it leaves behind may hold the output open; that is not waited for."""
    assert process.stdout is not None
    with process.stdout as output:
        if os.name != "posix":  # where pipes can't be waited for
            while data := output.read1(READ):  # type: ignore[attr-defined]
                yield data
            return
        until, left = math.inf, MAX_LEFT
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            while left > 0:
                has_ended = process.poll() is not None
                if has_ended:
                    until = min(until, time.monotonic() + AFTER_END)
                if selector.select(max(0.0, min(STOP_LOOK, until - time.monotonic()))):
                    if not (data := os.read(output.fileno(), READ)):
                        return
                    yield data
                    left -= len(data) if time.monotonic() > until else 0
                elif time.monotonic() >= until:
                    return


def _end_when_asked(
    process: subprocess.Popen[bytes], log: SyncStream, cancelled: threading.Event, end: Callable[[], None]
) -> None:
    while process.poll() is None:
        if log.stop_requested or log._buffer.ending is not None or cancelled.is_set():
            end()
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LOOK)


def _end(process: subprocess.Popen[bytes], has_group: bool) -> None:
    """End a process that may still run, and what it has started if it has a group."""
    if process.poll() is not None:
        return
    _signal(process, has_group, signal.SIGTERM)
    until = time.monotonic() + KILL_AFTER
    while _runs(process, has_group) and time.monotonic() < until:
        time.sleep(END_LOOK)
    if _runs(process, has_group):
        _signal(process, has_group, getattr(signal, "SIGKILL", signal.SIGTERM))
    process.wait()


def _runs(process: subprocess.Popen[bytes], has_group: bool) -> bool:
    if process.poll() is None:
        return True
    return has_group and _signal(process, has_group, 0)


def _signal(process: subprocess.Popen[bytes], has_group: bool, number: int) -> bool:
    """Send a signal; return whether there is a process that takes it."""
    try:
        if has_group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Handler(logging.Handler):
    """Writes log records to a stream, a line each. Records that the stream can't take are dropped."""

    def __init__(self, stream: SyncStream, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._stream = stream
        self._is_writing = threading.local()

    def filter(self, record: logging.LogRecord) -> Any:  # from Python 3.12 on it may be another record
        """Leave out what livepush's own threads log: they store streams, tell of them, and watch each other.

        ``logging`` asks this before it takes the handler's lock. A full stream holds that lock until there is room, and
        these threads make room.
        """
        is_own = threading.current_thread().name in (STREAM_THREAD, LIVE_THREAD, WATCH_THREAD)
        return not is_own and super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. Records that writing it makes are left out."""
        if getattr(self._is_writing, "now", False):
            return
        self._is_writing.now = True
        try:
            self._stream.write_line(self.format(record))
        except StreamError:  # it has ended, or somebody asked to stop it
            pass
        except Exception:
            self.handleError(record)
        finally:
            self._is_writing.now = False


@contextmanager
def follow(
    logger: logging.Logger | str,
    group: Group,
    *,
    level: int = logging.INFO,
    format: str = "%(levelname)s %(message)s",
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "keep",
) -> Iterator[SyncStream]:
    """Write what a logger is told inside of the block to a new stream; yield the stream.

    ``level`` is the least level that is written; the logger's own level counts too. ``format`` is ``logging``'s. When a
    reader asks to stop, the block goes on: look at the stream's ``stop_requested``, or write to it.
    """
    found = logging.getLogger(logger) if isinstance(logger, str) else logger
    with open(group, metadata=metadata, ansi=ansi) as stream:
        handler = Handler(stream, level)
        handler.setFormatter(logging.Formatter(format))
        found.addHandler(handler)
        try:
            yield stream
        finally:
            found.removeHandler(handler)
