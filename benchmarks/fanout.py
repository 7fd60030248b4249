"""One turn of one system: connect, idle, paced, in a loop, in a burst. The server has a core to itself."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import load
from benchmarks.systems import System
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import free_port, settings_env

SERVER_CORE, OTHER_CORE = 0, 1
TICKS = os.sysconf("SC_CLK_TCK")
WARM = 10
"""Clients that come first: what a server makes once is no part of a client's cost."""
RATE = 10
"""Events a second of the paced measurement."""
FEW = 50
"""Events that are sent to the first clients alone: what an event costs beside its deliveries."""
OUTSTANDING = 4
"""Events that are on their way at a time in the loop."""
BURST = 1000
PATIENCE = 25.0
"""How long (seconds) a burst may take; what has not come by then counts as lost."""
SETTLED = 35.0
"""How long (seconds) after its start livepush reads the log often."""
Figures = dict[str, Any]


@dataclass(frozen=True)
class Sizes:
    """How much is measured in one turn."""

    paced: int = 100
    """Events at ``RATE``."""
    loop: float = 2.0
    """Seconds of the loop."""


def turn(system: System, clients: int, sizes: Sizes, redis: str, databases: Databases) -> Figures:
    """Measure a system once."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql")) if system.database else None
        env = environment(system, redis, database)
        if system.env.get("BENCH_STORAGE") == "model":
            migrate(env)
        server = stack.enter_context(running(system, env))
        with publisher(system, server.env) as sender:
            time.sleep(SETTLED if system.settles else 0)
            return measured(system, server, sender, clients, sizes)


def migrate(env: Mapping[str, str]) -> None:
    """Make the peer's tables."""
    subprocess.run([sys.executable, "-m", "django", "migrate", "-v0"], env=env, cwd=ROOT, check=True)


class Server:
    """A server's processes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, env: Mapping[str, str]) -> None:
        self.pid = process.pid
        self.port = port
        self.env = env

    @property
    def cpu(self) -> float:
        """The CPU seconds that its processes have used."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._pids()]
        return sum(int(each[11]) + int(each[12]) for each in fields) / TICKS

    @property
    def memory(self) -> int:
        """The bytes that its processes hold, what they share counted once (PSS)."""
        texts = [Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in self._pids()]
        return sum(1024 * int(text.partition("\nPss:")[2].split()[0]) for text in texts)

    def _pids(self) -> list[int]:
        pids, found = [self.pid], []
        while pids:
            found.append(pids.pop())
            for task in Path(f"/proc/{found[-1]}/task").glob("*/children"):
                pids += map(int, task.read_text().split())
        return found


@contextlib.contextmanager
def running(system: System, env: Mapping[str, str]) -> Iterator[Server]:
    """Run a system's server on its core."""
    port, feed = free_port(), free_port()
    writer = load.build("peers/writer") if "{writer}" in system.server else ""
    command = [part.format(port=port, feed=feed, writer=writer) for part in system.server]
    env = {**env, "BENCH_PORT": str(port), "BENCH_FEED": str(feed)}
    log = Path(load.BUILT, f"{system.key}.log")
    load.BUILT.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", str(SERVER_CORE), *command],
            env=env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while not answers(port):
            assert process.poll() is None, f"{system.key} ended as it started:\n{log.read_text()}"
            assert time.monotonic() < end, f"{system.key} does not answer:\n{log.read_text()}"
            time.sleep(0.05)
        yield Server(process, port, env)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def answers(port: int) -> bool:
    """Return whether something listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Sender:
    """The process that sends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def say(self, what: str, first: int, count: int = 1, **more: Any) -> None:
        """Have events sent."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, "first": first, "count": count, **more}) + "\n")
        self._process.stdin.flush()

    def hear(self) -> Figures:
        """Wait until they have been; return the sender's figures."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the publisher has ended"
        found: Figures = json.loads(line)
        return found


@contextlib.contextmanager
def publisher(system: System, env: Mapping[str, str]) -> Iterator[Sender]:
    """Run a system's publisher on the other core."""
    with subprocess.Popen(
        ["taskset", "-c", str(OTHER_CORE), *system.publisher],
        env=env, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "ready"
            yield Sender(process)
        finally:
            process.kill()


def measured(system: System, server: Server, sender: Sender, clients: int, sizes: Sizes) -> Figures:
    """Take a running system's figures."""
    with load.load(server.port, system.mode, system.ready, OTHER_CORE) as crowd:
        crowd.open(system.request, WARM)
        warm_up(sender, crowd, WARM)
        found = {"event_ms": event_ms(server, sender, crowd), **connected(system, server, crowd, clients)}
        warm_up(sender, crowd, clients)
        found |= {f"paced_{name}": value for name, value in paced(server, sender, crowd, clients, sizes.paced).items()}
        if sizes.loop:
            found |= {f"loop_{name}": value for name, value in loop(server, sender, crowd, clients, sizes.loop).items()}
        for what in ("burst", "together") if system.together else ("burst",):
            took = burst(server, sender, crowd, clients, what)
            found |= {f"{what}_{name}": value for name, value in took.items()}
        return found


def connected(system: System, server: Server, crowd: load.Load, clients: int) -> Figures:
    """Connect the others; return what a client costs."""
    time.sleep(0.5)
    cpu, memory = server.cpu, server.memory
    told = crowd.open(system.request, clients - WARM)
    time.sleep(0.5)
    return {
        "failed": told["failed"],
        "connect_cpu_ms": 1000 * (server.cpu - cpu) / (clients - WARM),
        "connect_seconds": told["seconds"],
        "kib": (server.memory - memory) / 1024 / (clients - WARM),
    }


def event_ms(server: Server, sender: Sender, crowd: load.Load) -> float:
    """Return the CPU milliseconds of one event for a few clients, and of the idling until the next."""
    cpu = server.cpu
    sender.say("paced", 0, FEW, rate=RATE)
    crowd.until(FEW * WARM, FEW / RATE + 3)
    sender.hear()
    return 1000 * (server.cpu - cpu) / FEW


def warm_up(sender: Sender, crowd: load.Load, clients: int) -> None:
    """Send a few events, of which not all may find their way."""
    crowd.answer("clear")
    sender.say("paced", 65000, 5, rate=RATE)
    crowd.until(5 * clients, 5)
    sender.hear()


def left_alone(system: System, clients: int, seconds: float, redis: str, databases: Databases) -> Figures:
    """Return the share of a core that clients cost to whom nothing is sent, once the server has settled down."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql")) if system.database else None
        server = stack.enter_context(running(system, environment(system, redis, database)))
        crowd = stack.enter_context(load.load(server.port, system.mode, system.ready, OTHER_CORE))
        crowd.open(system.request, WARM)
        time.sleep(SETTLED)
        cpu = server.cpu
        time.sleep(seconds)
        alone = (server.cpu - cpu) / seconds
        crowd.open(system.request, clients - WARM)
        time.sleep(5)
        cpu = server.cpu
        time.sleep(seconds)
        return {"core": (server.cpu - cpu) / seconds, "core_alone": alone}


def counts(told: load.Counts, cpu: float, sent: int, clients: int) -> Figures:
    """Return what was counted and what it cost."""
    took = told["last"] - told["first"]
    return {
        "cpu": cpu / max(1, told["deliveries"]) * 100_000,
        "rate": told["deliveries"] / took if took > 0 else None,
        "lost": 1 - told["deliveries"] / sent / clients,
        "repeated": told["repeated"],
        "disorder": told["disorder"],
        "p50": told["p50_ms"],
        "p99": told["p99_ms"],
        "events_a_read": told["deliveries"] / max(1, told["reads_with_events"]),
    }


def paced(server: Server, sender: Sender, crowd: load.Load, clients: int, count: int) -> Figures:
    """Send at a fixed rate."""
    crowd.answer("clear")
    cpu = server.cpu
    sender.say("paced", 0, count, rate=RATE)
    told = crowd.until(count * clients, count / RATE + 3)
    sender.hear()
    return counts(told, server.cpu - cpu, count, clients)


def loop(server: Server, sender: Sender, crowd: load.Load, clients: int, seconds: float) -> Figures:
    """Send the next event when one before it has come to all: the rate that the server sustains."""
    crowd.answer("clear")
    crowd.say(f"loop {clients}")
    cpu, end, sent, come = server.cpu, time.monotonic() + seconds, 0, 0
    stuck = False
    while come < sent or not sent or time.monotonic() < end:
        while sent - come < OUTSTANDING and time.monotonic() < end and sent < 60_000:
            sender.say("one", sent)
            sent += 1
        if come == sent:
            break
        if not crowd.has_answer(3.0):  # one that was lost never comes to all
            stuck = True
            break
        crowd.hear()
        come += 1
    crowd.say("loop 0")
    told = crowd.until(sent * clients, 0.0 if stuck else 1.0)
    for _ in range(sent):
        sender.hear()
    return counts(told, server.cpu - cpu, sent, clients)


def burst(server: Server, sender: Sender, crowd: load.Load, clients: int, what: str) -> Figures:
    """Send many at once: one call for each event, or ``together`` in one transaction."""
    crowd.answer("clear")
    cpu = server.cpu
    sender.say(what, 0, BURST)
    told = crowd.until(BURST * clients, PATIENCE)
    took = sender.hear()
    found = counts(told, server.cpu - cpu, BURST, clients)
    return {**found, "sent_rate": took["sent"] / took["seconds"], "send_p99": took["p99_ms"]}


def resumed(system: System, clients: int, redis: str, databases: Databases, behind: int = 50) -> Figures:
    """Let a crowd come back that has missed some events; the server has been up meanwhile."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql"))
        env = environment(system, redis, database)
        if system.env.get("BENCH_STORAGE") == "model":
            migrate(env)
        server = stack.enter_context(running(system, env))
        sender = stack.enter_context(publisher(system, server.env))
        crowd = stack.enter_context(load.load(server.port, system.mode, "", OTHER_CORE))
        crowd.open(system.request, WARM)
        sender.say("paced", 65000, 2, rate=RATE)
        sender.hear()
        last = cursor_of(system, database)
        sender.say("paced", 0, behind, rate=200)
        sender.hear()
        crowd.until(behind * WARM, 5)
        crowd.answer("close")
        time.sleep(1)
        crowd.answer("clear")
        time.sleep(SETTLED if system.settles else 0)
        quiet, since = statements(database), time.time()
        time.sleep(4)
        rate = (statements(database) - quiet - 1) / (time.time() - since)  # one is the question itself
        cpu, transactions, begin = server.cpu, statements(database), time.time()
        told = crowd.open(system.request.replace("\r\n\r\n", f"\r\nLast-Event-ID: {last}\r\n\r\n"), clients, 256)
        found = crowd.until(behind * clients, PATIENCE)
        return {
            "seconds": found["last"] - begin,
            "cpu": server.cpu - cpu,
            "statements": statements(database) - transactions - 1 - rate * (time.time() - begin),
            "failed": told["failed"],
            "lost": 1 - found["deliveries"] / behind / clients,
        }


def environment(system: System, redis: str, database: Database | None) -> dict[str, str]:
    """Return the environment of a system's processes."""
    path = f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"
    env = {**os.environ, "PYTHONPATH": path, "BENCH_REDIS": redis, "LIVEPUSH_TEST_REDIS": redis}
    return {**env, **(settings_env(database) if database else {}), **system.env, "PYTHONPATH": path}


def cursor_of(system: System, database: Database) -> str:
    """Return what a client says that has had everything until now."""
    if "eventstream" in system.key:
        return f"board:{database.query('SELECT max(eid) FROM django_eventstream_event')[0][0]}"
    return "{}-{}".format(*database.query("SELECT epoch, position FROM livepush_loghead")[0])


def statements(database: Database) -> int:
    """Return how many transactions there were; outside of ``atomic`` blocks each statement is one."""
    time.sleep(1.1)  # sessions report once a second
    rows = database.query("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    return int(rows[0][0])
