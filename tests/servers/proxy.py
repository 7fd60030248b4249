"""A proxy that writes down what clients ask for, and cuts their connections when told to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.servers.processes import free_port


class Proxy:
    """Forwards TCP connections to a server's port."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.heads: list[str] = []
        """The head of each connection's first request."""
        self._open: set[asyncio.StreamWriter] = set()

    def headers(self, number: int) -> dict[str, str]:
        """Return the headers of a connection's first request, their names in lower case."""
        lines = self.heads[number].split("\r\n")[1:]
        return {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def requests(self, path: str) -> list[int]:
        """Return the numbers of the connections whose first request is for a path."""
        return [number for number, head in enumerate(self.heads) if head.split(" ")[1].startswith(path)]

    def cut(self) -> None:
        """Reset every connection, as a network does that fails."""
        for writer in list(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        self._open.add(writer)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode("latin-1"))
            await self._forward(head, reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        up_writer.write(_closing(head))
        both = [asyncio.create_task(_copy(reader, up_writer)), asyncio.create_task(_copy(up_reader, writer))]
        try:
            await asyncio.wait(both, return_when="FIRST_COMPLETED")
        finally:
            up_writer.transport.abort()
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)


def _closing(head: bytes) -> bytes:
    """Return a request's head so that the server ends the connection: each request has one of its own."""
    lines = [line for line in head[:-4].split(b"\r\n") if not line.lower().startswith(b"connection:")]
    return b"\r\n".join([*lines, b"Connection: close", b"", b""])


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65_536):
            writer.write(chunk)
            await writer.drain()


@contextlib.asynccontextmanager
async def proxy(upstream: int) -> AsyncIterator[Proxy]:
    """Run a proxy in front of a server's port."""
    found = Proxy(upstream)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(found.serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", found.port)
    try:
        yield found
    finally:
        server.close()
        found.cut()
        await asyncio.gather(*tasks, return_exceptions=True)  # each ends with its connection
