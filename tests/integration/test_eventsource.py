"""EventSource as others have made it: Chromium's own, and two from npm."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from playwright.async_api import async_playwright

from tests.browser.chromium import FLAGS
from tests.integration import clients
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import npm, processes
from tests.servers.fresh import Databases
from tests.servers.processes import Publisher
from tests.servers.proxy import Proxy, proxy

HERE = Path(__file__).parent / "node_clients"
TYPES = ("livepush.hello", "livepush.reset", "livepush.bye", "moved", "message")
STALE = "00000000-5"
"""A position of an epoch that never was."""


class Reader(Protocol):
    """What an EventSource has dispatched."""

    async def next(self, type: str) -> dict[str, Any]:
        """Return the next event of a type as ``{"type", "data", "id"}``, what comes before it left out."""


@dataclass
class Lines:
    """The lines that a client under node prints."""

    process: asyncio.subprocess.Process

    async def next(self, type: str) -> dict[str, Any]:
        assert self.process.stdout is not None
        while True:
            line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)
            assert line, "the client has ended"
            found: dict[str, Any] = json.loads(line)
            if found["type"] == type:
                return found


@dataclass
class Queue:
    """The events that a page in Chromium reports."""

    queue: asyncio.Queue[dict[str, Any]]

    async def next(self, type: str) -> dict[str, Any]:
        while True:
            found = await asyncio.wait_for(self.queue.get(), PATIENCE)
            if found["type"] == type:
                return found


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder with the clients from npm."""
    return npm.installed(HERE / "package.json", "node-clients")


@dataclass
class Site:
    """A server with an impatient ``retry``, and another process on its database."""

    server: processes.Server
    elsewhere: Publisher


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, {"RETRY": 0.2, "DRAIN": 0.2}) as server,
    ):
        yield Site(server, elsewhere)


@contextlib.asynccontextmanager
async def under_node(client: str, url: str, folder: Path) -> AsyncIterator[Reader]:
    """Run a client under node."""
    process = await asyncio.create_subprocess_exec(
        "node", str(HERE / "read.mjs"), client, url, *TYPES,
        env={**os.environ, "LIVEPUSH_NODE_CLIENTS": str(folder)},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Lines(process)
    finally:
        process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def in_chromium(url: str) -> AsyncIterator[Reader]:
    """Open an EventSource in an empty page of the same origin."""
    program = shutil.which("chromium")
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium."
    got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        page = await browser.new_page()
        await page.expose_function("say", got.put_nowait)
        await page.route("**/empty", lambda route: route.fulfill(body="<!doctype html>", content_type="text/html"))
        await page.goto(url.partition("/livepush/")[0] + "/empty")
        await page.evaluate(
            """([url, types]) => {
                window.source = new EventSource(url);
                for (const type of types) {
                    source.addEventListener(type, (event) =>
                        say({ type, data: JSON.parse(event.data), id: event.lastEventId }));
                }
                source.addEventListener("error", () => say({ type: "error", state: source.readyState }));
            }""",
            [url, list(TYPES)],
        )
        try:
            yield Queue(got)
        finally:
            await page.evaluate("source.close()")
            await browser.close()


@pytest.fixture(params=some(["chromium", "eventsource", "fetch"]))
def reading(request: pytest.FixtureRequest) -> Any:
    """Each EventSource in turn: a function that opens one on an address."""
    if request.param == "chromium":
        return in_chromium
    folder = request.getfixturevalue("node_clients")
    return lambda url: under_node(request.param, url, folder)


async def reconnected(front: Proxy, times: int) -> None:
    """Wait until an event stream has been asked for so many times."""
    await eventually(lambda: len(front.requests("/livepush/sse/")) >= times)


@pytest.mark.long
async def test_it_reads_and_comes_back_where_it_was(site: Site, reading: Any) -> None:
    data = {"text": 'Zürich "quoted" \u2028 line\nbreak'}
    async with (
        proxy(site.server.port) as front,
        reading(clients.address(front.url, "sse", "board")) as reader,
    ):
        await reader.next("livepush.hello")
        site.elsewhere.send("board", "moved", data)
        first = await reader.next("moved")
        (row,) = site.elsewhere.rows(["board"])[-1:]
        assert first == {"type": "moved", "data": data, "id": row["id"]}
        front.cut()
        site.elsewhere.send("board", "message", "while it was away")
        await reconnected(front, 2)
        assert (await reader.next("message"))["data"] == "while it was away"
        again = front.headers(front.requests("/livepush/sse/")[-1])
        assert again["last-event-id"] == row["id"]


@pytest.mark.long
async def test_after_a_reset_it_comes_back_with_the_new_position(site: Site, reading: Any) -> None:
    now = site.elsewhere.position()
    async with (
        proxy(site.server.port) as front,
        reading(clients.address(front.url, "sse", "order:1", since=STALE)) as reader,
    ):
        reset = await reader.next("livepush.reset")
        assert reset["data"] == {"type": "livepush.reset", "id": now, "position": now, "reason": "epoch"}
        assert reset["id"] == now
        front.cut()
        site.elsewhere.send("order:1", "moved", 1)
        site.elsewhere.send("order:1", "message", 2)
        hello = await reader.next("livepush.hello")
        assert hello["id"] == now
        assert (await reader.next("moved"))["data"] == 1
        assert (await reader.next("message"))["data"] == 2
        again = front.headers(front.requests("/livepush/sse/")[-1])
        assert again["last-event-id"] == now


@pytest.mark.long
async def test_it_stays_open_over_a_move_from_another_library(databases: Databases, reading: Any) -> None:
    async def another_library(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if b"/livepush/sse/" in asked:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
            writer.write(b"retry: 200\nid: board:17,user:4\nevent: moved\ndata: 0\n\n")
        writer.close()

    with databases.fresh("postgresql") as database, processes.publisher(database) as elsewhere:
        port = processes.free_port()
        before = await asyncio.start_server(another_library, "127.0.0.1", port)
        async with reading(clients.address(f"http://127.0.0.1:{port}", "sse", "board")) as reader:
            assert (await reader.next("moved"))["id"] == "board:17,user:4"
            before.close()
            with processes.server("uvicorn", database, port=port):
                reset = await reader.next("livepush.reset")
                assert reset["id"] == elsewhere.position()
                elsewhere.send("board", "moved", 1)
                assert (await reader.next("moved"))["data"] == 1


@pytest.mark.long
async def test_it_comes_back_after_a_deploy(site: Site, reading: Any) -> None:
    async with reading(clients.address(site.server.url, "sse", "order:2")) as reader:
        await reader.next("livepush.hello")
        site.elsewhere.send("order:2", "moved", 1)
        await reader.next("moved")
        await asyncio.to_thread(site.server.stop)
        site.elsewhere.send("order:2", "moved", 2)
        await asyncio.to_thread(site.server.start)
        assert (await reader.next("moved"))["data"] == 2


@pytest.mark.long
async def test_it_tries_again_while_the_log_can_not_be_read(databases: Databases, reading: Any) -> None:
    """EventSource gives up for good on a status that is an error, so a passing trouble must not have one."""
    with (
        databases.fresh("postgresql") as database,
        processes.server("uvicorn", database, {"RETRY": 0.2}) as server,
    ):
        database.query("ALTER TABLE livepush_loghead RENAME TO livepush_away")
        async with (
            proxy(server.port) as front,
            reading(clients.address(front.url, "sse", "board")) as reader,
        ):
            await reconnected(front, 2)
            database.query("ALTER TABLE livepush_away RENAME TO livepush_loghead")
            await reader.next("livepush.hello")
