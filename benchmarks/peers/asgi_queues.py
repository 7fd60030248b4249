"""Fan-out by hand as a bare ASGI application: a queue for each connection, and no library."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Queue = asyncio.Queue[Message]

streams: set[Queue] = set()
sockets: set[Queue] = set()


async def application(scope: Message, receive: Receive, send: Send) -> None:
    """Serve ``/sse/``, ``/ws/`` and ``/ready/``; the feed begins with the lifespan."""
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/sse/":
        await stream(receive, send)
    elif scope["path"] == "/ws/":
        await websocket(receive, send)
    else:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"ready"})


async def lifespan(receive: Receive, send: Send) -> None:
    """Take the feed while the server runs."""
    await receive()
    server = await asyncio.start_server(read_feed, "127.0.0.1", int(os.environ["BENCH_FEED"]))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    server.close()
    await send({"type": "lifespan.shutdown.complete"})


async def read_feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Put each line of the feed into every queue, encoded once for each kind of connection."""
    async for line in reader:
        event = line.rstrip(b"\n")
        part = {"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True}
        for queue in streams:
            queue.put_nowait(part)
        text = {"type": "websocket.send", "text": event.decode()}
        for queue in sockets:
            queue.put_nowait(text)
    writer.close()


async def stream(receive: Receive, send: Send) -> None:
    """Send the events as an event stream."""
    headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
    with subscribed(streams) as queue:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
        await forward(queue, receive, send)


async def websocket(receive: Receive, send: Send) -> None:
    """Send the events as text messages."""
    await receive()
    with subscribed(sockets) as queue:
        await send({"type": "websocket.accept"})
        await forward(queue, receive, send)


@contextlib.contextmanager
def subscribed(queues: set[Queue]) -> Iterator[Queue]:
    """Have a queue among those that get the events."""
    queue: Queue = asyncio.Queue()
    queues.add(queue)
    try:
        yield queue
    finally:
        queues.discard(queue)


async def forward(queue: Queue, receive: Receive, send: Send) -> None:
    """Send what comes into the queue until the client has gone."""
    tasks = [asyncio.create_task(pump(queue, send)), asyncio.create_task(disconnected(receive))]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def pump(queue: Queue, send: Send) -> None:
    """Send what comes into the queue."""
    while True:
        await send(await queue.get())


async def disconnected(receive: Receive) -> None:
    """Return when the client has gone."""
    while not (await receive())["type"].endswith(".disconnect"):
        pass
