"""How soon rights end, and what it costs to ask about everybody, with many clients and events."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

APPLICATION = "tests.servers.probe:application"


class Reading:
    """What one stream of a user has brought."""

    def __init__(self) -> None:
        self.last = 0.0
        """When it brought a private event last."""
        self.count = 0
        self.ended = 0.0
        """When it ended; 0 while it is open."""


async def read(server: Server, transport: str, group: str, cookie: str, reading: Reading) -> None:
    """Read one stream until the server ends it."""
    follow = FOLLOW[transport](server, group, {"Cookie": cookie})
    async for type in follow:
        if type == "secret":
            reading.last = time.monotonic()
            reading.count += 1
    reading.ended = time.monotonic()


async def follow_sse(server: Server, group: str, headers: dict[str, str]) -> Any:
    async with clients.sse(server.url, group, headers=headers) as stream:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                yield (await stream.fields()).get("event")


async def follow_websocket(server: Server, group: str, headers: dict[str, str]) -> Any:
    async with clients.websocket(server.url, group, headers=headers) as socket:
        with contextlib.suppress(clients.ConnectionClosed):
            while True:
                yield (await clients.frame(socket))["type"]


FOLLOW = {"sse": follow_sse, "websocket": follow_websocket}


def percentile(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))], 3)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("layer", some(["pubsub", "none"]))
async def test_private_events_stop_soon_after_a_logout(
    layer: str, database: Database, scale: Scale, figures: Figures
) -> None:
    """Each user has a stream on each of two servers, and gets private events all the time."""
    count = scale(6, 150)
    env = {"LIVEPUSH_TEST_LAYER": layer}
    async with contextlib.AsyncExitStack() as stack:
        if layer != "none":
            env["LIVEPUSH_TEST_REDIS"] = stack.enter_context(processes.valkey())
        elsewhere, sender = (stack.enter_context(processes.publisher(database, **env)) for _ in range(2))
        servers = [
            stack.enter_context(processes.server("uvicorn", database, env=env, application=APPLICATION))
            for _ in range(2)
        ]
        cookies = {f"reader{number}": elsewhere.session(f"reader{number}") for number in range(count)}
        groups = {name: f"user:{pk}" for name, pk in database.query("SELECT username, id FROM auth_user ORDER BY id")}
        readings = {name: [Reading(), Reading()] for name in cookies}
        tasks = [
            asyncio.create_task(read(server, transport, groups[name], cookies[name], reading))
            for number, name in enumerate(cookies)
            for server, reading in zip(servers, readings[name], strict=True)
            for transport in [list(FOLLOW)[number % 2]]
        ]
        over = asyncio.Event()
        sending = asyncio.create_task(send_secrets(sender, [groups[name] for name in cookies], over))
        await eventually(lambda: all(each.count for both in readings.values() for each in both))
        late, ends = [], []
        for name, cookie in cookies.items():
            before = [each.count for each in readings[name]]
            await eventually(lambda: all(each.count > was for each, was in zip(readings[name], before, strict=True)))
            await asyncio.to_thread(elsewhere.do, "end_session", cookie=cookie, how="logout")
            returned = time.monotonic()
            await eventually(lambda: all(each.ended for each in readings[name]))
            late += [max(0.0, each.last - returned) for each in readings[name]]
            ends += [each.ended - returned for each in readings[name]]
        over.set()
        await sending
        await asyncio.gather(*tasks)
    figures(
        layer=layer,
        streams=2 * count,
        seconds_to_last_event={share: percentile(late, share) for share in (0.5, 0.99, 1.0)},
        seconds_to_end={share: percentile(ends, share) for share in (0.5, 0.99, 1.0)},
    )
    assert max(late) < 1.3 + (0 if scale.full else 5)  # short forms run beside others


async def send_secrets(sender: Publisher, groups: list[str], over: asyncio.Event) -> None:
    while not over.is_set():
        for group in groups:
            await asyncio.to_thread(sender.send, group, "secret")


@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_asking_about_everybody_takes_few_queries(
    database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    streams, users = scale(200, 5000), scale(50, 1000)
    settings = {"MAX_CONNECTIONS_PER_USER": 10_000}
    cookies = [elsewhere.session(f"reader{number}") for number in range(users)]
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        held: list[clients.SSE] = []
        async with contextlib.AsyncExitStack() as stack:
            for start in range(0, streams, 50):
                opening = [
                    stack.enter_async_context(
                        clients.sse(server.url, "board", headers={"Cookie": cookies[number % users]})
                    )
                    for number in range(start, min(start + 50, streams))
                ]
                held += await asyncio.gather(*opening)
            for each in held:
                await each.block()
            await eventually(lambda: server.holds() == streams)
            before = server.stats()["queries"]
            begin = time.monotonic()
            await asyncio.to_thread(elsewhere.do, "recheck")

            def asked() -> int:
                queries = server.stats()["queries"]
                return int(queries["sessions"] - before["sessions"])

            expected = -(-streams // 200)  # at least a query for each batch
            await eventually(lambda: asked() >= expected)
            took = time.monotonic() - begin
            queries = asked()
    figures(streams=streams, users=users, queries_about_users=queries, seconds=round(took, 2))
    assert queries <= 4 * expected
