"""A process finds the TCP connection under a request, and hangs up on nobody else's."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from livepush.consumers.poll import LARGE, reply
from livepush.process import hubs
from livepush.process.servers import tcp
from tests.patience import PATIENCE


class Pair:
    """A server's and a client's end of one connection."""

    def __init__(self, family: socket.AddressFamily = socket.AF_INET) -> None:
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        with socket.create_server((host, 0), family=family) as listening:
            self.client = socket.socket(family)
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.client.settimeout(PATIENCE)
            self.client.connect(listening.getsockname()[:2])
            self.server, _ = listening.accept()
        self.server.setblocking(False)

    def scope(self, **more: Any) -> dict[str, Any]:
        own, peer = self.server.getsockname(), self.server.getpeername()
        return {"type": "http", "http_version": "1.1", "server": own[:2], "client": peer[:2], **more}

    def stuff(self) -> None:
        """Write until the system takes no more."""
        try:
            while True:
                self.server.send(b"x" * 65_536)
        except BlockingIOError:
            pass

    def read_out(self) -> int:
        """Return how many bytes come until the connection ends in order, or is reset (then -1)."""
        count = 0
        try:
            while chunk := self.client.recv(65_536):
                count += len(chunk)
        except ConnectionResetError:
            return -1
        return count

    def close(self) -> None:
        self.client.close()
        self.server.close()


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look anew in each test: descriptors are used again."""
    monkeypatch.setattr(tcp, "_known", (0.0, {}))


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    found = Pair(request.param)
    yield found
    found.close()


def same(found: socket.socket | None, expected: socket.socket) -> bool:
    if found is None:
        return False
    with found:
        return os.fstat(found.fileno()).st_ino == os.fstat(expected.fileno()).st_ino


def test_the_socket_of_a_request_is_found_by_both_addresses(pair: Pair) -> None:
    scope = pair.scope()
    assert same(tcp.find(scope), pair.server)
    as_text = {name: [scope[name][0], str(scope[name][1])] for name in ("server", "client")}
    assert same(tcp.find({**scope, **as_text}), pair.server)
    mapped = {name: (f"::ffff:{scope[name][0]}", scope[name][1]) for name in ("server", "client")}
    assert same(tcp.find({**scope, **mapped}), pair.server)


@pytest.mark.parametrize(
    "other",
    [
        {"client": ("203.0.113.7", 0)},
        {"client": None},
        {"server": None},
        {"server": ("/run/site.sock", None)},
        {"client": ("testclient", "port")},
        {"client": ()},
        {"server": ("127.0.0.1", 1)},
    ],
)
def test_where_the_addresses_are_not_the_sockets_nothing_is_done(other: dict[str, Any]) -> None:
    pair = Pair()
    pair.stuff()
    assert tcp.find(pair.scope(**other)) is None
    assert not tcp.hang_up(pair.scope(**other))
    assert tcp.progress(pair.scope(**other)) is None
    pair.server.close()
    assert pair.read_out() > 0
    pair.close()


def test_hanging_up_resets_the_connection_and_forgets_what_is_unsent(pair: Pair) -> None:
    pair.stuff()
    assert tcp.hang_up(pair.scope())
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")
    pair.server.close()
    assert pair.read_out() == -1


def test_a_connection_that_takes_more_may_be_left_alone(pair: Pair) -> None:
    pair.server.send(b"the end")
    assert not tcp.hang_up(pair.scope(), unless_writable=True)
    assert not tcp.hang_up(pair.scope(http_version="2"))
    pair.stuff()
    assert tcp.hang_up(pair.scope(http_version="2"), unless_writable=True)


def test_a_number_that_became_another_connections_is_not_taken(pair: Pair) -> None:
    scope, number = pair.scope(), pair.server.fileno()
    assert same(tcp.find(scope), pair.server)
    other = Pair()
    os.dup2(other.server.fileno(), number)
    assert tcp.find(scope) is None
    other.close()


def test_a_duplicate_that_is_closed_does_not_hide_the_socket(pair: Pair) -> None:
    duplicates = [os.dup(pair.server.fileno()) for _ in range(3)]
    assert same(tcp.find(pair.scope()), pair.server)
    for each in duplicates:
        os.close(each)
    assert same(tcp.find(pair.scope()), pair.server)


def test_progress_is_what_the_client_has_taken() -> None:
    pair = Pair()
    pair.stuff()
    before = tcp.progress(pair.scope())
    assert before is not None
    assert before.stuffed
    pair.client.recv(4096, socket.MSG_WAITALL)
    pair.client.recv(4096, socket.MSG_WAITALL)
    after = tcp.progress(pair.scope())
    assert after is not None
    assert after.taken > before.taken
    pair.close()


async def test_a_client_that_takes_nothing_of_a_large_answer_is_hung_up_on(settings: Any) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.2}
    pair = Pair()

    async def send(message: Any) -> None:
        pair.stuff()

    await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
    async with asyncio.timeout(PATIENCE):
        while hubs._requests_of(asyncio.get_running_loop()).answered:
            await asyncio.sleep(0.02)
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")
    pair.close()


async def test_a_client_that_takes_a_large_answer_keeps_its_connection(settings: Any) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.2}
    pair = Pair()

    async def send(message: Any) -> None:
        pair.server.send(message.get("body", b""))

    for _ in range(3):  # one watch for all that comes over one connection
        await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
        assert len(hubs._requests_of(asyncio.get_running_loop()).answered) == 1
    async with asyncio.timeout(PATIENCE):
        while hubs._requests_of(asyncio.get_running_loop()).answered:
            await asyncio.sleep(0.02)
    pair.server.send(b"more")
    pair.server.close()
    assert await asyncio.to_thread(pair.read_out) == 3 * (LARGE + 1) + 4
    pair.close()


async def test_only_daphne_needs_its_writes_held_back() -> None:
    async def send(message: Any) -> None: ...

    assert tcp.reactor() is None
    assert tcp.held_back({"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, send) is send
