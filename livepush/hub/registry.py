"""This process's hubs, for whoever sends or renders a page in it."""

from __future__ import annotations

import asyncio
import os
from typing import Protocol

from livepush.wire import Batch, Position


class Hub(Protocol):
    """What a process asks of its hubs."""

    loop: asyncio.AbstractEventLoop
    draining: bool

    @property
    def position(self) -> Position: ...
    def receive_soon(self, batch: Batch) -> None: ...


hubs: set[Hub] = set()
"""This process's hubs that have started; a plain set, which any thread can copy in one step."""
os.register_at_fork(after_in_child=hubs.clear)  # the parent's loops do not run in a child, and would hoard there


def known_position() -> Position | None:
    """Return a position that a hub of this process has routed, or ``None`` where none runs."""
    return next((hub.position for hub in list(hubs) if hub.loop.is_running() and not hub.draining), None)
