"""Servers that end without a signal, or recycle their workers: streams are told to come back, and hold nothing up."""

from __future__ import annotations

import asyncio
import json
import signal
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.integration import clients
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database

LIMIT = 30
"""After how many requests a worker ends. The server's start and the streams take a few."""
FRESH = {"DRAIN": 1.0}


@dataclass
class Ended:
    """What clients were told as a server ended."""

    sse: bytes
    websocket: list[dict[str, Any]]
    close: tuple[int, str] | None
    poll: httpx.Response | BaseException


async def streams_until(server: processes.Server, end: Any) -> Ended:
    """Open a stream of each kind, have the server end, and return what the clients were told."""
    start = (await clients.poll(server.url, "board")).json()["position"]
    async with clients.sse(server.url, "board") as stream, clients.websocket(server.url, "board") as socket:
        assert (await stream.fields())["event"] == "livepush.hello"
        await clients.frame(socket)
        held = asyncio.create_task(clients.poll(server.url, "board", since=start, wait=25))
        await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 3))
        ending = asyncio.create_task(end())
        rest, answer = await asyncio.gather(stream.rest(), held, return_exceptions=True)
        told, close = await clients.until_closed(socket)
        await ending
    assert isinstance(rest, bytes), rest
    return Ended(rest, [json.loads(text) for text in told], close, answer)


def assert_bye(found: Ended, kind: str) -> None:
    fields = dict(line.split(": ", 1) for line in found.sse.decode().strip().split("\n"))
    assert fields["event"] == "livepush.bye"
    assert 0 <= int(fields["retry"]) <= 1000
    assert [each["type"] for each in found.websocket] == ["livepush.bye"]
    if "granian" not in kind:  # it cuts the connection before the close frame
        assert found.close is not None
        assert found.close[0] == 4503
    assert isinstance(found.poll, httpx.Response), found.poll
    assert found.poll.json()["events"] == []


async def many_requests(url: str) -> None:
    """Ask until the worker has had enough of it."""
    for _ in range(LIMIT + 5):
        try:
            await clients.poll(url, "board")
        except httpx.TransportError:
            return


EMBEDDED = ["uvicorn-two", "uvicorn", "granian", "uvicorn-cancelled", "hypercorn", "daphne"]


@pytest.mark.parametrize("kind", some(EMBEDDED))
async def test_a_server_that_its_program_ends_says_bye(kind: str, database: Database) -> None:
    logs = kind == "uvicorn-cancelled"  # uvicorn logs each request that is cancelled
    with processes.server(f"embedded {kind}", database, FRESH, may_fail=logs) as server:

        async def end() -> None:
            server.signal(signal.SIGUSR1)
            await asyncio.to_thread(server.wait)

        assert_bye(await streams_until(server, end), server.kind)


@pytest.mark.long
async def test_a_server_that_follows_another_in_its_loop_serves(database: Database) -> None:
    with processes.server("embedded uvicorn-twice", database, FRESH) as server:

        async def end() -> None:
            server.signal(signal.SIGUSR1)

        assert_bye(await streams_until(server, end), server.kind)
        await eventually(lambda: serves(server))
        async with clients.sse(server.url, "board") as stream:
            assert (await stream.fields())["event"] == "livepush.hello"


async def serves(server: processes.Server) -> bool:
    try:
        return (await clients.poll(server.url, "board")).status_code == 200
    except httpx.TransportError:
        return False


RECYCLED = {
    "uvicorn": ["--limit-max-requests", str(LIMIT)],
    "hypercorn": ["--max-requests", str(LIMIT)],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", some(list(RECYCLED)))
async def test_a_server_that_ends_after_so_many_requests_says_bye(kind: str, database: Database) -> None:
    with processes.server(kind, database, FRESH, options=RECYCLED[kind]) as server:

        async def end() -> None:
            await many_requests(server.url)
            await asyncio.to_thread(server.wait)

        assert_bye(await streams_until(server, end), server.kind)


WORKERS = {
    "hypercorn": ["--workers", "1", "--max-requests", str(LIMIT)],
    "gunicorn uvicorn": ["--max-requests", str(LIMIT)],
    "gunicorn asgi": ["--max-requests", str(LIMIT)],
}


@pytest.mark.long
@pytest.mark.parametrize("kind", some(list(WORKERS)))
async def test_a_worker_that_is_replaced_after_so_many_requests_says_bye(kind: str, database: Database) -> None:
    with processes.server(kind, database, FRESH, options=WORKERS[kind]) as server:
        assert_bye(await streams_until(server, lambda: many_requests(server.url)), kind)
        await eventually(lambda: serves(server))


@pytest.mark.long
async def test_granian_replaces_its_workers_and_their_streams_are_told_bye(database: Database) -> None:
    """It does so when a worker is old or large, as on this signal."""
    with processes.server("granian", database, FRESH) as server:

        async def end() -> None:
            server.signal(signal.SIGHUP)

        assert_bye(await streams_until(server, end), server.kind)


@pytest.mark.long
async def test_hypercorns_workers_end_with_their_parent_and_say_bye(database: Database) -> None:
    with processes.server("hypercorn", database, FRESH, options=["--workers", "1"]) as server:

        async def end() -> None:
            server.terminate()

        assert_bye(await streams_until(server, end), server.kind)
