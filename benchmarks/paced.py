"""CPU a delivery at ten events a second, of several systems that run side by side: their windows alternate.

    python scripts/bench.py paced [--systems livepush-sse-uvicorn-notify,asyncio] [--clients 1000] [--windows 12]

In ``benchmarks.fanout`` a system's turn takes a minute, and a noisy host is fast in one and slow in the next. Here all
systems run at once on the same core, with their clients, and one after the other sends for five seconds. A ratio is the
median of the windows' ratios to the last system.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks import fanout, load
from benchmarks.systems import BY_NOTIFY, SYSTEMS
from tests.servers import databases
from tests.servers.fresh import Databases
from tests.servers.processes import valkey

EVENTS = 50
"""Events of a window."""


class Running:
    """A system with its clients, and what was measured of it."""

    def __init__(self, key: str, clients: int, redis: str, made: Databases, stack: contextlib.ExitStack) -> None:
        system = SYSTEMS[key]
        database = stack.enter_context(made.fresh("postgresql")) if system.database else None
        self.clients = clients
        self.server = stack.enter_context(fanout.running(system, fanout.environment(system, redis, database)))
        self.sender = stack.enter_context(fanout.publisher(system, self.server.env))
        self.crowd = stack.enter_context(load.load(self.server.port, system.mode, system.ready, fanout.OTHER_CORE))
        self.crowd.open(system.request, clients)
        fanout.warm_up(self.sender, self.crowd, clients)
        self.settles = system.settles
        self.microseconds: list[float] = []
        """By window, the CPU of a delivery."""

    def window(self) -> None:
        """Send for a while. Raises AssertionError: something was lost."""
        found = fanout.paced(self.server, self.sender, self.crowd, self.clients, EVENTS)
        assert found["lost"] == 0, found
        self.microseconds.append(found["cpu"] * 10)  # it is in seconds, of 100,000 deliveries


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--systems", default=f"{BY_NOTIFY},livepush-sse-uvicorn,asyncio", help="with commas between")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=12)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        os.environ[databases.ENV] = json.dumps(stack.enter_context(databases.running(("postgresql",))))
        redis = stack.enter_context(valkey())
        made = Databases(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(made.close)
        systems = {key: Running(key, given.clients, redis, made, stack) for key in given.systems.split(",")}
        time.sleep(fanout.SETTLED if any(each.settles for each in systems.values()) else 0)
        for _ in range(given.windows):
            for each in systems.values():
                each.window()
    *_, reference = systems.values()
    for key, each in systems.items():
        ratios = [ours / theirs for ours, theirs in zip(each.microseconds, reference.microseconds, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        took = statistics.median(each.microseconds)
        print(f"{key:32} {took:6.2f} µs a delivery   ratio {middle:.2f} (half of them {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
