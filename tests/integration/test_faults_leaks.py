"""Nothing piles up: memory, threads, descriptors, connections and rows, after very many uses."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.conftest import Figures, Scale
from tests.integration.test_recycling import LIMIT, many_requests, serves
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database

MIB = 1_048_576
SEED = 2026


def sessions(database: Database) -> int:
    """Return how many other connections a database of PostgreSQL has."""
    found = database.query(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND pid <> pg_backend_pid()"
    )
    return int(found[0][0])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("way", "short", "full", "allowed"), some([("widths", 60, 2000, 24), ("loops", 40, 1000, 8)]))
async def test_a_process_that_uses_livepush_very_often_holds_no_more_than_before(
    way: str, short: int, full: int, allowed: int, database: Database, scale: Scale, figures: Figures
) -> None:
    count = scale(short, full)
    command = [sys.executable, "-m", "tests.servers.uses", way, str(count)]
    done = await asyncio.to_thread(subprocess.run, command, env=database.env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    figures(way=way, count=count, before=before, after=after)
    assert after["threads"] == before["threads"]
    assert after["descriptors"] <= before["descriptors"]
    assert after["rss"] - before["rss"] < allowed * MIB
    await eventually(lambda: sessions(database) == 0)


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_server_that_lets_very_many_in_holds_no_more_than_before(
    database: Database, scale: Scale, figures: Figures
) -> None:
    """Each asks for groups of its own, over each transport; some leave while they are let in."""
    count, chance = scale(400, 10_000), random.Random(SEED)

    async def visit(server: processes.Server) -> None:
        groups = ["board", *(f"order:{chance.randrange(10**9)}" for _ in range(chance.randrange(1, 60)))]
        kind = chance.choice(("poll", "sse", "websocket", "leaves"))
        if kind == "poll":
            await clients.poll(server.url, groups)
        elif kind == "sse":
            async with clients.sse(server.url, groups) as stream:
                await stream.block()
        elif kind == "websocket":
            async with clients.websocket(server.url, groups) as socket:
                await clients.frame(socket)
        else:
            await leave_at_once(server, groups)

    async def visits(server: processes.Server, number: int) -> None:
        for _ in range(number // 20):
            await asyncio.gather(*(visit(server) for _ in range(20)))

    application = "tests.servers.probe:application"
    with processes.server("uvicorn", database, application=application, may_fail=True) as server:
        await visits(server, scale(400, 3000))  # until what is remembered is full
        before = await holdings(server, database)
        await visits(server, count)
        after = await holdings(server, database)
    figures(handshakes=count, before=before, after=after)
    spare = {"descriptors": 2, "tasks": 2}  # threads that had no connection at that moment
    for name in ("threads", "descriptors", "tasks", "events", "groups"):
        assert after[name] <= before[name] + spare.get(name, 0), (name, before, after)
    assert after["sessions"] < after["threads"]  # each of livepush's has one at most, and the loop's has none
    assert after["rss"] - before["rss"] < 8 * MIB, (before, after)


async def leave_at_once(server: processes.Server, groups: list[str]) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    path = clients.address("", "sse", groups)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    await writer.drain()
    writer.transport.abort()


async def holdings(server: processes.Server, database: Database) -> dict[str, int]:
    """Return what a server holds when nobody is there any more."""
    await eventually(lambda: asyncio.to_thread(lambda: server.stats()["subscribers"] == 0))
    found: dict[str, Any] = await asyncio.to_thread(server.stats)
    return {
        "rss": faults.rss(found["pid"]),
        "descriptors": faults.descriptors(found["pid"]),
        "threads": found["threads"],
        "tasks": found["tasks"],
        "sessions": sessions(database),
        "events": database.query("SELECT count(*) FROM livepush_event")[0][0],
        "groups": database.query("SELECT count(*) FROM livepush_channelgroup")[0][0],
    }


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_workers_that_are_replaced_very_often_leave_nothing(
    database: Database, scale: Scale, figures: Figures
) -> None:
    count = scale(3, 200)
    options = ["--max-requests", str(LIMIT)]
    with processes.server("gunicorn uvicorn", database, {"DRAIN": 0.1}, options=options) as server:

        async def replaced() -> None:
            async with clients.sse(server.url, "board") as stream:
                await stream.block()
                await many_requests(server.url)
                await stream.rest()
            await eventually(lambda: serves(server))

        await replaced()
        before = {"descriptors": faults.descriptors(server.pid), "rss": faults.rss(server.pid)}
        for _ in range(count):
            await replaced()
        after = {"descriptors": faults.descriptors(server.pid), "rss": faults.rss(server.pid)}
        most = sessions(database)
    figures(workers=count, before=before, after=after, sessions=most)
    assert after["descriptors"] <= before["descriptors"] + 2
    assert after["rss"] - before["rss"] < 4 * MIB
    assert most <= 8
