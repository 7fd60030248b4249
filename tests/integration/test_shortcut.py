"""What is live goes straight to uvicorn's transports, byte for byte as uvicorn would send it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import urllib.request
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import websockets

from livepush.process.servers import uvicorn
from tests.integration.audit import Follower, audit, committed, running
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher

PROBE = "tests.servers.probe:application"
WRAPPED = "tests.servers.wrapped:application"
TRANSPORTS = ("sse", "websocket", "websocket livepush.v1")


@pytest.fixture
def unusual(monkeypatch):
    """Give uvicorn other options."""

    def give(*options: str) -> None:
        plain = processes.command
        monkeypatch.setattr(processes, "command", lambda kind, *rest: [*plain(kind, *rest), *options])

    return give


@pytest.mark.parametrize("http", some(["httptools", "h11"]))
async def test_under_uvicorn_live_events_take_the_short_way(
    http: str, unusual, database: Database, elsewhere: Publisher
) -> None:
    unusual("--http", http, "--ws", "websockets-sansio")  # the default since 0.50
    with processes.server("uvicorn", database, application=PROBE) as server:
        found = await followed(server, database, elsewhere)
        assert found == len(TRANSPORTS)


@pytest.mark.long
@pytest.mark.parametrize("kind", some(["daphne", "hypercorn", "granian"]))
async def test_under_other_servers_there_is_none_and_events_come_all_the_same(
    kind: str, database: Database, elsewhere: Publisher
) -> None:
    with processes.server(kind, database, application=PROBE) as server:
        assert await followed(server, database, elsewhere) == 0


async def test_where_something_wraps_the_send_it_is_not_bypassed(database: Database, elsewhere: Publisher) -> None:
    with processes.server("uvicorn", database, application=WRAPPED) as server:
        assert await followed(server, database, elsewhere) == 0


@pytest.mark.parametrize(
    ("kind", "options", "module"),
    some(
        [
            ("uvicorn", (), "uvicorn"),
            ("uvicorn", ("--http", "httptools"), "uvicorn"),
            ("daphne", (), "daphne"),
            ("hypercorn", (), "hypercorn"),
            ("granian", (), ""),
        ]
    ),
)
async def test_the_transport_beneath_a_request_is_found(
    kind: str, options: tuple[str, ...], module: str, unusual, database: Database
) -> None:
    unusual(*options)
    with processes.server(kind, database, application="tests.servers.transports:application") as server:
        assert urllib.request.urlopen(server.url).read().decode() == module
        async with websockets.connect(server.ws_url) as client:
            assert await client.recv() == module


async def followed(server: processes.Server, database: Database, elsewhere: Publisher) -> int:
    """Follow a group by every transport; return how many connections had a short way. The audit must be clean."""
    start = elsewhere.position()
    followers = [Follower(server.url, ["board"], start, each) for each in TRANSPORTS]
    async with running(followers):
        await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= len(followers)))
        for number in range(20):
            await asyncio.to_thread(elsewhere.send, "board", "moved", {"n": number, "x": "é" * 10 ** (number % 5)})
        for each in followers:
            await each.until(database.head())
        short = server.stats()["short"]
    found = audit(committed(database), followers)
    assert found.clean, found
    return int(short)


async def test_a_client_that_offers_compression_gets_none(database: Database, elsewhere: Publisher) -> None:
    with processes.server("uvicorn", database, application=PROBE) as server:
        url = f"{server.ws_url}/livepush/ws/?group=board"
        async with websockets.connect(url, compression="deflate", origin=server.url) as client:
            assert "Sec-WebSocket-Extensions" not in client.response.headers
            assert "livepush.hello" in await client.recv()
            for size in (10, 300, 60_000):
                await asyncio.to_thread(elsewhere.send, "board", "moved", "x" * size)
                assert "x" * size in await client.recv()
            await client.send('{"command": "ping", "ref": 1}')
            assert '"ref":1' in await client.recv()


@contextlib.contextmanager
def streaming(server: processes.Server, version: int) -> Iterator[http.client.HTTPResponse]:
    """Ask for a stream with a version of HTTP."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=10)
    connection._http_vsn, connection._http_vsn_str = version, f"HTTP/{version / 10}"
    with contextlib.closing(connection):
        connection.request("GET", "/livepush/sse/?group=board")
        yield connection.getresponse()


@pytest.mark.long
@pytest.mark.parametrize("http", some(["httptools", "h11"]))
@pytest.mark.parametrize("version", some([11, 10]))
def test_a_stream_is_whole_in_every_version_of_http(
    http: str, version: int, unusual, database: Database, elsewhere: Publisher
) -> None:
    unusual("--http", http)
    with processes.server("uvicorn", database, application=PROBE) as server, streaming(server, version) as response:
        assert b"livepush.hello" in b"".join(response.readline() for _ in range(3))
        elsewhere.send("board", "moved", 1)
        elsewhere.send("board", "moved", 2)
        lines = []
        while b"data: 2\n" not in lines:
            lines.append(response.readline())
        assert lines.count(b"event: moved\n") == 2
        assert all(line.split(b":")[0] in (b"id", b"event", b"data", b"\n", b"") for line in lines), lines


def test_a_transport_whose_client_does_not_read_takes_nothing():
    async def fill() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
        with contextlib.closing(theirs):
            write_now = uvicorn.writer(transport)
            assert write_now(b"x" * 10_000_000)
            assert not write_now(b"x")
            transport.abort()
            assert not write_now(b"x")

    asyncio.run(fill())


def test_what_is_no_server_of_uvicorns_has_no_short_way():
    class Other:
        async def send(self, message: object) -> None: ...

    assert uvicorn.direct_transport(Other().send) is None
    assert uvicorn.direct_transport(lambda message: None) is None
