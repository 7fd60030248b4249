"""Redis freezes, dies and comes back empty, drops connections, vanishes, answers slowly: nobody misses an event."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.request
from array import array
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.audit import TRANSPORTS, Audit, Follower, audit, committed
from tests.integration.conftest import Figures, Scale
from tests.integration.test_delivery import hubs_listen
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.faults import Line, Redis
from tests.servers.fresh import ROOT, Database, Databases
from tests.servers.processes import Publisher, Server
from tests.servers.steady import Steady, steady

LAYERS = ("pubsub", "core")
GROUPS = ["board", "room:a"]
RATE = 20
EPHEMERAL = re.compile(rb'"data":\{"e":([0-9]+)\}')
LAYER_TIMEOUT = 5000
"""How long (milliseconds) livepush lets one call of the layer take: a send that waited for it would take as long."""


class Listener(Follower):
    """A follower that counts the ephemeral events too."""

    ephemeral = 0

    def _take_events(self, data: bytes) -> None:
        super()._take_events(data)
        self.ephemeral += len(EPHEMERAL.findall(data))

    def forget(self) -> None:
        """Begin to measure anew."""
        self.ages = array("d")


def received(server: Server) -> set[int]:
    """Return the events that the layer has brought a server."""
    with urllib.request.urlopen(f"{server.url}/probe/", timeout=20) as response:
        return set(json.load(response)["received"])


@dataclass
class Site:
    """A server with clients and, elsewhere, a process that sends, both on one Redis by a line."""

    layer: str
    database: Database
    redis: Redis
    line: Line
    server: Server
    publisher: Steady
    elsewhere: Publisher
    listeners: list[Listener]

    async def hears(self) -> float:
        """Wait until the layer brings the server what is sent from now on, durable or not; return the seconds."""
        began = time.monotonic()
        head = self.database.head()
        streams = [each for each in self.listeners if "poll" not in each.transport]
        before = [each.ephemeral for each in streams]

        def heard() -> bool:
            return max(received(self.server), default=0) > head and all(
                each.ephemeral > count for each, count in zip(streams, before, strict=True)
            )

        await eventually(lambda: asyncio.to_thread(heard))
        return round(time.monotonic() - began, 1)

    async def audit(self) -> Audit:
        """End the sending, wait until every client has everything, and count."""
        await asyncio.to_thread(self.publisher.figures, True)
        self.elsewhere.position()
        await asyncio.gather(*(each.until(self.database.head()) for each in self.listeners))
        return audit(committed(self.database), self.listeners)

    async def measure(self) -> dict[str, Any]:
        """Return what was sent and how old it was when it came, since the last time."""
        sent = await asyncio.to_thread(self.publisher.figures)
        ages = sorted(age for each in self.listeners for age in each.ages if each.transport != "poll")
        for each in self.listeners:
            each.forget()
        assert ages, "nothing came"
        old = {
            "p50": ages[len(ages) // 2],
            "p99": ages[int(len(ages) * 0.99)],
            "most": ages[-1],
        }
        assert not sent["errors"], sent
        assert sent["most"] < LAYER_TIMEOUT / 2, f"a send waited for the layer: {sent}"
        return {
            "sends": sent["sends"],
            "send ms": {name: sent[name] for name in old},
            "age ms": {name: round(1000 * age) for name, age in old.items()},
        }


@contextlib.asynccontextmanager
async def site(layer: str, databases: Databases) -> AsyncIterator[Site]:
    """Run a site whose layer works."""
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql"))
        redis = stack.enter_context(faults.redis())
        line = stack.enter_context(faults.line(redis.port))
        env = {"LIVEPUSH_TEST_LAYER": layer, "LIVEPUSH_TEST_REDIS": f"redis://127.0.0.1:{line.port}"}
        server = stack.enter_context(
            processes.server(
                "uvicorn",
                database,
                env=env,
                application="tests.servers.probe:application",
                may_fail=True,  # channels_redis prints a traceback for each connection that it loses
            )
        )
        elsewhere = stack.enter_context(processes.publisher(database))
        start = elsewhere.position()
        publisher = stack.enter_context(steady(database, GROUPS, RATE, **env))
        listeners = [Listener(server.url, GROUPS, start, each, timed=True) for each in TRANSPORTS]
        tasks = [asyncio.create_task(each.run()) for each in listeners]
        found = Site(layer, database, redis, line, server, publisher, elsewhere, listeners)
        try:
            await found.hears()
            await found.measure()
            yield found
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.contextmanager
def frozen(found: Site) -> Iterator[None]:
    found.redis.freeze()
    try:
        yield
    finally:
        found.redis.thaw()


@contextlib.contextmanager
def killed(found: Site) -> Iterator[None]:
    found.redis.kill()
    try:
        yield
    finally:
        found.redis.start()


@contextlib.contextmanager
def slow(found: Site) -> Iterator[None]:
    found.line.delay = 0.1
    try:
        yield
    finally:
        found.line.delay = 0.0


@contextlib.contextmanager
def vanished(found: Site) -> Iterator[None]:
    """The host that holds the connections is gone, without a word; another one has its address."""
    found.line.abandon()
    yield


async def endure(found: Site, scale: Scale, figures: Figures) -> None:
    """Let everything happen to a site, one after the other."""
    await asyncio.sleep(scale(2, 40))  # in full until the hub trusts the layer
    figures(layer=found.layer, fault="none", **await found.measure())
    for fault, seconds in (
        (frozen, scale(7, 60)),
        (killed, scale(3, 60)),
        (slow, scale(3, 30)),
        (vanished, scale(1, 30)),
    ):
        with fault(found):
            await asyncio.sleep(seconds)
            during = await found.measure()
        hears = await found.hears()
        await found.measure()
        figures(layer=found.layer, fault=fault.__name__, seconds=seconds, hears_after=hears, **during)
    seconds = scale(3, 60)
    async with faults.every(0.5, lambda: found.line.cut(2)):
        await asyncio.sleep(seconds)
        during = await found.measure()
    hears = await found.hears()
    figures(layer=found.layer, fault="cut", seconds=seconds, hears_after=hears, **during)


@pytest.mark.long
async def test_whatever_redis_does_nobody_misses_an_event_or_waits_and_the_layer_is_heard_again(
    databases: Databases, scale: Scale, figures: Figures
) -> None:
    async def run(layer: str) -> None:
        async with site(layer, databases) as found:
            await endure(found, scale, figures)
            counted = await found.audit()
            figures(layer=layer, audit=counted)
            assert counted.clean, (layer, str(counted))
            assert counted.events > 0

    await asyncio.gather(*(run(layer) for layer in LAYERS))


# Processes that come and go

SENDS = """
import django
django.setup()
import livepush
livepush.send("board", "moved")
print("sent", flush=True)
"""
BEFORE_FORKS = """
import multiprocessing
import os
import django
django.setup()
import livepush
from django.db import connections
livepush.send("board", "parent")
assert livepush.flush(10)
connections.close_all()
"""
FORKS = {
    "os.fork": """
child = os.fork()
livepush.send("board", "child" if child == 0 else "parent")
if child == 0:
    livepush.flush(10)
    os._exit(0)  # as RQ's processes end after each job
os.waitpid(child, 0)
""",
    "multiprocessing": """
child = multiprocessing.get_context("fork").Process(target=livepush.send, args=("board", "child"))
child.start()
child.join()
livepush.send("board", "parent")
""",
}


def run(code: str, database: Database, layer: str, port: int) -> subprocess.Popen[str]:
    """Start a process that sends something and ends."""
    env = {"LIVEPUSH_TEST_LAYER": layer, "LIVEPUSH_TEST_REDIS": f"redis://127.0.0.1:{port}"}
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=processes.settings_env(database, None, **env),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def ends_after(process: subprocess.Popen[str]) -> float:
    """Return how long (seconds) a process takes to end once it has sent."""
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "sent\n"
            began = time.monotonic()
            assert process.wait(30) == 0
            return time.monotonic() - began
        finally:
            process.kill()


@pytest.mark.long
def test_a_process_that_sends_and_ends_is_not_held_up_by_a_dead_redis(database: Database, figures: Figures) -> None:
    with faults.redis() as redis:
        redis.freeze()
        nowhere = processes.free_port()
        sending = {
            f"{layer}, {fault}": run(SENDS, database, layer, port)
            for layer in LAYERS
            for fault, port in (("frozen", redis.port), ("gone", nowhere))
        }
        figures(ends_after={name: round(ends_after(process), 1) for name, process in sending.items()})
    assert database.head() == len(sending)


@pytest.mark.long
@pytest.mark.parametrize("forks", some(list(FORKS.values())), ids=list(FORKS))
async def test_what_a_forked_process_sends_goes_through_the_layer_too(database: Database, forks: str) -> None:
    layer = "pubsub"
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(faults.redis())
        env = {"LIVEPUSH_TEST_LAYER": layer, "LIVEPUSH_TEST_REDIS": redis.url}
        elsewhere = stack.enter_context(processes.publisher(database, **env))
        server = stack.enter_context(
            processes.server("uvicorn", database, env=env, application="tests.servers.probe:application")
        )
        await hubs_listen([server], elsewhere)
        head = int(elsewhere.position().partition("-")[2])
        with await asyncio.to_thread(run, BEFORE_FORKS + forks, database, layer, redis.port) as process:
            assert await asyncio.to_thread(process.wait, 30) == 0
        assert database.head() == head + 3
        await eventually(lambda: asyncio.to_thread(lambda: {head + 1, head + 2, head + 3} <= received(server)))
