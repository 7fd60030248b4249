"""How long the event loop pauses while a client's connection is looked for, in a process with many descriptors.

::

    python -m benchmarks.descriptors [--descriptors 1000,8000]

A connection is asked for ten times, 0.11 s apart, as when clients of a server that livepush does not know are slow. The
loop does nothing else. What is shown is the longest time between two of its turns, and the most CPU time that its
thread took for one turn, which other processes on the machine do not add to.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import socket
import time
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.settings")
django.setup()

from livepush.process.servers.client import peer_of  # noqa: E402

ASKED = 10
PAUSE = 0.11


async def longest_turn(work: Any) -> tuple[float, float]:
    """Return the longest time and the most CPU time (milliseconds) of a turn of the loop while some work is done."""
    longest = most = 0.0
    task = asyncio.ensure_future(work)
    last = time.perf_counter(), time.thread_time()
    while not task.done():
        await asyncio.sleep(0)
        now = time.perf_counter(), time.thread_time()
        longest, most, last = max(longest, now[0] - last[0]), max(most, now[1] - last[1]), now
    await task
    return longest * 1000, most * 1000


async def measure(count: int) -> None:
    """Print the longest pauses of a process with so many descriptors."""

    async def send(message: Any) -> None:
        """Stand for a send that livepush does not know."""

    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096))
        ends = []
        for _ in range(count // 2):
            stack.enter_context(socket.create_connection(listening.getsockname()))
            ends.append(stack.enter_context(listening.accept()[0]))
        scope = {"type": "http", "http_version": "1.1"}
        client = peer_of({**scope, "server": ends[0].getsockname(), "client": ends[0].getpeername()}, send)

        async def ask() -> None:
            for _ in range(ASKED):
                assert await client.progress() is not None
                await asyncio.sleep(PAUSE)

        for name, work in (("at rest", asyncio.sleep(ASKED * PAUSE)), ("while connections are looked for", ask())):
            longest, most = await longest_turn(work)
            print(f"{count} descriptors, {name}: {longest:.1f} ms, of it {most:.1f} ms of CPU time")


def main() -> None:
    """Measure with each number of descriptors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--descriptors", default="1000,8000")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for count in parser.parse_args().descriptors.split(","):
        asyncio.run(measure(int(count)))


if __name__ == "__main__":
    main()
