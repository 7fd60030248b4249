"""A subscriber's connection to livepush's hub, as the body of Django's own streaming response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

from livepush.bridges.mercure import encoding
from livepush.bridges.mercure.encoding import Part
from livepush.bridges.mercure.selectors import Selectors
from livepush.consumers.base import greeting
from livepush.consumers.entering import Entry, ask_again_later
from livepush.hub import Connection, Reason
from livepush.wire import Format, Frames


class Subscription(NamedTuple):
    """What a subscriber asks for, and what it may have."""

    wanted: Selectors
    allowed: Selectors
    """The topics whose private updates it may have."""

    def takes(self, part: Part) -> bool:
        """Return whether the subscriber gets an update."""
        if not part.topics:
            return True
        return self.wanted.match_any(part.topics) and not (part.private and not self.allowed.match_any(part.topics))


class MercureStream(Connection):
    """A connection that livepush's metrics count under a name of its own."""

    transport = "mercure"


class Body:
    """Hands updates over to the response, each when the one before was sent."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._parts: asyncio.Queue[Part] = asyncio.Queue()

    async def write(self, frames: Frames) -> None:
        """Translate frames, and wait until those that the subscriber gets were sent."""
        for frame in frames:
            part = encoding.translated(frame if isinstance(frame, str) else frame.decode())
            if part.content and self._subscription.takes(part):
                self._parts.put_nowait(part)
                await self._parts.join()

    def end(self) -> None:
        """End the response after what was written."""
        self._parts.put_nowait(Part(b"", is_last=True))

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield what is written until the end."""
        is_last = False
        while not is_last:
            part = await self._parts.get()
            is_last = part.is_last
            yield part.content
            self._parts.task_done()


async def stream(entry: Entry, subscription: Subscription) -> AsyncIterator[bytes]:
    """Serve a subscriber that was let in, until it leaves or its connection closes."""
    hub, admission = entry.hub, entry.admission
    body = Body(subscription)
    limits, floors = hub.options.limits, admission.floors
    connection = MercureStream(hub, admission.stored, entry.cursor, Format.TEXT, body.write, limits, None, floors)
    connection.on_close = body.end
    ask_again_later(connection, admission)
    with entry.watched(connection), entry.client.connected(admission, connection):
        try:
            hub.start(connection, greeting(entry, Format.TEXT))
            async for content in body.parts():
                yield content
        finally:
            hub.remove(connection)
            connection.on_close = None
            connection.close(Reason.GONE)
