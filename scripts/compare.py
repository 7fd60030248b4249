"""Compare two checkouts, in turn: ``python scripts/compare.py --before FOLDER [--after FOLDER] [--turns 7]``.

    git worktree add --detach /tmp/before 12ef441
    python scripts/compare.py --before /tmp/before --turns 7

Each checkout runs its own livepush, benchmarks and test settings, both with the same Python and the same packages. All
figures are seconds, so that a ratio below 1 says that the second checkout is faster; it is the median of the ratios of
each turn, beside the least and the greatest of them. The CPU of a fan-out is the server's, for 100,000 deliveries; that
of a send is the sender's, without the database's.

Before livepush knew NOTIFY, a send without a layer told no other process. For the same work, sends are measured with
``LIVEPUSH["HINT"] = "none"`` where there is that setting; ``--hint auto`` measures them with NOTIFY.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).resolve()
PARTS = ("fanout", "several", "sends-postgresql", "sends-sqlite")
SIDES = ("before", "after")
DELIVERIES = 100_000
READ = [f"room:g{number}" for number in range(5)]
"""The groups that a reader has of those of a send to several."""
SEVERAL = [*READ, *(f"room:other{number}" for number in range(5))]
CALLS = {1: 200, 10: 100, 100: 50, 1000: 10, 20_000: 2}
"""How many sends to so many groups are measured in a turn."""
SINGLE = 1000
Figures = dict[str, float]


# One side: these run in a checkout's folder, and import what is there.


def fanned_out(part: str, clients: int, quick: bool) -> Figures:
    """Measure a fan-out as ``benchmarks.fanout`` does: of one group, or of sends to several."""
    from benchmarks import fanout
    from benchmarks.__main__ import postgresql
    from benchmarks.publish import Databases, databases, valkey
    from benchmarks.systems import SYSTEMS

    system = SYSTEMS["livepush-sse-uvicorn"]
    if part == "several":
        path = system.path.replace("group=board", "&".join(f"group={name}" for name in READ))
        system = replace(system, key=part, path=path, publisher=(sys.executable, "-P", str(HERE), "publisher"))
    sizes = fanout.Sizes()
    if quick:
        sizes, fanout.SETTLED, fanout.BURST = fanout.Sizes(20, 0.5), 0, 100
    with contextlib.ExitStack() as stack:
        os.environ[databases.ENV] = json.dumps({"postgresql": stack.enter_context(postgresql())})
        made = stack.enter_context(contextlib.closing(Databases(folder(stack))))
        found = fanout.turn(system, clients, sizes, stack.enter_context(valkey()), made)
    wrong = {name: value for name, value in found.items() if name.endswith(("lost", "repeated", "failed")) and value}
    if wrong:
        print(f"{part}: {wrong}", file=sys.stderr)
    ways = ("loop", "burst", "together")
    return {
        **{f"{part}: {way}, wall": DELIVERIES / found[f"{way}_rate"] for way in ways},
        **{f"{part}: {way}, CPU": found[f"{way}_cpu"] for way in ("paced", *ways)},
        f"{part}: paced, p50 of the delay": found["paced_p50"] / 1000,
        f"{part}: a client connects, CPU": found["connect_cpu_ms"] / 1000,
    }


def publisher() -> None:
    """Publish as the benchmarks do, but to several groups."""
    import livepush
    from benchmarks.peers import publish

    publish.django_ready()
    send = livepush.send
    livepush.send = lambda _, *args, **options: send(SEVERAL, *args, **options)
    publish.livepush()


def sent(kind: str, quick: bool, hint: str) -> Figures:
    """Measure sends to one group and to many: from the call until it is committed and settled."""
    from benchmarks.publish import DATA, Databases, databases, settings_env

    found: Figures = {}

    def measure(name: str, groups: list[str], calls: int, times: int = 1) -> None:
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            livepush.send(groups, "bench", DATA)
        found[f"{kind}: {name}, wall"] = (time.perf_counter() - began) * times / calls
        found[f"{kind}: {name}, CPU"] = (time.process_time() - cpu) * times / calls

    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(databases.running((kind,)))
        os.environ[databases.ENV] = json.dumps(servers)
        made = stack.enter_context(contextlib.closing(Databases(folder(stack))))
        database = stack.enter_context(made.fresh(kind))
        os.environ.update(settings_env(database))
        import django
        from django.conf import settings

        from livepush.conf import Settings

        if hasattr(Settings, "HINT"):
            settings.LIVEPUSH = {**settings.LIVEPUSH, "HINT": hint}
        django.setup()
        from django.db import connections

        import livepush

        stack.callback(connections.close_all)
        for groups, calls in CALLS.items():
            names = [f"room:g{number}" for number in range(groups)]
            livepush.send(names, "bench", DATA)  # warm
            measure(f"groups of a send: {groups:,}", names, max(1, calls // 10) if quick else calls)
        measure(f"{SINGLE:,} single sends", ["board"], SINGLE // 10 if quick else SINGLE, SINGLE)
        assert database.unsettled() == 0
    return found


def folder(stack: contextlib.ExitStack) -> Path:
    """Return a folder that lasts as long as the stack."""
    return Path(stack.enter_context(tempfile.TemporaryDirectory()))


def one_side(part: str, clients: int, quick: bool, hint: str) -> None:
    """Measure a part in this folder; print the figures as a line of JSON."""
    import livepush

    assert Path(livepush.__file__).is_relative_to(Path.cwd()), f"{livepush.__file__} is not the checkout's"
    kind = part.removeprefix("sends-")
    figures = fanned_out(part, clients, quick) if kind == part else sent(kind, quick, hint)
    print(json.dumps(figures))


# Both sides


def measured(python: Path, checkout: Path, part: str, asked: argparse.Namespace) -> Figures:
    """Have a part measured in a checkout."""
    command = [python, "-P", HERE, "side", part, str(asked.clients), "quick" if asked.quick else "", asked.hint]
    env = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(command, cwd=checkout, env=env, stdout=subprocess.PIPE, text=True, check=True)
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


def table(turns: dict[str, list[tuple[float, ...]]]) -> list[str]:
    """Return each figure's medians and ratios as Markdown."""
    lines = ["| seconds | before | after | after / before | least | greatest |", "|---|---|---|---|---|---|"]
    for name, pairs in turns.items():
        medians = " | ".join(f"{statistics.median(side):.4g}" for side in zip(*pairs, strict=True))
        ratios = [after / before if before else float("nan") for before, after in pairs]
        shown = " | ".join(f"{ratio:.2f}" for ratio in (statistics.median(ratios), min(ratios), max(ratios)))
        lines.append(f"| {name} | {medians} | {shown} |")
    return lines


def main() -> None:
    """Measure both checkouts, in turn, and print the table."""
    from bench import environment, require
    from matrix import ROOT

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout")
    parser.add_argument("--after", type=Path, default=ROOT, help="another one; this one by default")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--parts", default=",".join(PARTS), help="with commas between")
    parser.add_argument("--quick", action="store_true", help="little of everything, to see that it works")
    parser.add_argument("--hint", default="none", choices=("none", "auto"), help="how sends tell other processes")
    parser.add_argument("--out", type=Path, help="a file to append each turn's figures to, as lines of JSON")
    asked = parser.parse_args()
    require("cc", "taskset")
    python = environment()
    turns: dict[str, list[tuple[float, ...]]] = defaultdict(list)
    for turn in range(asked.turns):
        for part in asked.parts.split(","):
            found = {side: measured(python, getattr(asked, side).resolve(), part, asked) for side in SIDES}
            print(f"turn {turn + 1}: {part}", file=sys.stderr, flush=True)
            for name in found["before"]:
                turns[name].append(tuple(found[side][name] for side in SIDES))
            if asked.out:
                with asked.out.open("a") as file:
                    print(json.dumps({"turn": turn, "part": part, **found}), file=file)
    print("\n".join(table(turns)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["side"]:
        one_side(sys.argv[2], int(sys.argv[3]), sys.argv[4] == "quick", sys.argv[5])
    elif sys.argv[1:2] == ["publisher"]:
        publisher()
    else:
        main()
