"""Streams under faults: what a reader ends up with is exactly what was written, or what a dead producer had stored."""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import httpx
import pytest

from tests.patience import PATIENCE, eventually
from tests.scale import FULL, some
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import Server
from tests.streams.readers import Follower, begin, get, poll, reading, stop
from tests.streams.site import BULK, words

SETTINGS = {"DRAIN": 0.2, "RETRY": 0.2}


@pytest.fixture
def servers(database: Database) -> Iterator[list[Server]]:
    """Two servers on one database, without a layer."""
    with ExitStack() as stack:
        yield [stack.enter_context(processes.server("uvicorn", database, SETTINGS, may_fail=True)) for _ in range(2)]


@pytest.mark.long
async def test_a_producer_that_is_killed_ends_its_stream_as_interrupted_with_what_it_had(servers):
    other, doomed = servers
    id = await begin(doomed.url, words=100_000, pause=0.01)
    async with reading(other.url, id) as found:
        await found.until("word30 ")
        doomed.kill()
        killed = time.monotonic()
        assert await found.to_end() == "interrupted"
        assert time.monotonic() - killed < 10
    assert words(100_000).startswith(found.text)
    late = await poll(other.url, id)
    assert late["state"] == "interrupted"
    assert found.text.startswith(late["parts"][0])  # a live reader may have seen what was not stored yet
    assert len(found.text) - late["offset"] < 200


async def test_a_server_s_end_waits_for_its_producers(servers):
    other, ending = servers
    await see_a_stream_to_its_end(ending, other)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "option"), [("granian", "--workers-kill-timeout"), ("gunicorn", "--graceful-timeout")]
)
async def test_servers_that_kill_after_a_time_wait_for_their_producers_too(kind, option, database):
    with (
        processes.server("uvicorn", database, SETTINGS) as other,
        processes.server(kind, database, SETTINGS, options=[option, "20"], may_fail=True) as ending,
    ):
        await see_a_stream_to_its_end(ending, other)


async def see_a_stream_to_its_end(ending, other):
    """End a server that writes a stream; its reader goes on at the other one, and has all of it."""
    id = await begin(ending.url, words=100, pause=0.02)
    follower = Follower([ending.url, other.url], id)
    running = asyncio.create_task(follower.run())
    await eventually(lambda: "word10 " in follower.text)
    await asyncio.to_thread(ending.stop)
    await asyncio.wait_for(running, PATIENCE)
    assert (follower.state, follower.text) == ("finished", words(100))
    assert follower.connections > 1


@pytest.mark.long
async def test_a_producer_that_does_not_finish_in_time_is_interrupted_at_once(database):
    with (
        processes.server("uvicorn", database, {**SETTINGS, "DRAIN_STREAMS": 0.3}) as ending,
        processes.server("uvicorn", database, SETTINGS) as other,
    ):
        id = await begin(ending.url, words=100_000, pause=0.02)
        async with reading(other.url, id) as found:
            await found.until("word10 ")
            await asyncio.to_thread(ending.stop)
            stopped = time.monotonic()
            assert await found.to_end() == "interrupted"
            assert time.monotonic() - stopped < 2
    assert words(100_000).startswith(found.text)


FINISHED = """
import time
import django
django.setup()
from livepush import streams
from livepush.streams import store

def append_slowly(*args, append=store.append):
    time.sleep(0.5)
    append(*args)

store.append = append_slowly
stream = streams.start_in_thread("job:1", ["a", "b"])
while stream._buffer.ending is None:
    time.sleep(0.001)
"""


def test_a_process_that_ends_stores_the_streams_that_have_finished(database):
    subprocess.run([sys.executable, "-c", FINISHED], env=database.env, cwd=ROOT, check=True, timeout=PATIENCE)
    assert database.query("SELECT state, length FROM livepush_stream") == [("finished", 2)]


WAYS = [
    "postgresql notify", "mariadb pubsub", "sqlite none", "postgresql none", "postgresql pubsub", "mariadb none",
    "sqlite pubsub",
]  # fmt: skip
"""Databases, and how processes tell each other: a layer, NOTIFY or neither."""


class Site:
    """Servers on one database, which tell each other in one way."""

    def __init__(self, database: Database, hint: str, redis: str) -> None:
        self._database = database
        self._env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis} if redis else {}
        self._settings = {**SETTINGS, "HINT": "channels" if redis else hint}

    def server(self, **settings: Any) -> AbstractContextManager[Server]:
        """Run a server."""
        found = {**self._settings, **settings}
        return processes.server("uvicorn", self._database, found, env=self._env, may_fail=True)

    def may_stop(self) -> dict[str, str]:
        """Return the headers of a user who may stop streams."""
        with processes.publisher(self._database) as elsewhere:
            cookie = elsewhere.session("ann")
        return {"Cookie": f"{cookie}; csrftoken={'x' * 32}", "X-CSRFToken": "x" * 32}


@pytest.fixture
def site(way: str, databases: Databases) -> Iterator[Site]:
    kind, hint = way.split()
    with ExitStack() as stack:
        redis = stack.enter_context(processes.valkey()) if hint == "pubsub" else ""
        yield Site(stack.enter_context(databases.fresh(kind)), hint, redis)


def audit(follower: Follower, state: str, text: str) -> None:
    """Check that a reader got a text exactly, and each part of it at its offset."""
    assert (follower.state, follower.wrong) == (state, [])
    assert follower.text == text
    assert follower.offset == len(text)


@pytest.mark.parametrize("way", some(WAYS))
async def test_nothing_is_lost_or_repeated_over_cuts_restarts_and_changes_of_process(site, figures, way):
    """The producer's server stays; its readers are cut, change process, and their server is killed."""
    count, cuts, pause = (10_000, 50, 0.004) if FULL else (700, 6, 0.004)
    chance = random.Random(str(way))
    with site.server() as producing, site.server() as second:
        id = await begin(producing.url, words=count, pause=pause)
        followers = [Follower([producing.url, second.url], id) for _ in range(3)]
        running = [asyncio.create_task(each.run()) for each in followers]
        for number in range(cuts):
            await asyncio.sleep(chance.uniform(0.05, 0.6 if not FULL else 1.2))
            if number % 6 == 5:
                second.kill()
                await asyncio.to_thread(second.start)
                continue
            follower = chance.choice(followers)
            follower.at += chance.randrange(2)
            follower.cut()
        await asyncio.wait_for(asyncio.gather(*running), 4 * PATIENCE)
    figures(tokens=count, cuts=cuts, connections=[each.connections for each in followers])
    for each in followers:
        audit(each, "finished", words(count))


@pytest.mark.parametrize("way", some(WAYS[1:], 0))
async def test_what_a_killed_producer_had_stored_is_what_late_readers_get_everywhere(site, way):
    with site.server() as other, site.server() as doomed, site.server() as third:
        id = await begin(doomed.url, words=100_000, pause=0.005)
        live = Follower([other.url], id)
        running = asyncio.create_task(live.run())
        await eventually(lambda: "word50 " in live.text)
        doomed.kill()
        await asyncio.wait_for(running, PATIENCE)
        late = [Follower([each.url], id) for each in (other, third)]
        await asyncio.wait_for(asyncio.gather(*(each.run() for each in late)), PATIENCE)
    stored = late[0].text
    assert words(100_000).startswith(stored)
    for each in late:
        audit(each, "interrupted", stored)
    assert (live.state, live.text[: len(stored)]) == ("interrupted", stored)


@pytest.mark.long
@pytest.mark.parametrize("way", some(WAYS[2:]))
async def test_a_server_s_end_and_a_stop_keep_all_that_was_written(site, way):
    """One producer is interrupted by the end of its server, and one is stopped by a reader elsewhere."""
    with site.server() as other, site.server(DRAIN_STREAMS=0.3) as ending:
        doomed, stopped = [await begin(url, words=100_000, pause=0.005) for url in (ending.url, other.url)]
        cut, told = Follower([ending.url, other.url], doomed), Follower([other.url], stopped)
        running = [asyncio.create_task(each.run()) for each in (cut, told)]
        await eventually(lambda: all("word50 " in each.text for each in (cut, told)))
        await asyncio.to_thread(ending.stop)
        assert (await stop(other.url, stopped, await asyncio.to_thread(site.may_stop))).status_code == 204
        await asyncio.wait_for(asyncio.gather(*running), PATIENCE)
        late = [Follower([other.url], id) for id in (doomed, stopped)]
        await asyncio.wait_for(asyncio.gather(*(each.run() for each in late)), PATIENCE)
    for live, again, state in zip((cut, told), late, ("interrupted", "stopped"), strict=True):
        assert words(100_000).startswith(again.text)
        audit(live, state, again.text)
        audit(again, state, again.text)


@pytest.mark.long
async def test_a_client_that_does_not_read_holds_up_nobody_and_costs_little(servers):
    """It goes on from the database, from where it is."""
    server, _ = servers
    id = await begin(server.url, words=1000, pause=0.001, bulk=100)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.sendall(f"GET /livepush/streams/{id}/?format=text HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        before = faults.rss(server.pid)
        follower = Follower([server.url], id)
        await asyncio.wait_for(follower.run(), 2 * PATIENCE)
        assert (follower.state, follower.text) == ("finished", "x" * 100 * BULK + words(1000))
        assert faults.rss(server.pid) - before < 48 * 1_048_576
        slow.settimeout(PATIENCE)
        got = await asyncio.to_thread(lambda: b"".join(iter(lambda: slow.recv(1 << 20), b"")))
    assert got.partition(b"\r\n\r\n")[2].decode() == follower.text


@pytest.mark.long
async def test_a_database_that_is_away_costs_time_and_no_text(own_postgresql):
    server, databases = own_postgresql
    with databases.fresh("own") as database, ExitStack() as stack:
        one, two = (
            stack.enter_context(processes.server("uvicorn", database, SETTINGS, may_fail=True)) for _ in range(2)
        )
        id = await begin(one.url, words=400, pause=0.03)
        followers = [Follower([url], id) for url in (one.url, two.url)]
        running = [asyncio.create_task(each.run()) for each in followers]
        await eventually(lambda: all("word20 " in each.text for each in followers))
        await asyncio.to_thread(server.stop)
        known = followers[0].offset
        await eventually(lambda: followers[0].offset > known + 100)  # live text comes without the database
        await asyncio.sleep(60 if FULL else 7)  # longer than a lease
        await asyncio.to_thread(server.start)
        await asyncio.wait_for(asyncio.gather(*running), 4 * PATIENCE)
    assert [(each.state, each.text) for each in followers] == [("finished", words(400))] * 2


@pytest.mark.long
async def test_a_database_host_that_vanishes_is_given_up(own_postgresql):
    """Connections that were open hang for ever; new ones work."""
    server, databases = own_postgresql
    with databases.fresh("own") as database, faults.line(server.socket) as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)
        settings = {**SETTINGS, "DATABASE_TIMEOUT": 1.0}
        with processes.server("uvicorn", through, settings, may_fail=True) as one:
            id = await begin(one.url, words=300, pause=0.02)
            follower = Follower([one.url], id)
            running = asyncio.create_task(follower.run())
            await eventually(lambda: "word20 " in follower.text)
            await asyncio.to_thread(line.abandon)
            await asyncio.wait_for(running, PATIENCE)
    assert (follower.state, follower.text) == ("finished", words(300))


@pytest.mark.long
async def test_a_database_host_that_vanishes_while_text_flows_is_given_up(own_postgresql):
    """Text is stored again while it goes on: nobody has to wait for its end."""
    server, databases = own_postgresql
    with databases.fresh("own") as database, faults.line(server.socket) as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)
        settings = {**SETTINGS, "DATABASE_TIMEOUT": 1.0}

        def stored() -> int:
            ((end,),) = database.query('SELECT COALESCE(MAX("end"), 0) FROM livepush_streamchunk')
            return int(end)

        with processes.server("uvicorn", through, settings, may_fail=True) as one:
            id = await begin(one.url, words=100_000, pause=0.02)
            await eventually(lambda: stored() > 100)
            await asyncio.to_thread(line.abandon)
            known = stored()
            await eventually(lambda: stored() > known + 100)
            assert (await poll(one.url, id, wait=0))["state"] == "running"


@pytest.mark.long
async def test_a_database_host_that_vanishes_costs_no_stream_though_new_connections_hang_too(own_postgresql):
    """The address leads to the old host for a while. Whatever was connecting then never gets an answer."""
    server, databases = own_postgresql
    with databases.fresh("own") as database, faults.line(server.socket) as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)
        settings = {**SETTINGS, "DATABASE_TIMEOUT": 4.0}
        with processes.server("uvicorn", through, settings, may_fail=True) as one:
            id = await begin(one.url, words=1000, pause=0.02)
            follower = Follower([one.url], id)
            running = asyncio.create_task(follower.run())
            await eventually(lambda: "word20 " in follower.text)
            line.stall()
            await asyncio.sleep(8)  # what was in a statement was cut off, and connects
            await asyncio.to_thread(line.abandon)
            line.flow()
            await asyncio.wait_for(running, 2 * PATIENCE)
    assert (follower.state, follower.text) == ("finished", words(1000))


@pytest.mark.long
async def test_a_process_whose_connections_hang_loses_no_stream_to_others_whose_database_answers(own_postgresql):
    server, databases = own_postgresql
    with databases.fresh("own") as database, faults.line(server.socket) as line, ExitStack() as stack:
        through = database.through(HOST="127.0.0.1", PORT=line.port)
        one, other = (
            stack.enter_context(processes.server("uvicorn", each, SETTINGS, may_fail=True))
            for each in (through, database)
        )
        id = await begin(one.url, words=1000, pause=0.02)
        follower = Follower([other.url], id)
        running = asyncio.create_task(follower.run())
        await eventually(lambda: "word20 " in follower.text)
        await asyncio.to_thread(line.abandon)
        await asyncio.wait_for(running, 2 * PATIENCE)
    assert (follower.state, follower.text) == ("finished", words(1000))


@pytest.mark.long
async def test_a_deleted_stream_ends_its_readers(servers, database):
    id = await begin(servers[0].url, words=100, pause=0.02)
    async with reading(servers[1].url, id) as found:
        await found.until("word5 ")
        for table in ("livepush_stream", "livepush_streamchunk"):
            database.query(f"DELETE FROM {table} RETURNING 1")
        assert await found.to_end() == "cut"
    with pytest.raises((AssertionError, httpx.HTTPError)):
        await poll(servers[1].url, id, wait=0)


@pytest.mark.long
async def test_what_a_forgotten_user_was_reading_ends_everywhere_and_leaves_nothing(servers, database):
    """The producer is in one process, the reader in another, and the user is forgotten in a third."""
    producing, other = servers
    with processes.publisher(database, SETTINGS) as elsewhere:
        cookie = {"Cookie": elsewhere.session("ann")}
        ((pk,),) = database.query("SELECT id FROM auth_user WHERE username = 'ann'")
        id = await begin(producing.url, words=100_000, pause=0.01, group=f"user:{pk}")
        async with reading(other.url, id, headers=cookie) as found:
            await found.until("word20 ")
            assert elsewhere.do("forget", username="ann")["streams"] == 1
            assert await found.to_end() == "cut"
        again = await get(other.url, id, headers=cookie, wait=0)
        assert (again.status_code, again.json()["code"]) == (404, "unknown_stream")
        await eventually(lambda: not database.query("SELECT 1 FROM livepush_streamproducer"))  # it has ended
        assert database.query("SELECT 1 FROM livepush_streamchunk") == []
        assert database.query("SELECT 1 FROM livepush_stream") == []
