"""Fan-out by hand as an ``asyncio.Protocol``, on uvloop where it is installed: no framework, no queues.

``python -m benchmarks.peers.protocol`` answers any request with an event stream.
"""

from __future__ import annotations

import asyncio
import os

try:
    from uvloop import run
except ImportError:
    from asyncio import run

HEAD = (
    b"HTTP/1.1 200 OK\r\n"
    b"Content-Type: text/event-stream\r\n"
    b"Cache-Control: no-cache\r\n"
    b"Connection: close\r\n"
    b"\r\n"
    b": open\n\n"
)

clients: set[asyncio.Transport] = set()


class Client(asyncio.Protocol):
    """One client: its request's head is waited for and not read."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        if self.transport in clients:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            self.transport.write(HEAD)
            clients.add(self.transport)

    def connection_lost(self, error: Exception | None) -> None:
        clients.discard(self.transport)


class Feed(asyncio.Protocol):
    """The publisher: each line goes to every client."""

    def __init__(self) -> None:
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            event = b"data: " + line + b"\n\n"
            for client in clients:
                client.write(event)


async def main() -> None:
    """Listen for clients and for the publisher."""
    loop = asyncio.get_running_loop()
    await loop.create_server(Feed, "127.0.0.1", int(os.environ["BENCH_FEED"]))
    server = await loop.create_server(Client, "127.0.0.1", int(os.environ["BENCH_PORT"]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    run(main())
