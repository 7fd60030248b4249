"""Clients that chat through restarts, cuts and a Redis that dies: each message takes effect once, in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from tests.integration import clients
from tests.integration.audit import Follower, audit, committed, running
from tests.integration.conftest import Figures, Scale
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, Server

ROOM, DESK = "room:chat", "desk:chat"
SETTINGS = {"MESSAGES_PER_SECOND": 1000, "COMMANDS_PER_SECOND": 1000, "DRAIN": 0.2}
WAYS = ("websocket", "post")
COME_BACK = ("unavailable", "throttled")


class Chatter:
    """A client that sends messages one after another, each until it is answered."""

    def __init__(self, name: str, cookie: str, urls: Sequence[str], group: str, way: str) -> None:
        self.name = name
        self.group = group
        self.way = way
        self.urls = urls
        self.headers = {"Cookie": cookie}
        self.answered = 0
        self.attempts = 0
        self.troubles: Counter[str] = Counter()

    async def chat(self, count: int) -> None:
        """Send so many messages."""
        while self.answered < count:
            with contextlib.suppress(OSError, WebSocketException, httpx.HTTPError, TimeoutError):
                await (self._over_websocket(count) if self.way == "websocket" else self._over_http(count))
            self.troubles["came back"] += 1
            await asyncio.sleep(random.uniform(0.05, 0.2))

    def _message(self) -> dict[str, Any]:
        self.attempts += 1
        type = "chat" if self.group == ROOM else "question"
        key = f"{self.name}-{self.answered}"
        return {"group": self.group, "type": type, "data": [self.name, self.answered], "key": key}

    def _take(self, answer: dict[str, Any]) -> bool:
        """Take an answer; return whether the message must be sent again."""
        if answer["ok"]:
            expected = None if self.group == ROOM else {"asked": [self.name, self.answered]}
            assert answer["reply"] == expected, answer
            self.answered += 1
            return False
        assert answer["code"] in COME_BACK, answer
        self.troubles[answer["code"]] += 1
        return True

    async def _over_websocket(self, count: int) -> None:
        url = random.choice(self.urls).replace("http", "ws")
        address = f"{url}/livepush/ws/?group=board"
        async with asyncio.timeout(PATIENCE), connect(address, additional_headers=self.headers, proxy=None) as socket:
            while self.answered < count:
                await socket.send(json.dumps({"command": "send", "ref": self.answered, **self._message()}))
                while True:
                    found = json.loads(await asyncio.wait_for(socket.recv(), 10))
                    if found["type"] == "livepush.reply":
                        break
                if self._take(found):
                    await asyncio.sleep(0.1)

    async def _over_http(self, count: int) -> None:
        url = random.choice(self.urls)
        async with clients.http() as client:
            while self.answered < count:
                headers = {**self.headers, "Origin": url}
                response = await client.post(f"{url}/livepush/send/", json=self._message(), headers=headers, timeout=10)
                if self._take(response.json()):
                    await asyncio.sleep(0.1)


async def restarts(servers: Sequence[Server], times: int) -> None:
    """Kill and restart the servers in turn."""
    for number in range(times):
        await asyncio.sleep(random.uniform(0.3, 0.8))
        server = servers[number % len(servers)]
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)


@contextlib.asynccontextmanager
async def chatting(
    database: Database, elsewhere: Publisher, urls: Sequence[str], count: int
) -> AsyncIterator[tuple[list[Chatter], list[Follower]]]:
    """Have clients that send and others that read."""
    start = elsewhere.position()
    cookies = [await asyncio.to_thread(elsewhere.session, f"chatter{number}") for number in range(count)]
    chatters = [
        Chatter(f"c{number}", cookie, urls, (ROOM, DESK)[number // 2 % 2], WAYS[number % 2])
        for number, cookie in enumerate(cookies)
    ]
    transports = ("sse", "websocket livepush.v1", "long poll")
    readers = [Follower(urls, [ROOM, DESK], start, each, pause=0.05) for each in transports]
    async with running(readers):
        yield chatters, readers


async def counted(
    database: Database, elsewhere: Publisher, chatters: Sequence[Chatter], readers: Sequence[Follower], each: int
) -> dict[str, Any]:
    """Check that every message is there once, in the order of its sender, in its sender's name; return figures."""
    await asyncio.to_thread(elsewhere.send, ROOM, "end")
    await eventually(lambda: not database.unsettled())
    await asyncio.gather(*(reader.until(database.head()) for reader in readers))
    rows = [row for row in elsewhere.rows([ROOM, DESK]) if row["type"] != "end"]
    for chatter in chatters:
        mine = [row["data"][1] for row in rows if row["data"][0] == chatter.name]
        assert mine == list(range(each)), (chatter.name, chatter.way, chatter.group, mine, chatter.troubles)
    names = {row["data"][0]: row["from"]["name"] for row in rows}
    assert names == {f"c{number}": f"chatter{number}" for number in range(len(chatters))}
    found = audit(committed(database), readers)
    assert found.clean, found
    sent = sum(chatter.attempts for chatter in chatters)
    return {"messages": len(rows), "attempts": sent, "lost": 0, "repeated": 0, "audit": found}


@pytest.mark.long
@pytest.mark.parametrize(
    ("server", "kind"),
    some(
        [
            ("uvicorn", "postgresql"),
            ("daphne", "sqlite"),
            ("granian", "mariadb"),
            ("hypercorn", "postgresql"),
            ("daphne", "mariadb"),
            ("uvicorn", "sqlite"),
        ],
        1,
    ),
)
async def test_clients_chat_through_servers_that_are_killed(
    server: str, kind: str, databases: Databases, scale: Scale, figures: Figures
) -> None:
    each = scale(15, 200)
    with (
        databases.fresh(kind) as database,
        processes.publisher(database) as elsewhere,
        processes.server(server, database, SETTINGS, may_fail=True) as one,
        processes.server(server, database, SETTINGS, may_fail=True) as two,
    ):
        async with chatting(database, elsewhere, [one.url, two.url], scale(8, 50)) as (chatters, readers):
            breaking = asyncio.create_task(restarts([one, two], scale(3, 20)))
            await asyncio.gather(*(chatter.chat(each) for chatter in chatters))
            await breaking
            found = await counted(database, elsewhere, chatters, readers, each)
    figures(server=server, database=kind, clients=len(chatters), **found)


@pytest.mark.long
async def test_clients_chat_through_a_redis_that_dies(databases: Databases, scale: Scale, figures: Figures) -> None:
    each = scale(20, 200)
    with databases.fresh("postgresql") as database, faults.redis() as redis:
        env = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis.url}
        with (
            processes.publisher(database) as elsewhere,
            processes.server("uvicorn", database, SETTINGS, env=env, may_fail=True) as one,
            processes.server("uvicorn", database, SETTINGS, env=env, may_fail=True) as two,
        ):
            async with chatting(database, elsewhere, [one.url, two.url], scale(8, 50)) as (chatters, readers):
                chats = asyncio.gather(*(chatter.chat(each) for chatter in chatters))
                for _ in range(scale(1, 5)):
                    await asyncio.to_thread(redis.kill)
                    await asyncio.sleep(0.5)
                    await asyncio.to_thread(redis.start)
                await chats
                found = await counted(database, elsewhere, chatters, readers, each)
    figures(clients=len(chatters), **found)
