"""Rules that say since when: what is older never comes, whatever a client asks for."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration import clients
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

APPLICATION = "tests.servers.newcomers:application"
GROUPS = ["board", "after:5", "from:5", "afrom:5"]


@pytest.fixture(params=["postgresql", "sqlite", "mariadb"])
def site(request: pytest.FixtureRequest, databases: Any) -> Iterator[tuple[Server, Publisher, Database]]:
    with (
        databases.fresh(request.param) as database,
        processes.server("uvicorn", database, application=APPLICATION) as server,
        processes.publisher(database) as elsewhere,
    ):
        yield server, elsewhere, database


async def follow(transport: str, server: Server, groups: list[str], since: str, count: int) -> list[dict[str, Any]]:
    """Return the first envelopes behind a position."""
    found = []
    async with contextlib.aclosing(clients.TRANSPORTS[transport](server.url, groups, since)) as events:
        async for envelope in events:
            if not envelope["type"].startswith("livepush."):
                found.append(envelope)
                if len(found) == count:
                    break
    return found


@pytest.mark.parametrize("transport", ["sse", "websocket", "websocket livepush.v1", "long poll", "poll"])
async def test_each_group_begins_where_its_rule_says(site: Any, transport: str) -> None:
    """The rules of ``after:5`` and ``from:5`` let everybody read from the sixth event on."""
    server, elsewhere, _ = site
    start = elsewhere.position()
    for number in range(1, 9):
        await asyncio.to_thread(elsewhere.do, "send", groups=GROUPS, type="all", data=number)
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    found = await follow(transport, server, GROUPS, start, 8 + 3)
    alone = [each["data"] for each in found if each["type"] == "alone"]
    together = [(each["data"], each.get("groups", [each["group"]])) for each in found if each["type"] == "all"]
    assert alone == [6, 7, 8]
    assert [number for number, _ in together] == list(range(1, 9))
    for number, groups in together:
        assert groups == (GROUPS if number > 5 else ["board"])


async def test_a_websocket_that_subscribes_later_gets_no_more(site: Any) -> None:
    server, elsewhere, _ = site
    start = elsewhere.position()
    for number in range(1, 9):
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    async with clients.websocket(server.url, "board") as socket:
        await clients.frame(socket)
        for ref in range(2):  # the second time it goes back
            await socket.send(json.dumps({"command": "subscribe", "groups": ["after:5"], "since": start, "ref": ref}))
            assert (await clients.frame(socket))["ok"]
            assert [(await clients.frame(socket))["data"] for _ in range(3)] == [6, 7, 8]


async def test_an_event_source_that_names_an_old_event_gets_no_more(site: Any) -> None:
    server, elsewhere, _ = site
    start = elsewhere.position()
    for number in range(1, 9):
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    async with clients.sse(server.url, "after:5", headers={"Last-Event-ID": start}) as stream:
        assert [(await stream.until(event="alone"))["data"] for _ in range(3)] == ["6", "7", "8"]


async def test_a_held_poll_is_not_answered_with_nothing(site: Any) -> None:
    server, elsewhere, _ = site
    start = elsewhere.position()
    for number in range(1, 6):
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    held = asyncio.create_task(clients.poll(server.url, "after:5", since=start, wait=20))
    await asyncio.to_thread(elsewhere.do, "send", groups="board", type="other", data=None)
    await asyncio.sleep(0)
    await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=6)
    assert [each["data"] for each in (await held).json()["events"]] == [6]
