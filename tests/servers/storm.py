"""A crowd that comes back at once, in a process of its own: ``python -m tests.servers.storm PLAN``.

``PLAN`` is JSON: ``{"url": …, "upto": number, "clients": [[transport, groups, position, headers], …]}``. It connects
them all when it is told to go, says when each has come to a number, and at the end of its input what each got.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import subprocess
import sys
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tests.integration.audit import Follower, Segment
from tests.servers.fresh import ROOT


def allow_descriptors(wanted: int = 16_384) -> None:
    """Let this process and those that it starts hold enough connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, wanted)), hard))


class Crowd:
    """The process, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str], clients: Sequence[Follower]) -> None:
        self._process = process
        self._clients = clients

    def come(self) -> dict[str, Any]:
        """Connect them all; return when (seconds) the median and the last had caught up, and what it cost."""
        return self._ask("go")

    def until(self, number: int) -> None:
        """Wait until each has come to a number."""
        self._ask(str(number))

    def leave(self) -> None:
        """End them all, and put what they got into the test's own clients."""
        for client, (position, segments) in zip(self._clients, self._ask("end")["got"], strict=True):
            client.position = position
            client.segments = [Segment(start, array("q", numbers)) for start, numbers in segments]

    def _ask(self, line: str) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the crowd has ended"
        return json.loads(answer)


@contextlib.contextmanager
def crowd(url: str, upto: int, clients: Sequence[Follower], cookies: Sequence[str] = ()) -> Iterator[Crowd]:
    """Have another process connect some clients to a server, with a cookie each if there are any."""
    allow_descriptors()
    headers = [{"Cookie": cookie} for cookie in cookies] or [{}] * len(clients)
    each = zip(clients, headers, strict=True)
    plan = [[client.transport, client.groups, client.position, header] for client, header in each]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers.storm"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps({"url": url, "upto": upto, "clients": plan}) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield Crowd(process, clients)
        finally:
            process.kill()


async def main(url: str, upto: int, clients: list[Any]) -> None:
    """Do what the input says, a line each."""
    followers = [
        Follower(url, groups, position, transport, headers=headers) for transport, groups, position, headers in clients
    ]
    tasks: list[asyncio.Task[None]] = []
    print("ready", flush=True)
    while (line := (await asyncio.to_thread(sys.stdin.readline)).strip()) != "end":
        if line == "go":
            answer = await storm(followers, tasks, upto)
        else:
            await asyncio.gather(*(each.until(int(line)) for each in followers))
            answer = {}
        print(json.dumps(answer), flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    got = [[each.position, [[part.start, list(part.numbers)] for part in each.segments]] for each in followers]
    print(json.dumps({"got": got}), flush=True)


async def storm(followers: list[Follower], tasks: list[asyncio.Task[None]], upto: int) -> dict[str, Any]:
    """Connect all at once and wait for the last to catch up."""
    began, used = time.monotonic(), time.process_time()
    caught: list[float] = []

    async def catch_up(follower: Follower) -> None:
        await follower.until(upto)
        caught.append(time.monotonic() - began)

    tasks += [asyncio.create_task(each.run()) for each in followers]
    await asyncio.gather(*(catch_up(each) for each in followers))
    caught.sort()
    return {
        "median_s": round(caught[len(caught) // 2], 2),
        "seconds": round(caught[-1], 2),
        "crowd_cpu_s": round(time.process_time() - used, 2),
        "troubles": sum((each.troubles for each in followers), Counter()),
    }


if __name__ == "__main__":
    asyncio.run(main(**json.loads(sys.stdin.readline())))
