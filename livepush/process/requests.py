"""The requests that this process serves, so that a drain can wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

from livepush.process.servers.client import Peer


class Requests(NamedTuple):
    """The clients that a loop serves, each under its own key."""

    open: dict[object, Peer]
    answered: dict[object, Peer]
    """Clients that were sent a large answer, and may not have received all of it yet."""
    servers: set[tuple[Any, ...]]
    """The addresses of the loop's servers that have served somebody."""


_requests: dict[asyncio.AbstractEventLoop, Requests] = {}
_tasks: set[asyncio.Task[Any]] = set()
"""The background tasks, kept here so that Python does not collect them."""


def requests_of(loop: asyncio.AbstractEventLoop) -> Requests:
    """Return the requests that a loop serves."""
    return _requests.setdefault(loop, Requests({}, {}, set()))


def forget_requests(loop: asyncio.AbstractEventLoop) -> None:
    """Forget the answered clients of a loop that ends, and the loop itself if it serves nobody."""
    requests = _requests.get(loop)
    if requests is not None:
        requests.answered.clear()
        if not requests.open or loop.is_closed():
            _requests.pop(loop, None)  # another thread may have forgotten it


def count_open() -> int:
    """Return how many requests are being served, on any loop."""
    return sum(len(requests.open) for requests in list(_requests.values()))


def spawn(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, object]) -> None:
    """Start a background task."""
    task = loop.create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
