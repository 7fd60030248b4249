"""This process's hubs, for the code that sends events or renders pages."""

from __future__ import annotations

import asyncio
from typing import Protocol

from livepush.forking import in_children
from livepush.wire import Batch, Position


class Hub(Protocol):
    """What the rest of livepush needs of a hub."""

    loop: asyncio.AbstractEventLoop

    @property
    def draining(self) -> bool: ...
    @property
    def position(self) -> Position: ...
    def receive_soon(self, batch: Batch) -> None: ...


hubs: set[Hub] = set()
"""This process's started hubs. Any thread can copy a plain set in one step."""
in_children(hubs.clear)  # the parent's loops do not run in a child: batches would pile up


def serving_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop of a running hub of this process; ``None`` if there is none."""
    return next((hub.loop for hub in list(hubs) if hub.loop.is_running() and not hub.draining), None)


def known_position() -> Position | None:
    """Return the position of a running hub of this process; ``None`` if there is none."""
    return next((hub.position for hub in list(hubs) if hub.loop.is_running() and not hub.draining), None)
