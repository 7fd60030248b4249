"""What the inbox costs a user with 100,000 notifications, a broadcast to a million users, and a first look.

PostgreSQL with ``fsync`` on; the peer, django-notifications, has its turns in the same process::

    make bench-inbox [QUICK=1] [PLANS=1]
    python -m benchmarks.inbox [--quick] [--steps 2,10,40] [--users 1000000] [--calls 200] [--plans] [--out FILE.jsonl]

A step is how many notifications there are for each of the user's 100,000. All of it takes about ten minutes and 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import inbox_data as data
from benchmarks.log_length import explained
from benchmarks.peers import notifications
from benchmarks.publish import postgresql
from tests.servers.fresh import Database
from tests.servers.processes import settings_env

STEPS, QUICK_STEPS = (2, 10, 40), (2,)
BATCH = 50
"""How many a reader marks at once who reads them one by one."""
ONE_BY_ONE = 20_000
DEEP = 100 * 20
"""How many entries lie above page 100."""
FIRST_LOOKS, RECIPIENTS, TURNS = 1_000, 10_000, 5
COUNTS_MS, PAGE_MS = 5.0, 10.0
TABLES = ("event", "notification", "notificationstate", "inboxstate", "membership", "inboxhead", "loghead")
Call = Callable[[], object]


class Times(NamedTuple):
    """How long a call took, in milliseconds, and the CPU that the process and its database backend spent on it."""

    median: float
    least: float
    p95: float
    cpu: float
    server_cpu: float


def backend_cpu() -> float:
    """Return the seconds of CPU that the connection's backend has spent."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def timed(*calls: Call, count: int) -> list[Times]:
    """Call each some times, in turn, the caches warm. The CPU is right for a single call alone."""
    for call in calls:
        for _ in range(5):
            call()
    took: list[list[float]] = [[] for _ in calls]
    cpu, server = time.process_time(), backend_cpu()
    for _ in range(count):
        for found, call in zip(took, calls, strict=True):
            began = time.perf_counter()
            call()
            found.append((time.perf_counter() - began) * 1e3)
    spent = [(time.process_time() - cpu) * 1e3 / count, (backend_cpu() - server) * 1e3 / count]
    return [Times(statistics.median(each), min(each), sorted(each)[int(count * 0.95)], *spent) for each in took]


def statements(call: Call) -> list[tuple[str, Any]]:
    """Return the statements that a call makes, with their parameters."""
    from django.db import connection

    found: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        found.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        call()
    return found


def alone(made: Sequence[tuple[str, Any]], count: int) -> float:
    """Return the median time that statements take by themselves, fetched with the driver, in milliseconds."""
    from django.db import connection

    cursor, took = connection.connection.cursor(), []
    for _ in range(count):
        began = time.perf_counter()
        for sql, params in made:
            cursor.execute(sql, params)
            if cursor.description:
                cursor.fetchall()
        took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)


class Bench:
    """The user with the large inbox, and what is done with it."""

    def __init__(self, database: Database, calls: int) -> None:
        from django.contrib.auth.models import User

        self.database, self.calls = database, calls
        self.user = User.objects.get(pk=data.READER)
        self.numbers: list[int] = []

    def grow(self, size: data.Size, users: int) -> None:
        """Fill the tables."""
        from livepush.wire import LARGEST_NUMBER

        data.fill(self.database, size, users)
        inbox = self._inbox()
        self.numbers = inbox._plain(0, "%s IS NOT NULL", 2 * data.MINE, LARGEST_NUMBER, newest=True)
        assert len(self.numbers) == data.MINE

    def _inbox(self) -> Any:
        from livepush.inbox.reading import Inbox

        return Inbox(self.user)

    def looks(self) -> dict[str, Call]:
        """Return what is measured, each under its name."""
        from livepush.inbox.reading import Tab

        return {
            "counts": lambda: self._inbox().counts(),
            "page": lambda: self._inbox().page(),
            "page 100": lambda: self._inbox().page(before=self.numbers[DEEP]),
            "unread tab": lambda: self._inbox().page(Tab.UNREAD),
            "archived tab": lambda: self._inbox().page(Tab.ARCHIVED),
            "a category": lambda: self._inbox().page(category="billing"),
            "a rare category": lambda: self._inbox().page(category=data.RARE),
        }

    def states(self, quick: bool) -> dict[str, Call]:
        """Return what a reader may have done, each under its name."""
        one_by_one = ONE_BY_ONE // 10 if quick else ONE_BY_ONE
        return {
            "nothing read": lambda: None,
            "all read, by a mark": lambda: self.upto("read", 0),
            "one by one, 10 left": lambda: (self.upto("read", one_by_one), self.each("read", one_by_one - 10)),
            "one by one, 500 left": lambda: (self.upto("read", one_by_one), self.each("read", one_by_one - 500)),
            f"the newest {one_by_one:,} one by one, no mark": lambda: self.each("read", one_by_one),
            "all archived": lambda: self.upto("archive", 0),
            "half archived, by a mark": lambda: self.upto("archive", data.MINE // 2),
            f"every second of {one_by_one:,} archived": lambda: self.each("archive", one_by_one, 2),
            f"the newest {one_by_one:,} archived one by one": lambda: self.each("archive", one_by_one),
        }

    def upto(self, action: str, above: int) -> Any:
        """Mark all but the newest ones."""
        from livepush.inbox.marking import Action, mark

        return mark(self.user, Action(action), upto=self.numbers[above])

    def some(self, action: str, numbers: Iterable[int]) -> Any:
        """Mark some."""
        from livepush.inbox.marking import Action, mark

        return mark(self.user, Action(action), numbers)

    def undo(self, outcome: Any) -> None:
        """Take the last change back."""
        from livepush.inbox.marking import Action, mark

        mark(self.user, Action.UNDO, version=outcome.version)

    def each(self, action: str, upto: int, step: int = 1) -> None:
        """Mark the newest ones, a few at a time."""
        took = []
        for start in range(0, upto, BATCH * step):
            began = time.perf_counter()
            self.some(action, self.numbers[start : min(start + BATCH * step, upto) : step])
            took.append((time.perf_counter() - began) * 1e3)
        self.took = took

    def forget(self) -> None:
        """Have the reader have done nothing."""
        for table in ("notificationstate", "inboxstate"):
            self.database.query(f"DELETE FROM livepush_{table} WHERE reader = '{data.READER}'")
            self.database.query(f"VACUUM (ANALYZE) livepush_{table}")

    def exceptions(self) -> int:
        """Return how many rows of the reader's there are."""
        rows = self.database.query(f"SELECT count(*) FROM livepush_notificationstate WHERE reader = '{data.READER}'")
        return int(rows[0][0])


def by_state(bench: Bench, names: Iterable[str], quick: bool, plans: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Measure each look in each state."""
    found = []
    states = bench.states(quick)
    for name in names:
        bench.forget()
        bench.took = []
        states[name]()
        for table in ("notificationstate", "inboxstate"):
            bench.database.query(f"VACUUM (ANALYZE) livepush_{table}")
        rows = bench.exceptions()
        for look, call in bench.looks().items():
            (times,) = timed(call, count=bench.calls)
            made = statements(call)
            found.append(
                {"state": name, "rows": rows, "look": look, "queries": len(made), "sql": alone(made, 50),
                 "load": os.getloadavg()[0], **times._asdict()}
            )  # fmt: skip
            if plans is not None:
                plans[f"{name}: {look}"] = explained(call)
        marked = f"; {len(bench.took)} marks of {BATCH}, ms: {spread(bench.took)}" if bench.took else ""
        print(f"  {name}: {rows:,} exceptions{marked}; load {os.getloadavg()[0]:.1f}", flush=True)
    bench.forget()
    return found


def spread(took: Sequence[float]) -> str:
    """Return median, 95th percentile and maximum."""
    return f"{statistics.median(took):.1f} / {sorted(took)[int(len(took) * 0.95)]:.1f} / {max(took):.1f}"


def marks(bench: Bench) -> list[dict[str, Any]]:
    """Measure marks, each undone again."""
    ways: dict[str, Callable[[int], Any]] = {
        "one read": lambda turn: bench.some("read", [bench.numbers[turn]]),
        "20 read": lambda turn: bench.some("read", bench.numbers[turn * 20 : turn * 20 + 20]),
        "all read": lambda turn: bench.upto("read", 0),
        "all archived": lambda turn: bench.upto("archive", 0),
    }
    found = []
    for name, way in ways.items():
        did, undid = [], []
        for turn in range(bench.calls // 2):
            began = time.perf_counter()
            outcome = way(turn)
            between = time.perf_counter()
            bench.undo(outcome)
            did.append((between - began) * 1e3)
            undid.append((time.perf_counter() - between) * 1e3)
            assert outcome.changed
        found.append({"mark": name, "did": did, "undid": undid})
    began = []
    for turn in range(bench.calls // 2):
        bench.forget() if turn == 0 else None
        start = time.perf_counter()
        bench.upto("seen", bench.calls - turn)
        began.append((time.perf_counter() - start) * 1e3)
    found.append({"mark": "seen up to here", "did": began, "undid": []})
    bench.forget()
    return found


def written(bench: Bench, call: Call) -> dict[str, Any]:
    """Return what a call wrote: rows by table, bytes of the log that PostgreSQL keeps of changes, statements."""
    from django.db import connection

    def counted() -> dict[str, int]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_force_next_flush()")
        rows = bench.database.query(
            "SELECT relname, n_tup_ins + n_tup_upd + n_tup_del FROM pg_stat_user_tables WHERE relname LIKE 'livepush_%'"
        )
        return {name: int(number) for name, number in rows}

    def end() -> int:
        return int(bench.database.query("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])

    before, wal = counted(), end()
    began = time.perf_counter()
    made = statements(call)
    took, wal = (time.perf_counter() - began) * 1e3, end() - wal
    after = counted()
    rows = {name.removeprefix("livepush_"): after[name] - before[name] for name in after if after[name] != before[name]}
    texts = [each.strip() for sql, _ in made for each in sql.split(";")]
    return {"rows": rows, "wal": wal, "ms": took, "statements": len(made),
            "inserts": sum(each.startswith("INSERT") for each in texts)}  # fmt: skip


def broadcasts(bench: Bench, users: int) -> dict[str, Any]:
    """Notify everyone, and have a thousand users look for the first time."""
    from django.contrib.auth.models import User

    import livepush
    from livepush.inbox.reading import Inbox

    livepush.notify(livepush.everyone, "The shop is closed on Monday")  # makes the group's row
    bench.database.query("CHECKPOINT")
    livepush.notify(livepush.everyone, "The shop is closed on Monday")  # whole pages are logged once behind one
    found = {"broadcast": written(bench, lambda: livepush.notify(livepush.everyone, "The shop is open on Tuesday"))}
    looked = list(User.objects.filter(pk__gt=users * 2 // 3)[:FIRST_LOOKS])  # who have marked nothing

    def look() -> None:
        for user in looked:
            inbox = Inbox(user)
            assert inbox.page().entries[0].notification.title == "The shop is open on Tuesday"
            assert inbox.counts().unread >= 1

    return found | {"first looks": written(bench, look)}


def beside_peer(bench: Bench, size: data.Size, users: int) -> list[dict[str, Any]]:
    """Measure the same with the peer, in turns."""
    from django.contrib.auth.models import User
    from django.core.paginator import Paginator
    from notifications.signals import notify

    import livepush
    from livepush.inbox.reading import Inbox, Tab

    data.fill_peer(bench.database, size, users)
    user = bench.user

    def listed(rows: Any) -> list[Any]:  # as its views do
        rows = rows.select_related("actor_content_type", "target_content_type", "action_object_content_type")
        return list(Paginator(rows.prefetch_related("actor", "target", "action_object"), 20).page(1).object_list)

    pairs: dict[str, tuple[Call, Call]] = {
        "unread count": (lambda: Inbox(user).counts(), lambda: user.notifications.unread().count()),
        "list page of 20": (lambda: Inbox(user).page(), lambda: listed(user.notifications.all())),
        "unread page of 20": (lambda: Inbox(user).page(Tab.UNREAD), lambda: listed(user.notifications.unread())),
    }
    states: dict[str, Call] = {
        "nothing read": lambda: None,
        "all but 10 read": lambda: (
            bench.upto("read", 0),
            bench.some("unread", bench.numbers[-10:]),
            user.notifications.filter(
                pk__in=list(user.notifications.order_by("-timestamp").values_list("pk", flat=True)[: data.MINE - 10])
            ).update(unread=False),
        ),
    }
    found = []
    for state, reach in states.items():
        reach()
        data.vacuum(bench.database)
        for name, calls in pairs.items():
            ours, theirs = timed(*calls, count=bench.calls // 2)
            found.append({"what": f"{name}, {state}", "ours": ours.median, "theirs": theirs.median})
    bench.forget()

    def marked(call: Call) -> float:
        began = time.perf_counter()
        call()
        return (time.perf_counter() - began) * 1e3

    took: dict[str, list[tuple[float, float]]] = {}
    some = User.objects.filter(pk__gt=users // 2, pk__lte=users // 2 + RECIPIENTS)
    actor = User.objects.get(pk=1)
    for _ in range(TURNS):
        bench.some("unread", bench.numbers[:1])
        user.notifications.update(unread=True)
        both = marked(lambda: bench.upto("read", 0)), marked(lambda: user.notifications.mark_all_as_read())
        took.setdefault("mark all read, 100,000 unread", []).append(both)
        bench.forget()
        theirs = marked(lambda: notify.send(actor, recipient=some.all(), verb="closed the shop"))
        ours = marked(lambda: livepush.notify(livepush.everyone, "The shop is closed"))
        took.setdefault(f"notify: everyone, beside {RECIPIENTS:,} recipients", []).append((ours, theirs))
        ours = marked(lambda: livepush.notify(some.all(), "The shop is closed"))
        took.setdefault(f"notify: a queryset of {RECIPIENTS:,}", []).append((ours, theirs))
    for name, each in took.items():
        ours, theirs = (statistics.median(side) for side in zip(*each, strict=True))
        found.append({"what": name, "ours": ours, "theirs": theirs})
    return found


def measure(steps: Sequence[int], users: int, calls: int, quick: bool, plans: bool) -> dict[str, Any]:
    """Measure; return the figures."""
    notifications.install()
    grown: list[dict[str, Any]] = []
    found: dict[str, Any] = {"grown": grown, "plans": {} if plans else None}
    with postgresql() as database:
        os.environ.update(settings_env(database, DJANGO_SETTINGS_MODULE="benchmarks.peers.notifications.settings"))
        import django
        from django.core.management import call_command

        django.setup()
        call_command("migrate", verbosity=0)
        data.add_users(database, users)
        from livepush import log

        log.state("default")  # makes the head
        found["version"] = database.query("SHOW server_version")[0][0]
        bench = Bench(database, calls)
        for step in sorted(steps):
            began, size = time.monotonic(), data.Size(step)
            bench.grow(size, users)
            print(f"{size.rows:,} notifications, {time.monotonic() - began:.0f} s to make", flush=True)
            last = step == max(steps)
            names = list(bench.states(quick)) if last else ["nothing read", "all read, by a mark"]
            measured = by_state(bench, names, quick, found["plans"] if last else None)
            grown += [{"size": size.rows, **each} for each in measured]
        print(f"marks, broadcasts, the peer; load {os.getloadavg()[0]:.1f}", flush=True)
        found["marks"] = marks(bench)
        found["written"] = broadcasts(bench, users)
        found["peer"] = beside_peer(bench, size, users)
    return found


def table(found: dict[str, Any]) -> Iterator[str]:
    """Yield the figures as Markdown."""
    sizes = sorted({each["size"] for each in found["grown"]})
    largest = [each for each in found["grown"] if each["size"] == sizes[-1]]
    by = {(each["size"], each["state"], each["look"]): each for each in found["grown"]}
    yield from ["### As the log grows", ""]
    yield f"| median ms (least) | {' | '.join(f'{size:,} notifications' for size in sizes)} |"
    yield "|---|" + "---|" * len(sizes)
    for state, look in dict.fromkeys((each["state"], each["look"]) for each in found["grown"]):
        if (sizes[0], state, look) in by:
            each = [by[size, state, look] for size in sizes]
            medians = " | ".join(f"{one['median']:.1f} ({one['least']:.1f})" for one in each)
            yield f"| {state}: {look} | {medians} |"
    yield from ["", f"### By what was done, at {sizes[-1]:,} notifications", ""]
    yield "| state | exceptions | look | median ms | least | p95 | SQL alone | CPU, process | CPU, server | queries |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for each in largest:
        times = " | ".join(f"{each[name]:.1f}" for name in ("median", "least", "p95", "sql", "cpu", "server_cpu"))
        yield f"| {each['state']} | {each['rows']:,} | {each['look']} | {times} | {each['queries']} |"
    yield from ["", "### Marks", "", "| mark | median ms | p95 | undo, median | p95 |", "|---|---|---|---|---|"]
    for each in found["marks"]:
        cells = [f"{statistics.median(took):.1f} | {sorted(took)[int(len(took) * 0.95)]:.1f}" if took else "- | -"
                 for took in (each["did"], each["undid"])]  # fmt: skip
        yield f"| {each['mark']} | {' | '.join(cells)} |"
    yield from ["", "### What is written", "", "| | rows inserted, updated or deleted | WAL, bytes | statements | ms |"]
    yield "|---|---|---|---|---|"
    for name, each in found["written"].items():
        rows = ", ".join(f"{table} {number}" for table, number in each["rows"].items()) or "none"
        yield f"| {name} | {rows} | {each['wal']:,} | {each['statements']:,} | {each['ms']:,.1f} |"
    yield from ["", "### Beside django-notifications", "", "| median ms | livepush | django-notifications | ratio |"]
    yield "|---|---|---|---|"
    for each in found["peer"]:
        yield f"| {each['what']} | {each['ours']:,.1f} | {each['theirs']:,.1f} | {each['theirs'] / each['ours']:.2f} |"
    yield from ["", "### Goals", "", "| goal | found | holds |", "|---|---|---|"]
    for goal, shown, holds in goals(found, largest):
        yield f"| {goal} | {shown} | {'yes' if holds else '**no**'} |"


def goals(found: dict[str, Any], largest: list[dict[str, Any]]) -> Iterator[tuple[str, str, bool]]:
    """Yield each goal, what was found, and whether it holds."""
    for each in largest:
        limit = COUNTS_MS if each["look"] == "counts" else PAGE_MS
        if each["look"] == "counts" or each["median"] > limit:
            yield f"{each['look']}, {each['state']} < {limit:.0f} ms", f"{each['median']:.1f}", each["median"] < limit
    rows = found["written"]["broadcast"]["rows"]
    yield "a broadcast's rows do not depend on the users", str(sum(rows.values())), rows.get("notification") == 1
    looks = found["written"]["first looks"]["rows"]
    yield f"{FIRST_LOOKS:,} first looks write nothing", str(sum(looks.values())), not looks


def shown_plans(found: dict[str, Any]) -> Iterator[str]:
    """Yield each plan once, indented as Markdown's code."""
    shown = set()
    for name, made in found["plans"].items():
        for sql, plan in made:
            text = sql[:60] + plan.partition("(")[0]
            key = (sql[:400], tuple(line.partition("(")[0] for line in plan.split("\n")))
            if key in shown:
                continue
            shown.add(key)
            yield from ["", f"{name}: `{text.strip()[:60]}…`", "", f"    {sql[:1000]}", ""]
            yield from (f"    {line[:200]}" for line in plan.split("\n"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.inbox", description="Measure the inbox.")
    parser.add_argument("--quick", action="store_true", help="the smallest tables, fewer calls: under two minutes")
    parser.add_argument("--steps", default="", help="sizes, with commas between; 2,10,40 by default")
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--calls", type=int, default=0, help="how often each call is measured")
    parser.add_argument("--plans", action="store_true", help="print the plans too")
    parser.add_argument("--out", type=Path, help="a file to append the figures to, as a line of JSON")
    given = parser.parse_args()
    chosen = tuple(map(int, given.steps.split(","))) if given.steps else QUICK_STEPS if given.quick else STEPS
    began = time.monotonic()
    figures = measure(
        chosen, given.users or (100_000 if given.quick else 1_000_000), given.calls or (30 if given.quick else 200),
        given.quick, given.plans,
    )  # fmt: skip
    print(f"\nPython {platform.python_version()}, PostgreSQL {figures['version']}, {os.cpu_count()} cores,", end=" ")
    print(f"{time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}\n")
    print("\n".join([*table(figures), *(shown_plans(figures) if given.plans else ())]))
    if given.out:
        with given.out.open("a") as file:
            print(json.dumps({"benchmark": "inbox", **figures}), file=file)
