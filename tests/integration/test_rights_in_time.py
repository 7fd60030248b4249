"""Rights end in time though a client is just being let in, or though rules do not answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from tests.integration import clients
from tests.integration.test_rights import Site, name, reading, user_group
from tests.patience import eventually
from tests.servers import processes
from tests.servers.fresh import Databases

__all__ = ["name"]

APPLICATION = "tests.servers.rules:application"


@pytest.fixture(scope="module")
def shop(databases: Databases) -> Iterator[Site]:
    settings, env = {"RECHECK": 60.0}, {"LIVEPUSH_TEST_RECHECK_PATIENCE": "1"}
    with (
        databases.fresh("postgresql") as database,
        processes.server("uvicorn", database, settings, application=APPLICATION, env=env) as server,
        processes.publisher(database, settings) as elsewhere,
    ):
        yield Site(server, elsewhere, settings, database)


async def staff(shop: Site, name: str) -> str:
    cookie = str(await shop.do("session", username=name))
    await shop.do("change", username=name, what="role given", role="staff")
    return cookie


async def by_poll(url: str, groups: list[str], since: str, headers: dict[str, str], take: Callable[..., None]) -> None:
    take((await clients.poll(url, groups, since=since, headers=headers)).text)


async def by_sse(url: str, groups: list[str], since: str, headers: dict[str, str], take: Callable[..., None]) -> None:
    async with clients.sse(url, groups, since=since, headers=headers) as stream:
        while True:
            take((await stream.block()).decode())


async def by_websocket(
    url: str, groups: list[str], since: str, headers: dict[str, str], take: Callable[..., None]
) -> None:
    async with clients.websocket(url, groups, since=since, headers=headers) as socket:
        while True:
            take(await clients.text(socket))


async def by_subscribing(
    url: str, groups: list[str], since: str, headers: dict[str, str], take: Callable[..., None]
) -> None:
    async with clients.websocket(url, ["async:any"], headers=headers) as socket:
        await socket.send(json.dumps({"command": "subscribe", "groups": groups, "since": since, "ref": 1}))
        while True:
            take(await clients.text(socket))


WAYS_IN = {"poll": by_poll, "sse": by_sse, "websocket": by_websocket, "subscribe": by_subscribing}


@contextlib.asynccontextmanager
async def coming_in(way: str, shop: Site, groups: list[str], since: str, cookie: str) -> AsyncIterator[list[str]]:
    """Begin to read groups from a position on; yield what has come so far."""
    came: list[str] = []
    task = asyncio.create_task(WAYS_IN[way](shop.server.url, groups, since, {"Cookie": cookie}, came.append))
    try:
        yield came
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


@pytest.mark.parametrize("way", WAYS_IN)
async def test_what_ends_while_a_client_is_let_in_brings_nothing(shop: Site, name: str, way: str) -> None:
    cookie, since = await staff(shop, name), str(await shop.do("position"))
    opener = f"{name}-open"
    async with (
        reading("sse", shop.server, ["board"]) as other,
        coming_in(way, shop, ["role:staff", f"gate:{opener}"], since, cookie) as came,
    ):
        asked = f"SELECT 1 FROM auth_group WHERE name = 'asked-{opener}'"
        await eventually(lambda: shop.database.query(asked))
        await shop.do("change", username=name, what="role taken", role="staff")
        await shop.send("role:staff", "secret")
        await shop.send(f"gate:{opener}", "last")
        await shop.send("board", f"public-{name}")
        await other.until(lambda: f"public-{name}" in other.types)  # the server has heard of all that
        await shop.do("session", username=opener)
        await eventually(lambda: any('"last"' in each or "event: last" in each for each in came))
        assert "secret" not in "".join(came)


LONG = pytest.mark.long


@pytest.mark.parametrize(
    ("transport", "rule"),
    [
        ("sse", "stalls"),
        ("websocket", "astalls"),
        ("long poll", "stalls"),
        pytest.param("sse", "astalls", marks=LONG),
        pytest.param("websocket", "stalls", marks=LONG),
        pytest.param("long poll", "astalls", marks=LONG),
    ],
)
async def test_who_reads_what_never_answers_keeps_nothing_else(
    shop: Site, name: str, transport: str, rule: str
) -> None:
    cookie = await staff(shop, name)
    async with reading(transport, shop.server, ["role:staff", f"{rule}:{name}-stall"], cookie) as stream:
        await shop.send("role:staff", f"before-{name}")
        await stream.until(lambda: f"before-{name}" in stream.types)
        await eventually(lambda: shop.server.holds() == 1)  # the next poll is held too
        await shop.do("session", username=f"{name}-stall")
        await shop.do("change", username=name, what="role taken", role="staff")
        await stream.until(lambda: stream.end)
        await shop.send("role:staff", f"secret-{name}")
        assert stream.end == {"sse": "ended", "websocket": 4503, "long poll": 503}[transport]
        assert f"secret-{name}" not in stream.types


async def test_nobody_waits_for_the_rules_of_others(shop: Site, name: str) -> None:
    cookie = await staff(shop, name)
    group = await user_group(shop, name)
    async with contextlib.AsyncExitStack() as stack:
        for number in range(6):
            rule = ("stalls", "astalls")[number % 2]
            groups = ["board", f"{rule}:{name}-stall"]
            await stack.enter_async_context(reading("sse", shop.server, groups))
        stream = await stack.enter_async_context(reading("sse", shop.server, [group], cookie))
        await shop.do("session", username=f"{name}-stall")
        await shop.do("recheck")  # about everybody
        begun = time.monotonic()
        await shop.do("end_session", cookie=cookie, how="logout")
        await stream.until(lambda: stream.end)
        assert [each["reason"] for each in stream.revoked] == ["logout"]
        assert time.monotonic() - begun < 5  # of the ten that a rule may take
