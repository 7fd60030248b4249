"""A Django response that streams: under ASGI it holds no thread, under WSGI it holds its worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import chain, islice
from typing import Any

from asgiref.sync import SyncToAsync, sync_to_async
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from livepush import process
from livepush.conf import get_settings
from livepush.streams import formats, leases, store
from livepush.streams.asking import unknown
from livepush.streams.buffer import Ending
from livepush.streams.feeds import feeds_of, look_up
from livepush.streams.formats import FORMATS, check_format
from livepush.streams.models import StreamState
from livepush.streams.reader import Reader

INTERVAL = 0.1
"""How often (seconds) sync code looks for more."""


class StreamResponse(StreamingHttpResponse):
    """A response with a stream in one of its formats, from the beginning or after an offset.

    A view decides who may read it. The stream does not end with the response: its client may come back.

    Until something else is set, ``streaming_content`` reads the stream anew each time: async code and what it runs in
    threads get an async iterator, other code gets a sync one. If the server ends before the stream, and the format
    can't say so, it raises ConnectionAbortedError, so that the connection breaks.
    """

    def __init__(self, id: str, format: str, after: int = 0, **more: Any) -> None:
        chosen = FORMATS[check_format(format)]
        super().__init__((), content_type=chosen.content_type, headers=dict(chosen.headers), **more)
        self["Cache-Control"] = "private, no-store, no-transform"
        self["X-Content-Type-Options"] = "nosniff"
        self["X-Accel-Buffering"] = "no"
        self["Content-Encoding"] = "identity"  # GZipMiddleware skips responses with this header
        self._asked = (id, format, after)
        self._is_set_async: bool | None = None

    @property
    def is_async(self) -> bool:
        """Whether ``streaming_content`` is an async iterator, for the calling code."""
        return _serves_async() if self._is_set_async is None else self._is_set_async

    @is_async.setter
    def is_async(self, value: bool) -> None:
        self._is_set_async = value

    @property
    def streaming_content(self) -> Any:
        """What is streamed: the stream, or what middleware has set."""
        if self._is_set_async is not None:
            return super().streaming_content
        return _aread(*self._asked) if self.is_async else _read(*self._asked)

    @streaming_content.setter
    def streaming_content(self, value: Any) -> None:
        StreamingHttpResponse.streaming_content.fset(self, value)  # type: ignore[union-attr]

    def __iter__(self) -> Iterator[bytes]:
        return _read(*self._asked) if self._is_set_async is None else super().__iter__()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _aread(*self._asked) if self._is_set_async is None else super().__aiter__()


class _Pages(StreamingHttpResponse):
    """A response from a sync iterator. Django's ASGI handler reads it a part at a time too, in the view's thread."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts: Iterator[bytes] = iter(self.streaming_content)  # type: ignore[arg-type]
        while (part := await sync_to_async(lambda: next(parts, None))()) is not None:
            yield part


def ended(id: str, format: str, after: int) -> HttpResponseBase:
    """Return a response with the rest of a stream that has ended: at once, or a page at a time if there are several.

    Raises WireError: it was deleted meanwhile.
    """
    chosen, parts = FORMATS[format], _read(id, format, after)
    first = list(islice(parts, 2))
    more = next(parts, None)
    headers = dict(chosen.headers)
    if more is None:
        return HttpResponse(b"".join(first), content_type=chosen.content_type, headers=headers)
    return _Pages(chain(first, [more], parts), content_type=chosen.content_type, headers=headers)


def _serves_async() -> bool:
    """Return whether the calling code is async, or runs in a thread for async code, as sync middleware under ASGI."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = getattr(getattr(SyncToAsync, "threadlocal", None), "main_event_loop", None)
        return loop is not None and loop.is_running()
    return True


async def _aread(id: str, format: str, after: int) -> AsyncIterator[bytes]:
    hub = await process.get_hub()
    using = get_settings().DATABASE
    opened = await process.in_thread(lambda: look_up(using, id))
    if opened is None:
        raise unknown()
    feeds = feeds_of(hub)
    async with process.serving_response() as client:
        feed = feeds.open(opened)
        with Reader(feeds, feed, after, format, get_settings().HEARTBEAT) as reader:
            while (data := await reader.next()) is not None:
                with client.in_time():
                    await client.ready()
                    yield data
            if reader.must_break:
                raise ConnectionAbortedError(formats.CUT)


def _read(id: str, format: str, after: int) -> Iterator[bytes]:
    using, chosen = get_settings().DATABASE, FORMATS[format]
    row = store.find(using, id)
    if row is None:
        raise unknown()
    about, cursor, follows = formats.about(row), after, store.is_after_text(using, id, after)
    yield chosen.begin(about, cursor).encode()
    last = time.monotonic()
    while row is not None:
        passage = store.read(using, id, cursor, row.length)
        text = chosen.passage(about, passage, follows) if passage.pieces else ""
        cursor, follows = passage.end, formats.after_text(passage.pieces, follows)
        if not row.is_running and (not passage.pieces or cursor >= (row.length or 0)):
            ending = Ending(StreamState(row.state), row.error)
            yield (text + chosen.end(formats.about(row), ending, row.length or 0, follows)).encode()
            return
        if passage.pieces:
            yield text.encode()
            last = time.monotonic()
        else:
            leases.look(using)
            time.sleep(INTERVAL)
            if chosen.heartbeat and time.monotonic() - last >= get_settings().HEARTBEAT:
                yield chosen.heartbeat.encode()
                last = time.monotonic()
        row = store.find(using, id)
    if cut := chosen.cut():  # somebody has deleted it
        yield cut.encode()
    elif not chosen.resumes:
        raise ConnectionAbortedError(formats.CUT)
