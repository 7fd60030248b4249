"""A deploy loses nothing, hangs on nobody and causes no stampede, whatever the server and however its clients read."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from livepush.hub.connection import FAREWELL
from tests.integration import clients, deaf
from tests.integration.audit import Follower, audit, committed
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, Server

SERVERS = ("uvicorn", "daphne", "hypercorn", "granian")
STREAMS = ("sse", "websocket", "websocket livepush.v1")
TRANSPORTS = (*STREAMS, "long poll")
LARGE = "x" * 60_000
ENOUGH = 75
"""So many large events are more than the system takes for a client that does not read."""


@contextlib.asynccontextmanager
async def following(followers: list[Follower]) -> AsyncIterator[None]:
    """Run clients; they are open when the block begins."""
    tasks = [asyncio.create_task(each.run()) for each in followers]
    try:
        polls = [each for each in followers if each.transport == "long poll"]
        await eventually(lambda: all(each.open for each in followers if each not in polls))
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def stuck(server: Server, number: int) -> None:
    """Wait until so many connections of a server can't write on."""

    async def found() -> bool:
        states = (await asyncio.to_thread(server.stats))["states"]
        return int(states.get("behind", 0)) >= number

    await eventually(found)


@pytest.mark.long
@pytest.mark.parametrize("kind", some(SERVERS))
async def test_a_deploy_with_open_streams(
    kind: str, database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    count, deaf = scale(40, 500), scale(3, 15)
    span = scale(2, 10)
    settings = {"DRAIN": span}
    probe = "tests.servers.probe:application"
    with (
        processes.server(kind, database, settings, application=probe) as old,
        processes.server(kind, database, settings, application=probe) as new,
    ):
        start = elsewhere.position()
        followers = [
            Follower(old.url, ["board"], start, TRANSPORTS[number % len(TRANSPORTS)]) for number in range(count - deaf)
        ]
        lazy = [
            Follower(old.url, ["board", "room:large"], start, STREAMS[number % len(STREAMS)], small=True)
            for number in range(deaf)
        ]
        everybody = [*followers, *lazy]
        async with following(everybody):
            await eventually(lambda: asyncio.to_thread(lambda: old.holds() == count))
            for each in lazy:
                each.reading.clear()
            for _ in range(ENOUGH):
                await asyncio.to_thread(elsewhere.send, "room:large", "grew", LARGE)
            await stuck(old, deaf)
            await asyncio.to_thread(elsewhere.send, "board", "before")
            await asyncio.gather(*(each.until(database.head()) for each in followers))
            for each in everybody:
                each.urls = [old.url, new.url]

            begin = time.monotonic()
            old.terminate()
            await asyncio.to_thread(old.wait, 30)
            ended = time.monotonic() - begin
            for each in lazy:
                each.reading.set()
            for number in range(20):
                await asyncio.to_thread(elsewhere.send, "board", "after", number)
            head = database.head()
            await asyncio.gather(*(each.until(head) for each in everybody))

        found = audit(committed(database), everybody)
        streams = [each for each in followers if each.transport in STREAMS]
        retries = sorted(retry for each in streams for retry in each.byes[:1])
        back = sorted(min(at for at in each.connects if at > begin) - begin for each in streams)
        figures(
            server=kind, audit=str(found), ended=round(ended, 2), byes=len(retries), streams=len(streams), span=span,
            retries=[retries[0], retries[len(retries) // 2], retries[-1]] if retries else [], window=span, deaf=deaf,
            reconnects=[round(at, 3) for at in back],
        )  # fmt: skip
        assert found.clean, found
        assert len(retries) == len(streams)
        assert 0 <= retries[0] < retries[-1] <= 1000 * span
        assert retries[-1] - retries[0] > 1000 * span / 3
        assert ended < FAREWELL + 20


@pytest.mark.long
@pytest.mark.parametrize("kind", some(SERVERS))
async def test_a_deploy_with_open_streams_that_django_sends(kind: str, database: Database) -> None:
    """Clients that read are told to come back, and the server waits for none that does not read."""
    settings = {"DRAIN": 0.2, "MERCURE": deaf.MERCURE}
    with (
        processes.publisher(database, settings) as elsewhere,
        processes.server(kind, database, settings, application=deaf.APPLICATION) as server,
    ):
        start = elsewhere.position()
        stream = await deaf.written(server, database)
        with deaf.never_reading(server.port, deaf.addresses(start, stream)):
            await asyncio.to_thread(deaf.send_much, elsewhere)
            await stuck(server, 2)
            async with (
                clients.http() as http,
                http.stream("GET", f"{server.url}/events/?channel=b") as events,
                http.stream("GET", f"{server.url}/.well-known/mercure?topic=b") as updates,
            ):
                readers = [each.aiter_raw() for each in (events, updates)]
                for each in readers:
                    await anext(each)
                server.terminate()
                for each in readers:
                    assert b"retry: " in b"".join([chunk async for chunk in each])
            await asyncio.to_thread(server.wait, 30)


@pytest.mark.long
@pytest.mark.parametrize("kind", some(SERVERS))
async def test_a_second_signal_is_the_servers_own(kind: str, database: Database, elsewhere: Publisher) -> None:
    with processes.server(kind, database, may_fail=True) as server:
        follower = Follower(server.url, ["board", "room:large"], elsewhere.position(), "sse", small=True)
        async with following([follower]):
            follower.reading.clear()
            server.terminate()
            server.terminate()
            await asyncio.to_thread(server.wait, 30)


@pytest.mark.long
async def test_a_reload_in_development_with_open_streams(
    database: Database, elsewhere: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figures: Figures
) -> None:
    """``runserver`` sees a changed file, starts anew, and its clients come back to it."""
    settings = tmp_path / "settings_that_change.py"
    source = "from tests.settings import *\nASGI_APPLICATION = 'tests.servers.probe.application'\n"
    settings.write_text(source)
    plain = processes.command
    monkeypatch.setattr(processes, "command", lambda *args: [part for part in plain(*args) if part != "--noreload"])
    env = {
        "PYTHONPATH": os.pathsep.join([database.env["PYTHONPATH"], str(tmp_path)]),
        "DJANGO_SETTINGS_MODULE": settings.stem,
    }
    with processes.server("runserver", database, env=env) as server:
        start = elsewhere.position()
        followers = [Follower(server.url, ["board"], start, each) for each in TRANSPORTS]
        async with following(followers):
            await eventually(lambda: asyncio.to_thread(lambda: server.stats()["subscribers"] == len(followers)))
            await asyncio.to_thread(elsewhere.send, "board", "before")
            await asyncio.gather(*(each.until(database.head()) for each in followers))
            before = server.stats()["pid"]
            begin = time.monotonic()
            settings.write_text(source + "# changed\n")

            def reloaded() -> bool:
                try:
                    with urllib.request.urlopen(f"{server.url}/stats/", timeout=5) as response:
                        return bool(json.load(response)["pid"] != before)
                except OSError:
                    return False

            await eventually(lambda: asyncio.to_thread(reloaded))
            took = time.monotonic() - begin
            await asyncio.to_thread(elsewhere.send, "board", "after")
            await asyncio.gather(*(each.until(database.head()) for each in followers))
        found = audit(committed(database), followers)
        figures(audit=str(found), reloaded=round(took, 2))
        assert found.clean, found
        assert all(len(each.connects) > 1 for each in followers)


@pytest.mark.long
async def test_a_command_while_the_database_is_away_is_refused_and_the_connection_stays(
    own_postgresql: tuple[faults.PostgreSQL, Databases],
) -> None:
    postgresql, databases = own_postgresql
    with databases.fresh("own") as database, processes.server("uvicorn", database) as server:
        with processes.publisher(database) as elsewhere:
            ann = {"Cookie": elsewhere.session("ann")}  # whose session is read for each command
        async with clients.websocket(server.url, "board", headers=ann) as stream:
            assert (await clients.frame(stream))["type"] == "livepush.hello"
            await asyncio.to_thread(postgresql.stop)
            try:
                await stream.send('{"command":"subscribe","ref":1,"groups":["room:a"]}')
                while (answer := await clients.frame(stream))["type"] != "livepush.reply":
                    pass
                assert answer == {
                    "type": "livepush.reply", "ref": 1, "ok": False, "code": "unavailable",
                    "message": "The server can't serve now: try again in a moment.",
                }  # fmt: skip
            finally:
                await asyncio.to_thread(postgresql.start)

            async def subscribed() -> bool:
                await stream.send('{"command":"subscribe","ref":2,"groups":["room:a"]}')
                while (answer := await clients.frame(stream))["type"] != "livepush.reply":
                    pass
                return bool(answer["ok"])

            await eventually(subscribed)
