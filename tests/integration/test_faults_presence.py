"""Presence in several processes: one is killed, one ends, the database is away, ten thousand come at once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from tests.integration import clients
from tests.integration.conftest import Figures
from tests.integration.test_presence import names, pk_of, reading, told
from tests.integration.test_rights import READERS, Site
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Databases

GRACE, LEASE = 1.0, 3.0
SETTINGS = {"PRESENCE_GRACE": GRACE, "PRESENCE_LEASE": LEASE, "DRAIN": 0.5}


class Sites:
    """Two servers on one database, and a process that asks."""

    def __init__(self, one: Site, other: Site) -> None:
        self.one, self.other = one, other

    async def people(self, *users: str) -> list[str]:
        """Return the sessions of some users."""
        return [await self.one.do("session", username=user) for user in users]


@pytest.fixture
def sites(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Sites]:
    kind, server, *words = request.param.split()
    more = dict(word.split("=") for word in words)
    with (
        databases.fresh(kind) as database,
        processes.server(server, database, SETTINGS, may_fail=True, env=more) as one,
        processes.server(server, database, SETTINGS, may_fail=True, env=more) as other,
        processes.publisher(database, SETTINGS, **more) as elsewhere,
    ):
        yield Sites(Site(one, elsewhere, SETTINGS, database), Site(other, elsewhere, SETTINGS, database))


def on(*cases: str) -> pytest.MarkDecorator:
    """Run a test on pairs of a database and a server; the first one is enough for ``make test``."""
    return pytest.mark.parametrize("sites", some(cases), indirect=True)


@contextlib.asynccontextmanager
async def broken_off(url: str, group: str, cookie: str) -> AsyncIterator[Any]:
    """Read until the server is killed, which is no error."""
    context = reading(url, group, cookie)
    yield await context.__aenter__()
    with contextlib.suppress(httpx.HTTPError):
        await context.__aexit__(None, None, None)


@pytest.mark.long
@on("postgresql uvicorn", "mariadb daphne", "sqlite uvicorn", "postgresql daphne")
async def test_a_killed_process_takes_its_members_with_it_when_its_lease_ends(sites: Sites, figures: Figures) -> None:
    group, one, other = "lobby:a", sites.one.server, sites.other.server
    ann, bob, both, ghost = await sites.people("ann", "bob", "both", "ghost")
    async with (
        reading(other.url, group, ghost) as watching,
        reading(other.url, group, both),
        contextlib.AsyncExitStack() as stack,
    ):
        for cookie in (ann, bob, both):
            await stack.enter_async_context(broken_off(one.url, group, cookie))
        await watching.until(lambda: sum(len(who) for kind, who in told(watching) if kind == "join") == 3)

        async def are_four() -> bool:
            return sum(each["connections"] for each in await sites.one.do("members", group=group)) == 4

        await eventually(are_four)
        one.kill()
        killed = time.monotonic()
        expected = sorted([await pk_of(sites.one, "ann"), await pk_of(sites.one, "bob")])
        await watching.until(lambda: [kind for kind, _ in told(watching)].count("leave"))
        took = time.monotonic() - killed
        assert sorted(who for kind, each in told(watching) if kind == "leave" for who in each) == expected
        assert await names(other.url, group) == ["both"]
        figures(seconds_until_leaves=round(took, 2), lease=LEASE)
        assert took < LEASE + 1 + PATIENCE / 10


@pytest.mark.long
@on("postgresql uvicorn", "sqlite daphne", "mariadb uvicorn")
async def test_a_deploy_is_no_leave_for_those_who_come_back(sites: Sites) -> None:
    group, one, other = "lobby:a", sites.one.server, sites.other.server
    ann, bob, ghost = await sites.people("ann", "bob", "ghost")
    async with reading(other.url, group, ghost) as watching:
        async with broken_off(one.url, group, bob) as gone, reading(one.url, group, ann) as moving:
            await watching.until(lambda: sum(len(who) for _, who in told(watching)) == 2)
            one.terminate()
            await moving.until(lambda: moving.end)
            del gone
        async with reading(other.url, group, ann):
            one.wait()
            await watching.until(lambda: told(watching)[-1][0] == "leave")
            assert told(watching)[-1] == ("leave", [await pk_of(sites.one, "bob")])
            assert sum(kind == "leave" for kind, _ in told(watching)) == 1
            assert await names(other.url, group) == ["ann"]


@pytest.mark.long
@pytest.mark.parametrize("transport", READERS)
@on("postgresql uvicorn")
async def test_a_member_of_two_processes_leaves_with_the_last(sites: Sites, transport: str) -> None:
    group = "lobby:a"
    ann, ghost = await sites.people("ann", "ghost")
    async with reading(sites.one.server.url, group, ghost) as watching:
        async with reading(sites.other.server.url, group, ann, transport):
            async with reading(sites.one.server.url, group, ann, transport):
                await watching.until(lambda: told(watching))

                async def are_two() -> bool:
                    (member,) = await sites.one.do("members", group=group)
                    return bool(member["connections"] == 2)

                await eventually(are_two)

            async def is_one() -> bool:
                (member,) = await sites.one.do("members", group=group)
                return bool(member["connections"] == 1)

            await eventually(is_one)
            assert [kind for kind, _ in told(watching)] == ["join"]
        await watching.until(lambda: len(told(watching)) == 2)


@pytest.mark.long
async def test_members_of_two_processes_are_told_through_a_layer_too(databases: Databases) -> None:
    group = "lobby:a"
    with faults.redis() as redis, databases.fresh("postgresql") as database:
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis.url}
        with (
            processes.server("uvicorn", database, SETTINGS, env=env) as one,
            processes.server("daphne", database, SETTINGS, env=env) as other,
            processes.publisher(database, SETTINGS, **env) as elsewhere,
        ):
            ann, ghost = [await asyncio.to_thread(elsewhere.session, user) for user in ("ann", "ghost")]
            async with reading(other.url, group, ghost) as watching:
                async with reading(one.url, group, ann):
                    await watching.until(lambda: told(watching))
                    assert await names(other.url, group) == ["ann"]
                await watching.until(lambda: len(told(watching)) == 2)


@pytest.mark.long
async def test_presence_catches_up_after_the_database_was_away(own_postgresql: Any) -> None:
    server, databases = own_postgresql
    group = "lobby:a"
    with (
        databases.fresh("own") as database,
        processes.server("uvicorn", database, SETTINGS, may_fail=True) as one,
        processes.server("uvicorn", database, SETTINGS, may_fail=True) as other,
    ):
        with processes.publisher(database, SETTINGS) as elsewhere:
            site = Site(one, elsewhere, SETTINGS, database)
            ann, bob, ghost = [await site.do("session", username=user) for user in ("ann", "bob", "ghost")]
        async with reading(one.url, group, ghost) as watching, reading(other.url, group, ann):
            async with reading(one.url, group, bob):
                await watching.until(lambda: sum(len(who) for _, who in told(watching)) == 2)
                server.stop()
                await asyncio.sleep(2 * LEASE)
            await asyncio.sleep(2 * GRACE)
            server.start()
            await watching.until(lambda: told(watching)[-1][0] == "leave")
            assert await names(one.url, group) == ["ann"]
            await asyncio.sleep(2 * LEASE)  # nothing is what must come
            assert [kind for kind, _ in told(watching)].count("leave") == 1


@pytest.mark.long
async def test_ten_thousand_who_come_in_ten_seconds_are_few_writes(databases: Databases, figures: Figures) -> None:
    count, storm = 10_000, "tests.servers.joiners:application"
    with (
        databases.fresh("postgresql") as database,
        processes.server("uvicorn", database, application=storm) as server,
    ):
        async with clients.http() as client:
            found = (await client.get(f"{server.url}/join/?count={count}&seconds=10", timeout=120)).json()
    figures(**found)
    assert found["members"] == count
    assert found["writes"] <= count / 20
