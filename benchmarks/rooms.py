"""Messages from client to client in one room, beside Socket.IO with its Redis adapter.

    python -m benchmarks.rooms [messages|cursors|first] [--turns 5]

``messages``: one client of each of two server processes; how many milliseconds after one says something the other has
it, with the pub/sub layer and with PostgreSQL's NOTIFY. ``cursors``: 100 clients of one process, each of which moves 20
times a second; the process's CPU, and how old a move is when it arrives. The clients are the same for both sides: they
write whole frames and look for marks in what they read. ``first``: how many milliseconds later a client has the first
event of a process that has just started, and is connected to its database, than the events after it. Turns alternate; a
ratio is the median of the turns' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import re
import statistics
import struct
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks.streams import node
from tests.servers import databases, processes, warm
from tests.servers.fresh import Database, Databases

TIME = re.compile(rb'"t":\s?(\d+\.\d+)')
WARM_UP, MESSAGES, PAUSE, AFTERWARDS = 20, 150, 0.05, 20
CURSORS, RATE, SECONDS, EDGE = 100, 20, 8.0, 1.0
"""How many clients, moves a second of each, seconds, and how many of those at each end are not measured."""
LIMITS = {"MESSAGES_PER_SECOND": 1e6, "COMMANDS_PER_SECOND": 1e6, "EPHEMERAL_PER_SECOND": 1e6}


class Side(NamedTuple):
    """A system, and how its clients speak."""

    path: str
    subprotocol: str
    greeting: bytes
    """The first message of a client; empty for none."""
    ready: bytes
    """The text by which a client knows that it is in the room."""
    says: str
    """A message, with the fields ``type``, ``t`` and ``more``."""


LIVEPUSH = Side(
    "/livepush/ws/?group=pitch:a", "livepush.v1", b"", b"livepush.hello",
    '{{"command":"send","group":"pitch:a","type":"{type}","data":{{"x":412,"y":96,"t":{t:.6f}}}{more}}}',
)  # fmt: skip
SOCKETIO = Side(
    "/socket.io/?EIO=4&transport=websocket", "", b"40", b"40{",
    '42["{type}",{{"x":412,"y":96,"t":{t:.6f}}}]',
)  # fmt: skip


class Client(asyncio.Protocol):
    """Speaks a WebSocket's frames as bytes; notes how old what it gets is, if it is to."""

    def __init__(self, side: Side, ages: list[float] | None) -> None:
        self.side, self.ages = side, ages
        self.open, self.ready = asyncio.Event(), asyncio.Event()
        self.got = asyncio.Event()
        self.count = 0
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        lines = [f"GET {self.side.path} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade"]
        lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
        lines += [f"Sec-WebSocket-Protocol: {self.side.subprotocol}"] * bool(self.side.subprotocol)
        transport.write("\r\n".join([*lines, "", ""]).encode())

    def data_received(self, data: bytes) -> None:
        if not self.ready.is_set():
            self._begin(data)
            return
        data = self._rest + data
        if self.ages is None:
            self.count += data.count(b'"t":')
            self._rest = data[-3:] if len(data) > 3 and b'"t":' not in data[-7:] else b""
            return
        now, end = time.time(), 0
        for found in TIME.finditer(data):
            if found.end() < len(data):  # else its last digits may be missing
                self.ages.append(now - float(found[1]))
                end = found.end()
        self._rest = data[max(end, len(data) - 40) :]
        self.got.set()

    def _begin(self, data: bytes) -> None:
        self._rest += data
        if not self.open.is_set() and b"\r\n\r\n" in self._rest:
            assert b" 101 " in self._rest, self._rest
            self.open.set()
            if self.side.greeting:
                self.write(self.side.greeting)
        if self.side.ready in self._rest:
            self._rest = b""
            self.ready.set()

    def write(self, text: bytes) -> None:
        """Send a text; its mask is of zeros, which leaves it as it is."""
        length = struct.pack("!BB", 0x81, 0x80 | len(text)) if len(text) < 126 else b""
        self.transport.write((length or struct.pack("!BBH", 0x81, 0xFE, len(text))) + b"\0\0\0\0" + text)

    def say(self, type: str, more: str = "") -> None:
        self.write(self.side.says.format(type=type, t=time.time(), more=more).encode())


async def joined(port: int, side: Side, ages: list[float] | None = None) -> Client:
    _, client = await asyncio.get_running_loop().create_connection(lambda: Client(side, ages), "127.0.0.1", port)
    await client.ready.wait()
    return client


async def messages(ports: list[int], side: Side, more: str) -> dict[str, float]:
    """Return after how many milliseconds a client of one process has what one of the other has said."""
    ages: list[float] = []
    sender, reader = await joined(ports[0], side), await joined(ports[1], side, ages)
    numbers = itertools.count()
    for known in range(WARM_UP + MESSAGES):
        reader.got.clear()
        sender.say("said", more.replace("N", str(next(numbers))))
        while len(ages) <= known:
            if not await told(reader.got) and known < WARM_UP:  # the other process may not listen yet
                sender.say("said", more.replace("N", str(next(numbers))))
        await asyncio.sleep(PAUSE)
    ages = sorted(ages[-MESSAGES:])
    return {"p50": 1000 * statistics.median(ages), "p99": 1000 * ages[len(ages) * 99 // 100]}


async def told(event: asyncio.Event) -> bool:
    """Wait for an event, not longer than a second."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1):
            await event.wait()
            event.clear()
            return True
    return False


async def cursors(port: int, pid: int, side: Side) -> dict[str, float]:
    """Have everybody move; return the process's CPU (cores), and how old the moves are that one client gets."""
    ages: list[float] = []
    clients = [await joined(port, side, ages if number == 0 else None) for number in range(CURSORS)]
    more = ',"ephemeral":true' if side is LIVEPUSH else ""
    process = psutil.Process(pid)

    async def move(client: Client, place: int) -> None:
        begin = time.monotonic() + place / CURSORS / RATE
        for number in range(int(SECONDS * RATE)):
            await asyncio.sleep(max(0.0, begin + number / RATE - time.monotonic()))
            client.say("moved", more)

    moving = [asyncio.create_task(move(client, place)) for place, client in enumerate(clients)]
    await asyncio.sleep(EDGE)
    ages.clear()
    before, began, memory = process.cpu_times(), time.monotonic(), process.memory_info().rss
    await asyncio.sleep(SECONDS - 2 * EDGE)
    after, took, late = process.cpu_times(), time.monotonic() - began, sorted(ages)
    grown = process.memory_info().rss - memory
    await asyncio.gather(*moving)
    for client in clients:
        client.transport.close()
    return {
        "cpu": (after.user + after.system - before.user - before.system) / took,
        "a second": len(late) / took,
        "p50": 1000 * statistics.median(late),
        "p99": 1000 * late[len(late) * 99 // 100],
        "MiB more": grown / 2**20,
    }


async def first(port: int, elsewhere: processes.Publisher) -> dict[str, float]:
    """Return how old the first event of a process is when a client gets it, and those after it."""
    ages: list[float] = []
    reader = await joined(port, LIVEPUSH, ages)
    elsewhere.position()  # which needs a connection to the database
    for known in range(1 + AFTERWARDS):
        reader.got.clear()
        await asyncio.to_thread(elsewhere.send, "pitch:a", "said", {"t": time.time()})
        while len(ages) <= known:
            await told(reader.got)
        await asyncio.sleep(PAUSE)
    warm = 1000 * statistics.median(ages[1:])
    return {"first": 1000 * ages[0], "warm": warm, "later": 1000 * ages[0] - warm}


def hint_of(way: str, redis: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings and the environment of a process that tells others of its events in this way."""
    if "NOTIFY" in way:
        return {"HINT": "notify"}, {}
    return {}, {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis}


def running(way: str, database: Database, redis: str) -> Any:
    """Return a context: a server of this way."""
    if way == "Socket.IO":
        return node(redis, "rooms.mjs")
    hint, env = hint_of(way, redis)
    site, options = "benchmarks.rooms_site:application", ["--no-access-log"]
    return processes.server("uvicorn", database, {**LIMITS, **hint}, application=site, options=options, env=env)


def turn(part: str, way: str, made: Databases, redis: str) -> dict[str, float]:
    side = SOCKETIO if way == "Socket.IO" else LIVEPUSH
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(made.fresh("postgresql"))
        server = stack.enter_context(running(way, database, redis))
        if part == "cursors":
            os.sched_setaffinity(server.pid, {0})
            return asyncio.run(cursors(server.port, server.pid, side))
        if part == "first":
            hint, env = hint_of(way, redis)
            return asyncio.run(first(server.port, stack.enter_context(processes.publisher(database, hint, **env))))
        second = stack.enter_context(running(way, database, redis))
        more = "" if side is SOCKETIO else (',"ephemeral":true' if "ephemeral" in way else ',"key":"k-N"')
        return asyncio.run(messages([server.port, second.port], side, more))


WAYS = {
    "messages": (
        "Socket.IO",
        "livepush, ephemeral",
        "livepush, stored",
        "livepush, NOTIFY, ephemeral",
        "livepush, NOTIFY, stored",
    ),
    "cursors": ("Socket.IO", "livepush"),
    "first": ("livepush", "livepush, NOTIFY"),
}


def show(part: str, turns: list[dict[str, dict[str, float]]]) -> None:
    """Print the medians of each way, and of its ratios to the first one."""
    reference, *_ = WAYS[part]
    for way in WAYS[part]:
        figures = {name: statistics.median(each[way][name] for each in turns) for name in turns[0][way]}
        ratios = {
            name: statistics.median(each[way][name] / each[reference][name] for each in turns)
            for name in figures.keys() & {"cpu", "p50", "p99"}
        }
        shown = "  ".join(f"{name} {value:.2f}" for name, value in figures.items())
        told = ", ".join(f"{name} {value:.2f}" for name, value in sorted(ratios.items()))
        print(f"{part:9} {way:28} {shown}   {told and f'ratios {told}'}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--turns", type=int, default=5)
    given = parser.parse_args()
    with databases.running(("postgresql",)) as found, processes.valkey() as redis:
        os.environ[databases.ENV] = json.dumps(found)
        made = Databases(Path(tempfile.mkdtemp()))
        os.sched_setaffinity(0, {1} if given.parts == ["cursors"] else {0, 1})
        for part in given.parts:
            with contextlib.nullcontext() if part == "first" else warm.helper():  # what starts is to import by itself
                turns = [{way: turn(part, way, made, redis) for way in WAYS[part]} for _ in range(given.turns)]
            show(part, turns)
        made.close()


if __name__ == "__main__":
    main()
