"""A connection of the hub as the body of Django's own streaming response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection

from livepush.bridges.eventstream import encoding
from livepush.consumers.base import greeting
from livepush.consumers.entering import Entry, ask_again_later
from livepush.hub import Connection, Reason
from livepush.wire import Format, Frames


class Body:
    """Hands frames over to the response, each when the one before was sent."""

    def __init__(self, channels: Collection[str], user: str) -> None:
        self._channels = channels
        self._user = user
        self._parts: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    async def write(self, frames: Frames) -> None:
        """Translate frames and wait until they were sent."""
        for frame in frames:
            part = encoding.translated(frame if isinstance(frame, str) else frame.decode())
            content = encoding.reset(self._channels, part.reset) if part.reset else part.content
            if content and self._user not in part.skip:
                self._parts.put_nowait((content, part.is_last))
                await self._parts.join()

    def end(self) -> None:
        """End the response after what was written."""
        self._parts.put_nowait((b"", True))

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield what is written until the end."""
        is_last = False
        while not is_last:
            content, is_last = await self._parts.get()
            yield content
            self._parts.task_done()


async def stream(entry: Entry, channels: Collection[str]) -> AsyncIterator[bytes]:
    """Serve a client that was let in, until it leaves or its connection closes."""
    hub, admission = entry.hub, entry.admission
    body = Body(channels, "anonymous" if admission.identity.name is None else admission.identity.name)
    limits, floors = hub.options.limits, admission.floors
    connection = EventStream(hub, admission.stored, entry.cursor, Format.TEXT, body.write, limits, None, floors)
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


class EventStream(Connection):
    """A connection that livepush's metrics count under a name of its own."""

    transport = "eventstream"
