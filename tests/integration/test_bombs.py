"""Anonymous clients that make a server unpack, or put together, far more than they send."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import struct
import zlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from tests.patience import PATIENCE
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database

CLIENTS = 20
UNPACKED = 16 * 1_048_576 - 1
"""What a message of a bomb holds: the most that uvicorn takes by default."""
A_CLIENT = 4 * 1_048_576
"""How many bytes a client may cost: far less than a message."""
CLOSED = re.compile(rb"\x88.(\x03\xf1|\x11)", re.DOTALL)
"""A close frame that says "too big" in WebSocket's own code, or anything in ours."""


def frame(payload: bytes, *, packed: bool, final: bool = True, opcode: int = 1) -> bytes:
    """Return a client's frame (RFC 6455, section 5.2) with a mask of zeros."""
    head = (0x80 if final else 0) | (0x40 if packed else 0) | opcode
    size = len(payload)
    if size < 126:
        length = struct.pack("!B", 0x80 | size)
    elif size < 65_536:
        length = struct.pack("!BH", 0x80 | 126, size)
    else:
        length = struct.pack("!BQ", 0x80 | 127, size)
    return bytes([head]) + length + b"\0\0\0\0" + payload


def packed(size: int) -> bytes:
    """Return a message of that many bytes, packed (RFC 7692, section 7.2.1)."""
    packer = zlib.compressobj(9, wbits=-12)
    return (packer.compress(b"0" * size) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]


@contextlib.asynccontextmanager
async def connected(server: processes.Server) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """Open an anonymous WebSocket that offers compression; yield its ends and the answer's head."""
    place = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /livepush/ws/?group=board HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nOrigin: {server.url}\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n".encode()
    )
    try:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
        yield reader, writer, head.decode()
    finally:
        writer.transport.abort()


async def attack(server: processes.Server, frames: list[bytes]) -> None:
    """Send frames, and a close frame, until the server ends the connection. It must not agree to compression."""
    async with connected(server) as (reader, writer, head):
        assert "101" in head.partition("\r\n")[0]
        with contextlib.suppress(OSError):
            for each in [*frames, frame(struct.pack("!H", 1000), packed=False, opcode=8)]:
                writer.write(each)
                await writer.drain()
            while data := await reader.read(65_536):
                if CLOSED.search(data):  # hypercorn then waits for the client, for ever
                    break
        assert "permessage-deflate" not in head


BOMBS = {
    "packed": [frame(packed(UNPACKED), packed=True)] * 12,
    "large": [frame(b"0" * UNPACKED, packed=False)],
    "in pieces": [
        frame(b"0", packed=False, final=False),
        *[frame(b"0" * 60_000, packed=False, final=False, opcode=0)] * 250,
    ],
}
SERVERS = {
    "uvicorn": [],
    "uvicorn, websockets' older code": ["--ws", "websockets"],
    "uvicorn, wsproto": ["--ws", "wsproto"],
    "hypercorn": [],
    "granian": [],
    "daphne": [],
}


@pytest.mark.parametrize("kind", some(list(SERVERS)))
@pytest.mark.parametrize("bomb", some(list(BOMBS)))
async def test_a_server_holds_little_for_anonymous_clients_that_send_too_much(
    kind: str, bomb: str, database: Database
) -> None:
    with processes.server(kind.partition(",")[0], database, options=SERVERS[kind], may_fail=True) as server:
        await asyncio.wait_for(attack(server, [frame(b"hello", packed=False)]), PATIENCE)
        before = most = faults.rss_of_all(server.pid)
        crowd = asyncio.gather(*(attack(server, BOMBS[bomb]) for _ in range(CLIENTS)))
        while not crowd.done():
            await asyncio.wait([crowd], timeout=0.02)
            most = max(most, faults.rss_of_all(server.pid))
        await crowd
        most_each = UNPACKED * 3 // 2 if kind == "granian" and bomb != "packed" else A_CLIENT  # granian can't be told
        assert most - before < CLIENTS * most_each, f"{(most - before) // 2**20} MiB"
