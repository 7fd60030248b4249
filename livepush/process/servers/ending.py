"""Learns that a server is about to end, however that begins: a limit of requests, the program that embeds it, a signal.

The servers tell an application only when its streams have ended, and some wait for that without a limit. So livepush
finds the server among the coroutines of its event loop. daphne has none there: Twisted's reactor tells of its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

from livepush.notes import note_once
from livepush.process.servers import daphne

Drain = Callable[[], Awaitable[None]]

SHUTDOWNS = {"uvicorn.server": "shutdown", "granian.server.embed": "shutdown", "gunicorn.workers.gasgi": "_shutdown"}
"""The coroutine method that ends each server, by the module whose coroutines have the server as ``self``."""
HYPERCORN = "hypercorn.asyncio.run"
_tasks: set[asyncio.Task[None]] = set()
"""The background tasks, kept here so that Python does not collect them."""


def before_end(loop: asyncio.AbstractEventLoop, drain: Drain) -> None:
    """Have ``drain`` awaited when a server of this loop begins to end. Call it again for further servers."""
    daphne.before_end(drain)
    owners: dict[str, list[Any]] = {}
    for frame in _frames(loop):
        module = frame.f_globals.get("__name__", "")
        if module in SHUTDOWNS and "self" in frame.f_locals:
            owners.setdefault(module, []).append(frame.f_locals["self"])
        elif module == HYPERCORN and frame.f_code.co_name == "worker_serve":
            _drain_when(loop, getattr(frame.f_locals.get("context"), "terminated", None), drain)
    for module, found in owners.items():
        servers = [each for each in found if hasattr(each, SHUTDOWNS[module])]
        for server in servers:
            _drain_first(server, SHUTDOWNS[module], drain)
        if not servers:
            _note(module)


def _drain_first(server: Any, name: str, drain: Drain) -> None:
    """Have a server drain before the method of that name."""
    shutdown = getattr(server, name)
    if getattr(shutdown, "drains", False):
        return

    async def drain_and_shut_down(*args: Any, **options: Any) -> Any:
        await drain()
        return await shutdown(*args, **options)

    drain_and_shut_down.drains = True  # type: ignore[attr-defined]
    setattr(server, name, drain_and_shut_down)


def _drain_when(loop: asyncio.AbstractEventLoop, terminated: Any, drain: Drain) -> None:
    if not hasattr(terminated, "wait"):
        _note(HYPERCORN)
        return
    if getattr(terminated, "drains", False):
        return
    terminated.drains = True

    async def wait_and_drain() -> None:
        await terminated.wait()
        await drain()

    task = loop.create_task(wait_and_drain())
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def _frames(loop: asyncio.AbstractEventLoop) -> Iterator[FrameType]:
    """Yield the frames of the loop's coroutines, with those that they await."""
    for task in asyncio.all_tasks(loop):
        coroutine: Any = task.get_coro()
        while coroutine is not None:
            frame = getattr(coroutine, "cr_frame", None)
            if frame is not None:
                yield frame
            coroutine = getattr(coroutine, "cr_await", None)


def _note(module: str) -> None:
    note_once(
        "livepush does not know this version of %s: if it ends without a signal, it cuts streams or waits for them.",
        module,
    )
