"""A database that restarts, refuses, vanishes, times out or hangs up: hubs recover, and nothing is half done."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.integration.audit import TRANSPORTS, Audit, Follower, audit, committed, running
from tests.integration.clients import http
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database, Databases
from tests.servers.senders import senders

GROUPS = ["board", "room:a", "room:b", "user:1"]
THREADS = 4
"""``DATABASE_THREADS`` as it is by default."""
CONNECTIONS: dict[str, dict[str, Any]] = {
    "neither": {},
    "CONN_MAX_AGE": {"CONN_MAX_AGE": 60},
    "pool": {"OPTIONS": {"pool": True}},
}
"""How Django keeps connections."""


class Place(NamedTuple):
    """A database on a PostgreSQL server of the module's own, and what it takes to break and count."""

    server: faults.PostgreSQL
    database: Database
    cookie: str
    """The ``Cookie`` header of user 1."""
    start: str
    """The log's position."""

    def named(self, name: str, options: dict[str, Any] | None = None, **settings: Any) -> Database:
        """Return the database for a process whose connections bear a name."""
        more = {**settings.pop("OPTIONS", {}), **(options or {}), "application_name": name}
        return self.database.through(OPTIONS=more, **settings)

    def connections(self, name: str) -> int:
        """Return how many connections of that name there are."""
        return int(
            self.database.query(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'")[0][0]
        )

    def hang_up(self, *names: str) -> None:
        """Have the server close the idle connections of those names."""
        quoted = ", ".join(f"'{name}'" for name in names)
        self.database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE state = 'idle' AND application_name IN ({quoted})"
        )

    def hold(self, *statements: str) -> psycopg.Connection[Any]:
        """Return a connection in a transaction that did something."""
        address = {"host": str(Path(self.server.socket).parent), "user": "postgres", "dbname": self.database.name}
        connection = psycopg.connect(**address)
        for statement in statements:
            connection.execute(statement)
        return connection


@pytest.fixture
def place(own_postgresql: tuple[faults.PostgreSQL, Databases]) -> Iterator[Place]:
    server, databases = own_postgresql
    with databases.fresh("own") as database:
        with processes.publisher(database) as elsewhere:
            cookie = elsewhere.session("ann")
            start = elsewhere.position()
        assert database.query("SELECT id FROM auth_user") == [(1,)]
        yield Place(server, database, cookie, start)


@contextlib.asynccontextmanager
async def following(url: str, place: Place, each: int) -> AsyncIterator[list[Follower]]:
    """Run so many followers of every transport; all are logged in, and follow a group that is theirs alone."""
    headers = {"Cookie": place.cookie}
    followers = [
        Follower(url, GROUPS, place.start, name, headers=headers, pause=0.1) for name in TRANSPORTS for _ in range(each)
    ]
    async with running(followers):
        yield followers


async def on_air(followers: Sequence[Follower]) -> None:
    """Wait until everybody is connected."""
    await eventually(lambda: all(each.open for each in followers))


async def caught_up(place: Place, followers: Sequence[Follower]) -> Audit:
    """Send a last event, wait until everybody is there, and audit."""
    with processes.publisher(place.database) as elsewhere:
        await asyncio.to_thread(elsewhere.send, "board", "end")
    await eventually(lambda: not place.database.unsettled())
    last = place.database.head()
    await asyncio.gather(*(each.until(last) for each in followers))
    return audit(committed(place.database), followers)


async def reached(place: Place, followers: Sequence[Follower], beyond: int) -> float:
    """Wait until everybody has had an event behind a number; return how long (seconds) it took."""
    began = time.monotonic()
    await asyncio.gather(*(each.until(beyond + 1) for each in followers))
    return round(time.monotonic() - began, 1)


def troubles(followers: Sequence[Follower]) -> dict[str, int]:
    """Count what went wrong on followers' ways."""
    found: dict[str, int] = {}
    for each in followers:
        for name, count in (each.troubles + each.said).items():
            if name not in ("hello", "position", "reply"):
                found[name] = found.get(name, 0) + count
    return found


async def test_a_restart_of_the_database_delays_events_and_loses_none(
    place: Place, scale: Scale, figures: Figures
) -> None:
    waits = []
    with (
        processes.server("uvicorn", place.named("server"), {"DATABASE_TIMEOUT": 5}) as server,
        senders(place.database, GROUPS) as sending,
    ):
        async with following(server.url, place, scale(1, 20)) as followers:
            sending.start(pause=0.02)
            sending.start(pause=0.02)
            await on_air(followers)
            for _ in range(scale(1, 10)):
                head = place.database.head()
                await reached(place, followers, head)
                await asyncio.to_thread(place.server.stop)
                await asyncio.to_thread(place.server.start)
                waits.append(await reached(place, followers, place.database.head()))
            await asyncio.to_thread(sending.stop)
            found = await caught_up(place, followers)
            counts = sending.account()
    figures(restarts=len(waits), delivers_again_within=waits, sends=counts, audit=found, troubles=troubles(followers))
    assert found.clean, found
    assert found.resets == 0
    assert counts["sent"]


@pytest.mark.long
async def test_a_database_that_refuses_connections_for_a_while_is_found_again(
    place: Place, scale: Scale, figures: Figures
) -> None:
    """The senders' way to it is another: events go on, and the server knows of none."""
    with faults.line(place.server.socket) as line:
        through = {"HOST": "127.0.0.1", "PORT": line.port}
        with (
            processes.server("uvicorn", place.named("server", **through)) as server,
            senders(place.database, GROUPS) as sending,
        ):
            async with following(server.url, place, scale(1, 20)) as followers:
                sending.start(pause=0.02)
                sending.start(database=place.named("cut off", **through), pause=0.02)
                await on_air(followers)
                await asyncio.to_thread(line.refuse)
                headers = {"Cookie": place.cookie}
                late = [Follower(server.url, GROUPS, place.start, name, headers=headers) for name in TRANSPORTS]
                tasks = [asyncio.create_task(each.run()) for each in late]
                await asyncio.sleep(scale(2, 30))
                head = place.database.head()
                await asyncio.to_thread(line.accept)
                wait = await reached(place, [*followers, *late], head)
                await asyncio.to_thread(sending.stop)
                found = await caught_up(place, [*followers, *late])
                counts = sending.account()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    figures(
        refused_for=scale(2, 30),
        delivers_again_within=wait,
        sends=counts,
        audit=found,
        troubles=troubles([*followers, *late]),
    )
    assert found.clean, found
    assert found.resets == 0
    assert counts["OperationalError"]


@pytest.mark.long
@pytest.mark.parametrize("kept", some([*CONNECTIONS]))
async def test_a_database_host_that_vanishes_is_given_up_and_its_successor_found(
    place: Place, kept: str, scale: Scale, figures: Figures
) -> None:
    """Connections that were open hang for ever, as after a failover whose old host sends nothing any more."""
    limit = scale(1, 10)
    waits = []
    with faults.line(place.server.socket) as line:
        database = place.named("server", **CONNECTIONS[kept], HOST="127.0.0.1", PORT=line.port)
        with (
            processes.server("uvicorn", database, {"DATABASE_TIMEOUT": limit}) as server,
            senders(place.database, GROUPS) as sending,
        ):
            async with following(server.url, place, scale(2, 20)) as followers:
                sending.start(pause=0.02)
                await on_air(followers)
                for _ in range(scale(1, 5)):
                    await reached(place, followers, place.database.head())
                    async with http() as views:  # they leave a pool full of connections that will be dead
                        await asyncio.gather(*(views.get(f"{server.url}/send/") for _ in range(8)))
                    await asyncio.to_thread(line.abandon)
                    waits.append(await reached(place, followers, place.database.head()))
                await asyncio.to_thread(sending.stop)
                found = await caught_up(place, followers)
                counts = sending.account()
    figures(
        kept=kept, limit=limit, delivers_again_within=waits, sends=counts, audit=found, troubles=troubles(followers)
    )
    assert found.clean, found
    assert found.resets == 0
    assert set(counts) <= {"sent", "undone"}


@pytest.mark.long
async def test_statements_that_time_out_fail_alone(place: Place, scale: Scale, figures: Figures) -> None:
    """Somebody holds the head's row, then the whole table, for longer than a statement may take."""
    limit = {"options": "-c statement_timeout=300"}
    with (
        processes.server("uvicorn", place.named("server", limit)) as server,
        senders(place.database, GROUPS) as sending,
    ):
        async with following(server.url, place, scale(1, 20)) as followers:
            sending.start(database=place.named("sender", limit), pause=0.02)
            await on_air(followers)
            for _ in range(scale(1, 5)):
                held = place.hold("SELECT * FROM livepush_loghead FOR UPDATE")
                await eventually(lambda: place.database.unsettled() > 5)
                held.close()
                await reached(place, followers, place.database.head())
                held = place.hold("LOCK TABLE livepush_event IN ACCESS EXCLUSIVE MODE")
                await eventually(lambda: any(each["outcome"] == "OperationalError" for each in sending.all[0].reports))
                await asyncio.sleep(1)
                held.close()
                await reached(place, followers, place.database.head())
            await asyncio.to_thread(sending.stop)
            found = await caught_up(place, followers)
            counts = sending.account()
    figures(sends=counts, audit=found, troubles=troubles(followers))
    assert found.clean, found
    assert found.resets == 0
    assert counts["OperationalError"]
    assert not counts["failed, but committed"]


@pytest.mark.long
@pytest.mark.parametrize("kept", some([*CONNECTIONS]))
async def test_connections_that_the_server_closes_while_they_are_idle_are_replaced(
    place: Place, kept: str, scale: Scale, figures: Figures
) -> None:
    with (
        processes.server("uvicorn", place.named("server", **CONNECTIONS[kept])) as server,
        senders(place.database, GROUPS) as sending,
    ):
        async with following(server.url, place, scale(1, 20)) as followers:
            sending.start(database=place.named("sender"), pause=0.02)
            await on_air(followers)
            async with faults.every(0.3, lambda: place.hang_up("server", "sender")):
                for _ in range(scale(3, 40)):
                    await reached(place, followers, place.database.head())
                    await asyncio.sleep(0.3)
            await asyncio.to_thread(sending.stop)
            found = await caught_up(place, followers)
            counts = sending.account()
    figures(kept=kept, sends=counts, audit=found, troubles=troubles(followers))
    assert found.clean, found
    assert found.resets == 0
    # Whoever loses the connection at the commit can't know how it ended.
    assert counts["failed, but committed"] <= counts["OperationalError"] / 10


@pytest.mark.long
@pytest.mark.parametrize("kept", some([*CONNECTIONS]))
async def test_the_connections_to_the_database_are_few_however_many_clients_there_are(
    place: Place, kept: str, scale: Scale, figures: Figures
) -> None:
    """Hundreds of clients who are logged in; then views want connections too."""
    most = 0
    allowed = {"MAX_HANDSHAKES_PER_CLIENT": 5000, "MAX_CONNECTIONS_PER_USER": 5000}  # all of them are one user

    def count() -> None:
        nonlocal most
        most = max(most, place.connections("server"))

    with (
        processes.server("uvicorn", place.named("server", **CONNECTIONS[kept]), allowed) as server,
        senders(place.database, GROUPS) as sending,
    ):
        async with following(server.url, place, scale(20, 200)) as followers, faults.every(0.3, count):
            sending.start(pause=0.05)
            await on_air(followers)
            await reached(place, followers, place.database.head())
            clients = most
            async with http() as views:
                began = time.monotonic()
                answers = await asyncio.gather(*(views.get(f"{server.url}/send/") for _ in range(20)))
                waited = round(time.monotonic() - began, 1)
            await asyncio.to_thread(sending.stop)
            found = await caught_up(place, followers)
    figures(
        kept=kept,
        clients=len(followers),
        connections=clients,
        with_20_views_at_once=most,
        views_took=waited,
        audit=found,
    )
    assert found.clean, found
    assert [answer.status_code for answer in answers] == [200] * 20
    kept_by_a_view = kept == "CONN_MAX_AGE"  # the one that said that the server is ready
    assert 0 < clients <= 2 + THREADS + kept_by_a_view
