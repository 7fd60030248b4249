"""Exactly the committed events arrive, once, in one order, whatever happens on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.clients import TRANSPORTS
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import processes, warm
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher


def offered(rows: Sequence[dict[str, Any]], groups: Sequence[str]) -> list[dict[str, Any]]:
    """Return the envelopes that a reader of some groups is to get, in order."""
    found = []
    for row in rows:
        mine = [group for group in groups if group in row.get("groups", [row["group"]])]
        if mine:
            several = {"groups": mine} if len(mine) > 1 else {}
            found.append(
                {
                    "id": row["id"],
                    "group": mine[0],
                    **several,
                    "type": row["type"],
                    "data": row["data"],
                    "time": row["time"],
                }
            )
    return found


async def readers(url: str, groups: Sequence[str], since: str, until: str) -> dict[str, list[dict[str, Any]]]:
    """Return what each transport brings behind a position, up to an event of a type."""
    got = await asyncio.gather(*(clients.take(follow(url, groups, since), until) for follow in TRANSPORTS.values()))
    return dict(zip(TRANSPORTS, got, strict=True))


@pytest.mark.long
@pytest.mark.parametrize("kind", some(["postgresql", "mariadb"]))
async def test_a_transaction_that_commits_late_gets_a_late_position(kind: str, databases: Databases) -> None:
    with (
        databases.fresh(kind) as database,
        processes.publisher(database) as a,
        processes.publisher(database) as b,
        processes.server("uvicorn", database) as asgi,
        processes.server(processes.WSGI, database) as wsgi,
    ):
        start = a.position()
        reading = asyncio.gather(
            readers(asgi.url, ["board"], start, "end"),
            clients.take(clients.follow_poll(wsgi.url, ["board"], start), "end"),
        )
        await eventually(lambda: asyncio.to_thread(lambda: asgi.holds() >= 4))
        for transaction in (a, b):
            transaction.do("begin")
        a.send("board", "first", "inserted first")
        b.send("board", "second", "committed first")
        b.do("commit")
        await eventually(lambda: asyncio.to_thread(lambda: database.head() == 1))
        a.do("commit")
        b.send("board", "end")
        by_transport, by_poll = await reading
        rows = b.rows()
        assert [row["type"] for row in rows] == ["second", "first", "end"]
        assert database.query("SELECT position FROM livepush_event ORDER BY id") == [(2,), (1,), (3,)]
        for transport, got in {**by_transport, "poll (WSGI)": by_poll}.items():
            assert got == offered(rows, ["board"]), transport


# Many clients, many cuts

GROUPS = [f"room:{name}" for name in "abcdefgh"]
EVENTS = 5_000
WRITERS = 4
CUTS = 6
STALL = 0.5
FOUR_TRANSPORTS = ("sse", "websocket", "long poll", "poll")


@dataclass
class Client:
    """A client that hops between servers, and remembers one position over all of its connections."""

    transport: str
    groups: list[str]
    position: str
    choose: random.Random
    got: list[dict[str, Any]] = field(default_factory=list)
    cuts: int = 0

    async def read(self, urls: Sequence[str]) -> None:
        """Read until the event of type ``end``, breaking off in mid-stream as often as planned."""
        plan = sorted(self.choose.sample(range(20, 1000), CUTS))
        while not self.got or self.got[-1]["type"] != "end":
            stop_at = plan[self.cuts] if self.cuts < CUTS else -1
            await self._read_once(self.choose.choice(urls), stop_at)

    async def _read_once(self, url: str, stop_at: int) -> None:
        async with contextlib.aclosing(TRANSPORTS[self.transport](url, self.groups, self.position)) as stream:
            async for envelope in stream:
                assert envelope["type"] not in ("livepush.reset", "livepush.bye"), envelope
                self.position = envelope.get("id", self.position)
                if not envelope["type"].startswith("livepush."):
                    self.got.append(envelope)
                    if len(self.got) == stop_at:
                        self.cuts += 1
                        return
                if envelope["type"] == "end":
                    return


def start_writer(database: Database, env: dict[str, str], number: int, seed: int) -> warm.Started:
    plan = {"name": f"writer {number}", "seed": seed, "count": EVENTS // WRITERS, "groups": GROUPS}
    return warm.start(
        "tests.servers.writer",
        json.dumps(plan),
        env=processes.settings_env(database, None, **env),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


async def probes(servers: Sequence[processes.Server]) -> list[dict[str, list[int]]]:
    """Return what each server handed to the layer, and what the layer brought it."""
    async with clients.http() as client:
        return [(await client.get(f"{server.url}/probe/")).json() for server in servers]


async def hubs_listen(servers: Sequence[processes.Server], elsewhere: Publisher) -> None:
    """Start each server's hub, and wait until the layer brings it what another process sends."""
    for server in servers:
        await clients.poll(server.url, "board")

    async def heard() -> bool:
        elsewhere.send("board", "heard")
        return all(probe["received"] for probe in await probes(servers))

    await eventually(heard)


async def dropped(
    servers: Sequence[processes.Server], written: Sequence[dict[str, list[int]]], after: int
) -> list[set[int]]:
    """Return for each server the events behind a number that others handed to the layer and it did not bring."""
    found = []
    counts = await probes(servers)
    for count in counts:
        others = [*written, *(other for other in counts if other is not count)]
        sent = {number for other in others for number in other["sent"] if number > after}
        found.append(sent - set(count["received"]))
    return found


async def stall(servers: Sequence[processes.Server]) -> None:
    """Stop the servers by turns for a moment, as an overloaded machine does, until cancelled."""
    while True:
        for server in servers:
            server.signal(signal.SIGSTOP)
            try:
                await asyncio.sleep(STALL)
            finally:
                server.signal(signal.SIGCONT)
            await asyncio.sleep(STALL)


@pytest.mark.parametrize("layer", some(["pubsub", "none", "core"]))
async def test_every_client_gets_exactly_its_groups_events_in_order(layer: str, database: Database) -> None:
    """20 clients break off and hop between two servers that stall now and then, while four processes write."""
    seed = 20_26
    env = {"LIVEPUSH_TEST_LAYER": layer, "LIVEPUSH_TEST_CAPACITY": "10"}
    with contextlib.ExitStack() as stack:
        if layer != "none":
            env["LIVEPUSH_TEST_REDIS"] = stack.enter_context(processes.valkey())
        elsewhere = stack.enter_context(processes.publisher(database, **env))
        writers = [start_writer(database, env, number, seed + number) for number in range(WRITERS)]
        for writer in writers:
            stack.enter_context(writer)
            stack.callback(writer.kill)
        servers = [
            stack.enter_context(
                processes.server("uvicorn", database, env=env, application="tests.servers.probe:application")
            )
            for _ in range(2)
        ]
        if layer != "none":
            await hubs_listen(servers, elsewhere)
        start = elsewhere.position()
        epoch, _, first = start.partition("-")
        choose = random.Random(seed)
        readers = [
            Client(transport, sorted(choose.sample(GROUPS, 3)), start, random.Random(seed * 100 + number))
            for number, transport in enumerate(FOUR_TRANSPORTS * 5)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdin is not None
            assert await asyncio.to_thread(writer.stdout.readline) == "ready\n"
            writer.stdin.write("go\n")
            writer.stdin.flush()
        reading = asyncio.gather(*(client.read([server.url for server in servers]) for client in readers))
        stalling = asyncio.create_task(stall(servers))
        written = [json.loads(await asyncio.to_thread(writer.stdout.readline)) for writer in writers]  # type: ignore[union-attr]
        stalling.cancel()
        elsewhere.position()
        elsewhere.send(GROUPS, "end")
        async with asyncio.timeout(60):
            await reading
        rows = elsewhere.rows()
        lost = await dropped(servers, written, int(first))
    assert [row["id"] for row in rows] == [f"{epoch}-{number}" for number in range(1, len(rows) + 1)]
    assert sum(len(row.get("groups", [row["group"]])) for row in rows) >= EVENTS
    assert not [row for row in rows if row["type"] == "never"]
    print(f"{len(rows)} rows; of what others sent the layer did not bring {[len(each) for each in lost]}")
    for client in readers:
        assert client.cuts == CUTS
        assert client.got == offered(rows, client.groups), (client.transport, client.groups)
        assert len(client.got) > 1000
    if layer == "core":
        assert all(lost), "the layer dropped nothing, so this proved nothing"
    if layer == "pubsub":
        assert not any(lost)


# A process that dies between commit and settle


def die_after_commit(database: Database, type: str) -> None:
    """Have another process commit an event to ``board`` and die before it is settled."""
    assert warm.start("tests.servers.dying", "board", type, env=database.env).wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("layer", some(["none", "pubsub"]))
async def test_connected_clients_get_what_a_dead_process_left(
    layer: str, database: Database, elsewhere: Publisher
) -> None:
    interval = 1.0
    start = elsewhere.position()
    with contextlib.ExitStack() as stack:
        env = {"LIVEPUSH_TEST_LAYER": layer}
        if layer != "none":
            env["LIVEPUSH_TEST_REDIS"] = stack.enter_context(processes.valkey())
        limits = {"TAIL_INTERVAL": interval, "TAIL_INTERVAL_WITH_LAYER": interval}
        server = stack.enter_context(processes.server("uvicorn", database, limits, env=env))
        reading = asyncio.create_task(readers(server.url, ["board"], start, "left"))
        await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= 4))
        server.signal(signal.SIGSTOP)  # or its sweep could come before the look at the row
        try:
            await asyncio.to_thread(die_after_commit, database, "left")
            assert database.query("SELECT position FROM livepush_event") == [(None,)]
        finally:
            server.signal(signal.SIGCONT)
        began = time.monotonic()
        got = await reading
        assert time.monotonic() - began < interval + 1.0
        assert all(found == offered(elsewhere.rows(), ["board"]) for found in got.values())


@pytest.mark.long
async def test_a_hub_that_starts_settles_what_a_dead_process_left(database: Database, elsewhere: Publisher) -> None:
    start = elsewhere.position()
    die_after_commit(database, "left")
    assert database.query("SELECT position FROM livepush_event") == [(None,)]
    with processes.server("uvicorn", database) as server:
        got = await readers(server.url, ["board"], start, "left")
    assert all(found == offered(elsewhere.rows(), ["board"]) for found in got.values())


@pytest.mark.long
async def test_a_poll_under_wsgi_settles_what_a_dead_process_left(database: Database, elsewhere: Publisher) -> None:
    start = elsewhere.position()
    die_after_commit(database, "left")
    assert database.query("SELECT position FROM livepush_event") == [(None,)]
    with processes.server(processes.WSGI, database) as server:
        answer = (await clients.poll(server.url, "board", since=start)).json()
    assert answer["events"] == offered(elsewhere.rows(), ["board"])
    assert [event["type"] for event in answer["events"]] == ["left"]


# Slow readers


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "transport"),
    some(
        [("uvicorn", "sse"), ("hypercorn", "websocket"), ("uvicorn", "websocket livepush.v1"), ("granian", "sse")],
    ),
)
async def test_a_reader_that_stops_for_a_while_misses_nothing(kind: str, transport: str, databases: Databases) -> None:
    """What is sent meanwhile is many times what the server and the connection hold."""
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server(kind, database, {"BUFFER_BYTES": 100_000, "WINDOW_BYTES": 1_000_000}) as server,
    ):
        start = elsewhere.position()
        async with contextlib.aclosing(TRANSPORTS[transport](server.url, ["board"], start)) as stream:
            assert (await anext(stream))["type"] == "livepush.hello"
            for number in range(400):
                elsewhere.send("board", "moved", [number, "x" * 60_000])
            elsewhere.send("board", "end")
            got = await clients.take(stream, "end")
        assert [event["id"] for event in got] == [row["id"] for row in elsewhere.rows()]


# Pages and requests


async def page_position(url: str) -> str:
    """Render a page; return the position that its tag carries."""
    async with clients.http() as client:
        text = (await client.get(f"{url}/page/")).text
    found = re.search(r'data-position="([^"]+)"', text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize("kind", some(["uvicorn", processes.WSGI]))
async def test_what_happens_between_page_and_connect_arrives(
    kind: str, database: Database, elsewhere: Publisher
) -> None:
    elsewhere.send("board", "before", "the page shows it")
    with processes.server(kind, database) as server:
        position = await page_position(server.url)
        assert position == elsewhere.position()
        elsewhere.send("board", "after", "the page does not show it")
        expected = offered(elsewhere.rows(), ["board"])[1:]
        assert [event["type"] for event in expected] == ["after"]
        if kind == processes.WSGI:
            got = {"poll": await clients.take(clients.follow_poll(server.url, ["board"], position), "after")}
        else:
            got = await readers(server.url, ["board"], position, "after")
        assert all(found == expected for found in got.values()), got


@pytest.mark.long
async def test_an_async_view_sends(database: Database, elsewhere: Publisher) -> None:
    start = elsewhere.position()
    with processes.server("uvicorn", database) as server:
        reading = asyncio.create_task(readers(server.url, ["board"], start, "from-async"))
        async with clients.http() as client:
            assert (await client.get(f"{server.url}/send-async/")).status_code == 200
        got = await reading
    assert all(found == offered(elsewhere.rows(), ["board"]) for found in got.values())


@pytest.mark.long
@pytest.mark.parametrize("kind", some(["uvicorn", processes.WSGI]))
async def test_a_request_that_fails_sends_nothing(kind: str, database: Database, elsewhere: Publisher) -> None:
    """With ``ATOMIC_REQUESTS`` the view's transaction is rolled back, and its events with it."""
    start = elsewhere.position()
    # Django prints the view's exception
    with processes.server(kind, database, env={"LIVEPUSH_TEST_ATOMIC": "1"}, may_fail=True) as server:
        async with clients.http() as client:
            assert (await client.get(f"{server.url}/send-fail/")).status_code == 500
            assert (await client.get(f"{server.url}/send/")).status_code == 200
        follow = clients.follow_poll(server.url, ["board"], start)
        (event,) = await clients.take(follow, "from-request")
        assert event["data"] == {"n": 2}
    assert [row["type"] for row in elsewhere.rows()] == ["from-request"]
    assert database.query("SELECT count(*) FROM livepush_event") == [(1,)]


# One send to several groups


@pytest.mark.long
async def test_a_send_to_two_groups_arrives_once_where_a_page_of_the_log_ends_in_it(
    database: Database, elsewhere: Publisher
) -> None:
    start = elsewhere.position()
    groups = ["room:a", "room:b"]
    with processes.server("uvicorn", database) as server:
        reading = asyncio.create_task(readers(server.url, groups, start, "end"))
        await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= 4))
        for round in range(3):  # the server's own sweep may come first, and then there is no page
            elsewhere.do("begin")
            count = 1001 if round else 1000
            await asyncio.to_thread(elsewhere.do, "send_many", groups="room:a", type="one", count=count)
            elsewhere.send(groups, "both", round)
            await asyncio.to_thread(elsewhere.do, "commit")
            await asyncio.to_thread(elsewhere.position)
        elsewhere.send("room:a", "end")
        got = await reading
    expected = offered(elsewhere.rows(), groups)
    for transport, found in got.items():
        assert found == expected, transport


@pytest.mark.long
async def test_a_send_to_two_groups_arrives_once_where_a_message_of_the_layer_ends_in_it(database: Database) -> None:
    groups = ["room:a", "room:b"]
    with processes.valkey() as redis:
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis}
        with (
            processes.publisher(database, **env) as elsewhere,
            processes.server("uvicorn", database, env=env) as server,
        ):
            start = elsewhere.position()
            reading = asyncio.create_task(readers(server.url, groups, start, "end"))
            await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= 4))
            elsewhere.do("begin")
            for _ in range(3):
                elsewhere.send("room:a", "one", "x" * 65_000)
            elsewhere.send(groups, "both", "y" * 65_000)
            elsewhere.do("commit")
            elsewhere.send("room:a", "end")
            got = await reading
            expected = offered(elsewhere.rows(), groups)
    for transport, found in got.items():
        assert [event["type"] for event in found] == [event["type"] for event in expected], transport
        assert found == expected
