"""Floods a server with handshakes of one kind until its input ends, and prints how many there were.

``python -m tests.servers.flood bad 127.0.0.1 8000``
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from contextlib import suppress

AT_ONCE = 10
MANY = "&".join(f"group=asks:{number}" for number in range(100))
BAD = (
    "GET /livepush/sse/ HTTP/1.1",
    "GET /livepush/sse/?group=%00%ff HTTP/1.1",
    "GET /livepush/poll/?group=board&since=nonsense HTTP/1.1",
    "GET /livepush/poll/?group=board&wait=never HTTP/1.1",
    "GET /livepush/poll/?group=nobody:1 HTTP/1.1",
    "GET /livepush/sse/?group=user:1&token=livepush.made.up HTTP/1.1",
    "POST /livepush/sse/?group=board HTTP/1.1",
    "GET /livepush/ws/?group=board HTTP/1.1\r\nOrigin: https://evil.example",
    f"GET /livepush/poll/?{MANY}&{MANY.replace('asks', 'more')} HTTP/1.1",
)
REQUESTS = {
    "bad": BAD,
    "leave": (f"GET /livepush/poll/?{MANY} HTTP/1.1",),
    "stay": (f"GET /livepush/poll/?{MANY} HTTP/1.1",),
}


async def ask(host: str, port: int, kind: str, head: str) -> None:
    """Make one request; leave at once, or wait for the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(f"{head}\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        if kind == "leave":
            await asyncio.sleep(0.02)
        else:
            while await reader.read(65_536):
                pass
    finally:
        writer.transport.abort()


async def flood(kind: str, host: str, port: int) -> int:
    """Ask until the input ends."""
    over, count = asyncio.Event(), itertools.count()
    asyncio.get_running_loop().run_in_executor(None, lambda: (sys.stdin.read(), over.set()))

    async def work() -> None:
        while not over.is_set():
            with suppress(OSError):
                await ask(host, port, kind, REQUESTS[kind][next(count) % len(REQUESTS[kind])])

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return next(count)


if __name__ == "__main__":
    print(asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
