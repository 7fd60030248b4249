"""Fan-out by hand as a bare ASGI application: a queue for each connection, and no library.

With ``BENCH_LAYER`` the events come through a Channels layer, else over a connection of the publisher's.
"""

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
    if "BENCH_LAYER" in os.environ:
        stop: Callable[[], object] = asyncio.create_task(read_layer()).cancel
    else:
        stop = (await asyncio.start_server(read_feed, "127.0.0.1", int(os.environ["BENCH_FEED"]))).close
    await send({"type": "lifespan.startup.complete"})
    await receive()
    stop()
    await send({"type": "lifespan.shutdown.complete"})


async def read_layer() -> None:
    """Put each message of the group into every queue, as one consumer for all of them would."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.peers.channels_plain.settings")
    from channels.layers import get_channel_layer

    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add("board", channel)
    while True:
        put((await layer.receive(channel))["text"].encode())


async def read_feed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Put each line of the feed into every queue."""
    async for line in reader:
        put(line.rstrip(b"\n"))
    writer.close()


def put(event: bytes) -> None:
    """Put an event into every queue, encoded once for each kind of connection."""
    part = {"type": "http.response.body", "body": b"data: " + event + b"\n\n", "more_body": True}
    for queue in streams:
        queue.put_nowait(part)
    text = {"type": "websocket.send", "text": event.decode()}
    for queue in sockets:
        queue.put_nowait(text)


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
