"""The logs of jobs: what a command prints, and what Python code logs."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from codecs import getincrementaldecoder
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from livepush.exceptions import StreamError
from livepush.publish import Group
from livepush.streams.writing import SyncStream, open

STOP_LOOK = 0.2
"""How often (seconds) a command that prints nothing is looked at: somebody may have asked to stop it."""
KILL_AFTER = 5.0
"""How long (seconds) a command may take to end after SIGTERM, before it is killed."""
READ = 65_536


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

    Raises what ``open`` and ``Popen`` raise, such as FileNotFoundError; then the stream fails.
    """
    with open(group, metadata=metadata, ansi=ansi) as log:
        process = subprocess.Popen(  # noqa: S603 (the caller's command)
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, **options
        )
        watch = threading.Thread(target=_stop_when_asked, args=(process, log), daemon=True)
        watch.start()
        try:
            _copy(process, log)
            code = process.wait()
        finally:
            _end(process)
            watch.join()
        if log.stop_requested:
            log._wait(log._ends_with(None))
        elif code:
            log.fail(f"The command ended with exit code {code}.", {"exit": code})
        else:
            log.finish({"exit": code})
    return code


async def arun(
    command: Sequence[str],
    group: Group,
    *,
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "strip",
    **options: Any,
) -> int:
    """Run a command in async code, in a thread; see ``run``."""
    return await asyncio.to_thread(run, command, group, metadata=metadata, ansi=ansi, **options)


def _copy(process: subprocess.Popen[bytes], log: SyncStream) -> None:
    """Write what a process prints until it prints no more. A character may be cut by the end of a read."""
    assert process.stdout is not None
    decoder = getincrementaldecoder("utf-8")(errors="replace")
    with process.stdout as output:
        while data := output.read1(READ):  # type: ignore[attr-defined]
            text = decoder.decode(data)
            if text and not log.stop_requested:
                log.write(text)
        if (rest := decoder.decode(b"", final=True)) and not log.stop_requested:
            log.write(rest)


def _stop_when_asked(process: subprocess.Popen[bytes], log: SyncStream) -> None:
    while process.poll() is None:
        if log.stop_requested:
            _end(process)
            return
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_LOOK)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that may still run, and close its output."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(KILL_AFTER)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Handler(logging.Handler):
    """Writes log records to a stream, a line each. Records that the stream can't take are dropped."""

    def __init__(self, stream: SyncStream, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._stream = stream
        self._is_writing = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. livepush's own records about writing it are left out."""
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
) -> Iterator[SyncStream]:
    """Write what a logger is told inside of the block to a new stream; yield the stream.

    ``level`` is the least level that is written; the logger's own level counts too. ``format`` is ``logging``'s. When a
    reader asks to stop, the block goes on: look at the stream's ``stop_requested``, or write to it.
    """
    found = logging.getLogger(logger) if isinstance(logger, str) else logger
    with open(group, metadata=metadata) as stream:
        handler = Handler(stream, level)
        handler.setFormatter(logging.Formatter(format))
        found.addHandler(handler)
        try:
            yield stream
        finally:
            found.removeHandler(handler)
