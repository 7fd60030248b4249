"""A client of livepush's ASGI application in the process that serves it, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

MARK = "a mark"
"""A text in the data of each event."""


class Way(NamedTuple):
    """How events are sent and read."""

    settings: dict[str, Any]
    send: Callable[[], object]
    path: str = "/livepush/sse/"
    query: bytes = b"group=board"
    says: tuple[str, ...] = ()
    """The first messages of a client over WebSocket."""


class Reader:
    """A client of the ASGI application, inside of this process."""

    def __init__(self, way: Way) -> None:
        is_socket = bool(way.says)
        self._scope = {
            "type": "websocket" if is_socket else "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "ws" if is_socket else "http",
            "path": way.path,
            "root_path": "",
            "query_string": way.query,
            "headers": [(b"host", b"testserver")],
            "client": ["127.0.0.1", 1],
            "server": ["testserver", 80],
            "subprotocols": [],
        }
        self._first = [{"type": "websocket.connect"} if is_socket else {"type": "http.request"}]
        self._first += [{"type": "websocket.receive", "text": each} for each in way.says]
        self._gone = asyncio.Event()
        self._changed = asyncio.Condition()
        self.is_ready = asyncio.Event()
        self.count = 0

    async def run(self, application: Any) -> None:
        """Be connected, until told to leave."""
        await application(self._scope, self._receive, self._send)

    def leave(self) -> None:
        """Disconnect."""
        self._gone.set()

    async def until(self, count: int) -> None:
        """Wait for as many events."""
        async with self._changed:
            await asyncio.wait_for(self._changed.wait_for(lambda: self.count >= count), 60)

    async def _receive(self) -> dict[str, Any]:
        if self._first:
            return self._first.pop(0)
        await self._gone.wait()
        return {"type": "websocket.disconnect" if self._scope["type"] == "websocket" else "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        text = message.get("text") or message.get("body", b"").decode()
        if any(word in text for word in ("livepush.hello", "stream-open", "subscription_succeeded", "retry: ")):
            self.is_ready.set()
        if MARK in text:
            async with self._changed:
                self.count += text.count(MARK)
                self._changed.notify_all()
