"""The soak: mixed clients, four writers, two servers, and random faults; then the audit.

``LIVEPUSH_SOAK_SECONDS``, ``LIVEPUSH_SOAK_CLIENTS`` and ``LIVEPUSH_SOAK_SEED`` choose a longer one (``make soak``).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.audit import TRANSPORTS, Follower, Row, audit
from tests.integration.conftest import Figures
from tests.patience import eventually
from tests.servers import faults, processes
from tests.servers.faults import Line, PostgreSQL, Redis
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import Server

SECONDS = float(os.environ.get("LIVEPUSH_SOAK_SECONDS", 20))
CLIENTS = int(os.environ.get("LIVEPUSH_SOAK_CLIENTS", 60))
SEED = int(os.environ.get("LIVEPUSH_SOAK_SEED", 20_26))
RATE = float(os.environ.get("LIVEPUSH_SOAK_RATE", 8))
"""Transactions a second of each writer."""
GROUPS = [f"room:{name}" for name in "abcdefghijklmnopqrst"]
WRITERS = 4
SETTINGS = {
    "HEARTBEAT": 2,
    "DATABASE_TIMEOUT": 3,
    "WRITE_TIMEOUT": 10,
    "DRAIN": 2,
    "WINDOW_EVENTS": 1000,
    "BUFFER_BYTES": 65_536,
    "PRUNE_INTERVAL": 2,
    "RETENTION": 120,
}
ARCHIVE = """
CREATE TABLE archive AS TABLE livepush_event WITH NO DATA;
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO archive VALUES (OLD.*); RETURN OLD; END $$;
CREATE TRIGGER keep BEFORE DELETE ON livepush_event FOR EACH ROW EXECUTE FUNCTION keep()
"""
"""Keeps what is pruned, for the audit."""


class Writer:
    """A process that sends until told to stop; see ``tests.servers.scribe``."""

    def __init__(self, env: dict[str, str], seed: int) -> None:
        plan = {"seed": seed, "groups": GROUPS, "rate": RATE}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.scribe", json.dumps(plan)],
            env=env,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def stop(self) -> dict[str, int]:
        """Return what it did."""
        out, _ = self.process.communicate(timeout=60)
        done: dict[str, int] = json.loads(out)
        return done

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Soak:
    """Everything that runs, and the faults that befall it."""

    def __init__(self, seed: int) -> None:
        self.choose = random.Random(seed)
        self.befell: Counter[str] = Counter()
        self.seed = seed
        self.postgresql: PostgreSQL
        self.redis: Redis
        self.to_database: Line
        self.to_redis: Line
        self.writers_line: Line
        self.database: Database
        self.steady: Server
        """A server that is never ended, only hampered."""
        self.mortal: Server
        self.writers: list[Writer] = []
        self.followers: list[Follower] = []
        self.writer_env: dict[str, str] = {}

    async def befall(self, end: float) -> None:
        """Let faults happen until a time, none longer than a few seconds."""
        kinds: list[Callable[[], Awaitable[None]]] = [
            self.redis_freezes, self.redis_dies, self.redis_lines_drop, self.redis_is_slow,
            self.database_lines_drop, self.database_stalls, self.database_vanishes, self.database_ends_sessions,
            self.server_dies, self.server_is_deployed, self.server_stops, self.writer_dies, self.writer_stops,
            self.clients_drop, self.clients_stop_reading,
        ]  # fmt: skip
        rare = [self.database_restarts]
        while time.monotonic() < end:
            self.choose.shuffle(kinds)
            for kind in [*kinds, *rare]:
                if time.monotonic() > end:
                    return
                self.befell[kind.__name__] += 1
                await kind()
                await asyncio.sleep(self.choose.uniform(0.1, 1.5))

    async def _for_a_while(self, begin: Callable[[], object], end: Callable[[], object], most: float = 3.0) -> None:
        await asyncio.to_thread(begin)
        try:
            await asyncio.sleep(self.choose.uniform(0.3, most))
        finally:
            await asyncio.to_thread(end)

    async def redis_freezes(self) -> None:
        await self._for_a_while(self.redis.freeze, self.redis.thaw)

    async def redis_dies(self) -> None:
        await self._for_a_while(self.redis.kill, self.redis.start)

    async def redis_lines_drop(self) -> None:
        await asyncio.to_thread(self.to_redis.cut, self.choose.choice((1, 2, None)))

    async def redis_is_slow(self) -> None:
        def slow(delay: float) -> Callable[[], None]:
            return lambda: setattr(self.to_redis, "delay", delay)

        await self._for_a_while(slow(0.3), slow(0.0))

    async def database_lines_drop(self) -> None:
        for line in (self.to_database, self.writers_line):
            await asyncio.to_thread(line.cut, self.choose.choice((1, 2, None)))

    async def database_stalls(self) -> None:
        await self._for_a_while(self.to_database.stall, self.to_database.flow, 5.0)

    async def database_vanishes(self) -> None:
        await asyncio.to_thread(self.to_database.abandon)

    async def database_ends_sessions(self) -> None:
        sql = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle' AND pid <> pg_backend_pid()"
            f" AND datname = '{self.database.name}'"
        )
        await asyncio.to_thread(self.database.query, sql)

    async def database_restarts(self) -> None:
        await self._for_a_while(self.postgresql.stop, self.postgresql.start)

    async def server_dies(self) -> None:
        await self._for_a_while(self.mortal.kill, self.mortal.start, 1.0)

    async def server_is_deployed(self) -> None:
        def end() -> None:
            self.mortal.terminate()
            self.mortal.wait(30)

        await self._for_a_while(end, self.mortal.start, 0.5)

    async def server_stops(self) -> None:
        server = self.choose.choice((self.steady, self.mortal))
        await self._for_a_while(lambda: server.signal(signal.SIGSTOP), lambda: server.signal(signal.SIGCONT), 2.0)

    async def writer_dies(self) -> None:
        place = self.choose.randrange(WRITERS)
        await asyncio.to_thread(self.writers[place].kill)
        self.seed += 1
        self.writers[place] = Writer(self.writer_env, self.seed)

    async def writer_stops(self) -> None:
        process = self.choose.choice(self.writers).process
        await self._for_a_while(
            lambda: process.send_signal(signal.SIGSTOP), lambda: process.send_signal(signal.SIGCONT)
        )

    async def clients_drop(self) -> None:
        for follower in self.choose.sample(self.followers, len(self.followers) // 3):
            follower.drop()

    async def clients_stop_reading(self) -> None:
        stopped = self.choose.sample(self.followers, max(1, len(self.followers) // 20))
        for follower in stopped:
            follower.reading.clear()
        await asyncio.sleep(self.choose.uniform(0.3, 3))
        for follower in stopped:
            follower.reading.set()


@contextlib.asynccontextmanager
async def running(own: tuple[PostgreSQL, Databases], seed: int) -> AsyncIterator[Soak]:
    """Start a database, a Redis, two servers and the writers."""
    soak = Soak(seed)
    soak.postgresql, databases = own
    with contextlib.ExitStack() as stack:
        soak.database = stack.enter_context(databases.fresh("own"))
        for statement in ARCHIVE.strip().split(";\n"):
            soak.database.query(statement)
        soak.redis = stack.enter_context(faults.redis())
        soak.to_redis = stack.enter_context(faults.line(soak.redis.port))
        soak.to_database = stack.enter_context(faults.line(soak.postgresql.socket))
        soak.writers_line = stack.enter_context(faults.line(soak.postgresql.socket))
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": f"redis://127.0.0.1:{soak.to_redis.port}"}
        near = soak.database.through(HOST="127.0.0.1", PORT=soak.to_database.port)
        options: dict[str, Any] = {"application": "tests.servers.probe:application", "env": env, "may_fail": True}
        soak.steady = stack.enter_context(processes.server("uvicorn", near, SETTINGS, **options))
        soak.mortal = stack.enter_context(processes.server("granian", near, SETTINGS, **options))
        far = soak.database.through(HOST="127.0.0.1", PORT=soak.writers_line.port)
        soak.writer_env = processes.settings_env(far, SETTINGS, **env)
        soak.writers = [Writer(soak.writer_env, seed * 100 + number) for number in range(WRITERS)]
        stack.callback(lambda: [writer.kill() for writer in soak.writers])
        yield soak


def all_rows(database: Database) -> list[Row]:
    """Return the settled events, pruned ones too."""
    sql = 'SELECT position, "group" FROM livepush_event WHERE position > 0'
    found = database.query(f"{sql} UNION {sql.replace('livepush_event', 'archive')} ORDER BY 1")
    return [Row(*row) for row in found]


async def holdings(soak: Soak) -> dict[str, int]:
    """Return what the steady server holds."""
    stats = await asyncio.to_thread(soak.steady.stats)
    sessions = soak.database.query(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{soak.database.name}' AND pid <> pg_backend_pid()"
    )
    pid = stats["pid"]
    return {
        "MiB": faults.rss(pid) >> 20,
        "tasks": stats["tasks"],
        "threads": stats["threads"],
        "descriptors": faults.descriptors(pid),
        "sessions": sessions[0][0],
    }


@pytest.mark.long
@pytest.mark.timeout(SECONDS * 3 + 300)
async def test_whatever_fails_every_client_gets_exactly_its_groups_events(
    own_postgresql: tuple[PostgreSQL, Databases], figures: Figures
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 16_384)), hard))
    async with running(own_postgresql, SEED) as soak:
        async with clients.sse(soak.steady.url, GROUPS[0]) as first:
            await first.block()  # its hub runs from now on, with all that a hub holds
        before = await holdings(soak)
        start = (await asyncio.to_thread(soak.steady.stats))["position"] or [""]
        position = start[0] or await begin(soak)
        urls = [soak.steady.url, soak.mortal.url]
        soak.followers = [
            Follower(
                urls,
                sorted(soak.choose.sample(GROUPS, 3)),
                position,
                TRANSPORTS[number % len(TRANSPORTS)],
                pause=1.0 if TRANSPORTS[number % len(TRANSPORTS)] == "poll" else 0.3,
                timed=True,
                silence=8.0,
            )
            for number in range(CLIENTS)
        ]
        following = [asyncio.create_task(follower.run()) for follower in soak.followers]
        await eventually(lambda: all(each.connects for each in soak.followers))
        began = time.monotonic()
        await soak.befall(began + SECONDS / 3)
        early = await holdings(soak)
        await soak.befall(began + SECONDS)
        done = [await asyncio.to_thread(writer.stop) for writer in soak.writers]
        await end(soak, following)
        found = audit(all_rows(soak.database), soak.followers)
        late = await holdings(soak)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        await eventually(lambda: asyncio.to_thread(lambda: soak.steady.holds() == 0))
        with contextlib.suppress(AssertionError):
            await eventually(lambda: flat(soak, before))
        after = await holdings(soak)
        ages = sorted(age for each in soak.followers for age in each.ages)
        figures(
            seconds=round(time.monotonic() - began),
            audit=str(found),
            rows=soak.database.head(),
            writers=done,
            faults=dict(soak.befell),
            troubles=sum((each.troubles for each in soak.followers), Counter()),
            connects=sum(len(each.connects) for each in soak.followers),
            median_ms=round(ages[len(ages) // 2] * 1000),
            p99_s=round(ages[int(len(ages) * 0.99)], 1),
            before=before,
            early=early,
            late=late,
            after=after,
        )
        assert found.clean, found
        assert found.events > CLIENTS
        assert soak.database.query("SELECT count(*) FROM livepush_event WHERE type = 'never'") == [(0,)]
        assert await flat(soak, before), (before, after)
        assert late["MiB"] < early["MiB"] * 1.3 + 30, "memory grows"


async def begin(soak: Soak) -> str:
    """Send a first event; return its position."""
    with processes.publisher(soak.database) as elsewhere:
        await asyncio.to_thread(elsewhere.send, GROUPS, "begin")
        return await asyncio.to_thread(elsewhere.position)


async def end(soak: Soak, following: list[asyncio.Task[None]]) -> None:
    """Send a last event to every group, and wait until everyone has come to it."""
    with processes.publisher(soak.database) as elsewhere:
        await asyncio.to_thread(elsewhere.position)
        first = soak.database.head() + 1
        await asyncio.to_thread(elsewhere.send, GROUPS, "end")
        await asyncio.to_thread(elsewhere.position)
    assert not [task for task in following if task.done()], "a follower has failed"
    await asyncio.gather(*(follower.until(first) for follower in soak.followers))


async def flat(soak: Soak, before: dict[str, int]) -> bool:
    """Return whether what the steady server holds is what it held at first, but for a few."""
    now = await holdings(soak)
    return all(now[name] <= before[name] + 8 for name in ("tasks", "threads", "descriptors", "sessions"))
