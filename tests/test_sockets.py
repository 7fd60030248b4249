"""livepush finds the connection of a request, under each server, and hangs up on nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import os
import select
import socket
import sys
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import MethodType, SimpleNamespace
from typing import Any

import pytest

from livepush import notes, process
from livepush.consumers.poll import LARGE, reply
from livepush.process import drain, requests
from livepush.process.responses import ResponseClient
from livepush.process.servers import client as servers_client
from livepush.process.servers import daphne, hypercorn, lookup, tcp, uvicorn
from livepush.process.servers.client import GONE, Peer, peer_of
from livepush.routing import Application
from tests.patience import PATIENCE, eventually

NoDescriptors = Callable[[], AbstractContextManager[None]]


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

    def scope_ends(self) -> tuple[tuple[str, int], tuple[str, int]]:
        return self.server.getsockname()[:2], self.server.getpeername()[:2]

    def scope(self, **more: Any) -> dict[str, Any]:
        own, peer = self.scope_ends()
        return {"type": "http", "http_version": "1.1", "server": own, "client": peer, **more}

    def fill_buffer(self) -> None:
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
    """Look anew in each test, since descriptors are used again; note anew what is noted once."""
    monkeypatch.setattr(lookup, "_known", (0.0, {}))
    monkeypatch.setattr(notes, "_noted", set())


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


def by_address(scope: dict[str, Any]) -> Peer:
    """Return a client whose server livepush does not know."""

    async def send(message: Any) -> None: ...

    return peer_of(scope, send)


def count_calls(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    """Note in a list when a function of the search is called."""
    calls: list[None] = []
    work = getattr(lookup, name)

    def count(*args: Any) -> Any:
        calls.append(None)
        return work(*args)

    monkeypatch.setattr(lookup, name, count)
    return calls


def give_spare_up() -> None:
    """Give up the spare descriptor, as if none had been left when it was to be held."""
    if lookup._spare is not None:
        os.close(lookup._spare)
        lookup._spare = None


@pytest.fixture
def another_timeout() -> Iterator[None]:
    """Have new sockets wait for some seconds by default."""
    socket.setdefaulttimeout(PATIENCE)
    yield
    socket.setdefaulttimeout(None)


# By addresses


def test_the_socket_of_a_request_is_found_by_both_addresses(pair: Pair) -> None:
    scope = pair.scope()
    assert same(lookup.find(scope), pair.server)
    as_text = {name: [scope[name][0], str(scope[name][1])] for name in ("server", "client")}
    assert same(lookup.find({**scope, **as_text}), pair.server)
    mapped = {name: (f"::ffff:{scope[name][0]}", scope[name][1]) for name in ("server", "client")}
    assert same(lookup.find({**scope, **mapped}), pair.server)


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
async def test_where_the_addresses_are_not_the_sockets_nothing_is_done(other: dict[str, Any]) -> None:
    pair = Pair()
    pair.fill_buffer()
    client = by_address(pair.scope(**other))
    assert not await client.hang_up()
    assert await client.progress() is None
    pair.server.close()
    assert pair.read_out() > 0
    pair.close()


def test_a_descriptor_that_became_another_connections_is_not_taken(pair: Pair) -> None:
    scope, descriptor = pair.scope(), pair.server.fileno()
    assert same(lookup.find(scope), pair.server)
    other = Pair()
    os.dup2(other.server.fileno(), descriptor)
    assert lookup.find(scope) is None
    other.close()


def test_a_duplicate_that_is_closed_does_not_hide_the_socket(pair: Pair) -> None:
    duplicates = [os.dup(pair.server.fileno()) for _ in range(3)]
    assert same(lookup.find(pair.scope()), pair.server)
    for each in duplicates:
        os.close(each)
    assert same(lookup.find(pair.scope()), pair.server)


@pytest.mark.usefixtures("another_timeout")
def test_a_blocking_socket_stays_one_whatever_the_default_timeout_is(pair: Pair) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for each in (ours, theirs, pair.server):
            each.settimeout(None)  # as drivers of databases do
        found = lookup.find(pair.scope())
        assert found is not None
        found.close()
        assert [os.get_blocking(each.fileno()) for each in (ours, theirs, pair.server)] == [True] * 3


async def test_one_search_serves_all_clients_at_a_servers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    searches, looks = count_calls(monkeypatch, "_scan"), count_calls(monkeypatch, "find")
    monkeypatch.setattr(servers_client, "AGAIN", 0.0)
    pairs = [Pair() for _ in range(20)]
    clients = {number: by_address(each.scope()) for number, each in enumerate(pairs)}
    reading, *gone, deaf = pairs
    for each in gone:
        each.close()
    deaf.fill_buffer()
    await drain._hang_up(dict(clients), {0: clients[0]})
    for each in (reading, deaf):
        with pytest.raises(ConnectionError):
            each.server.send(b"x")
        each.close()
    await eventually(lambda: len(looks) == len(pairs) + 2)  # those that were there are looked for once more
    assert len(searches) == 1


async def test_no_descriptor_is_examined_on_the_event_loop(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    examined: Counter[bool] = Counter()
    examine = lookup._ends_of_socket

    def count(found: socket.socket) -> Any:
        examined[threading.current_thread() is threading.main_thread()] += 1
        return examine(found)

    monkeypatch.setattr(lookup, "_ends_of_socket", count)
    client = by_address(pair.scope())
    assert await client.progress()
    assert await client.hang_up()
    assert examined[True] == 0
    assert examined[False] >= 2


def test_a_connection_that_came_a_moment_after_the_last_search_is_found_too(pair: Pair) -> None:
    assert same(lookup.find(pair.scope()), pair.server)
    later = Pair()
    assert same(lookup.find(later.scope()), later.server)
    later.close()


async def test_a_connection_is_found_with_the_spare_descriptor_where_no_other_is_left(
    pair: Pair, no_descriptors: NoDescriptors
) -> None:
    client = by_address(pair.scope())
    lookup.keep_spare()
    with no_descriptors():
        for _ in range(2):  # it is held again
            assert await client.progress()
        assert await client.hang_up()
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")


async def test_without_any_descriptor_nothing_is_found_and_what_was_seen_is_kept(
    pair: Pair, no_descriptors: NoDescriptors
) -> None:
    client = by_address(pair.scope())
    assert await client.progress()
    known = lookup._known
    give_spare_up()
    with no_descriptors():
        assert not await client.hang_up()
        with pytest.raises(OSError, match="Too many open files"):
            await client.progress()
    assert lookup._known is known
    assert await client.hang_up()


# On a socket


async def test_hanging_up_resets_the_connection_and_forgets_what_is_unsent(pair: Pair) -> None:
    pair.fill_buffer()
    assert await by_address(pair.scope()).hang_up()
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")
    pair.server.close()
    assert pair.read_out() == -1


async def test_a_connection_that_can_be_written_to_may_be_left_alone(pair: Pair) -> None:
    pair.server.send(b"the end")
    assert not await by_address(pair.scope()).hang_up(unless_writable=True)
    assert not await by_address(pair.scope(http_version="2")).hang_up()
    pair.fill_buffer()
    assert await by_address(pair.scope(http_version="2")).hang_up(unless_writable=True)


def test_progress_is_what_the_client_has_taken() -> None:
    pair = Pair()
    pair.fill_buffer()
    before = tcp.progress(pair.server)
    assert before is not None
    assert before.buffer_full
    pair.client.recv(4096, socket.MSG_WAITALL)
    pair.client.recv(4096, socket.MSG_WAITALL)
    after = tcp.progress(pair.server)
    assert after is not None
    assert after.taken > before.taken
    pair.close()


def test_a_system_that_does_not_say_what_was_taken_is_not_guessed_at(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "freebsd14")  # has a structure of that name, and other fields
        assert tcp.progress(pair.server) is None
    monkeypatch.setattr(tcp, "BYTES_ACKED", 900)  # beyond the end, as on a Linux before 4.1
    caplog.set_level("INFO", "livepush")
    assert tcp.progress(pair.server) is tcp.progress(pair.server) is None
    assert [record.message for record in caplog.records] == [
        "This Linux does not say how much a client has received: stuck downloads are not ended."
    ]


# By the server's transport


class Served:
    """A connection that asyncio serves, with a ``send`` whose class is named like a server's."""

    @contextlib.asynccontextmanager
    async def open(self, path: str | None = None) -> AsyncIterator[Served]:
        made = asyncio.get_running_loop().create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport: Any) -> None:
                made.set_result(transport)

        loop = asyncio.get_running_loop()
        if path is None:
            listening = await loop.create_server(Protocol, "127.0.0.1", 0)
            self.client = socket.create_connection(listening.sockets[0].getsockname())
        else:
            listening = await loop.create_unix_server(Protocol, path)
            self.client = socket.socket(socket.AF_UNIX)
            self.client.connect(path)
        self.transport: Any = await made
        try:
            yield self
        finally:
            self.transport.abort()
            self.client.close()
            listening.close()
            await listening.wait_closed()

    def peer_of(self, module: str, name: str = "transport") -> Peer:
        """Return the client behind an object of a module, which has the transport under a name."""
        return peer_of({"server": None, "client": None}, self.send_of(module, name))

    def send_of(self, module: str, name: str = "transport") -> Any:
        """Return a method of an object of a module, which has the transport under a name."""

        async def send(self: Any, message: Any) -> None: ...

        cls = type("Cycle", (), {"send": send, "__module__": module})
        owner = cls()
        setattr(owner, name, self.transport)
        return owner.send


@pytest.mark.parametrize("path", [None, "socket"])
async def test_under_a_server_that_is_known_no_descriptor_is_looked_for(
    path: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "find", None)
    async with Served().open(path and str(tmp_path / path)) as served:
        client = served.peer_of("uvicorn.protocols.http.new_impl")
        assert client.connection() == weakref.ref(served.transport)
        served.transport.write(b"x" * 10_000_000)
        assert not tcp.can_write_now(served.transport.get_extra_info("socket"))
        served.transport.close()  # what is unsent keeps it open
        assert await client.hang_up()
        async with asyncio.timeout(PATIENCE):
            while served.transport.get_write_buffer_size():
                await asyncio.sleep(0.01)
        assert not await client.hang_up()
        assert await client.progress() is None


async def test_a_known_connection_is_hung_up_on_where_no_descriptor_is_left(no_descriptors: NoDescriptors) -> None:
    async with Served().open() as served:
        client = served.peer_of("uvicorn.protocols.http.new_impl")
        with no_descriptors():
            assert await client.progress()
            assert await client.hang_up()
        served.client.settimeout(PATIENCE)
        assert served.client.recv(1) == b""


async def test_a_client_that_is_kept_lightly_keeps_no_connection() -> None:
    async with Served().open() as served:
        client = served.peer_of("uvicorn.protocols.http.new_impl")
        light = client.lightly()
        assert light.connection() == client.connection()
        assert await light.progress()
        transport = weakref.ref(served.transport)
        del client
    del served
    for _ in range(3):
        await asyncio.sleep(0)  # the loop tells its protocol that it has ended
    gc.collect()
    assert transport() is None
    assert light.find() is GONE
    assert await light.progress() is None
    assert not await light.hang_up()


async def test_a_hypercorn_transport_is_found_some_hops_away() -> None:
    class Link:
        async def send(self, message: Any) -> None: ...

    Link.__module__ = "hypercorn.protocol.h11"
    stream, server = Link(), Link()
    server.writer = SimpleNamespace(transport="the transport")  # type: ignore[attr-defined]
    stream.send = server.send  # type: ignore[method-assign]
    assert hypercorn.transport(MethodType(Link.send, stream)) == "the transport"
    del server.writer  # type: ignore[attr-defined]
    assert hypercorn.transport(MethodType(Link.send, stream)) is None


async def test_a_server_that_has_changed_is_looked_up_by_address_and_that_is_noted_once(
    pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "livepush")
    async with Served().open() as served:
        changed = served.peer_of("uvicorn.protocols.http.h11_impl", "renamed")
        assert changed.find() is None
        client = changed._replace(scope=pair.scope())
        assert await client.progress()
        assert await client.hang_up()
    assert [record.message for record in caplog.records] == [
        "livepush does not know the server's send (Served.send_of.<locals>.send): it finds connections by their "
        "addresses, which costs time where there are many."
    ]


async def test_a_uvicorn_that_has_changed_has_no_direct_transport_and_that_is_noted_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "livepush")
    name = "uvicorn.protocols.http.h11_impl"

    class RequestResponseCycle:
        async def send(self, message: Any) -> None: ...

    RequestResponseCycle.__module__ = name
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(RequestResponseCycle=RequestResponseCycle))
    for _ in range(2):
        assert uvicorn.direct_transport(RequestResponseCycle().send) is None  # it has no scope
    async with Served().open() as served:  # a class that is not known
        assert uvicorn.direct_transport(served.send_of("uvicorn.protocols.http.new_impl")) is None
    assert len(caplog.records) == 1
    assert "does not know this version or option of uvicorn" in caplog.records[0].message


# Under daphne


class Reactor:
    """What livepush asks of Twisted's reactor."""

    running = True

    def __init__(self, *readers: Any) -> None:
        self.readers = readers

    def getReaders(self) -> list[Any]:  # noqa: N802
        return list(self.readers)


def twisted_transport(pair: Pair) -> SimpleNamespace:
    own, peer = (SimpleNamespace(host=host, port=port) for host, port in pair.scope_ends())
    return SimpleNamespace(
        producerPaused=True,
        connected=True,
        protocol=None,
        fileno=pair.server.fileno,
        getHost=lambda: own,
        getPeer=lambda: peer,
    )


def daphnes(send: Any, transport: Any) -> Any:
    """Return a ``send`` as daphne's is made."""
    return functools.partial(lambda protocol, message: send(message), SimpleNamespace(transport=transport))


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("secured", [False, True])
async def test_under_daphne_a_send_waits_for_its_client(
    wrapped: bool, secured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, sent = Pair(), []

    async def note(message: Any) -> None:
        sent.append(message)

    transport = twisted_transport(pair)
    outer = SimpleNamespace(wrappedProtocol=None, transport=transport) if secured else transport
    send = note if wrapped else daphnes(note, outer)
    others = [SimpleNamespace() for _ in range(3 * daphne.PAUSE_EVERY)]
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", Reactor(transport, *others))
    found = await daphne.with_backpressure(pair.scope(), send)
    assert daphne.transport(found) is transport
    pair.fill_buffer()
    sending = asyncio.create_task(found({"type": "one"}))
    await asyncio.sleep(0.05)
    assert not sent
    transport.producerPaused = False
    await asyncio.to_thread(pair.client.recv, 10_000_000, socket.MSG_WAITALL | socket.MSG_DONTWAIT)
    while not sending.done():
        with contextlib.suppress(BlockingIOError):
            pair.client.recv(1_000_000, socket.MSG_DONTWAIT)
        await asyncio.sleep(0)
    assert sent == [{"type": "one"}]
    pair.close()


async def test_under_daphne_a_send_waits_where_no_descriptor_is_left(
    monkeypatch: pytest.MonkeyPatch, no_descriptors: NoDescriptors
) -> None:
    pair, sent, waits = Pair(), [], []
    wait = daphne._until_writable

    async def note(message: Any) -> None:
        sent.append(message)

    async def note_wait(descriptor: int) -> None:
        waits.append(descriptor)
        await wait(descriptor)

    monkeypatch.setattr(daphne, "_until_writable", note_wait)
    transport = twisted_transport(pair)
    send = daphne.SendWithBackpressure(note, transport)
    pair.fill_buffer()
    with no_descriptors():
        sending = asyncio.create_task(send({"type": "one"}))
        await eventually(lambda: len(waits) > 2)
        assert not sent
        transport.producerPaused = False
        await asyncio.wait_for(sending, PATIENCE)
    assert sent == [{"type": "one"}]
    pair.close()


async def test_a_daphne_that_has_changed_sends_as_it_does_and_that_is_noted_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(message: Any) -> None: ...

    caplog.set_level("INFO", "livepush")
    transport = twisted_transport(pair)
    del transport.producerPaused
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", Reactor(transport))
    for _ in range(2):
        theirs = daphnes(send, transport)
        assert await daphne.with_backpressure(pair.scope(), theirs) is theirs
    assert [record.levelname for record in caplog.records] == ["WARNING"]


async def test_only_daphne_needs_a_send_with_backpressure() -> None:
    async def send(message: Any) -> None: ...

    assert daphne.reactor() is None
    assert daphne.unsent() == 0
    assert await daphne.with_backpressure({"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2)}, send) is send


# Responses of Django's own


async def say_nothing(message: Any) -> None:
    """Stand for the ``send`` of a server that livepush does not know."""


async def answered(scope: dict[str, Any], send: Any, work: Callable[[ResponseClient], Awaitable[object]]) -> None:
    """Have ``work`` done where Django sends a response that streams, with the response's client."""

    async def django(scope: Any, receive: Any, send: Any) -> None:
        async with process.serving_response(scope) as client:
            await work(client)

    await asyncio.create_task(Application(django)({**scope, "path": "/nowhere/"}, say_nothing, send))


def is_reset(pair: Pair) -> bool:
    """Return whether the server's end was reset; write to it."""
    try:
        pair.server.send(b"x")
    except BlockingIOError:
        return False
    except BrokenPipeError:
        return True
    return False


@pytest.mark.parametrize("wrapped", [False, True])
async def test_under_daphne_what_django_sends_waits_for_its_client(
    wrapped: bool, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, waits, wait = twisted_transport(pair), [], daphne._until_writable

    async def note_wait(descriptor: int) -> None:
        waits.append(descriptor)
        await wait(descriptor)

    monkeypatch.setattr(daphne, "_until_writable", note_wait)
    monkeypatch.setitem(sys.modules, "twisted.internet.reactor", Reactor(transport))

    async def work(client: ResponseClient) -> None:
        pair.fill_buffer()
        waiting = asyncio.create_task(client.ready())
        await eventually(lambda: waits)
        assert not waiting.done()
        transport.producerPaused = False
        while not waiting.done():
            with contextlib.suppress(BlockingIOError):
                pair.client.recv(1_000_000, socket.MSG_DONTWAIT)
            await asyncio.sleep(0)

    send = say_nothing if wrapped else daphnes(say_nothing, transport)
    await answered(pair.scope(), send, work)
    assert waits


async def test_a_client_that_takes_nothing_of_what_django_sends_is_hung_up_on(pair: Pair, settings: Any) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.05}

    async def work(client: ResponseClient) -> None:
        pair.fill_buffer()
        with client.in_time():
            await eventually(lambda: is_reset(pair))

    await answered(pair.scope(), say_nothing, work)


async def test_a_client_that_reads_stays_however_long_the_next_part_takes(
    pair: Pair, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.05}
    done: list[bool] = []
    hang_up = tcp.hang_up

    def note(connection: socket.socket, **more: Any) -> bool:
        done.append(hang_up(connection, **more))
        return done[-1]

    monkeypatch.setattr(tcp, "hang_up", note)

    async def work(client: ResponseClient) -> None:
        with client.in_time():
            await eventually(lambda: done)

    await answered(pair.scope(), say_nothing, work)
    assert done == [False]


async def test_a_drain_waits_for_what_django_sends_and_hangs_up_on_its_client(pair: Pair) -> None:
    served = requests.requests_of(asyncio.get_running_loop()).open

    async def work(client: ResponseClient) -> None:
        assert len(served) == 1
        pair.fill_buffer()
        await drain._hang_up(dict(served), served)
        assert is_reset(pair)

    await answered(pair.scope(), say_nothing, work)
    assert not served


async def test_a_response_of_djangos_ends_if_its_connection_can_not_be_reset(pair: Pair) -> None:
    async def work(client: ResponseClient) -> None:
        client.hang_up()
        await asyncio.wait_for(asyncio.Event().wait(), PATIENCE)

    with pytest.raises(asyncio.CancelledError):
        await answered(pair.scope(client=None), say_nothing, work)


async def test_a_response_that_is_dropped_half_way_ends_without_the_garbage_collector() -> None:
    ended = asyncio.Event()

    async def content() -> AsyncIterator[ResponseClient]:
        async with process.serving_response() as client:
            try:
                yield client
            finally:
                ended.set()

    async def send_a_part() -> AsyncIterator[ResponseClient]:
        found = content()
        await anext(found)
        return found  # as the task in which Django sends a response returns the response

    gc.disable()
    try:
        await asyncio.create_task(send_a_part())
        await asyncio.wait_for(ended.wait(), PATIENCE)
    finally:
        gc.enable()


# Large answers


async def test_a_client_that_takes_nothing_of_a_large_answer_is_hung_up_on(settings: Any) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.2}
    pair = Pair()

    async def send(message: Any) -> None:
        pair.fill_buffer()

    await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
    async with asyncio.timeout(PATIENCE):
        while requests.requests_of(asyncio.get_running_loop()).answered:
            await asyncio.sleep(0.02)
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")
    pair.close()


async def test_a_client_that_can_not_be_found_for_want_of_descriptors_is_looked_at_again(
    settings: Any, no_descriptors: NoDescriptors, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.05}
    pair, looks = Pair(), count_calls(monkeypatch, "find")

    async def send(message: Any) -> None:
        pair.fill_buffer()

    give_spare_up()
    with no_descriptors():
        await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
        await eventually(lambda: len(looks) > 2)
    await eventually(lambda: not requests.requests_of(asyncio.get_running_loop()).answered)
    with pytest.raises(BrokenPipeError):
        pair.server.send(b"x")
    pair.close()


async def test_a_client_that_can_not_be_looked_at_is_forgotten(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.05}
    monkeypatch.setattr(lookup, "find", lambda *args: 1 // 0)
    pair = Pair()

    async def send(message: Any) -> None: ...

    await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
    await eventually(lambda: not requests.requests_of(asyncio.get_running_loop()).answered)
    pair.close()


async def test_a_client_that_takes_a_large_answer_keeps_its_connection(settings: Any) -> None:
    settings.LIVEPUSH = {"WRITE_TIMEOUT": 0.2}
    pair = Pair()

    async def send(message: Any) -> None:
        pair.server.send(message.get("body", b""))

    for _ in range(3):  # one watch for all that comes over one connection
        await reply(pair.scope(method="GET", headers=[]), send, b"x" * (LARGE + 1))
        assert len(requests.requests_of(asyncio.get_running_loop()).answered) == 1
    async with asyncio.timeout(PATIENCE):
        while requests.requests_of(asyncio.get_running_loop()).answered:
            await asyncio.sleep(0.02)
    pair.server.send(b"more")
    pair.server.close()
    assert await asyncio.to_thread(pair.read_out) == 3 * (LARGE + 1) + 4
    pair.close()


def test_whether_a_socket_can_be_written_to_is_known_on_windows_too(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        for _ in range(2):
            assert tcp.can_write_now(ours)
            monkeypatch.delattr(select, "poll", raising=False)
        with contextlib.suppress(BlockingIOError):
            while True:
                ours.send(bytes(65_536))
        assert not tcp.can_write_now(ours)


def test_a_connection_that_was_hung_up_on_is_dropped_with_what_it_holds(pair: Pair) -> None:
    pair.fill_buffer()
    scope = pair.scope()
    assert tcp.hang_up(pair.server)
    held = lookup.find(scope)  # the server has not closed it
    assert held is not None
    with held:
        assert tcp.drop(held)
    assert lookup.find(scope) is None
    pair.server.close()
    assert pair.read_out() == -1
