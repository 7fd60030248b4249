"""Many readers of one stream beside as many readers of ephemeral events of the same rate: delay of tokens, CPU.

``python -m benchmarks.stream_readers [READERS] [TOKENS A SECOND] [SECONDS] [TURNS]``; uvicorn, PostgreSQL. Turns
alternate, and a ratio is the median of the turns' ratios. The server has one core, the readers the other.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.streams import get, measured, read
from tests.servers import databases, processes, warm
from tests.servers.fresh import Database, Databases

KINDS = ("ephemeral events", "stream")
AT_ONCE = 64
"""How many readers connect at a time."""


async def measure(server: processes.Server, kind: str, readers: int, rate: float, seconds: float) -> dict[str, Any]:
    """Have so many readers read the same tokens."""
    tokens, pause = int(rate * seconds), 1 / rate
    query = f"tokens={tokens}&pause={pause}"
    if kind == "stream":
        (id,) = await asyncio.to_thread(get, server, f"/start/?count=1&{query}")
        path = f"/livepush/streams/{id}/?format=livepush"
    else:
        await asyncio.to_thread(get, server, f"/events/?{query}")
        path = "/livepush/sse/?group=room:bench"
    delays: list[float] = []
    ready = asyncio.Semaphore(0)
    reading: list[asyncio.Task[int]] = []
    for _ in range(0, readers, AT_ONCE):
        some = range(min(AT_ONCE, readers - len(reading)))
        reading += [asyncio.create_task(read(server.port, path, delays, ready, tokens)) for _ in some]
        for _ in some:
            await ready.acquire()
    return {"kind": kind, **await measured(server, reading, delays, seconds, tokens)}


def turn(database: Database, kind: str, readers: int, *load: float) -> dict[str, Any]:
    settings = {"MAX_CONNECTIONS": readers + 10}
    site = "benchmarks.stream_server:application"
    with processes.server("uvicorn", database, settings, application=site, options=["--no-access-log"]) as server:
        os.sched_setaffinity(server.pid, {0})
        return asyncio.run(measure(server, kind, readers, *load))


def main() -> None:
    readers, rate, seconds, turns = (
        float(each) for each in (sys.argv[1:] + ["1000", "10", "8", "3"][len(sys.argv) - 1 :])
    )
    with databases.running(("postgresql",)) as found, warm.helper():
        os.environ[databases.ENV] = json.dumps(found)
        made = Databases(Path(tempfile.mkdtemp()))
        os.sched_setaffinity(0, {1})
        results: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
        for _ in range(int(turns)):
            for kind, rows in results.items():
                with made.fresh("postgresql") as database:
                    rows.append(turn(database, kind, int(readers), rate, seconds))
                    print(rows[-1], flush=True)
        pairs = zip(*(results[kind] for kind in KINDS), strict=True)
        ratio = statistics.median(stream["cpu"] / events["cpu"] for events, stream in pairs)
        print(f"CPU, stream / ephemeral events: {ratio:.2f}")
        made.close()


if __name__ == "__main__":
    main()
