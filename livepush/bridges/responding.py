"""A connection of the hub as the body of Django's own streaming response, for bridges with frames of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from livepush import process
from livepush.consumers.base import greeting
from livepush.consumers.entering import Entry, ask_again_later
from livepush.hub import Connection, Reason
from livepush.wire import Format, Frames

Translate = Callable[[str], tuple[bytes, bool]]
"""Takes an envelope; returns the bytes that the client gets, if any, and whether the stream ends with them."""


class Body:
    """Hands frames over to the response, each when the one before was sent."""

    def __init__(self, translate: Translate) -> None:
        self._translate = translate
        self._parts: asyncio.Queue[tuple[bytes, bool]] = asyncio.Queue()

    async def write(self, frames: Frames) -> None:
        """Translate frames, and wait until those that the client gets were sent."""
        for frame in frames:
            content, is_last = self._translate(frame if isinstance(frame, str) else frame.decode())
            if content:
                self._parts.put_nowait((content, is_last))
                await self._parts.join()

    def end(self) -> None:
        """End the response after what was written."""
        self._parts.put_nowait((b"", True))

    async def parts(self, ready: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
        """Yield what is written until the end. Wait for ``ready`` before each part."""
        is_last = False
        while not is_last:
            content, is_last = await self._parts.get()
            await ready()
            yield content
            self._parts.task_done()


async def stream(entry: Entry, kind: type[Connection], translate: Translate) -> AsyncIterator[bytes]:
    """Serve a client that was let in, until it leaves or its connection closes."""
    hub, admission = entry.hub, entry.admission
    body = Body(translate)
    limits, floors = hub.limits, admission.floors
    connection = kind(hub, admission.stored, entry.cursor, Format.TEXT, body.write, limits, None, floors)
    ask_again_later(connection, admission)
    with entry.watched(connection):
        async with process.serving_response(entry.client.scope) as client:

            def end() -> None:
                if connection.reason is Reason.SLOW:
                    client.hang_up()
                body.end()

            connection.on_close = end
            try:
                hub.start(connection, greeting(entry, Format.TEXT))
                async for content in body.parts(client.ready):
                    yield content
            finally:
                hub.remove(connection)
                connection.on_close = None
                connection.close(Reason.GONE)
