"""Uses livepush in many ways, and prints what this process holds after some warming up, and at the end.

``python -m tests.servers.uses loops 1000`` or ``python -m tests.servers.uses widths 2000``.
"""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.contrib.auth.models import User

import livepush
from livepush import process
from livepush.models import ChannelGroup, Event

WARM = 20
NAMES = [f"g:{number}" for number in range(2000)]


def loop(number: int) -> None:
    """Use an event loop as a test or a task of a project does."""

    async def work() -> None:
        await process.get_hub()
        await process.in_thread(User.objects.count)
        await livepush.asend("board", "moved", number)

    asyncio.run(work())


def width(number: int) -> None:
    """Send to a number of groups that no send before had."""
    livepush.send(NAMES[: 1 + number * 37 % len(NAMES)], "moved", number)
    Event.objects.all().delete()
    ChannelGroup.objects.all().delete()


WAYS: dict[str, Callable[[int], None]] = {"loops": loop, "widths": width}


def holdings() -> dict[str, int]:
    """Return what this process holds."""
    gc.collect()
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {"rss": rss, "threads": threading.active_count(), "descriptors": len(os.listdir("/proc/self/fd"))}


if __name__ == "__main__":
    use, count = WAYS[sys.argv[1]], int(sys.argv[2])
    for number in range(WARM):
        use(number)
    before = holdings()
    for number in range(WARM, WARM + count):
        use(number)
    print(json.dumps([before, holdings()]))
