"""Messages with a handler that stores a row, against a plain Django view that stores one: requests a second.

    python -m benchmarks.messages [--turns 5] [--seconds 4]

One uvicorn, PostgreSQL, eight clients that each send the next message when the last one is answered. The ways are
measured in turns, and a ratio is the median of the turns' ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from websockets.asyncio.client import connect

from benchmarks.__main__ import postgresql
from tests.servers import databases, processes
from tests.servers.fresh import Databases

CLIENTS = 8


class Load:
    """Clients that send for a while."""

    def __init__(self, port: int, cookie: str) -> None:
        self.port = port
        self.cookie = cookie
        self.answered = 0

    def message(self, number: int, type: str) -> dict[str, Any]:
        return {"group": "notes:a", "type": type, "data": {"text": "Hello"}, "key": f"{os.urandom(8).hex()}-{number}"}

    async def post(self, path: str, until: float, type: str) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        number = 0
        while time.monotonic() < until:
            body = json.dumps(self.message(number, type)).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nOrigin: http://127.0.0.1:{self.port}\r\n"
                f"Cookie: {self.cookie}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await reader.readexactly(length)
            self.answered += 1
            number += 1
        writer.close()

    async def socket(self, until: float, type: str) -> None:
        url = f"ws://127.0.0.1:{self.port}/livepush/ws/?group=board"
        async with connect(url, additional_headers={"Cookie": self.cookie}, proxy=None) as socket:
            number = 0
            while time.monotonic() < until:
                await socket.send(json.dumps({"command": "send", "ref": number, **self.message(number, type)}))
                while json.loads(await socket.recv())["type"] != "livepush.reply":
                    pass
                self.answered += 1
                number += 1


async def measure(way: str, port: int, cookie: str, seconds: float) -> tuple[float, float]:
    """Return the answers a second, and the server's CPU milliseconds for each."""
    load, process = Load(port, cookie), listening(port)
    before, began = process.cpu_times(), time.monotonic()
    until = began + seconds
    type = "told" if "tells" in way else "note"
    if way == "plain view":
        runs = [load.post("/plain/", until, type) for _ in range(CLIENTS)]
    elif way.startswith("POST"):
        runs = [load.post("/livepush/send/", until, type) for _ in range(CLIENTS)]
    else:
        runs = [load.socket(until, type) for _ in range(CLIENTS)]
    await asyncio.gather(*runs)
    after = process.cpu_times()
    cpu = after.user + after.system - before.user - before.system
    return load.answered / (time.monotonic() - began), cpu / load.answered * 1000


def listening(port: int) -> psutil.Process:
    """Return the process that listens on a port."""
    pids = (
        each.pid
        for each in psutil.net_connections()
        if each.laddr and each.laddr.port == port and each.status == "LISTEN"
    )
    return psutil.Process(next(pid for pid in pids if pid))


WAYS = ("plain view", "POST send/", "WebSocket", "WebSocket, tells others")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    given = parser.parse_args()
    settings = {"MESSAGES_PER_SECOND": 1e6, "COMMANDS_PER_SECOND": 1e6, "MESSAGE_BYTES_PER_SECOND": 1e9}
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with contextlib.ExitStack() as stack:
        os.environ[databases.ENV] = json.dumps({"postgresql": stack.enter_context(postgresql())})
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        made = stack.enter_context(contextlib.closing(Databases(folder)))
        database = stack.enter_context(made.fresh("postgresql"))
        cookie = stack.enter_context(processes.publisher(database)).session("ann")
        site = "benchmarks.messages_site:application"
        server = stack.enter_context(processes.server("uvicorn", database, settings, application=site))
        for _ in range(given.turns + 1):
            for way in WAYS:
                found[way].append(asyncio.run(measure(way, server.port, cookie, given.seconds)))
    plain = found["plain view"][1:]  # the first turn warms up
    for way in WAYS:
        turns = found[way][1:]
        rate = statistics.median(rate for rate, _ in turns)
        cpu = statistics.median(cpu for _, cpu in turns)
        ratio = statistics.median(own / base for (own, _), (base, _) in zip(turns, plain, strict=True))
        costs = statistics.median(own / base for (_, own), (_, base) in zip(turns, plain, strict=True))
        print(f"{way:24} {rate:7.0f} a second  {ratio:5.2f}   {cpu:6.2f} ms CPU  {costs:5.2f}")


if __name__ == "__main__":
    main()
