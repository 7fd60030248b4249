"""The server of ``benchmarks.streams`` and ``benchmarks.stream_readers``: the same tokens from livepush's streams, as
ephemeral events, and from a bare ASGI response.

``/start/?count=…`` starts streams in livepush and answers with their ids; ``/bare/`` is a response that holds its
request. Each token is the time at which it was made. ``/cost/`` tells what the process has used.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs

from tests.servers.probe import application as project, queries  # isort: skip (it sets Django up, which livepush needs)

import livepush
from livepush import streams
from livepush.consumers.base import answer

HEADERS = [(b"content-type", b"text/event-stream")]
BEGUN = asyncio.Event()
SENDING: set[asyncio.Task[None]] = set()


async def tokens(count: int, pause: float) -> AsyncIterator[str]:
    """Yield so many times of making, one every ``pause`` seconds by the clock."""
    await BEGUN.wait()
    loop = asyncio.get_running_loop()
    start = loop.time() + pause * (hash(asyncio.current_task()) % 97) / 97  # not all at once
    for number in range(count):
        await asyncio.sleep(max(0.0, start + number * pause - loop.time()))
        yield f"{time.time():.6f} "


async def events(count: int, pause: float) -> None:
    """Send the tokens as ephemeral events."""
    async for token in tokens(count, pause):
        await livepush.asend("room:bench", "token", token, ephemeral=True)


async def application(scope: Any, receive: Any, send: Any) -> None:
    path = scope.get("path", "")
    asked = {
        key: float(value[0])
        for key, value in parse_qs(scope.get("query_string", b"").decode()).items()
        if key not in ("format", "group")
    }
    if path == "/begin/":
        BEGUN.set()
        await answer(scope, send, b"{}")
    elif path == "/start/":
        made = [
            await streams.start("room:bench", tokens(int(asked["tokens"]), asked["pause"]))
            for _ in range(int(asked["count"]))
        ]
        await answer(scope, send, json.dumps([each.id for each in made]).encode())
    elif path == "/bare/":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": b":\n", "more_body": True})
        async for token in tokens(int(asked["tokens"]), asked["pause"]):
            await send({"type": "http.response.body", "body": f'data: ["{token}"]\n\n'.encode(), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    elif path == "/events/":
        task = asyncio.create_task(events(int(asked["tokens"]), asked["pause"]))
        SENDING.add(task)
        await answer(scope, send, b"{}")
    elif path == "/cost/":
        used = os.times()
        body = {"cpu": used.user + used.system, "statements": sum(queries.values())}
        await answer(scope, send, json.dumps(body).encode())
    else:
        await project(scope, receive, send)
