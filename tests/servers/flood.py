"""Floods a server with requests of one kind until its input ends, and prints how many there were.

``python -m tests.servers.flood bad 127.0.0.1 8000 [COOKIES]``
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections.abc import Iterator
from contextlib import suppress

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

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
    "raise": (f"GET /livepush/poll/?{MANY.replace('asks', 'raises')} HTTP/1.1",),
    "post": ("POST /livepush/send/ HTTP/1.1\r\nContent-Type: application/json",),
}
BODY = json.dumps({"group": "chat", "type": "said", "data": "x" * 60_000})


async def ask(host: str, port: int, kind: str, head: str, cookies: str) -> None:
    """Make one request; leave at once, or wait for the answer."""
    reader, writer = await asyncio.open_connection(host, port)
    body = BODY if kind == "post" else ""
    if body:
        head += f"\r\nOrigin: http://{host}:{port}\r\nCookie: {cookies}\r\nContent-Length: {len(body)}"
    try:
        writer.write(f"{head}\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n{body}".encode())
        await writer.drain()
        if kind == "leave":
            await asyncio.sleep(0.02)
        else:
            while await reader.read(65_536):
                pass
    finally:
        writer.transport.abort()


async def write(host: str, port: int, cookies: str, over: asyncio.Event, count: Iterator[int]) -> None:
    """Send large messages over one WebSocket until the server closes it."""
    headers = {"Cookie": cookies, "Origin": f"http://{host}:{port}"}
    url = f"ws://{host}:{port}/livepush/ws/?group=chat"
    async with connect(url, additional_headers=headers, max_size=None, proxy=None) as socket:
        while not over.is_set():
            await socket.send(BODY.replace("{", f'{{"command": "send", "ref": {next(count)}, ', 1))
            while json.loads(await socket.recv())["type"] != "livepush.reply":
                pass


async def flood(kind: str, host: str, port: int, cookies: str = "") -> int:
    """Ask until the input ends."""
    over, count = asyncio.Event(), itertools.count()
    asyncio.get_running_loop().run_in_executor(None, lambda: (sys.stdin.read(), over.set()))

    async def work() -> None:
        while not over.is_set():
            with suppress(OSError, WebSocketException):
                if kind == "write":
                    await write(host, port, cookies, over, count)
                    continue
                await ask(host, port, kind, REQUESTS[kind][next(count) % len(REQUESTS[kind])], cookies)

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return next(count)


if __name__ == "__main__":
    print(asyncio.run(flood(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])))
