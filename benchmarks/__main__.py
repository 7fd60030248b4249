"""Run the benchmarks: ``python -m benchmarks [part…] [--systems …] [--clients …] [--turns …]``.

What is measured is written to ``.cache/bench/results.jsonl`` after each turn, and not measured again: run it again to
go on. At the end the tables and plots of ``benchmarks/README.md`` are made from all of it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import load, systems
from benchmarks.systems import SYSTEMS
from tests.servers import databases
from tests.servers.processes import valkey

PARTS = ("fanout", "idle", "resume", "groups", "latency", "publish")
RESULTS = load.BUILT / "results.jsonl"
PUBLISHED = load.BUILT / "publish.jsonl"
CHOICES = {"all": tuple(SYSTEMS), "goals": systems.GOALS, "quick": systems.QUICK}
IDLE = ("livepush-sse-uvicorn", "livepush-ws-uvicorn", "asgi-sse", "asgi-ws")
RESUME = ("livepush-sse-uvicorn", "eventstream-model")
CONNECTIONS = 1500
"""PostgreSQL's: django-eventstream needs one for each client."""
SECONDS = 60.0
"""How long idle clients are watched."""


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--systems", default="all", help=f"{', '.join(CHOICES)}, or keys with commas between")
    parser.add_argument("--clients", default="1000", help="with commas between, e.g. 100,1000,4000")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--page", action="store_true", help="write the tables into benchmarks/README.md, and the plots")
    found = parser.parse_args()
    unknown = {*found.parts} - {*PARTS} | {*chosen(found.systems)} - {*SYSTEMS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}. Systems: {', '.join(SYSTEMS)}.")
    return found


def chosen(names: str) -> tuple[str, ...]:
    """Return the systems' keys."""
    return CHOICES.get(names) or tuple(names.split(","))


class Results:
    """What was measured so far."""

    def __init__(self, fresh: bool) -> None:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        if fresh:
            RESULTS.unlink(missing_ok=True)
        RESULTS.touch()
        self._known = [json.loads(line) for line in RESULTS.read_text().splitlines()]

    def missing(self, part: str, names: tuple[str, ...], clients: int, turns: int) -> Iterator[dict[str, Any]]:
        """Yield what is still to be measured, the systems in turns."""
        for turn in range(turns):
            for name in names:
                wanted = {"part": part, "system": name, "clients": clients, "turn": turn}
                if clients <= SYSTEMS[name].most_clients and not any(
                    wanted.items() <= each.items() for each in self._known
                ):
                    yield wanted

    def add(self, wanted: dict[str, Any], figures: dict[str, Any]) -> None:
        """Keep what was measured."""
        found = {**wanted, **figures}
        self._known.append(found)
        with RESULTS.open("a") as file:
            file.write(json.dumps(found) + "\n")
        shown = {name: round(value, 3) for name, value in figures.items() if isinstance(value, float | int)}
        print(*wanted.values(), json.dumps(shown), flush=True)


def main() -> None:
    """Measure what is missing, and print the tables."""
    asked = arguments()
    parts, results = asked.parts or PARTS, Results(asked.fresh)
    sizes = [int(each) for each in asked.clients.split(",")]
    with contextlib.ExitStack() as stack:
        os.environ[databases.ENV] = json.dumps({"postgresql": stack.enter_context(postgresql())})
        from benchmarks import fanout
        from tests.servers.fresh import Databases

        made = Databases(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(made.close)
        redis = stack.enter_context(valkey())
        names = chosen(asked.systems)
        for clients in sizes if "fanout" in parts else ():
            for wanted in results.missing("fanout", names, clients, asked.turns):
                system = SYSTEMS[wanted["system"]]
                results.add(wanted, fanout.turn(system, clients, fanout.Sizes(), redis, made))
        if "idle" in parts:
            for wanted in results.missing("idle", IDLE, 4000, min(asked.turns, 3)):
                system = SYSTEMS[wanted["system"]]
                results.add(wanted, fanout.left_alone(system, 4000, SECONDS, redis, made))
        if "resume" in parts:
            for wanted in results.missing("resume", RESUME, 1000, asked.turns):
                results.add(wanted, fanout.resumed(SYSTEMS[wanted["system"]], 1000, redis, made))
        if "groups" in parts:
            for wanted in results.missing("groups", systems.MANY_GROUPS, 1000, asked.turns):
                system = SYSTEMS[wanted["system"]]
                results.add(wanted, fanout.turn(system, 1000, fanout.Sizes(loop=0), redis, made))
        if "latency" in parts:
            from benchmarks import latency

            with made.fresh("postgresql") as database:
                print("\n".join(latency.main(database)))
    if "publish" in parts:
        command = [sys.executable, "-m", "benchmarks.publish", "--rounds", str(asked.turns), "--out", str(PUBLISHED)]
        subprocess.run(command, check=True)
    report = importlib.import_module("benchmarks.report")
    report.main(RESULTS, asked.page)


@contextlib.contextmanager
def postgresql() -> Iterator[dict[str, Any]]:
    """Run a PostgreSQL that allows many connections; yield Django's settings for it."""
    with databases.postgresql_server() as server:
        server.psql(f"ALTER SYSTEM SET max_connections = {CONNECTIONS};")
        server.stop()
        server.ensure_postgres_running()
        host = server.get_uri().partition("host=")[2]
        engine = "django.db.backends.postgresql"
        yield {"ENGINE": engine, "NAME": "postgres", "USER": "postgres", "HOST": host}


if __name__ == "__main__":
    main()
