"""``start``: runs an iterator apart from the request, and writes what it yields to a stream."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, MutableMapping
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from datetime import tzinfo
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import connections
from django.utils import timezone, translation
from django.utils.functional import Promise

from livepush.cancelling import contained
from livepush.exceptions import InvalidData, StreamLost
from livepush.notes import note_once
from livepush.publish import Group
from livepush.streams.models import StreamState
from livepush.streams.stopping import besides_stop
from livepush.streams.writing import AsyncStream, SyncStream

logger = logging.getLogger("livepush")

_running: set[asyncio.Task[None]] = set()
"""The tasks, kept here so that Python does not collect them."""


async def start(
    group: Group,
    iterator: AsyncIterable[Any],
    *,
    format: str = "text",
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "keep",
) -> AsyncStream:
    """Write what an async iterator yields to a new stream, apart from the request; return the stream at once.

    A ``str`` is text; what else it yields is a part of JSON. The iterator has the caller's context: its language, time
    zone and tenant. The stream ends with it. If it raises, the stream fails and the error is logged. When a reader asks
    to stop, CancelledError is raised in the iterator where it waits. It runs in this event loop, so the server must be
    an ASGI server; elsewhere use ``start_in_thread``.

    Raises what ``open`` raises, and InvalidData: it is no async iterator.
    """
    if not isinstance(iterator, AsyncIterable):
        raise InvalidData(f"{iterator!r} is no async iterator: call start_in_thread with an iterable.")
    stream = AsyncStream(group, format, metadata, ansi)
    with stream._interrupted_by_errors():
        await stream._wait(stream._begin())
        task = asyncio.get_running_loop().create_task(_run(stream, iterator))
    _running.add(task)
    task.add_done_callback(_running.discard)
    task.add_done_callback(lambda task: stream._end(StreamState.INTERRUPTED))  # a cancelled task may not have run
    return stream


def start_in_thread(
    group: Group,
    iterable: Iterable[Any],
    *,
    format: str = "text",
    metadata: Mapping[str, Any] | None = None,
    ansi: str = "keep",
) -> SyncStream:
    """Write what an iterable yields to a new stream, in a thread; return the stream at once. See ``start``.

    When a reader asks to stop, the iterable is closed after what it yields next.
    """
    stream = SyncStream(group, format, metadata, ansi)
    args = (_run_in_thread, stream, iterable, translation.get_language(), timezone.get_current_timezone())
    thread = threading.Thread(target=copy_context().run, args=args, name="livepush-stream", daemon=True)
    with stream._interrupted_by_errors():
        stream._wait(stream._begin())
        thread.start()
    return stream


@asynccontextmanager
async def _own_thread() -> AsyncIterator[None]:
    """Run sync code that the iterator awaits, such as its queries, in one thread; close its connections at the end."""
    context = ThreadSensitiveContext()
    executors: MutableMapping[ThreadSensitiveContext, Any] = {}
    try:
        executors = SyncToAsync.context_to_thread_executor
        AsyncToSync.executors.current = None  # that of a view behind sync middleware has ended by now
        SyncToAsync.thread_sensitive_context.set(context)  # the caller's ends with the request
    except AttributeError:
        note_once("livepush does not know this version of asgiref: the queries of iterators run in asgiref's thread.")
    try:
        yield
    finally:
        if context in executors:
            await sync_to_async(connections.close_all)()
            executors.pop(context).shutdown(wait=False)


async def _run(stream: AsyncStream, iterator: AsyncIterable[Any]) -> None:
    failure = None
    try:
        async with _own_thread():
            await _write_all(stream, iterator)
    except Exception as error:
        failure = _failure(stream, error)
    with suppress(StreamLost):
        await stream._wait(stream._ends_with(failure))


def _failure(stream: AsyncStream | SyncStream, error: Exception) -> BaseException | None:
    """Return what made an iterator fail, after a log line; ``None`` if its stream was only stopped or lost."""
    left = besides_stop(error, stream.id)
    if left is None or (isinstance(left, StreamLost) and left.stream == stream.id):
        return None
    logger.error("The iterator of the stream %s in %r failed.", stream.id, stream.group, exc_info=left)
    return left


async def _write_all(stream: AsyncStream, iterator: AsyncIterable[Any]) -> None:
    loop = asyncio.get_running_loop()
    pulling = asyncio.ensure_future(_pull(stream, iterator))

    def cancel() -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(pulling.cancel)

    stream._buffer.on_stop(cancel)
    try:
        await asyncio.wait({pulling})
        if not pulling.cancelled():
            pulling.result()
        elif not stream.stop_requested:
            logger.warning(
                "The iterator of the stream %s in %r was cancelled: it is interrupted.", stream.id, stream.group
            )
            raise asyncio.CancelledError
    finally:
        pulling.cancel()
        await asyncio.wait({pulling})


async def _pull(stream: AsyncStream, iterable: AsyncIterable[Any]) -> None:
    iterator = aiter(iterable)
    try:
        with contained():
            async for value in iterator:
                await (stream.write(str(value)) if isinstance(value, str | Promise) else stream.write(data=value))
    finally:
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()


def _run_in_thread(stream: SyncStream, iterable: Iterable[Any], language: str | None, zone: tzinfo) -> None:
    timezone.activate(zone)  # Django's are no part of the context that a thread takes over
    if language is not None:
        translation.activate(language)
    failure = None
    try:
        try:
            iterator = iter(iterable)
            try:
                with contained():
                    for value in iterator:
                        stream.write(str(value)) if isinstance(value, str | Promise) else stream.write(data=value)
            finally:
                getattr(iterator, "close", lambda: None)()
        except Exception as error:
            failure = _failure(stream, error)
        with suppress(StreamLost):
            stream._wait(stream._ends_with(failure))
    finally:
        stream._end(StreamState.INTERRUPTED)  # if nothing above has ended it, as at SystemExit
        connections.close_all()
