"""No process tells what was deleted with a user, and nobody else misses anything or starts over."""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial

import pytest

from tests.integration import clients
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database


@pytest.mark.parametrize("layer", some(["pubsub", "none"]))
async def test_what_processes_have_in_memory_is_forgotten_too(layer: str, database: Database) -> None:
    """A later user has the same primary key, and asks for everything."""
    env = {"LIVEPUSH_TEST_LAYER": layer}
    with contextlib.ExitStack() as stack:
        if layer != "none":
            env["LIVEPUSH_TEST_REDIS"] = stack.enter_context(processes.valkey())
        elsewhere = stack.enter_context(processes.publisher(database, **env))
        servers = [stack.enter_context(processes.server("uvicorn", database, env=env)) for _ in range(2)]
        ann = elsewhere.session("ann")
        [(pk,)] = database.query("SELECT id FROM auth_user WHERE username = 'ann'")
        own, start = f"user:{pk}", elsewhere.position()
        async with contextlib.AsyncExitStack() as streams:
            watching = [
                await streams.enter_async_context(clients.websocket(server.url, "board", since=start))
                for server in servers
            ]
            for socket in watching:
                await clients.frame(socket)
            sent = [own, "board"]
            for number in range(3):
                elsewhere.do("send", groups=own, type="secret", data=number)
                elsewhere.do("send", groups=sent, type="both", data=number)
            for server in servers:
                await eventually(partial(has, server, own, start, ann, 6))  # from here on it is in memory
            async with clients.sse(servers[0].url, own, headers={"Cookie": ann}) as stream:
                await stream.fields()
                await asyncio.to_thread(elsewhere.do, "change", username="ann", what="deleted")
                assert (await stream.until(event="livepush.revoked"))["event"]
            elsewhere.do("send", groups="board", type="after", data=None)
            for socket in watching:
                got = []
                while not got or got[-1]["type"] != "after":
                    got.append(json.loads(await clients.text(socket)))
                told = [(each["type"], each.get("data")) for each in got if each["type"] != "livepush.position"]
                assert told == [("both", 0), ("both", 1), ("both", 2), ("after", None)]
        ben = elsewhere.do("session", username="ben", pk=pk)
        for server in servers:
            await eventually(partial(has, server, "board", start, ben, 4))
            answer = (await clients.poll(server.url, [own, "board"], since=start, headers={"Cookie": ben})).json()
            told = [(each["type"], each["group"]) for each in answer["events"]]
            assert told == [*[("both", "board")] * 3, ("after", "board")]
            assert not answer["reset"]


async def has(server: processes.Server, group: str, since: str, cookie: str, count: int) -> bool:
    """Return whether a poll brings as many events."""
    answer = (await clients.poll(server.url, group, since=since, headers={"Cookie": cookie})).json()
    return len(answer["events"]) == count
