"""What comes from a client, watched while livepush works for it: nobody works for a client that has left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
Message = MutableMapping[str, Any]
DISCONNECTS = ("http.disconnect", "websocket.disconnect")


HELD_BYTES = 16_384
"""If a client has said more than this while it is watched, nobody notices that it leaves until the work is done."""


@contextmanager
def watched(receive: Callable[[], Awaitable[Message]]) -> Iterator[Incoming]:
    """Yield a ``receive`` that can be watched."""
    incoming = Incoming(receive)
    try:
        yield incoming
    finally:
        incoming.stop()


class Incoming:
    """An ASGI ``receive`` that can be watched for the client's leaving. It loses no message, and holds only a few."""

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None
        self._held: deque[Message] = deque()
        """The messages that the client has sent while it was watched, before ``_next``."""

    async def __call__(self) -> Message:
        """Return the next message."""
        if self._held:
            return self._held.popleft()
        if self._next is None:
            return await self._receive()
        await asyncio.wait({self._next})  # whoever cancels this wait is heard at once, and no message is lost
        message = self._next.result()
        if message["type"] not in DISCONNECTS:  # that is the last, for whoever asks
            self._next = None
        return message

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do some work for the client and return its result. If the client goes first, cancel it and return ``None``.

        Raises what the work raises.
        """
        loop = asyncio.get_running_loop()
        doing = loop.create_task(work)
        try:
            while not doing.done():
                self._next = self._next or loop.create_task(self._read())
                await asyncio.wait({doing, self._next}, return_when=asyncio.FIRST_COMPLETED)
                if self._next.done() and not doing.done():
                    if self._next.result()["type"] in DISCONNECTS:
                        return None
                    if sum(map(_size, self._held)) > HELD_BYTES:
                        break  # the rest must wait with the server
                    self._held.append(self._next.result())
                    self._next = None
            return await doing
        finally:
            if not doing.done():
                doing.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await doing
            del doing  # what it has raised holds this frame

    def stop(self) -> None:
        """Stop watching."""
        ended, self._next = self._next, None  # what is cancelled holds its frames, and they this object
        if ended is not None and not ended.cancel() and not ended.cancelled():
            ended.exception()  # retrieved, so that asyncio does not report it

    async def _read(self) -> Message:
        """Return the next message that matters: the body of a request does not."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return message


def _size(message: Message) -> int:
    """Return about how many bytes of memory a message takes."""
    return 256 + len(message.get("text") or message.get("bytes") or "")
