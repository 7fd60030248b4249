"""What an audit hears of clients, over each transport and under each server, and that it hinders none of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually, wait_until
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

APPLICATION = "tests.servers.audited:application"
FURTHER = ("hypercorn", "granian")


class Audit:
    """A server, and what its receivers were told."""

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self._file = file

    @property
    def told(self) -> list[dict[str, Any]]:
        lines = self._file.read_text().split("\n") if self._file.exists() else []
        return [json.loads(line) for line in lines[:-1]]

    def names(self) -> list[str]:
        return [each["name"] for each in self.told]

    async def next(self, **wanted: Any) -> dict[str, Any]:
        """Wait until something was told that has these fields; return the last of it."""

        def found() -> list[dict[str, Any]]:
            return [each for each in self.told if wanted.items() <= each.items()]

        await eventually(found)
        return found()[-1]


@contextlib.contextmanager
def audited(
    kind: str, database: Database, file: Path, receivers: str = "", settings: dict[str, Any] | None = None
) -> Iterator[Audit]:
    env = {"LIVEPUSH_TEST_AUDIT": str(file), "LIVEPUSH_TEST_RECEIVERS": receivers}
    may_fail = receivers == "failing" or kind == "hypercorn"  # they log what receivers raise, and how it ends itself
    with processes.server(kind, database, settings, application=APPLICATION, env=env, may_fail=may_fail) as server:
        yield Audit(server, file)


def cookie_of(elsewhere: Publisher, name: str) -> dict[str, str]:
    return {"Cookie": elsewhere.session(name)}


@pytest.mark.long
@pytest.mark.parametrize("receivers", some(["", "failing"]))
@pytest.mark.parametrize("kind", some(["uvicorn", "daphne", *FURTHER]))
async def test_it_hears_of_each_transport(
    kind: str, receivers: str, database: Database, elsewhere: Publisher, tmp_path: Path
) -> None:
    ann = cookie_of(elsewhere, "ann")
    settings = {"MAX_CONNECTIONS_PER_USER": 1, "COMMANDS_PER_SECOND": 1}
    with audited(kind, database, tmp_path / "told", receivers, settings) as audit:
        url = audit.server.url
        for transport, opened in (("sse", clients.sse), ("websocket", clients.websocket)):
            shared = {"transport": transport, "tenant": None, "address": "127.0.0.1"}
            async with opened(url, ["board", "user:0"], headers=ann):
                told = await audit.next(name="connected", transport=transport)
                assert told == {
                    "name": "connected", "user": "ann", **shared, "groups": ["board"], "refused": ["user:0"],
                }  # fmt: skip
                async with opened(url, "board", headers=ann):
                    told = await audit.next(name="throttled", transport=transport)
                retry = told.pop("retry")
                assert 20 <= retry <= 40
                limit = "connections of one user"
                assert told == {"name": "throttled", "user": "ann", **shared, "groups": ["board"], "limit": limit}
            told = await audit.next(name="disconnected", transport=transport)
            assert 0 < told.pop("seconds") < 3600
            assert told == {
                "name": "disconnected", "user": "ann", **shared, "groups": ["board"], "reason": "gone",
            }  # fmt: skip
            with contextlib.suppress(StopAsyncIteration):
                async with opened(url, "user:0"):
                    told = await audit.next(name="denied", transport=transport)
            assert told == {
                "name": "denied", "user": None, **shared, "groups": ["user:0"], "type": None, "code": "forbidden",
                "status": 403,
            }  # fmt: skip
        await clients.poll(url, "user:0", headers=ann)
        assert (await audit.next(name="denied", transport="poll"))["user"] == "ann"
        await commands(audit)
        async with clients.websocket(url, "board", headers={"Origin": "https://elsewhere.example"}):
            await audit.next(name="denied", code="bad_origin", user=None, groups=[])


async def commands(audit: Audit) -> None:
    """Check what is told of a WebSocket's commands."""
    async with clients.websocket(audit.server.url, "board") as socket:
        await clients.frame(socket)
        for command in (
            {"command": "subscribe", "groups": ["user:0"]},
            {"command": "send", "group": "board", "type": "t", "data": 1},
            {"command": "auth", "token": "livepush_x"},
        ):
            await socket.send(json.dumps(command))
        await audit.next(name="denied", transport="websocket", code="forbidden", groups=["user:0"])
        await audit.next(name="denied", transport="websocket", code="forbidden", groups=["board"], type="t")
        await audit.next(name="denied", transport="websocket", code="bad_token", status=401)
        for _ in range(6):
            await socket.send(json.dumps({"command": "subscribe", "groups": ["user:0"]}))
        await audit.next(name="throttled", transport="websocket", limit="commands", groups=["user:0"])
        for _ in range(150):
            await socket.send("no command")
        await audit.next(name="throttled", transport="websocket", limit="commands")
        await audit.next(name="disconnected", reason="too many")


@pytest.mark.long
async def test_it_hears_of_rights_that_end_and_of_servers_that_do(
    database: Database, elsewhere: Publisher, tmp_path: Path
) -> None:
    headers = cookie_of(elsewhere, "ann")
    groups = ["board", "user:1"]
    with audited("uvicorn", database, tmp_path / "told") as audit:
        url = audit.server.url
        since = (await clients.poll(url, groups, headers=headers)).json()["position"]
        waiting = asyncio.create_task(clients.poll(url, groups, headers=headers, since=since, wait=25))
        async with (
            clients.sse(url, groups, headers=headers) as stream,
            clients.websocket(url, "user:1", headers=headers),
        ):
            await stream.fields()
            await audit.next(name="connected", transport="websocket")
            await eventually(lambda: audit.server.holds() == 3)
            elsewhere.do("end_session", cookie=headers["Cookie"], how="logout")
            for transport in ("sse", "websocket", "poll"):
                told = await audit.next(name="revoked", transport=transport)
                assert (told["user"], told["groups"], told["reason"]) == ("ann", ["user:1"], "logout")
            told = await audit.next(name="disconnected", transport="websocket")
            assert (told["user"], told["reason"]) == ("ann", "revoked")
            await waiting
            audit.server.stop()
            told = await audit.next(name="disconnected", transport="sse")
            assert (told["user"], told["reason"]) == ("ann", "drain")
            names = audit.names()
            assert names.count("connected") == names.count("disconnected") == 2


@pytest.mark.long
async def test_what_it_was_not_told_yet_when_a_server_ends_it_is_told(database: Database, tmp_path: Path) -> None:
    with audited("uvicorn", database, tmp_path / "told", "leisurely") as audit:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                await stack.enter_async_context(clients.sse(audit.server.url, "board"))
            await eventually(lambda: len(audit.told) == 20)
            audit.server.stop()
        assert audit.names().count("disconnected") == 20


@pytest.mark.long
async def test_no_client_waits_for_receivers_that_are_slow(database: Database, tmp_path: Path) -> None:
    with audited("uvicorn", database, tmp_path / "told", "slow") as audit:
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(20):
                stream = await stack.enter_async_context(clients.sse(audit.server.url, "board"))
                assert (await stream.fields())["event"] == "livepush.hello"
                assert (await clients.poll(audit.server.url, "board")).status_code == 200
            assert len(audit.told) < 20  # each takes the receivers 0.4 s
            wait_until(lambda: audit.names().count("connected") == 20)


@pytest.mark.long
async def test_a_storm_of_clients_is_told_whole_and_nobody_waits(
    database: Database, tmp_path: Path, scale: Scale, figures: Figures
) -> None:
    count, at_once = scale(500, 10_000), 50
    with audited("uvicorn", database, tmp_path / "told") as audit:
        url = audit.server.url

        async def come(number: int) -> None:
            for _ in range(number):
                async with clients.sse(url, "board") as stream:
                    await stream.fields()

        quiet = [await seconds(url) for _ in range(20)]
        memory = resident(audit.server.pid)
        work = asyncio.gather(*(come(count // at_once) for _ in range(at_once)))
        busy = []
        while not work.done():
            busy.append(await seconds(url))
        await work
        await eventually(lambda: audit.names().count("disconnected") == count)
        assert audit.names().count("connected") == count
        figures(
            clients=count,
            quiet=f"{statistics.median(quiet) * 1000:.1f} ms",
            busy=f"{statistics.median(busy) * 1000:.1f} ms",
            grown=f"{(resident(audit.server.pid) - memory) / 1024:.0f} MiB",
        )


async def seconds(url: str) -> float:
    """Return how long a poll takes."""
    begin = time.perf_counter()
    assert (await clients.poll(url, "board")).status_code == 200
    return time.perf_counter() - begin


def resident(pid: int) -> int:
    """Return how much memory (KiB) a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() // 1024
