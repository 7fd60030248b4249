"""Clients that read slowly, or not at all, cost a bounded amount of memory and delay nobody."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import statistics
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest

from tests.integration import clients, deaf
from tests.integration.audit import Follower, audit, committed, running
from tests.integration.conftest import Figures, Scale
from tests.patience import eventually, wait_until
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher
from tests.streams.readers import poll

SERVERS = ("uvicorn", "daphne", "hypercorn", "granian")
TRANSPORTS = ("sse", "websocket", "long poll")
FEW = (("uvicorn", "sse"), ("hypercorn", "websocket"), ("daphne", "long poll"))
CASES = [(kind, each) for kind in SERVERS for each in TRANSPORTS] if Scale.full else some(FEW)
PROBE = "tests.servers.probe:application"
MIB = 1_048_576
SETTINGS = {"BUFFER_BYTES": MIB // 8, "WINDOW_BYTES": MIB, "WINDOW_EVENTS": 1000}
SLACK = 4 * MIB
"""What the interpreter and its allocator take on top, in fragments and in what is on its way to the fast clients."""


def bound(slow: int) -> int:
    """Return by how much a server may grow for so many slow clients, as ``docs/reliability.md`` has it.

    The window (its data as UTF-8 and what Python needs for each event), and for each slow client a page of a replay,
    the write that it became, a buffer, and what the server has taken, each of at most ``BUFFER_BYTES`` and an event.
    """
    window = SETTINGS["WINDOW_BYTES"] + SETTINGS["WINDOW_EVENTS"] * 1024
    return window + slow * 4 * (SETTINGS["BUFFER_BYTES"] + 65_536) + SLACK


def answers(polls: int) -> int:
    """Return by how much more it may grow for so many polls whose clients are quick.

    Each answer of at most ``BUFFER_BYTES`` is there as a page, as bytes, and as what the server has taken.
    """
    return polls * 3 * SETTINGS["BUFFER_BYTES"]


BEHIND = 1.0
"""Whoever once got an event so late (seconds) counts as slow too: a machine with other work makes clients slow."""


class Peak:
    """The most memory that a process held."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.before = self.most = faults.rss(pid)

    def look(self) -> None:
        """Measure."""
        self.most = max(self.most, faults.rss(self.pid))


def send_many(publisher: Publisher, count: int, size: int, rate: int) -> None:
    """Send timed events, ten in each transaction and so many a second, or as many as there can be."""
    begin = time.monotonic()
    for first in range(0, count, 10):
        publisher.do("begin")
        for _ in range(first, min(count, first + 10)):
            publisher.send("board", "moved", {"t": time.time(), "x": "x" * size})
        publisher.do("commit")
        time.sleep(max(0.0, begin + first / rate - time.monotonic()))


def p99(ages: Sequence[float]) -> float:
    """Return the age (milliseconds) under which 99 of 100 are."""
    return round(1000 * statistics.quantiles(ages, n=100)[98], 1)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "transport"), CASES)
async def test_slow_clients_cost_little_and_delay_nobody(
    kind: str, transport: str, database: Database, scale: Scale, figures: Figures
) -> None:
    quick, stopped, trickling = scale(10, 92), scale(4, 5), scale(2, 3)
    count, size, seconds = scale(900, 20_000), scale(8000, 200), scale(2, 60)
    rate = 100  # for each of the three senders, in transactions of ten
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(processes.publisher(database)) for _ in range(3)]
        server = stack.enter_context(processes.server(kind, database, SETTINGS, application=PROBE))
        start = senders[0].position()
        fast = [Follower(server.url, ["board"], start, transport, timed=True) for _ in range(quick)]
        slow = [
            Follower(server.url, ["board"], start, transport, small=True, silence=300)
            for _ in range(stopped + trickling)
        ]

        async def send_all(count: int) -> None:
            await asyncio.gather(*(asyncio.to_thread(send_many, each, count // 3, size, rate) for each in senders))
            await asyncio.gather(*(each.until(database.head()) for each in fast))

        async with running(fast):
            await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= quick))
            await send_all(count // 5)
            alone = [age for each in fast for age in each.ages]
            for each in fast:
                del each.ages[:]
            middle = fast[0].position
            for each in slow:
                each.position = each.segments[0].start = middle
            async with running(slow):
                await eventually(lambda: asyncio.to_thread(lambda: server.holds() >= quick + len(slow)))
                for each in slow[:stopped]:
                    each.reading.clear()
                for each in slow[stopped:]:
                    each.trickle = 1.0
                peak = Peak(server.stats()["pid"])
                begin = time.monotonic()
                async with faults.every(0.1, peak.look):
                    await send_all(count)
                    took = time.monotonic() - begin
                    await asyncio.sleep(max(0.5, seconds - took))  # they go on not reading
                states = server.stats()
                for each in slow:
                    each.trickle = 0
                    each.reading.set()
                await asyncio.gather(*(each.until(database.head()) for each in slow))
                ended = server.stats()
        if kind == "granian":
            server.kill()  # after so many answers that nobody took, it may not end by itself
        found = audit(committed(database), [*fast, *slow])
        together = [age for each in fast for age in each.ages]
        behind = sum(max(each.ages) > BEHIND for each in fast)
        most = bound(len(slow) + behind) + (answers(quick) if transport == "long poll" else 0)
        figures(
            server=kind, transport=transport, audit=str(found), events=count, bytes=size, fast=quick, slow=len(slow),
            behind=behind, p99_ms_without=p99(alone), p99_ms_with=p99(together), sent_in=round(took, 1),
            grew_mib=round((peak.most - peak.before) / MIB, 1), bound_mib=round(most / MIB, 1),
            states=states["states"], closed=ended["closed"],
            reconnects=sum(len(each.connects) - 1 for each in slow) if transport != "long poll" else None,
        )  # fmt: skip
        assert found.clean, found
        assert peak.most - peak.before < most


def connections(pid: int, port: int, besides: Collection[int] = ()) -> int:
    """Return how many connections by a port a process holds, ``besides`` those from some ports."""
    inodes = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            inodes.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    rows = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    listening = "0A"
    return sum(
        1
        for row in rows
        if int(row[1].partition(":")[2], 16) == port and row[3] != listening and f"socket:[{row[9]}]" in inodes
        if int(row[2].partition(":")[2], 16) not in besides
    )


@contextlib.contextmanager
def all_taken(pid: int, port: int) -> Iterator[set[int]]:
    """Leave a server no descriptor: others connect as soon as one is free. Yield their ports."""
    most = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        with contextlib.ExitStack() as stack:
            idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(most + 10)]
            wait_until(lambda: len(os.listdir(f"/proc/{pid}/fd")) >= most)
            yield {each.getsockname()[1] for each in idle}
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def held(pid: int, database: Database) -> int:
    """Return how many descriptors a process holds, but for its threads' connections to the database."""
    [(connected,)] = database.query("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    return faults.descriptors(pid) - connected


@pytest.mark.long
@pytest.mark.parametrize("kind", SERVERS if Scale.full else some(SERVERS))
async def test_clients_that_read_nothing_are_closed_and_forgotten(
    kind: str, database: Database, elsewhere: Publisher, scale: Scale, figures: Figures
) -> None:
    """More than the system takes is on its way to each of them, in one write or one answer."""
    patience = scale(1, 20)
    settings = {"BUFFER_BYTES": 6 * MIB, "WRITE_TIMEOUT": patience, "HEARTBEAT": 0.25}
    with processes.server(kind, database, settings, application=PROBE) as server:
        start = elsewhere.position()
        for _ in range(75):
            await asyncio.to_thread(elsewhere.send, "board", "grew", "x" * 60_000)
        dead = [
            Follower(server.url, ["board"], start, each, small=True)
            for each in ("sse", "websocket", "websocket livepush.v1", "long poll")
        ]
        reader = Follower(server.url, ["board"], start, "sse")
        for each in dead:
            each.reading.clear()
        async with running([reader]):
            await reader.until(database.head())
            pid = server.stats()["pid"]
            await eventually(lambda: connections(pid, server.port) == 1)
            before = held(pid, database)
            async with running(dead):
                await eventually(lambda: connections(pid, server.port) == 1 + len(dead))
                begin = time.monotonic()
                await eventually(lambda: connections(pid, server.port) == 1, 60 + patience)
                took = time.monotonic() - begin
                closed = server.stats()["closed"]
                spare = len(dead) if kind == "granian" else 0  # a busy one may keep the descriptor of what has ended
                await eventually(lambda: held(pid, database) <= before + spare)
                for each in dead:
                    each.reading.set()
                await asyncio.to_thread(elsewhere.send, "board", "after")
                await asyncio.gather(*(each.until(database.head()) for each in [reader, *dead]))
        found = audit(committed(database), [reader, *dead])
        figures(server=kind, audit=str(found), patience=patience, gone_in=round(took, 2), closed=closed)
        assert found.clean, found
        assert closed["slow"] == 3
        assert len(reader.connects) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", SERVERS if Scale.full else some(SERVERS))
async def test_clients_that_read_nothing_of_what_django_sends_are_closed_and_forgotten(
    kind: str, database: Database
) -> None:
    settings = {"BUFFER_BYTES": 6 * MIB, "WRITE_TIMEOUT": 1, "HEARTBEAT": 0.25, "MERCURE": deaf.MERCURE}
    with (
        processes.publisher(database, settings) as elsewhere,
        processes.server(kind, database, settings, application=deaf.APPLICATION) as server,
    ):
        start = elsewhere.position()
        await asyncio.to_thread(deaf.send_much, elsewhere)
        stream = await deaf.written(server, database)
        paths = deaf.addresses(start, stream)
        await poll(server.url, stream, wait=0)
        pid = server.stats()["pid"]
        await eventually(lambda: connections(pid, server.port) == 0)
        before = held(pid, database)
        with deaf.never_reading(server.port, paths):
            await eventually(lambda: asyncio.to_thread(lambda: server.stats()["closed"].get("slow") == 2))
            await eventually(lambda: connections(pid, server.port) == 0)
            await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 0))
            spare = len(paths) if kind == "granian" else 0  # a busy one may keep the descriptor of what has ended
            await eventually(lambda: held(pid, database) <= before + spare)


@pytest.mark.long
async def test_daphne_holds_little_of_what_django_sends_for_clients_that_do_not_read(database: Database) -> None:
    settings, rounds = {**SETTINGS, "MERCURE": deaf.MERCURE}, 4
    with (
        processes.publisher(database, settings) as elsewhere,
        processes.server("daphne", database, settings, application=deaf.APPLICATION) as server,
    ):
        start = elsewhere.position()
        paths = deaf.addresses(start, "none")[:2]
        reader = Follower(server.url, ["eventstream:a"], start, "sse")

        async def are_behind() -> bool:
            return bool((await asyncio.to_thread(server.stats))["states"].get("behind") == len(paths))

        async with running([reader]):
            with deaf.never_reading(server.port, paths):
                await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 1 + len(paths)))
                peak = Peak(server.stats()["pid"])
                for _ in range(rounds):
                    await asyncio.to_thread(deaf.send_much, elsewhere)
                await asyncio.to_thread(elsewhere.send, "eventstream:a", "ended")
                await reader.until(database.head())
                await eventually(are_behind)
                peak.look()
        sent = len(paths) * rounds * deaf.COUNT * len(deaf.DATA)
        assert peak.most - peak.before < sent / 2


@pytest.mark.long
@pytest.mark.parametrize("kind", ["granian", "uvicorn", "daphne"])
async def test_clients_that_read_nothing_are_cut_off_where_no_descriptor_is_left(
    kind: str, database: Database, elsewhere: Publisher
) -> None:
    settings = {"BUFFER_BYTES": 6 * MIB, "WRITE_TIMEOUT": 1, "HEARTBEAT": 0.25}
    with processes.server(kind, database, settings, application=PROBE, may_fail=True) as server:  # it can't accept
        start = elsewhere.position()
        for _ in range(75):
            await asyncio.to_thread(elsewhere.send, "board", "grew", "x" * 60_000)
        reader, *dead = [
            Follower(server.url, ["board"], start, each, small=True)
            for each in ("sse", "sse", "websocket", "long poll")
        ]
        for each in dead:
            each.reading.clear()
        async with running([reader]):
            await reader.until(database.head())
            pid = server.stats()["pid"]
            async with running(dead):
                await eventually(lambda: connections(pid, server.port) == 1 + len(dead))
                with all_taken(pid, server.port) as others:
                    await eventually(lambda: connections(pid, server.port, others) == 1)
                for each in dead:
                    each.reading.set()
        assert len(reader.connects) == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", some([each for each in SERVERS if each != "hypercorn"], 1))
async def test_a_large_answer_keeps_no_request_in_memory_while_its_client_is_watched(
    kind: str, database: Database, elsewhere: Publisher
) -> None:
    start = elsewhere.position()
    for _ in range(50):
        await asyncio.to_thread(elsewhere.send, "board", "grew", "x" * 2000)
    count = 1200
    with processes.server(kind, database, {"WRITE_TIMEOUT": 600}, application=PROBE) as server:
        address = clients.address(server.url, "poll", "board", since=start)

        async def poll_often(times: int) -> None:
            for _ in range(times):
                async with clients.http() as client:  # on a connection of its own
                    assert len((await client.get(address)).json()["events"]) == 50

        await asyncio.gather(*(poll_often(50) for _ in range(6)))
        pid = server.stats()["pid"]
        before = faults.rss(pid)
        await asyncio.gather(*(poll_often(count // 6) for _ in range(6)))
        assert faults.rss(pid) - before < count * 8192
