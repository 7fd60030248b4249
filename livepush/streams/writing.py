"""``open``: a stream that code writes to, sync or async, in any process."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from types import TracebackType
from typing import Any

from django.core.exceptions import SynchronousOnlyOperation
from django.utils import timezone

from livepush import publish, tenants
from livepush.conf import get_settings
from livepush.exceptions import InvalidData, StreamEnded, StreamLost, StreamNotStored, StreamStopped
from livepush.publish import Group
from livepush.publish.twins import in_async_code
from livepush.streams import announcing, pieces
from livepush.streams.ansi import Stripper
from livepush.streams.buffer import Buffer, Ending
from livepush.streams.formats import check_format
from livepush.streams.here import gatherer, holds_lock
from livepush.streams.models import Stream, StreamState
from livepush.streams.responding import StreamResponse
from livepush.streams.stopping import besides_stop, is_done

PATIENCE = 120.0
"""How long (seconds) a stream waits until its beginning or its end is stored, as while the database is away."""
FAILED = "The stream failed."
"""The sentence that readers are told if code raised: an exception's own text may be none of theirs."""
LEAST_PROGRESS = 0.001
"""By how much progress must differ to be told again."""
_NOTHING: Any = object()


class _Producer:
    """The common part of the sync and the async stream."""

    def __init__(self, group: Group, format: str, metadata: Mapping[str, Any] | None, ansi: str) -> None:
        if ansi not in ("keep", "strip"):
            raise InvalidData(f"ansi is {ansi!r}: expected 'keep' or 'strip'.")
        name = publish.group_name(group)
        stored = tenants.stored_checked(name, tenants.current())
        self.id = secrets.token_urlsafe(16)
        self.group = name
        self.format = check_format(format)
        self._metadata = dict(metadata or {})
        self._limit = get_settings().MAX_EVENT_BYTES
        self._stripper = Stripper() if ansi == "strip" else None
        self._half = ""
        """Half of a character: a model's service may cut its text there."""
        self._progress: float | None = None
        self._buffer = Buffer(self.id, stored, format, self._as_json())

    @property
    def stop_requested(self) -> bool:
        """Whether the producer is to stop, as ``write`` says from then on: a reader asked for it, or it was lost."""
        return self._buffer.stop_requested

    @property
    def offset(self) -> int:
        """The offset after all that was written."""
        return self._buffer.end

    def response(self) -> StreamResponse:
        """Return a response that streams it in its format, from the beginning. The view says who may read it."""
        return StreamResponse(self.id, self.format)

    def _begin(self) -> Future[None]:
        buffer = self._buffer
        row = Stream(
            id=self.id, group=buffer.group, format=self.format, metadata=buffer.metadata, created=timezone.now()
        )
        return gatherer().begin(row, buffer)

    @contextmanager
    def _interrupted_by_errors(self) -> Iterator[None]:
        """End the stream if its producer does not get as far as writing: nobody else would."""
        try:
            yield
        except BaseException:
            self._end(StreamState.INTERRUPTED)
            raise

    def _put(self, text: str, data: Any, progress: float | None) -> None:
        """Take what is written.

        Raises StreamStopped, StreamLost, StreamEnded, StreamNotStored, InvalidData, EventTooLarge; then nothing is.
        """
        if self._buffer.error is not None:
            raise self._buffer.error
        if self._buffer.ending is not None and self._buffer.ending.state is StreamState.INTERRUPTED:
            raise StreamLost(f"The stream {self.id} was interrupted, since its process ends.", self.id)
        if self._buffer.ending is not None:
            raise StreamEnded(f"The stream {self.id} has ended: nothing can be written to it any more.", self.id)
        if self._buffer.stop_requested:
            raise StreamStopped(f"A reader asked the stream {self.id} to stop.", self.id)
        text, half = pieces.whole_characters(self._half, text)
        parts = [] if data is _NOTHING else [pieces.data(data, self._limit)]
        if progress is not None and self._is_news(progress):
            parts.append(pieces.data({"progress": self._progress}, self._limit))
        if half and parts:
            text, half = text + pieces.REPLACEMENT, ""
        self._half = half
        if self._stripper is not None:
            text = self._stripper.feed(text)
        for piece in ([text] if text else []) + parts:
            self._buffer.write(piece)
        if text or parts:
            announcing.live.tell(self._buffer)
        if self._buffer.is_full:
            gatherer().hurry()

    def _is_news(self, progress: float) -> bool:
        if isinstance(progress, bool) or not isinstance(progress, int | float) or not 0 <= progress <= 1:
            raise InvalidData(f"progress is {progress!r}: expected a number from 0 to 1.")
        known = self._progress
        if known is not None and progress != 1 and abs(progress - known) < LEAST_PROGRESS:
            return False
        self._progress = round(float(progress), 4)
        return self._progress != known

    def _end(self, state: StreamState, error: str = "", metadata: Mapping[str, Any] | None = None) -> Future[None]:
        if self._buffer.lost:
            state = StreamState.INTERRUPTED
        rest = (self._stripper.end() if self._stripper else "") + (pieces.REPLACEMENT if self._half else "")
        if rest and self._buffer.ending is None:
            self._half = ""
            self._buffer.write(rest)
        self._metadata |= metadata or {}
        return gatherer().end(self._buffer, Ending(state, error, self._as_json() if metadata else None))

    def _as_json(self) -> str:
        return pieces.data(self._metadata, self._limit, announcing.BESIDE_METADATA).json

    def _ends_with(self, error: BaseException | None) -> Future[None]:
        """End it as its code has ended: with an error, or without one, as after a wish to stop."""
        if isinstance(error, Exception):
            return self._end(StreamState.FAILED, FAILED)
        otherwise = StreamState.FINISHED if error is None else StreamState.INTERRUPTED
        return self._end(StreamState.STOPPED if self._buffer.stop_requested else otherwise)

    def _not_stored(self) -> StreamNotStored:
        return StreamNotStored(
            f"The stream {self.id} could not be stored within {PATIENCE:g} s: the database does not answer. "
            "livepush goes on trying for as long as this process lives.",
            self.id,
        )


class SyncStream(_Producer):
    """A stream that sync code writes to. It does not wait for the database, unless very much waits to be stored."""

    def write(self, text: str = "", *, data: Any = _NOTHING, progress: float | None = None) -> None:
        """Write text, a part of JSON, or how far the work has come (from 0 to 1); all three in this order.

        Raises StreamStopped once a reader asked it to stop, StreamEnded after its end, StreamLost if others ended it.
        Raises InvalidData and EventTooLarge, and writes nothing: JSON can't carry the data, or they are too large.
        """
        self._put(text, data, progress)
        until = time.monotonic() + PATIENCE
        while self._buffer.is_full and not holds_lock():
            if time.monotonic() > until:
                raise self._not_stored()
            self._buffer.wait(1.0)

    def write_line(self, line: str = "", *, progress: float | None = None) -> None:
        """Write a line; its line break is added if it has none. Raises as ``write`` does."""
        self.write(line if line.endswith("\n") else f"{line}\n", progress=progress)

    def finish(self, metadata: Mapping[str, Any] | None = None) -> None:
        """End it, with more metadata if any; return when all of it is stored. Raises StreamNotStored."""
        self._wait(self._end(StreamState.FINISHED, metadata=metadata))

    def fail(self, message: str, metadata: Mapping[str, Any] | None = None) -> None:
        """End it as failed. Readers are told the message; over 10,000 characters is cut. Raises StreamNotStored."""
        self._wait(self._end(StreamState.FAILED, pieces.message(message), metadata))

    def _wait(self, done: Future[None], is_committed: bool = False) -> None:
        if holds_lock():
            using = get_settings().DATABASE
            if not is_committed and not publish.is_unnoticed(using):
                publish.on_commit(partial(self._wait, done, True), using)
            return
        try:
            done.result(PATIENCE)
        except TimeoutError as error:
            raise self._not_stored() from error


class AsyncStream(_Producer):
    """A stream that async code writes to; see ``SyncStream``."""

    async def write(self, text: str = "", *, data: Any = _NOTHING, progress: float | None = None) -> None:
        """Write text, a part of JSON, or how far the work has come; see ``SyncStream.write``."""
        self._put(text, data, progress)
        if self._buffer.is_full:
            await self._room()

    async def write_line(self, line: str = "", *, progress: float | None = None) -> None:
        """Write a line; its line break is added if it has none. Raises as ``write`` does."""
        await self.write(line if line.endswith("\n") else f"{line}\n", progress=progress)

    async def finish(self, metadata: Mapping[str, Any] | None = None) -> None:
        """End it, with more metadata if any; return when all of it is stored. Raises StreamNotStored."""
        await self._wait(self._end(StreamState.FINISHED, metadata=metadata))

    async def fail(self, message: str, metadata: Mapping[str, Any] | None = None) -> None:
        """End it as failed. Readers are told the message; over 10,000 characters is cut. Raises StreamNotStored."""
        await self._wait(self._end(StreamState.FAILED, pieces.message(message), metadata))

    async def _room(self) -> None:
        until = time.monotonic() + PATIENCE
        while self._buffer.is_full:
            if time.monotonic() > until:
                raise self._not_stored()
            await asyncio.sleep(0.02)

    async def _wait(self, done: Future[None]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.shield(asyncio.wrap_future(done))
        except TimeoutError as error:
            raise self._not_stored() from error


class Opening:
    """The result of ``open``: enter it with ``with``, or in async code with ``async with``."""

    def __init__(self, group: Group, format: str, metadata: Mapping[str, Any] | None, ansi: str) -> None:
        self._given = (group, format, metadata, ansi)
        self._sync: SyncStream | None = None
        self._async: AsyncStream | None = None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{name!r}: this is no stream; write with livepush.streams.open(…) as stream.")

    def __enter__(self) -> SyncStream:
        _refuse_async()
        stream = self._sync = SyncStream(*self._given)
        with stream._interrupted_by_errors():
            stream._wait(stream._begin())
        return stream

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._sync is not None
        left = besides_stop(error, self._sync.id)
        with suppress(StreamLost) if left is not None else nullcontext():  # what the block raised says more
            self._sync._wait(self._sync._ends_with(left))
        return is_done(error, left)

    async def __aenter__(self) -> AsyncStream:
        stream = self._async = AsyncStream(*self._given)
        with stream._interrupted_by_errors():
            await stream._wait(stream._begin())
        return stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        assert self._async is not None
        left = besides_stop(error, self._async.id)
        with suppress(StreamLost) if left is not None else nullcontext():
            await self._async._wait(self._async._ends_with(left))
        return is_done(error, left)


def open(
    group: Group, *, format: str = "text", metadata: Mapping[str, Any] | None = None, ansi: str = "keep"
) -> Opening:
    """Open a stream in a group: ``with livepush.streams.open("job:7") as log: log.write("…")``.

    Async code writes ``async with``, and awaits ``write``. A reader of the group may read the stream, and a client
    that may send to the group may stop it. The block's end finishes it; an exception fails it, and passes on. A
    reader's wish to stop raises StreamStopped in ``write``; that ends the block quietly. If others have ended or
    deleted the stream, StreamLost is raised in ``write`` or at the block's end; that passes on. The stream does not
    take part in the caller's transaction: readers see what was written even if that is rolled back. On SQLite,
    which takes one writer at a time, a stream that is opened or written in a transaction is stored after it.

    ``format`` is what ``response()`` and readers that name none get: ``text``, ``livepush``, ``openai`` or ``ai-sdk``.
    ``metadata`` is JSON that readers get with the stream. ``ansi="strip"`` takes the colours of terminals out.

    Raises InvalidGroup; InvalidData: the format or the metadata; StreamNotStored: the database does not answer.
    """
    return Opening(group, format, metadata, ansi)


def _refuse_async() -> None:
    if in_async_code():
        raise SynchronousOnlyOperation(
            "livepush.streams.open() is entered with a plain with in async code: write async with, and await its "
            "methods."
        )
