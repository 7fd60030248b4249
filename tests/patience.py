"""How long tests wait for what must come: far longer than it takes, so that a machine with other work is merely slow.

A wait that succeeds ends at once and costs nothing. What a test says about time it measures or counts; it does not
fail because something came late.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

PATIENCE = float(os.environ.get("LIVEPUSH_TEST_PATIENCE", "100"))
"""The limit of any wait, in seconds."""
PATIENCE_MS = 1000 * PATIENCE
"""The same in milliseconds, as Playwright counts."""


async def eventually(condition: Callable[[], Awaitable[object] | object], seconds: float = PATIENCE) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < end, "it did not come to hold"
        await asyncio.sleep(0.02)


def wait_until(condition: Callable[[], object], said: Callable[[], str] = lambda: "it did not come to hold") -> None:
    """Wait in this thread until something holds; ``said`` tells what there was where it does not."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, said()
        time.sleep(0.02)
