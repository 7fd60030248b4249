"""What comes from a client, watched while livepush works for it: nobody works for a client that has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

T = TypeVar("T")
Message = MutableMapping[str, Any]
DISCONNECTS = ("http.disconnect", "websocket.disconnect")


@contextmanager
def watched(receive: Callable[[], Awaitable[Message]]) -> Iterator[Incoming]:
    """Yield a ``receive`` that can be watched."""
    incoming = Incoming(receive)
    try:
        yield incoming
    finally:
        incoming.stop()


class Incoming:
    """An ASGI ``receive`` that can be watched for the client's leaving. It loses no message, and holds at most one."""

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None

    async def __call__(self) -> Message:
        """Return the next message."""
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
                    return await doing  # the client says something: it is there, and the message must wait
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
