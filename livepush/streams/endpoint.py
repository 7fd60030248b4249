"""``GET streams/<id>/`` under ASGI: a stream of text or events, or a held poll."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from livepush import process
from livepush.access import handshakes, identity, limits, origins
from livepush.conf import get_settings
from livepush.consumers import sse
from livepush.consumers.auditing import Client
from livepush.consumers.base import (
    NO_STORE,
    NOSNIFF,
    Endpoint,
    Scope,
    Send,
    finish,
    for_origin,
    refusing,
    reset_connection,
)
from livepush.consumers.entering import admit, check_limits
from livepush.consumers.incoming import Incoming
from livepush.consumers.poll import answer_at_the_end, lost_all, reply
from livepush.hub import Hub, Reason
from livepush.process.servers import uvicorn
from livepush.process.servers.daphne import with_backpressure
from livepush.rights import Grant, Rights, confirm, rights_of
from livepush.streams import formats
from livepush.streams.asking import Asked, asked_of, away, check_readable, unknown
from livepush.streams.buffer import Ending, Passage
from livepush.streams.feeds import Feeds, Opened, feeds_of, look_up
from livepush.streams.formats import FORMATS
from livepush.streams.models import StreamState
from livepush.streams.reader import Reader
from livepush.wire import WireError, public_name, unavailable


class StreamEntry(NamedTuple):
    """A client that was admitted to a stream."""

    hub: Hub
    opened: Opened
    admission: identity.Admission
    view: identity.Handshake
    rights: Rights
    heard: int
    seat: limits.Seat
    client: Client

    @property
    def feeds(self) -> Feeds:
        """The hub's feeds."""
        return feeds_of(self.hub)

    @contextmanager
    def reading(self, asked: Asked, format: str, write_now: object = None) -> Iterator[Reader]:
        """Yield the client's reader. The stream is taken away from it when the right ends."""
        feed = self.feeds.open(self.opened)
        beat = get_settings().HEARTBEAT
        reader = Reader(self.feeds, feed, asked.after, format, beat, write_now)  # type: ignore[arg-type]
        revoke = partial(self.client.revoke, reader.revoke)
        who = self.admission.identity
        grant = Grant(who, self.view, reader, revoke, self.admission.tenant, is_member=False)  # type: ignore[arg-type]
        self.rights.add(grant, self.heard)
        try:
            with reader:
                yield reader
        finally:
            self.rights.remove(grant)
            self.seat.leave()


def endpoints(base: str) -> dict[tuple[str, str], Endpoint]:
    """Return the endpoint under a prefix, as ``routing`` registers it."""
    return {("http", f"{base}streams/<str:stream>/"): stream}


@refusing
async def stream(scope: Scope, receive: Incoming, send: Send) -> None:
    """Serve ``GET streams/<id>/?after=OFFSET&format=NAME&wait=SECONDS``."""
    headers = dict(scope["headers"])
    last, accept = (headers.get(name, b"").decode("latin-1") for name in (b"last-event-id", b"accept"))
    asked = asked_of(scope["path"], scope.get("query_string", b""), last)
    try:
        entry = await receive.unless_gone(enter(scope, asked))
    except WireError as error:
        body = away(asked, error, accept)
        if body is None:
            raise
        await send({"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *for_origin(scope)]})
        await send({"type": "http.response.body", "body": body.encode()})
        return
    if entry is None:
        return
    asked = asked.of(entry.opened.row)
    if asked.has_all and not entry.opened.row.is_running:
        await send({"type": "http.response.start", "status": 204, "headers": [NO_STORE, NOSNIFF, *for_origin(scope)]})
        await send({"type": "http.response.body", "body": b""})  # an EventSource does not come back after that
    elif asked.wait is not None:
        await poll(scope, receive, send, entry, asked)
    else:
        await serve(scope, receive, send, entry, asked)


async def enter(scope: Scope, asked: Asked) -> StreamEntry:
    """Find the stream, who asks, and whether that client may read it. Raises WireError."""
    client = Client("stream", scope)
    try:
        return await _enter(scope, asked, client)
    except WireError as error:
        client.refuse(error)
        raise


async def _enter(scope: Scope, asked: Asked, client: Client) -> StreamEntry:
    request = identity.request_of(scope)
    origins.headers(request)
    with limits.handshake(scope, request) as level:
        try:
            await handshakes.check_async(request, partial(process.in_thread, level=level), process.queries_in_threads)
            hub = await process.get_hub()
            rights = rights_of(hub)
            heard = rights.heard
            opened = await process.in_thread(partial(look_up, get_settings().DATABASE, asked.id), level)
            if opened is None:
                raise unknown()
            client.groups = (public_name(opened.row.group),)
            view, check = identity.handshake(request), client.noted_by(check_limits(1))
            admission = await admit(scope, request, view, client.groups, level=level, check=check)
            identity.check_granted(admission)
            admission, heard = await confirm(rights, admission, view, heard)
            client.identity = admission.identity
        except WireError:
            raise
        except Exception as error:
            raise unavailable() from error
        check_readable(opened.row, admission)
        if hub.draining:
            raise unavailable()
        seat = limits.take_seat(scope, limits.user_key(admission.tenant, admission.identity.name))
    return StreamEntry(hub, opened, admission, view, rights, heard, seat, client)


async def serve(scope: Scope, receive: Incoming, send: Send, entry: StreamEntry, asked: Asked) -> None:
    """Send the stream until it ends or the client goes."""
    name = asked.format or entry.opened.row.format
    format = FORMATS[name]
    headers = [
        (key.encode(), value.encode()) for key, value in (("content-type", format.content_type), *format.headers)
    ]
    fixed = [NO_STORE, NOSNIFF, (b"x-accel-buffering", b"no"), (b"content-encoding", b"identity")]
    await send({"type": "http.response.start", "status": 200, "headers": [*headers, *fixed, *for_origin(scope)]})
    write_now = uvicorn.short_way(send)
    send = await with_backpressure(scope, send)
    with entry.reading(asked, name, write_now) as reader:
        try:
            reason = await receive.unless_gone(_write_all(reader, send))
        except asyncio.CancelledError:  # the server ends, and cancels its requests
            reader.leave(0)
            raise
    if reason is None:
        return
    if not reader.must_break:
        await finish(scope, receive, send, reason, {"type": "http.response.body", "body": b""})
    elif not await reset_connection(scope, receive, send):
        raise ConnectionAbortedError(formats.CUT)


async def _write_all(reader: Reader, send: Send) -> Reason:
    limit = get_settings().WRITE_TIMEOUT
    try:
        while (data := await reader.next()) is not None:
            async with asyncio.timeout(limit):
                await send({"type": "http.response.body", "body": data, "more_body": True})
    except TimeoutError:
        return Reason.SLOW
    return Reason.DRAIN


async def poll(scope: Scope, receive: Incoming, send: Send, entry: StreamEntry, asked: Asked) -> None:
    """Answer with what follows the offset, once there is something or the wait is over."""
    try:
        with entry.reading(asked, "livepush") as reader:
            body = await receive.unless_gone(_held(reader, min(asked.wait or 0.0, get_settings().MAX_WAIT)))
    except asyncio.CancelledError:  # the server ends, and cancels its requests
        nothing = Passage(asked.after, [], asked.after)
        told = formats.answer(nothing, Ending(StreamState.RUNNING), entry.opened.row.details)
        await answer_at_the_end(scope, send, told.encode())
        raise
    if body is not None:
        await reply(scope, send, body)


async def _held(reader: Reader, seconds: float) -> bytes:
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while True:
        portion = await reader.portion()
        if not reader.groups:
            raise lost_all(reader.reason, "The stream may not be read any more")
        if portion is not None or reader.is_at_end or reader.retry is not None or loop.time() >= until:
            break
        await reader.wait(max(0.0, until - loop.time()))
    feed = reader.feed
    passage = Passage(reader.cursor, [], reader.cursor) if portion is None else portion.passage
    if feed.ending is None or not reader.is_at_end:
        return formats.answer(passage, Ending(StreamState.RUNNING), feed.about.metadata).encode()
    return formats.answer(passage._replace(end=feed.end), feed.ending, feed.about.metadata).encode()
