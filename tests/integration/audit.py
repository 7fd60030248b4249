"""Clients that come back whatever happens, and the audit of what they got against what was committed.

Light enough for thousands in one process: they look for numbers in the bytes and decode nothing but what livepush
itself says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import random
import re
import socket
import time
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tests.integration.clients import address
from tests.patience import PATIENCE
from tests.servers.fresh import Database

EVENT = re.compile(rb'\{"id":"[a-z0-9]+-([0-9]+)","group":"')
SENT = re.compile(rb'"t":([0-9.]+)')
"""The time (``time.time()``) that an event's data may carry."""
OWN = re.compile(rb'\{"type":"livepush\.[^\n]*')
TRANSPORTS = ("sse", "websocket", "websocket livepush.v1", "long poll", "poll")


class Refused(Exception):
    """The server answered with an error's status."""


@dataclass
class Segment:
    """What came between two resets."""

    start: str
    numbers: array[int] = field(default_factory=lambda: array("q"))


class Follower:
    """A client that follows some groups over one transport, and comes back with its position when it is cut off."""

    def __init__(
        self,
        urls: Sequence[str] | str,
        groups: Sequence[str],
        position: str,
        transport: str = "sse",
        *,
        headers: dict[str, str] | None = None,
        pause: float = 0.2,
        small: bool = False,
        timed: bool = False,
        silence: float = PATIENCE,
    ) -> None:
        self.urls = [urls] if isinstance(urls, str) else list(urls)
        self.groups = list(groups)
        self.transport = transport
        self.position = position
        self.segments = [Segment(position)]
        self.connects: list[float] = []
        """When it connected (``time.monotonic()``)."""
        self.said: Counter[str] = Counter()
        """How often it heard what livepush itself says, e.g. ``bye``."""
        self.byes: list[int] = []
        """The waits (milliseconds) that it was told on the way out."""
        self.troubles: Counter[str] = Counter()
        """What went wrong on the way, e.g. ``ConnectionRefusedError`` or ``503``."""
        self.ages = array("d")
        """How old (seconds) each event was when it came, where it was sent with ``{"t": time.time()}``."""
        self.changed = asyncio.Event()
        self.reading = asyncio.Event()
        """Cleared, it reads nothing from its connection."""
        self.reading.set()
        self.trickle = 0.0
        """How long (seconds) it waits between single bytes; 0 for a client that reads what there is."""
        self.open = False
        """Whether the server has said hello (for polls: has answered) on the connection there is."""
        self._headers = headers or {}
        self._pause = pause
        self._small = small
        self._timed = timed
        self._silence = silence
        self._retry: float | None = None
        self._transport: asyncio.WriteTransport | None = None

    def drop(self) -> None:
        """Reset its connection, as a network does that fails."""
        if self._transport is not None:
            self._transport.abort()

    @property
    def number(self) -> int:
        """The number of its position."""
        return int(self.position.partition("-")[2])

    @property
    def numbers(self) -> array[int]:
        """The numbers of the events that came since the last reset."""
        return self.segments[-1].numbers

    @property
    def resets(self) -> int:
        return len(self.segments) - 1

    async def run(self) -> None:
        """Follow until cancelled."""
        while True:
            url = random.choice(self.urls)
            self._retry = None
            try:
                await self._follow(url)
            except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, Refused) as error:
                self.troubles[str(error) if isinstance(error, Refused) else type(error).__name__] += 1
            finally:
                self.open = False
            wait = self._pause * random.uniform(0.5, 1.5) if self._retry is None else self._retry
            await asyncio.sleep(wait)

    async def until(self, number: int, seconds: float = PATIENCE) -> None:
        """Wait until its position has reached a number."""
        async with asyncio.timeout(seconds):
            while self.number < number:
                self.changed.clear()
                await self.changed.wait()

    async def _follow(self, url: str) -> None:
        self.connects.append(time.monotonic())
        if self.transport == "sse":
            await self._sse(url)
        elif self.transport.startswith("websocket"):
            await self._websocket(url)
        else:
            await self._polls(url, 20 if self.transport == "long poll" else None)

    async def _connect(self, url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(url)
        assert parts.hostname is not None
        sock = socket.socket()
        sock.setblocking(False)
        if self._small:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        try:
            await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        except BaseException:
            sock.close()
            raise
        limit = 2048 if self._small else 262_144
        reader, writer = await asyncio.open_connection(sock=sock, limit=limit)
        self._transport = writer.transport
        return reader, writer

    def _request(self, url: str, endpoint: str, more: dict[str, str] | None = None, **query: object) -> bytes:
        target = address(url, endpoint, self.groups, since=self.position, **query)
        parts = urlsplit(target)
        headers = {"Host": parts.netloc, **self._headers, **(more or {})}
        lines = [f"GET {parts.path}?{parts.query} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        if not self.reading.is_set():
            await self.reading.wait()
        if self.trickle:
            await asyncio.sleep(self.trickle)
            return await reader.read(1)
        async with asyncio.timeout(self._silence):
            return await reader.read(262_144)

    async def _sse(self, url: str) -> None:
        reader, writer = await self._connect(url)
        try:
            writer.write(self._request(url, "sse", format="envelope"))
            rest = b""
            async for piece in self._body(reader):
                rest += piece
                whole, mark, left = rest.rpartition(b"\n\n")
                if mark:
                    rest = left
                    self._take(whole)
        finally:
            writer.transport.abort()

    async def _body(self, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
        """Yield the pieces of a response's body (RFC 9112, section 7.1 where it is chunked)."""
        head, buffer = await self._head(reader)
        status = head.split(b" ", 2)[1].decode()
        fields = head.lower()
        if b"transfer-encoding: chunked" in fields:
            pieces = self._chunks(reader, buffer)
        else:
            found = re.search(rb"content-length: *([0-9]+)", fields)
            pieces = self._plain(reader, buffer, int(found[1]) if found else None)
        if status != "200":
            raise Refused(status)
        async for piece in pieces:
            yield piece

    async def _head(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """Return a response's head, and what came behind it."""
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            piece = await self._read(reader)
            if not piece:
                raise EOFError
            buffer += piece
        head, _, rest = buffer.partition(b"\r\n\r\n")
        return head, rest

    async def _plain(self, reader: asyncio.StreamReader, buffer: bytes, length: int | None) -> AsyncIterator[bytes]:
        left = length
        while True:
            if left is not None:
                buffer = buffer[:left]
                left -= len(buffer)
            if buffer:
                yield buffer
            if left == 0:
                return
            buffer = await self._read(reader)
            if not buffer:
                if left is None:
                    return
                raise EOFError

    async def _chunks(self, reader: asyncio.StreamReader, buffer: bytes) -> AsyncIterator[bytes]:
        place = 0
        while True:
            found = []
            while True:
                end = buffer.find(b"\r\n", place)
                if end < 0:
                    break
                size = int(buffer[place:end].partition(b";")[0], 16)
                if size == 0:
                    if found:
                        yield b"".join(found)
                    return
                if len(buffer) < end + 4 + size:
                    break
                found.append(buffer[end + 2 : end + 2 + size])
                place = end + 4 + size
            if found:
                yield b"".join(found)
            buffer, place = buffer[place:], 0
            piece = await self._read(reader)
            if not piece:
                raise EOFError
            buffer += piece

    async def _websocket(self, url: str) -> None:
        reader, writer = await self._connect(url)
        try:
            upgrade = {
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            }
            if self.transport.endswith("v1"):
                upgrade["Sec-WebSocket-Protocol"] = "livepush.v1"
            writer.write(self._request(url, "ws", upgrade))
            head, buffer = await self._head(reader)
            status = head.split(b" ", 2)[1].decode()
            if status != "101":
                raise Refused(status)
            await self._frames(reader, writer, buffer)
        finally:
            writer.transport.abort()

    async def _frames(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, buffer: bytes) -> None:
        """Take the server's frames (RFC 6455, section 5.2): never masked, and not split by these servers."""
        place = 0
        while True:
            while len(buffer) >= place + 2:
                kind, length, start = buffer[place] & 15, buffer[place + 1], place + 2
                if length == 126:
                    length, start = int.from_bytes(buffer[place + 2 : place + 4]), place + 4
                elif length == 127:
                    length, start = int.from_bytes(buffer[place + 2 : place + 10]), place + 10
                if len(buffer) < start + length:
                    break
                payload, place = buffer[start : start + length], start + length
                if kind == 1:
                    self._take(payload)
                elif kind == 9:
                    writer.write(_masked(10, payload))
                elif kind == 8:
                    self.troubles[f"close {int.from_bytes(payload[:2])}"] += 1
                    writer.write(_masked(8, payload[:2]))
                    return
            buffer, place = buffer[place:], 0
            piece = await self._read(reader)
            if not piece:
                raise EOFError
            buffer += piece

    async def _polls(self, url: str, wait: int | None) -> None:
        while True:
            reader, writer = await self._connect(url)
            try:
                writer.write(self._request(url, "poll", {"Connection": "close"}, wait=wait))
                answer = b"".join([piece async for piece in self._body(reader)])
            finally:
                writer.transport.abort()
            self.open = True
            self._take_answer(answer)
            if wait is None:
                await asyncio.sleep(self._pause)

    def _take_answer(self, answer: bytes) -> None:
        found = json.loads(answer[answer.rindex(b'],"position":') + 2 :].join([b"{", b""]))
        self._take_events(answer)
        if found["reset"]:
            self.said["reset"] += 1
            self.segments.append(Segment(found["position"]))
        self.position = found["position"]
        self.changed.set()

    def _take(self, data: bytes) -> None:
        place = 0
        for own in OWN.finditer(data):
            self._take_events(data[place : own.start()])
            self._take_own(json.loads(own[0]))
            place = own.end()
        self._take_events(data[place:] if place else data)
        self.changed.set()

    def _take_events(self, data: bytes) -> None:
        found = EVENT.findall(data)
        if not found:
            return
        self.numbers.extend(map(int, found))
        epoch = self.position.partition("-")[0]
        self.position = f"{epoch}-{int(found[-1])}"
        if self._timed:
            now = time.time()
            self.ages.extend(now - float(sent) for sent in SENT.findall(data))

    def _take_own(self, message: dict[str, Any]) -> None:
        name = message["type"].removeprefix("livepush.")
        self.said[name] += 1
        if name == "hello":
            self.open = True
        if name == "bye":
            self.byes.append(message["retry"])
            self._retry = message["retry"] / 1000
        if name == "reset":
            self.segments.append(Segment(message["position"]))
        if "position" in message and name != "reply":
            self.position = message["position"]


def _masked(kind: int, payload: bytes) -> bytes:
    mask = os.urandom(4)
    body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
    return bytes([128 | kind, 128 | len(payload)]) + mask + body


class Row(NamedTuple):
    """A settled event, as far as the audit needs it."""

    number: int
    group: str


class Audit(NamedTuple):
    """What an audit counted, over some clients."""

    clients: int
    events: int
    """The events that were to be received, over all clients."""
    missing: int
    repeated: int
    disordered: int
    unexpected: int
    """What came and was never committed to a group of the client's, or lies before its start."""
    resets: int

    @property
    def clean(self) -> bool:
        """Whether nothing is missing, repeated, out of order or unexpected."""
        return not (self.missing or self.repeated or self.disordered or self.unexpected)

    def __str__(self) -> str:
        return (
            f"{self.clients} clients, {self.events} events to receive: missing {self.missing}, "
            f"repeated {self.repeated}, out of order {self.disordered}, unexpected {self.unexpected}, "
            f"resets {self.resets}"
        )


def committed(database: Database) -> list[Row]:
    """Return the settled events of a database, in order, on a connection of its own."""
    group = "`group`" if database.kind == "mariadb" else '"group"'
    found = database.query(f"SELECT position, {group} FROM livepush_event WHERE position > 0 ORDER BY position")
    return [Row(*row) for row in found]


def offered(rows: Iterable[Row], groups: Iterable[str], after: int) -> list[int]:
    """Return the numbers behind ``after`` that a reader of some groups is to get, each once."""
    wanted = set(groups)
    return list(dict.fromkeys(row.number for row in rows if row.group in wanted and row.number > after))


def audit(rows: Sequence[Row], followers: Iterable[Follower], upto: int | None = None) -> Audit:
    """Count what followers missed, got twice or out of order.

    Each must have had everything behind where it began, or behind its last reset, up to ``upto`` (the last row). What
    came before a reset must have been in order and once.
    """
    clients = events = missing = repeated = disordered = unexpected = resets = 0
    cache: dict[tuple[tuple[str, ...], int], list[int]] = {}
    for follower in followers:
        clients += 1
        resets += follower.resets
        for segment in follower.segments:
            got = segment.numbers
            repeated += len(got) - len(set(got))
            disordered += sum(1 for one, next in pairwise(got) if next < one)
        start = int(follower.segments[-1].start.partition("-")[2])
        key = (tuple(follower.groups), start)
        if key not in cache:
            numbers = offered(rows, follower.groups, start)
            cache[key] = numbers if upto is None else [number for number in numbers if number <= upto]
        events += len(cache[key])
        missing += len(set(cache[key]) - set(follower.numbers))
        unexpected += len({number for number in follower.numbers if upto is None or number <= upto} - set(cache[key]))
    return Audit(clients, events, missing, repeated, disordered, unexpected, resets)


@contextlib.asynccontextmanager
async def running(followers: Iterable[Follower]) -> AsyncIterator[None]:
    """Run clients, and end them."""
    tasks = [asyncio.create_task(each.run()) for each in followers]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
