"""Whether the log's length costs anything: the plans of what livepush asks PostgreSQL, and how long each call takes.

::

    python -m benchmarks.log_length [--rows 10000,1000000,10000000] [--out FILE.jsonl]

The rows are spread over 100,000 groups, but for a tenth of them, which is in one busy group. Ten million take about
6 GB while it runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.publish import postgresql, set_up
from tests.servers.fresh import Database

ROWS = (10_000, 1_000_000, 10_000_000)
GROUPS = 100_000
TURNS = 21
FILL = f"""
INSERT INTO livepush_event (id, position, "group", type, data, created)
SELECT n, n, CASE WHEN n % 10 = 0 THEN 'board' ELSE 'order:' || (n::bigint * 7919) % {GROUPS} END, 'moved',
       '"' || repeat(md5(n::text), 6) || '123456"', now() - interval '6 days' + n * interval '50 milliseconds'
FROM generate_series({{first}}, {{last}}) AS n
"""


def grow(database: Database, first: int, last: int) -> None:
    """Add settled events, with the positions from first to last."""
    # Indexes are made anew afterwards: to add each row to each of them takes several times as long.
    indexes = database.query(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'livepush_event' AND indexname LIKE 'livepush_%'"
        " AND indexname NOT LIKE '%_pkey'"
    )
    for name, _ in indexes:
        database.query(f"DROP INDEX {name}")
    database.query("ALTER TABLE livepush_event DROP CONSTRAINT livepush_event_pkey")
    database.query(FILL.format(first=first, last=last))
    database.query("ALTER TABLE livepush_event ADD PRIMARY KEY (id)")
    for _, definition in indexes:
        database.query(definition)
    database.query("SELECT setval(pg_get_serial_sequence('livepush_event', 'id'), max(id)) FROM livepush_event")
    database.query(f"UPDATE livepush_loghead SET position = {last}")
    database.query("VACUUM (ANALYZE) livepush_event")
    database.query("CHECKPOINT")


def operations(rows: int) -> dict[str, Callable[[], object]]:
    """Return what to measure in a log of some length, each under its name."""
    import livepush
    from livepush import log
    from livepush.log import pruning
    from livepush.models import Event

    using = "default"
    some = [f"order:{(n * 7919) % GROUPS}" for n in range(1, 1001) if n % 10][:100]

    def read(groups: set[str] | None, behind: int) -> Callable[[], object]:
        def call() -> object:
            head = log.state(using).position.number
            return log.read(using, groups, max(0, head - behind), head)

        return call

    def prune() -> int:
        floor = log.state(using).floor
        oldest = Event.objects.filter(position=floor + 100).values_list("created", flat=True).get()
        return pruning.prune(using, oldest + timedelta(microseconds=1))

    def settle() -> list[object]:
        log.append(["order:1"], "moved", '"new"', None, using)
        return list(log.settle(using))

    return {
        "state": lambda: log.state(using),
        "the tail's read, 10 events": read(None, 10),
        "a page of all groups from the start": read(None, rows),
        "one group's page, all of the log": read({some[0]}, rows),
        "a busy group's page, all of the log": read({"board"}, rows),
        "the page of a group without events": read({"nobody"}, rows),
        "a page of 100 groups, all of the log": read(set(some), rows),
        "a page of 100 groups, last 1,000 events": read(set(some), 1000),
        "a page of 100 groups, one of them busy": read({*some[1:], "board"}, rows),
        "append and settle": settle,
        "send": lambda: livepush.send("order:1", "moved", "new"),
        "prune 100": prune,
    }


def explained(call: Callable[[], object]) -> list[tuple[str, str]]:
    """Return the statements that a call makes, and their plans; nothing of it is kept."""
    from django.db import connection, transaction

    found: list[tuple[str, str]] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}:
            raw = connection.connection.cursor()
            raw.execute("SAVEPOINT explained")
            raw.execute(f"EXPLAIN (ANALYZE, BUFFERS) {sql}", params)
            found.append((sql, "\n".join(line for (line,) in raw.fetchall())))
            raw.execute("ROLLBACK TO SAVEPOINT explained")
        return execute(sql, params, many, context)

    block = transaction.atomic()
    block._from_testcase = True  # settle refuses to run within a transaction, but for a test's
    with block:
        with connection.execute_wrapper(explain):
            call()
        transaction.set_rollback(True)
    return found


def timed(call: Callable[[], object]) -> float:
    """Return the median time (milliseconds) that a call takes, the caches warm."""
    took = []
    for _ in range(TURNS):
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took[1:])


def main(rows: tuple[int, ...] = ROWS, plans: bool = True) -> dict[str, Any]:
    """Measure at each length; return the times, and the plans at the greatest one."""
    times: dict[str, list[float]] = {}
    found: dict[str, list[tuple[str, str]]] = {}
    with postgresql() as database:
        set_up(database)
        from django.db import connections

        from livepush import log

        log.state("default")
        length = 0
        for number in sorted(rows):
            began = time.monotonic()
            grow(database, length + 1, number)
            (size,) = database.query("SELECT pg_size_pretty(pg_total_relation_size('livepush_event'))")[0]
            print(f"{number:,} rows: {size}, made in {time.monotonic() - began:.0f} s", flush=True)
            length = number
            for name, call in operations(number).items():
                times.setdefault(name, []).append(timed(call))
            length = log.state("default").position.number
            if plans and number == max(rows):
                found = {name: explained(call) for name, call in operations(number).items() if name != "send"}
            connections.close_all()
    return {"rows": sorted(rows), "times": times, "plans": found}


def table(found: dict[str, Any]) -> list[str]:
    """Return the times as Markdown."""
    heads = " | ".join(f"{rows:,} rows" for rows in found["rows"])
    lines = [f"| milliseconds a call | {heads} |", "|---|" + "---|" * len(found["rows"])]
    return lines + [f"| {name} | {' | '.join(f'{ms:.2f}' for ms in times)} |" for name, times in found["times"].items()]


def plans(found: dict[str, Any]) -> list[str]:
    """Return the plans as Markdown, those of a statement without parameters once."""
    lines, shown = [], set()
    for name, statements in found["plans"].items():
        lines += ["", f"### {name}"]
        for sql, plan in statements:
            if sql not in shown:
                lines += ["", "```", sql if len(sql) < 600 else f"{sql[:600]}…", "", plan, "```"]
            if "%s" not in sql:
                shown.add(sql)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_length", description="Measure logs of any length.")
    parser.add_argument("--rows", default=",".join(map(str, ROWS)), help="the lengths, with commas between")
    parser.add_argument("--out", type=Path, help="a file to append the figures to, as a line of JSON")
    given = parser.parse_args()
    figures = main(tuple(int(number) for number in given.rows.split(",")))
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} cores\n")
    print("\n".join(table(figures) + plans(figures)))
    if given.out:
        with given.out.open("a") as file:
            print(json.dumps({"benchmark": "log_length", **figures}), file=file)
