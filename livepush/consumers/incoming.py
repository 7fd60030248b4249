"""What comes from a client, watched while livepush works for it: nobody works for a client that has left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

T = TypeVar("T")
Message = MutableMapping[str, Any]
DISCONNECTS = ("http.disconnect", "websocket.disconnect")
UNWATCHED = 0.05
"""How long (seconds) livepush works for a client before it looks whether the client is still there.

Most work ends sooner, and a watch costs a task, which stays for as long as the stream is open.
"""
HELD_BYTES = 16_384
"""If a client has said more than this while it is watched, nobody notices that it leaves until the work is done."""


class Incoming:
    """An ASGI ``receive`` that can be watched for the client's leaving, used in a ``with``.

    It loses no message, and holds only a few.
    """

    def __init__(self, receive: Callable[[], Awaitable[Message]]) -> None:
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None
        self._held: list[Message] | tuple[()] = ()
        """The messages that the client has sent while it was watched, before ``_next``."""
        self._worker: asyncio.Task[Any] | None = None
        """The task that works for the client."""
        self._has_left = False

    def __enter__(self) -> Incoming:
        return self

    def __exit__(self, *raised: object) -> None:
        ended, self._next = self._next, None  # what is cancelled holds its frames, and they this object
        if ended is not None and not ended.cancel() and not ended.cancelled():
            ended.exception()  # retrieved, so that asyncio does not report it

    async def __call__(self) -> Message:
        """Return the next message."""
        if self._held:
            return self._held.pop(0)
        if self._next is None:
            return await self._receive()
        await asyncio.wait({self._next})  # whoever cancels this wait is heard at once, and no message is lost
        message = self._next.result()
        if message["type"] not in DISCONNECTS:  # that is the last, for whoever asks
            self._next = None
        return message

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Do some work for the client and return its result. If the client goes first, cancel it and return ``None``.

        Work that ends soon is not watched. Raises what the work raises.
        """
        if self._has_left or _has_come_last(self._next):
            work.close()
            return None
        task = asyncio.current_task()
        assert task is not None
        before, self._worker = task.cancelling(), task
        timer = task.get_loop().call_later(UNWATCHED, self._watch)
        try:
            result = await work
        except (asyncio.CancelledError, Exception):
            if not self._has_left or task.uncancel() > before:
                raise
            return None
        finally:
            timer.cancel()
            self._worker = None
        if self._has_left:  # the work took no notice
            task.uncancel()
            return None
        return result

    def _watch(self) -> None:
        """Have ``_came`` called with the client's next message, unless nobody works for the client any more."""
        if self._next is None:
            self._next = asyncio.get_running_loop().create_task(self._read())
            self._next.add_done_callback(self._came)
        elif self._next.done():
            self._came(self._next)

    def _came(self, reading: asyncio.Task[Message]) -> None:
        if self._worker is None or reading is not self._next or self._has_left:
            return  # whoever asks for the next message finds it, or it was taken before
        if reading.cancelled() or reading.exception() is not None:
            return
        message = reading.result()
        if message["type"] in DISCONNECTS:
            if not self._worker.cancelling():  # else it is ending already
                self._has_left = True
                self._worker.cancel()
        elif sum(map(_size, self._held)) <= HELD_BYTES:  # the rest must wait with the server
            self._held = [*self._held, message]
            self._next = None
            self._watch()

    async def _read(self) -> Message:
        """Return the next message that matters: the body of a request does not."""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                return message


def _has_come_last(reading: asyncio.Task[Message] | None) -> bool:
    """Return whether the client's last message has been read: that it has left."""
    if reading is None or not reading.done() or reading.cancelled() or reading.exception() is not None:
        return False
    return reading.result()["type"] in DISCONNECTS


def _size(message: Message) -> int:
    """Return about how many bytes of memory a message takes."""
    return 256 + len(message.get("text") or message.get("bytes") or "")
