"""Hostile input: what no client of ours would send. Nothing escapes, nothing is kept, and nobody else notices.

The same bytes in every run: chance comes from a fixed seed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from tests.integration.audit import TRANSPORTS, Follower, audit, committed
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import ROOT, Database
from tests.servers.processes import Publisher, Server

SERVERS = ("uvicorn", "daphne", "hypercorn", "granian")
SEED = 8
MOMENT = 0.3
"""How long (seconds) an answer is waited for that may never come."""
LIMIT = 65_536
SLACK = 15
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?:[ +|].*\n|\n)*.*")
BAD_CLOSES = {1011, 4500, 4503}
"""Close codes that say that the server failed."""


@dataclass
class Attack:
    """A server under attack, and what came back."""

    server: Server
    epoch: str
    cookie: str
    rng: random.Random
    statuses: Counter[str] = field(default_factory=Counter)
    closes: Counter[int] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    """What was sent where the server failed."""

    @contextlib.asynccontextmanager
    async def connected(self, reset: bool = False) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Open a TCP connection; at the end it is closed, or reset."""
        self.counts["connections"] += 1
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            yield reader, writer
        finally:
            if reset:
                sock: socket.socket = writer.get_extra_info("socket")
                with contextlib.suppress(OSError):  # the server was first
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def http(self, request: bytes, reset: bool = False) -> None:
        """Send the bytes of a request; note the status of the answer if one comes soon."""
        async with self.connected(reset) as (reader, writer):
            writer.write(request)
            head = await told(reader, lambda found: b"\r\n\r\n" in found)
        if head.startswith(b"HTTP/"):
            status = head.split(b" ", 2)[1].decode()
            self.statuses[status] += 1
            is_granians_own = self.server.kind == "granian" and b"Transfer-Encoding: chunked\r\n\r\nz" in request
            if status in ("500", "502", "503", "504") and not is_granians_own:  # it may read the chunks first
                self.bad.append(f"{status}: {request[:300]!r}")
        else:
            self.statuses["no answer"] += 1

    def note_close(self, code: int, sent: object) -> None:
        self.closes[code] += 1
        if code in BAD_CLOSES:
            self.bad.append(f"close {code}: {str(sent)[:300]}")


async def told(reader: asyncio.StreamReader, enough: Callable[[bytes], bool], seconds: float = MOMENT) -> bytes:
    """Return what comes until it is enough, the end comes, or nothing does any more."""
    found = b""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(seconds):
            while not enough(found) and (piece := await reader.read(65_536)):
                found += piece
    return found


# Requests


def head(target: str | bytes, *fields: str | bytes, method: str = "GET", version: str = "1.1") -> bytes:
    """Return a request's head; fields that are bytes go out as they are."""
    path = target if isinstance(target, bytes) else target.encode("latin-1", "replace")
    lines = [method.encode() + b" " + path + b" HTTP/" + version.encode()]
    lines += [each if isinstance(each, bytes) else each.encode("latin-1", "replace") for each in fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


HOST = "Host: 127.0.0.1"
NUMBERS = [
    "0",
    "-1",
    "-0",
    "+1",
    "1e9",
    "1_000",
    "٣",
    "１",
    "0x10",
    str(2**31),
    str(2**63 - 1),
    str(2**63),
    "9" * 19,
    "9" * 5000,
]


def positions(attack: Attack) -> list[str]:
    """Return positions that nobody was given."""
    epochs = [attack.epoch, "00000000", "", "A" * 8, "z" * 16, "z" * 17, "é"]
    found = [f"{epoch}-{number}" for epoch in epochs for number in NUMBERS]
    return [
        *found,
        "-",
        "--",
        "\0",
        "\n",
        " ",
        "null",
        "NaN",
        attack.epoch,
        f"{attack.epoch}-1\n",
        f"{attack.epoch}-1-1",
        "%",
    ]


def queries(attack: Attack) -> Iterator[str]:
    """Yield query strings."""
    rng = attack.rng
    for since in positions(attack):
        yield f"group=board&since={quote(since)}"
    yield from (
        "",
        "&&&&",
        "=",
        "group",
        "group=%",
        "group=%zz",
        "group=%FF%FE",
        "group=%ED%A0%80",
        "group=%00",
        "group=board%0d%0aSet-Cookie:x",
        "group=" + "a" * 201,
        "group=" + "a" * 30_000,
        "group=order:" + "9" * 190,
        "group=order:-1&group=order:1.5&group=order:%D9%A3",
        "group=user:1&group=user:%00&group=user:../../etc",
        "group=async:no&group=tenant:x",
        "&".join(f"group=order:{number}" for number in range(3000)),
        "&".join(f"x{number}=" for number in range(1001)),
        "group=board&" + "&".join("since=a-1" for _ in range(500)),
        f"group=board&since={attack.epoch}-0&since=x&since=",
        "group=board&wait=" + "9" * 5000,
        "group=board&wait=nan&wait=inf",
        "group=board&wait=%D9%A3",
        "group=board&wait=1e3",
        "group=board&format=" + "x" * 20_000,
        "group=board;group=board",
        "group[]=board",
        "group=board#fragment",
        "group=board&group=board" * 200,
    )
    for _ in range(20):
        raw = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60)))
        yield "group=" + quote(raw)
        yield "".join(rng.choice("abc=&%;+?/\\'\"<>{}|~0Fgroup") for _ in range(rng.randrange(1, 80)))


def fields(attack: Attack) -> Iterator[tuple[str | bytes, ...]]:
    """Yield the fields of requests that are not what they should be."""
    rng = attack.rng
    for since in positions(attack)[::3]:
        yield HOST, b"Last-Event-ID: " + since.encode("utf-8").replace(b"\n", b"").replace(b"\0", b"")
    for host in (
        "",
        "elsewhere.example",
        "127.0.0.1:99999",
        "[::1",
        "a b",
        "é",
        "127.0.0.1@evil",
        "x" * 5000,
        ".",
        "..",
        "%00",
    ):
        yield (f"Host: {host}",)
    yield ()
    yield HOST, HOST
    for origin in (
        "null",
        "http://[::1",
        "http://[",
        "http://]",
        "//",
        "http://127.0.0.1:x",
        "é",
        "http://a\\b",
        "x" * 5000,
        "http://\xbd",
        "http://[v1.x]:y",
    ):
        yield HOST, f"Origin: {origin}"
    for length in ("-1", "x", "", "1e3", "9" * 30, "9" * 5000, "0x10", " 5", "5, 5", "\xb2"):
        yield HOST, f"Content-Length: {length}"
    yield HOST, "Content-Length: 5", "Content-Length: 6"
    yield HOST, "Content-Length: 5", "Transfer-Encoding: chunked"
    yield HOST, "Transfer-Encoding: chunked, identity"
    yield HOST, "Transfer-Encoding: gzip"
    for kind in (
        "x/y; charset=nowhere",
        "x/y; charset*=nowhere''x",
        "x/y; charset*=utf-8''%ff",
        "x/y; charset*='''",
        "x" * 5000,
        ";;;;",
        "a/b" + "; a=b" * 500,
        'a/b; q="' + "\\" * 500,
    ):
        yield HOST, f"Content-Type: {kind}"
    for session in (
        "x",
        "x" * 5000,
        '"\\000\\000\\000\\000\\000\\000\\000\\000\\000"',
        '"\\377\\376' + "a" * 20 + '"',
        "é" * 20,
        "'; DROP TABLE--" * 2,
        attack.cookie.partition("=")[2][:-1] + "é",
        "../" * 20,
        "%00" * 20,
    ):
        yield HOST, f"Cookie: sessionid={session}"
    yield HOST, "Cookie: " + "; ".join(f"c{number}=x" for number in range(500))
    yield HOST, "Cookie: " + ";=" * 500
    yield HOST, "Cookie: sessionid=a" * 20
    yield HOST, *(f"X-{number}: y" for number in range(90))
    yield HOST, *(f"X-{number}: y" for number in range(5000))
    yield HOST, "X: " + "y" * 200_000
    yield HOST, b"X: \xff\xfe\x00"
    yield HOST, "X : y", " folded: z"
    yield HOST, "X-Tenant: " + "é" * 100, "Connection: Upgrade", "Upgrade: websocket"
    for _ in range(20):
        yield HOST, bytes(rng.randrange(32, 256) for _ in range(rng.randrange(1, 60)))
        yield HOST, b"Cookie: " + bytes(rng.choice(b'abc=;,"\\ \t0\xe9') for _ in range(60))


def requests(attack: Attack) -> Iterator[bytes]:
    """Yield whole requests, and what is none."""
    rng = attack.rng
    upgrade = (
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key(rng)}",
    )
    for query in queries(attack):
        yield head(f"/livepush/{rng.choice(('sse', 'poll'))}/?{query}", HOST)
    for found in fields(attack):
        yield head(f"/livepush/{rng.choice(('sse', 'poll'))}/?group=board", *found)
        yield head("/livepush/ws/?group=board", *found, *upgrade)
    for method in ("POST", "PUT", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "G\x01T", "X" * 300):
        for endpoint in ("sse", "poll", "ws"):
            yield head(f"/livepush/{endpoint}/?group=board", HOST, method=method)
    yield head("/livepush/poll/?group=board", HOST, "Content-Length: 70000", method="POST") + b"x" * 70_000
    yield head("/livepush/sse/?group=board", HOST, "Transfer-Encoding: chunked") + b"zz\r\nx\r\n0\r\n\r\n"
    yield head("/livepush/sse/?group=board", HOST, "Transfer-Encoding: chunked") + b"ffffffffffffffff\r\n"
    for number in ("", "x", "0", "14", "99999999999"):
        yield head("/livepush/ws/?group=board", HOST, *upgrade[:2], f"Sec-WebSocket-Version: {number}", upgrade[3])
    for value in ("", "x", "=" * 24, "A" * 5000):
        yield head("/livepush/ws/?group=board", HOST, *upgrade[:3], f"Sec-WebSocket-Key: {value}")
    for value in ("livepush.v1, livepush.v1", ", ,", "é", "x" * 5000, "livepush.v2"):
        if value == "é" and attack.server.kind == "daphne":
            continue  # it answers 500 by itself, with a traceback
        yield head("/livepush/ws/?group=board", HOST, *upgrade, f"Sec-WebSocket-Protocol: {value}")
    for path in (
        b"/livepush/sse/%00",
        b"//livepush//sse//",
        b"/livepush/../livepush/sse/",
        b"/livepush/%ff/",
        b"*",
        b"",
        b"/\xff\xfe",
        b"http://[/",
    ):
        yield head(path, HOST)
    for version in ("0.9", "1.0", "2.0", "9.9", "x"):
        yield head("/livepush/poll/?group=board", HOST, version=version)
    yield b"\r\n" * 1000
    yield b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200)
    yield bytes(rng.randrange(256) for _ in range(5000))


# WebSockets


def key(rng: random.Random) -> str:
    return base64.b64encode(rng.randbytes(16)).decode()


def frame(
    kind: int, payload: bytes, *, last: bool = True, masked: bool = True, reserved: int = 0, length: int | None = None
) -> bytes:
    """Return a client's frame (RFC 6455, section 5.2), with what is wrong about it."""
    size = len(payload) if length is None else length
    first = bytes([last << 7 | reserved << 4 | kind])
    if size < 126:
        found = first + bytes([masked << 7 | size])
    elif size < 65_536:
        found = first + bytes([masked << 7 | 126]) + size.to_bytes(2)
    else:
        found = first + bytes([masked << 7 | 127]) + size.to_bytes(8)
    mask = b"\x01\x02\x03\x04"
    return (
        found + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        if masked
        else found + payload
    )


def text(value: str | bytes) -> bytes:
    return frame(1, value.encode() if isinstance(value, str) else value)


def command(**fields: Any) -> str:
    return json.dumps(fields)


def texts(attack: Attack) -> Iterator[str]:
    """Yield texts that are no commands, or wrong ones; the connection outlives them."""
    rng = attack.rng
    yield from (
        "",
        " ",
        "null",
        "[]",
        "1",
        '"x"',
        "{",
        "{}",
        "}",
        "\ufeff{}",
        "NaN",
        "-Infinity",
        "\0",
        "é",
        "'",
        "1" * 60_000,
    )
    yield from ("[" * 60_000, '{"a":' * 10_000, "[" * 900 + "]" * 900, '{"command":' + "[" * 900 + "]" * 900 + "}")
    for name in (None, 1, True, [], {}, ["ping"], {"ping": 1}, "PING", "ping ", "", "\ud800", "p" * 60_000, 1e308):
        yield command(command=name, ref=1)
    for ref in (
        True,
        1.5,
        [],
        {},
        "x" * 101,
        10**100,
        -(10**100),
        "\ud800",
        "\udfff\ud800",
        "\0",
        "\u2028</script>",
        {"a": []},
    ):
        yield command(command="ping", ref=ref)
        yield command(command="subscribe", groups=["a b"], ref=ref)
    yield from (
        '{"command":"ping","ref":1e999}',
        '{"command":"ping","ref":NaN}',
        '{"command":"ping","ref":' + "9" * 5000 + "}",
    )
    yield from ('{"command":"ping","command":"fly","ref":1}', '{"ref":1,"ref":{},"command":"ping"}')
    for groups in (
        None,
        1,
        "board",
        {},
        [],
        [None],
        [[]],
        [{}],
        [1],
        ["\ud800"],
        ["board\0"],
        ["a b"],
        ["x" * 201],
        ["board"] * 101,
        [""] * 50,
    ):
        yield command(command="subscribe", groups=groups, ref=1)
        yield command(command="unsubscribe", groups=groups, ref=1)
    yield command(command="subscribe", groups=[f"order:{number}" for number in range(100)], ref=1)
    yield command(command="subscribe", groups=["order:" + "9" * 190, "user:0", "tenant:x", "async:no"], ref=1)
    yield command(command="unsubscribe", groups=[f"order:{number}" for number in range(100)], ref=1)
    nested: Any = []
    for _ in range(900):
        nested = [nested]
    for data in (
        None,
        "\0",
        "\ud800",
        "\\u0000",
        10**400,
        nested,
        "x" * 66_000,
        {"a" * 1000: [1.5, {}]},
        {"": {"\udc00": 1}},
    ):
        yield '{"command":"send","group":"room:hostile","type":"t","ref":1,"data":' + json.dumps(data) + "}"
    yield from (
        '{"command":"send","group":"room:hostile","type":"t","data":NaN}',
        '{"command":"send","group":"room:hostile","type":"t","data":1e999}',
    )
    for kind in (
        None,
        1,
        [],
        {},
        "",
        "error",
        "open",
        "livepush.reset",
        "a b",
        "a\nb",
        "\ud800",
        "x" * 101,
        "x" * 60_000,
        nested,
    ):
        yield command(command="send", group="room:hostile", type=kind, data=1, ref=1)
    for group in (None, [], {}, "", "board", "room:é", "room:" + "x" * 300, "\ud800", nested):
        yield command(command="send", group=group, type="t", data=1, ref=1)
    valid = command(command="subscribe", groups=["room:b", "order:1"], ref="r")
    for _ in range(60):
        place = rng.randrange(len(valid))
        junk = "".join(rng.choice('{}[]":,\\ue0\ud83d\0é9') for _ in range(rng.randrange(4)))
        yield (valid[:place] + junk + valid[place + rng.randrange(3) :]).encode("utf-8", "replace").decode()


def breaches(attack: Attack) -> Iterator[tuple[str, bytes]]:
    """Yield what breaks the protocol; the server may close at once."""
    ping = command(command="ping", ref=1).encode()
    yield "binary", frame(2, ping)
    yield "unmasked", frame(1, ping, masked=False)
    yield "invalid UTF-8", text(b'{"command":"ping","ref":"\xff\xfe"}')
    yield "surrogates in UTF-8", text(b'{"command":"ping","ref":"\xed\xa0\x80"}')
    yield "oversized", text("x" * (LIMIT + 2000))
    yield "oversized in pieces", frame(1, b"x" * 40_000, last=False) + frame(0, b"x" * 40_000)
    yield "far oversized", text("[" * 3_000_000)
    yield "deeply nested", text("[" * 100_000)
    yield "a piece of nothing", frame(0, ping)
    yield "a text in a text", frame(1, ping, last=False) + frame(1, ping)
    yield "never ended", frame(1, ping, last=False) * 1
    yield "endless pieces", frame(1, b"", last=False) + frame(0, b"", last=False) * 2000
    yield "reserved bits", frame(1, ping, reserved=7)
    yield "compressed", frame(1, ping, reserved=4)
    yield "unknown kind", frame(5, ping) + frame(11, ping)
    yield "long ping", frame(9, b"x" * 126)
    yield "ping in pieces", frame(9, b"x", last=False)
    yield "short close", frame(8, b"\x03")
    yield "close that is none", frame(8, b"\x00\x00junk\xff")
    yield "close with a private code", frame(8, (4999).to_bytes(2) + b"x" * 100)
    yield "a length that lies", frame(1, ping, length=2**62)
    yield "a length beyond", frame(1, ping, length=2**64 - 1)
    yield "half a frame", text(ping)[:7]
    yield "pings", frame(9, b"x" * 125) * 500
    yield "pongs", frame(10, b"x" * 125) * 500
    yield "noise", attack.rng.randbytes(5000)


class RawSocket:
    """A WebSocket whose bytes are ours to choose."""

    def __init__(self, attack: Attack, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.attack = attack
        self.reader = reader
        self.writer = writer
        self.buffer = b""
        self.closed: int | None = None
        self.refs = 0

    async def open(self, cookie: str = "", query: str = "group=room:a") -> None:
        more = [f"Cookie: {cookie}"] if cookie else []
        self.writer.write(
            head(
                f"/livepush/ws/?{query}",
                HOST,
                "Connection: Upgrade",
                "Upgrade: websocket",
                "Sec-WebSocket-Version: 13",
                f"Sec-WebSocket-Key: {key(self.attack.rng)}",
                *more,
            )
        )
        found = await told(self.reader, lambda found: b"\r\n\r\n" in found, 20)
        assert found.startswith(b"HTTP/1.1 101"), found
        self.buffer = found.partition(b"\r\n\r\n")[2]

    async def answered(self, after: object) -> bool:
        """Ping by command and wait for the answer; return whether the connection is still open."""
        self.refs += 1
        ref = f"alive {self.refs}"
        self.writer.write(text(command(command="ping", ref=ref)))
        return await self.until(lambda message: message.get("ref") == ref, after, 30)

    async def until(self, wanted: Callable[[dict[str, Any]], bool], after: object, seconds: float) -> bool:
        """Read on until a message comes; return whether it did before the end."""
        with contextlib.suppress(OSError):
            async with asyncio.timeout(seconds):
                while True:
                    for kind, payload in self.frames():
                        if kind == 8:
                            self.closed = int.from_bytes(payload[:2])
                            self.attack.note_close(self.closed, after)
                            return False
                        if kind == 1 and wanted(json.loads(payload)):
                            return True
                    piece = await self.reader.read(65_536)
                    if not piece:
                        return False
                    self.buffer += piece
        return False

    def frames(self) -> Iterator[tuple[int, bytes]]:
        while len(self.buffer) >= 2:
            size, start = self.buffer[1], 2
            if size == 126:
                size, start = int.from_bytes(self.buffer[2:4]), 4
            elif size == 127:
                size, start = int.from_bytes(self.buffer[2:10]), 10
            if len(self.buffer) < start + size:
                return
            kind, payload = self.buffer[0] & 15, self.buffer[start : start + size]
            self.buffer = self.buffer[start + size :]
            yield kind, payload


@contextlib.asynccontextmanager
async def raw_socket(attack: Attack, cookie: str = "", reset: bool = False) -> AsyncIterator[RawSocket]:
    async with attack.connected(reset) as (reader, writer):
        found = RawSocket(attack, reader, writer)
        await found.open(cookie)
        yield found


# The attacks


async def in_crowds(works: list[Callable[[], Awaitable[None]]], size: int = 25) -> None:
    """Do many things, some at a time."""
    rest = iter(works)

    async def one_after_another() -> None:
        for work in rest:
            await work()

    async with asyncio.TaskGroup() as group:
        for _ in range(size):
            group.create_task(one_after_another())


async def bad_requests(attack: Attack) -> None:
    found = list(requests(attack))
    attack.counts["requests"] += len(found)
    await in_crowds([lambda each=each, n=n: attack.http(each, reset=n % 3 == 0) for n, each in enumerate(found)])


async def bad_commands(attack: Attack) -> None:
    """Send wrong commands; after each the connection must answer, or have been closed for a reason."""
    found = list(texts(attack))
    attack.counts["commands"] += len(found)
    for cookie in ("", attack.cookie):
        rest = iter(found)
        open = True
        for first in rest:
            async with raw_socket(attack, cookie) as sock:
                sock.writer.write(text(first.encode("utf-8", "surrogatepass")))
                open = await sock.answered(first)
                while open and (following := next(rest, None)) is not None:
                    sock.writer.write(text(following.encode("utf-8", "surrogatepass")))
                    open = await sock.answered(following)


async def bad_frames(attack: Attack) -> None:
    async def breach(name: str, data: bytes) -> None:
        async with raw_socket(attack, reset=attack.rng.random() < 0.5) as sock:
            sock.writer.write(data)
            sock.writer.write(text(command(command="ping", ref="after")))
            await sock.until(lambda message: message.get("ref") == "after", name, MOMENT)

    found = list(breaches(attack))
    attack.counts["breaches"] += len(found)
    await in_crowds([lambda name=name, data=data: breach(name, data) for name, data in found])


async def many_commands(attack: Attack, count: int) -> None:
    """Send thousands of commands at once on one WebSocket; all are answered, in order."""
    async with raw_socket(attack, attack.cookie) as sock:
        for number in range(count):
            name = "subscribe" if number % 3 else "unsubscribe"
            sock.writer.write(
                text(command(command=name, groups=[f"order:{number % 300}", f"room:{number % 7}"], ref=number))
            )
        last = count - 1
        assert await sock.until(lambda message: message.get("ref") == last, "many commands", 120)
        assert await sock.answered("many commands")
    attack.counts["commands"] += count


async def control_frames_in_between(attack: Attack) -> None:
    """A command in pieces, with pings and pongs between them, is a command."""
    async with raw_socket(attack) as sock:
        whole = command(command="ping", ref="pieces").encode()
        for place in range(0, len(whole), 3):
            sock.writer.write(
                frame(0 if place else 1, whole[place : place + 3], last=place + 3 >= len(whole))
                + frame(9, b"x")
                + frame(10, b"")
            )
        assert await sock.until(lambda message: message.get("ref") == "pieces", "pieces", 30)


@contextlib.asynccontextmanager
async def half_open(attack: Attack, count: int) -> AsyncIterator[list[asyncio.StreamWriter]]:
    """Hold connections that say nothing, half of something, or a byte now and then."""
    upgrade = head(
        "/livepush/ws/?group=board", HOST, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"
    )
    starts = [
        b"",
        b"G",
        b"GET /livepush/sse/?group=board HTTP/1.1\r\nHost: 127",
        upgrade[:-4],
        b"\x16\x03",
        head("/livepush/sse/?group=board", HOST)[:-2],
    ]
    async with contextlib.AsyncExitStack() as stack:
        held = []
        for number in range(count):
            _, writer = await stack.enter_async_context(attack.connected(reset=number % 2 == 0))
            writer.write(starts[number % len(starts)])
            held.append(writer)
        yield held


def drip(held: list[asyncio.StreamWriter]) -> None:
    for writer in held:
        if not writer.is_closing():
            writer.write(b"x")


async def cut_off(attack: Attack) -> None:
    """Begin requests, handshakes and frames, and go in the middle."""
    whole = head(
        "/livepush/ws/?group=board",
        HOST,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key(attack.rng)}",
    )
    whole += text(command(command="subscribe", groups=["room:a"], ref=1))
    stream = head("/livepush/sse/?group=board", HOST)
    poll = head(f"/livepush/poll/?group=board&since={attack.epoch}-999999&wait=25", HOST)

    async def cut(data: bytes, reset: bool, fin: bool) -> None:
        async with attack.connected(reset) as (reader, writer):
            writer.write(data)
            if fin and writer.can_write_eof():
                writer.write_eof()
            await told(reader, bool, MOMENT / 3)

    if attack.server.kind == "hypercorn":
        # Where a frame comes with the handshake, it answers 400 and lets the application run on, without a word for
        # ever: nothing that an application can notice.
        whole = whole.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    works = [
        lambda data=data, place=place, reset=reset, fin=fin: cut(data[:place], reset, fin)
        for data in (whole, stream, poll)
        for place in (1, len(data) // 2, len(data) - 1, len(data))
        for reset, fin in ((True, False), (False, True), (False, False))
    ]
    attack.counts["cut off"] += len(works)
    await in_crowds(works)


async def attack_once(attack: Attack, commands: int, held: int) -> None:
    """Do everything once."""
    async with half_open(attack, held) as silent:
        await bad_requests(attack)
        drip(silent)
        await bad_frames(attack)
        drip(silent)
        await bad_commands(attack)
        await cut_off(attack)
        drip(silent)
        await control_frames_in_between(attack)
        await many_commands(attack, commands)


# Everybody else


@contextlib.asynccontextmanager
async def well_behaved(server: Server, start: str, elsewhere: Publisher) -> AsyncIterator[list[Follower]]:
    """Run clients of every transport, and events for them, while the block runs."""
    followers = [Follower(server.url, ["board", "room:a"], start, each, pause=0.05) for each in TRANSPORTS]
    tasks = [asyncio.create_task(each.run()) for each in followers]

    enough = asyncio.Event()

    async def send_on() -> None:
        number = 0
        while not enough.is_set():
            number += 1
            await asyncio.to_thread(elsewhere.send, ["board", "room:a"] if number % 3 else "board", "moved", number)
            await asyncio.sleep(0.02)

    try:
        await eventually(lambda: all(each.open for each in followers if each.transport in ("sse", "websocket")))
        sending = asyncio.create_task(send_on())
        yield followers
        enough.set()  # not cancelled: a send that is under way would be committed after the look at the head
        await sending
        await asyncio.to_thread(elsewhere.send, "board", "end")
        head = server_head(elsewhere)
        await asyncio.gather(*(each.until(head) for each in followers))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def server_head(elsewhere: Publisher) -> int:
    return int(elsewhere.position().partition("-")[2])


@dataclass
class Holdings:
    """What a server's process holds."""

    tasks: int
    threads: int
    descriptors: int
    subscribers: int
    memory: int

    def as_few_as(self, other: Holdings) -> bool:
        """Return whether it is no more, but for database connections and what well-behaved clients have just begun."""
        return (
            self.tasks <= other.tasks + SLACK
            and self.descriptors <= other.descriptors + SLACK
            and self.threads <= other.threads + SLACK
            and self.subscribers <= len(TRANSPORTS)
        )


async def holdings(server: Server) -> Holdings:
    stats = await asyncio.to_thread(server.stats)
    pid = stats["pid"]
    return Holdings(stats["tasks"], stats["threads"], faults.descriptors(pid), stats["subscribers"], faults.rss(pid))


def escaped(server: Server) -> list[str]:
    """Return the tracebacks that a server printed in which livepush has a part, or Django for it.

    What is left is the servers' own: uvicorn prints one at text that is not UTF-8, hypercorn and daphne print one at a
    subprotocol that is not ASCII.
    """
    ours = (str(ROOT / "livepush"), str(ROOT / "tests"), "site-packages/django/")
    return [found for found in TRACEBACK.findall(server.log()) if any(place in found for place in ours)]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", some(SERVERS))
async def test_hostile_clients_break_nothing_and_nobody_notices(
    kind: str, database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    rounds, commands, held = scale(1, 4), scale(1000, 5000), scale(30, 300)
    start = elsewhere.position()
    cookie = elsewhere.session("eve")
    settings = {"COMMANDS_PER_SECOND": 100_000, "MESSAGES_PER_SECOND": 100_000}  # else the limits end most attacks
    application = "tests.servers.probe:application"
    with processes.server(kind, database, settings, application=application, may_fail=True) as server:
        attack = Attack(server, start.partition("-")[0], cookie, random.Random(SEED))
        async with well_behaved(server, start, elsewhere) as followers:
            before = await holdings(server)
            for _ in range(rounds + 1):  # the first fills what stays filled
                await attack_once(attack, commands, held)
            middle = await holdings(server)
            for _ in range(rounds):
                await attack_once(attack, commands, held)

            async def nothing_left() -> bool:
                found = await holdings(server)
                return found.as_few_as(before)

            with contextlib.suppress(AssertionError):  # shown below
                await eventually(nothing_left)
            after = await holdings(server)
        found = audit(committed(database), followers)
        figures(
            server=kind,
            **attack.counts,
            statuses=dict(attack.statuses),
            closes=dict(attack.closes),
            audit=str(found),
            before=before,
            middle=middle,
            after=after,
        )
        assert attack.bad == []
        assert found.clean, found
        assert after.as_few_as(before), (before, after)
        assert all(len(each.connects) == 1 for each in followers if each.transport in ("sse", "websocket"))
        assert after.memory - middle.memory < 15_000_000
        assert escaped(server) == []
