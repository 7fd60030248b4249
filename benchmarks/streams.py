"""Streams beside a bare ASGI response that holds its request, and beside npm's ``resumable-stream`` on Node: delay of
tokens, CPU of the server, statements.

``python -m benchmarks.streams [STREAMS] [TOKENS A SECOND] [SECONDS] [TURNS]``; one reader for each stream, uvicorn,
PostgreSQL, Valkey. Turns alternate. The server has one core, the readers the other. ``resumable-stream`` is measured
twice: ``first`` answers the request that makes the stream, and ``resumed`` answers another one, over Valkey, as after a
reload.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.patience import wait_until
from tests.servers import databases, npm, processes, warm
from tests.servers.fresh import Database, Databases

PEER = Path(__file__).parent / "peers" / "node"
EDGE = 1.0
"""How long (seconds) after the streams begin, and before they end, the server's costs are not counted."""
WHOLE = {"bare": "/bare/", "resumable-stream, first": "/first/"}
"""The paths whose response makes the stream itself."""
RESUMED = {"livepush": "/livepush/streams/{id}/?format=livepush", "resumable-stream, resumed": "/resume/{id}/"}
TOKEN = re.compile(rb"(\d{10}\.\d{6}) ")


class Node(NamedTuple):
    """The process of the peer on Node."""

    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


async def read(port: int, path: str, delays: list[float], ready: asyncio.Semaphore, limit: float = math.inf) -> int:
    """Read one stream to its end, or so many tokens; note each token's delay; return how many there were."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    count, rest, begun = 0, b"", False
    while data := await reader.read(65_536):
        now = time.time()
        if not begun:
            begun = True
            ready.release()
        rest = rest[-40:] + data if rest and not rest.endswith(b"\n") else data
        for found in TOKEN.findall(rest):
            delays.append(now - float(found))
            count += 1
        rest = rest if not TOKEN.search(rest) else rest[rest.rfind(b" ") + 1 :]
        if count >= limit or data.endswith(b"0\r\n\r\n"):
            break
    writer.close()
    return count


async def measured(
    server: processes.Server | Node,
    reading: Sequence[asyncio.Task[int]],
    delays: list[float],
    seconds: float,
    tokens: int,
) -> dict[str, Any]:
    """Have the tokens sent; return what they cost the server, and after how many milliseconds readers have them."""
    await asyncio.to_thread(get, server, "/begin/")
    await asyncio.sleep(EDGE)
    before, begun = await asyncio.to_thread(get, server, "/cost/"), time.monotonic()
    await asyncio.sleep(seconds - 2 * EDGE)
    after, took = await asyncio.to_thread(get, server, "/cost/"), time.monotonic() - begun
    counts = await asyncio.gather(*reading)
    delays.sort()
    return {
        "cpu": round((after["cpu"] - before["cpu"]) / took, 3),
        "p50": round(1000 * delays[len(delays) // 2], 2),
        "p99": round(1000 * delays[len(delays) * 99 // 100], 2),
        "missing": len(reading) * tokens - sum(counts),
        "statements a second": round((after["statements"] - before["statements"]) / took, 1),
    }


async def measure(
    server: processes.Server | Node, kind: str, streams: int, rate: float, seconds: float
) -> dict[str, Any]:
    """Read so many streams at once."""
    tokens, pause = int(rate * seconds), 1 / rate
    query = f"tokens={tokens}&pause={pause}"
    if kind in WHOLE:
        paths = [f"{WHOLE[kind]}?{query}"] * streams
    else:
        ids = await asyncio.to_thread(get, server, f"/start/?count={streams}&{query}")
        paths = [RESUMED[kind].format(id=id) for id in ids]
    delays: list[float] = []
    ready = asyncio.Semaphore(0)
    reading = [asyncio.create_task(read(server.port, path, delays, ready)) for path in paths]
    for _ in reading:
        await ready.acquire()
    return {"kind": kind, **await measured(server, reading, delays, seconds, tokens)}


def get(server: processes.Server | Node, path: str) -> Any:
    with urllib.request.urlopen(f"{server.url}{path}", timeout=60) as response:
        return json.load(response)


@contextlib.contextmanager
def node(redis: str, script: str = "resumable.mjs") -> Iterator[Node]:
    """Run a peer on Node."""
    port = processes.free_port()
    env = {**os.environ, "BENCH_PORT": str(port), "BENCH_REDIS": redis}
    folder = npm.installed(PEER / "package.json", "bench-node")
    for name in (script, "broker.mjs"):
        shutil.copy(PEER / name, folder)
    with subprocess.Popen(["node", script], cwd=folder, env=env) as process:
        try:
            found = Node(process.pid, port)
            wait_until(lambda: answers(found))
            yield found
        finally:
            process.kill()


def answers(server: Node) -> bool:
    with contextlib.suppress(OSError):
        return get(server, "/") is not None
    return False


def turn(database: Database, redis: str, kind: str, *load: float) -> dict[str, Any]:
    if kind.startswith("resumable"):
        with node(redis) as peer:
            os.sched_setaffinity(peer.pid, {0})
            return asyncio.run(measure(peer, kind, int(load[0]), *load[1:]))
    with processes.server(
        "uvicorn", database, application="benchmarks.stream_server:application", options=["--no-access-log"]
    ) as server:
        os.sched_setaffinity(server.pid, {0})
        return asyncio.run(measure(server, kind, int(load[0]), *load[1:]))


def main() -> None:
    streams, rate, seconds, turns = (
        float(each) for each in (sys.argv[1:] + ["200", "50", "8", "3"][len(sys.argv) - 1 :])
    )
    with databases.running(("postgresql",)) as found, warm.helper(), processes.valkey() as redis:
        os.environ[databases.ENV] = json.dumps(found)
        made = Databases(Path(tempfile.mkdtemp()))
        os.sched_setaffinity(0, {1})
        results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in (*WHOLE, *RESUMED)}
        for _ in range(int(turns)):
            for kind, rows in results.items():
                with made.fresh("postgresql") as database:
                    rows.append(turn(database, redis, kind, streams, rate, seconds))
                    print(rows[-1], flush=True)
        for name in ("cpu", "p50", "p99", "statements a second"):
            print(name, {kind: statistics.median(row[name] for row in rows) for kind, rows in results.items()})
        made.close()


if __name__ == "__main__":
    main()
