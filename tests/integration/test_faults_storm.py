"""A crowd that comes back at once costs each process a few reads of the log, not some for each client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration import clients
from tests.integration.audit import Follower, audit, committed
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import Publisher, Server
from tests.servers.storm import allow_descriptors, crowd

TRANSPORTS = ("sse", "websocket livepush.v1", "long poll", "websocket")
ROOMS = 10
SILENT = {"TAIL_INTERVAL": 3600, "TAIL_INTERVAL_WITH_LAYER": 3600, "PRUNE_INTERVAL": 0, "HINT": "none"}
"""Settings of a server that looks at the log only when a client makes it: what it asks then is the clients' doing."""
A_FEW = 30
"""The most statements about the log that a crowd may cost, however many come."""
ROUNDS = 12
"""The statements by which two crowds may differ: who comes while the log is read has it read once more."""


class Past(NamedTuple):
    """What happened while the crowd was away."""

    left: str
    """The position at which they went."""
    half: str
    """The position at which some went later: half of the events were there then."""
    head: str


async def happen(elsewhere: Publisher) -> Past:
    """Send what the crowd misses: 50 events to each, of the board and of its room."""

    def batch() -> None:
        for room in range(ROOMS):
            elsewhere.do("send_many", groups=f"room:{room}", type="moved", count=10)
        elsewhere.do("send_many", groups="board", type="moved", count=15)  # last: everyone comes to the log's head

    def both() -> Past:
        elsewhere.do("send_many", groups="board", type="before", count=20)
        left = elsewhere.position()
        batch()
        half = elsewhere.position()
        batch()
        return Past(left, half, elsewhere.position())

    return await asyncio.to_thread(both)


def gather(count: int, *positions: str) -> list[Follower]:
    """Return clients, each with a group of its own too, so that no two ask for the same."""
    return [
        Follower(
            "",
            ["board", f"room:{number % ROOMS}", f"room:of-{number}"],
            positions[number % len(positions)],
            TRANSPORTS[number // len(positions) % len(TRANSPORTS)],
        )
        for number in range(count)
    ]


def prune(database: Database, position: str) -> None:
    """Have the log pruned up to a position."""
    number = int(position.partition("-")[2])
    database.query(f"UPDATE livepush_event SET created = created - interval '30 days' WHERE position <= {number}")
    subprocess.run([sys.executable, "-m", "django", "livepush_prune"], env=database.env, cwd=ROOT, check=True)
    assert database.query("SELECT position FROM livepush_logfloor") == [(number,)]


def cpu(pid: int) -> float:
    """Return the seconds that a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def storm(
    server: Server, database: Database, back: Sequence[Follower], cookies: Sequence[str] = ()
) -> dict[str, Any]:
    """Let clients come back at once; return what that took, when all have caught up and hear what is new."""
    upto = database.head()
    before = await asyncio.to_thread(server.stats)
    used = cpu(server.pid)
    with crowd(server.url, upto, back, cookies) as found:
        took = await asyncio.to_thread(found.come)
        computed = cpu(server.pid) - used
        after = await asyncio.to_thread(server.stats)
        rss = faults.rss(server.pid)
        async with clients.http() as client:
            assert (await client.get(f"{server.url}/send/")).status_code == 200
        await asyncio.to_thread(found.until, upto + 1)
        await asyncio.to_thread(found.leave)
    audited = audit(committed(database), back)
    statements = {
        about: after["queries"].get(about, 0) - before["queries"].get(about, 0)
        for about in ("log", "sessions", "other")
    }
    counted = {"clients": len(back), "statements": statements, **took}
    counted |= {"server_cpu_s": round(computed, 2), "server_MiB": rss >> 20, "audit": str(audited)}
    assert audited.clean, audited
    await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 0))
    return {**counted, "resets": audited.resets}


async def look(server: Server, position: str) -> None:
    """Make a server's hub look at the log: someone comes who has heard more than it has."""
    answer = (await clients.poll(server.url, "board", since=position)).json()
    assert answer["position"] == position, answer


@contextlib.asynccontextmanager
async def warm(database: Database, settings: dict[str, Any]) -> AsyncIterator[tuple[Server, Past]]:
    """Run a server that was up while the crowd was away, and knows what happened."""
    with processes.publisher(database) as elsewhere, serving(database, settings) as server:
        await look(server, await asyncio.to_thread(elsewhere.position))
        past = await happen(elsewhere)
        await look(server, past.head)
        yield server, past


@contextlib.asynccontextmanager
async def cold(database: Database, settings: dict[str, Any]) -> AsyncIterator[tuple[Server, Past]]:
    """Run a server that has just been started."""
    with processes.publisher(database) as elsewhere:
        past = await happen(elsewhere)
    with serving(database, settings) as server:
        yield server, past


@contextlib.contextmanager
def serving(database: Database, settings: dict[str, Any]) -> Iterator[Server]:
    allow_descriptors()
    application = "tests.servers.probe:application"
    with processes.server("uvicorn", database, SILENT | settings, application=application) as server:
        yield server


async def two_storms(databases: Databases, server: Any, settings: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Let a quarter of a crowd come back to one server, and all of it to another that is the same."""
    found = []
    for number in (count // 4, count):
        with databases.fresh("postgresql") as database:
            async with server(database, settings) as (running, past):
                found.append(await storm(running, database, gather(number, past.left)))
    return found


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", some([cold, warm]))
async def test_a_crowd_costs_no_more_reads_than_a_part_of_it(
    server: Any, databases: Databases, scale: Scale, figures: Figures
) -> None:
    """50 events behind, each client with groups of its own."""
    part, whole = await two_storms(databases, server, {}, scale(200, 2000))
    figures(server=server.__name__, part=part, whole=whole)
    assert whole["resets"] == 0
    assert whole["statements"]["log"] <= part["statements"]["log"] + 5
    assert whole["statements"]["log"] <= (0 if server is warm else A_FEW)
    assert whole["statements"]["sessions"] == 0


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("server", some(["behind", "cold", "warm", "warm with a small window"]))
async def test_a_crowd_that_meets_a_pruned_log_is_reset_at_no_cost(
    server: str, databases: Databases, scale: Scale, figures: Figures
) -> None:
    """Half of them went before what is pruned now, half behind it.

    The server was up and followed, or had not looked when the log was pruned, or was started afterwards.
    """
    found = []
    for count in (scale(200, 2000) // 4, scale(200, 2000)):
        with databases.fresh("postgresql") as database, contextlib.ExitStack() as stack:
            elsewhere = stack.enter_context(processes.publisher(database))
            settings = {"WINDOW_EVENTS": 150} if server in ("warm with a small window", "behind") else {}
            running = stack.enter_context(serving(database, settings)) if server != "cold" else None
            if running is not None:
                await look(running, await asyncio.to_thread(elsewhere.position))
            past = await happen(elsewhere)
            if running is not None and server != "behind":
                await look(running, past.head)
            await asyncio.to_thread(prune, database, past.half)
            await asyncio.to_thread(elsewhere.send, "board", "pruned")
            if running is None:
                running = stack.enter_context(serving(database, settings))
            else:
                await look(running, await asyncio.to_thread(elsewhere.position))
            found.append(await storm(running, database, gather(count, past.left, past.half)))
    part, whole = found
    figures(server=server, part=part, whole=whole)
    assert whole["resets"] == whole["clients"] // 2
    assert whole["statements"]["log"] <= part["statements"]["log"] + ROUNDS
    assert whole["statements"]["log"] <= (0 if server.startswith("warm") else A_FEW)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_crowd_that_was_ahead_makes_a_server_look_a_few_times(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    """They come from a process that has heard more; this one has read nothing since it started."""
    with serving(database, {}) as server:
        await look(server, await asyncio.to_thread(elsewhere.position))
        past = await happen(elsewhere)
        found = await storm(server, database, gather(scale(200, 2000), past.head, past.half))
    figures(**found)
    assert found["resets"] == 0
    assert found["statements"]["log"] <= A_FEW


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_crowd_that_is_logged_in_costs_each_its_session_alone(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    count = scale(100, 2000)
    past = await happen(elsewhere)
    cookies = await asyncio.to_thread(lambda: [elsewhere.session(f"user-{number}") for number in range(count)])
    with serving(database, {}) as server:
        found = await storm(server, database, gather(count, past.left), cookies)
    figures(**found)
    assert found["statements"]["log"] <= A_FEW
    assert found["statements"]["sessions"] >= count


# For scale: the peer


class Peer:
    """A client of django-eventstream that comes back with its last event's id."""

    def __init__(self, url: str, last: str) -> None:
        self.url = url
        self.last = last
        self.events = 0

    async def run(self, wanted: int) -> None:
        """Read so many events, and stay."""
        async with (
            clients.http() as client,
            client.stream("GET", self.url, headers={"Last-Event-ID": self.last}) as got,
        ):
            async for line in got.aiter_lines():
                if line.startswith("data: {"):
                    self.events += 1
                if self.events >= wanted:
                    await asyncio.Event().wait()


def sessions(database: Database) -> int:
    """Return how many sessions the database has with its clients, this one left out."""
    rows = database.query(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND pid <> pg_backend_pid()"
    )
    return int(rows[0][0])


async def peers(server: Server, database: Database, count: int) -> dict[str, Any]:
    """Let clients of django-eventstream come back 50 events behind; return what that took."""
    async with clients.http() as client:
        for _ in range(51):
            assert (await client.get(f"{server.url}/send-peer/")).status_code == 200
    last = int(database.query("SELECT max(eid) FROM django_eventstream_event")[0][0])
    back = [Peer(f"{server.url}/peer/", f"board:{last - 50}") for _ in range(count)]
    before, began, most = await asyncio.to_thread(server.stats), time.monotonic(), 0
    tasks = [asyncio.create_task(each.run(50)) for each in back]
    try:
        while any(each.events < 50 for each in back):
            assert not [task.exception() for task in tasks if task.done()]
            most = max(most, await asyncio.to_thread(sessions, database))
            await asyncio.sleep(0.05)
        seconds = time.monotonic() - began
        after = await asyncio.to_thread(server.stats)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    statements = after["queries"]["other"] - before["queries"]["other"]
    return {"clients": count, "seconds": round(seconds, 2), "statements": statements, "connections": most}


@pytest.mark.long
async def test_a_crowd_of_django_eventstreams_costs_each_some_reads(
    database: Database, scale: Scale, figures: Figures
) -> None:
    """For scale: the same with django-eventstream and its model storage, over SSE alone."""
    env = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
    subprocess.run(
        [sys.executable, "-m", "django", "migrate", "-v0"], env={**database.env, **env}, cwd=ROOT, check=True
    )
    options = {"application": "tests.servers.probe:application", "env": env, "may_fail": True}
    with processes.server("uvicorn", database, SILENT, **options) as server:
        found = await peers(server, database, scale(10, 200))
        server.kill()  # it waits for its streams
    figures(**found)
    assert found["statements"] >= found["clients"]
