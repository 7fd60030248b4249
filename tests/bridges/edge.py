"""A WSGI site behind a real Pushpin."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx

from tests.integration import clients
from tests.integration.conftest import Figures
from tests.patience import PATIENCE, wait_until
from tests.scale import FULL
from tests.servers import processes
from tests.servers.fresh import Databases
from tests.servers.processes import Publisher, Server
from tests.servers.pushpin import Pushpin


@dataclass
class Site:
    """A WSGI site behind Pushpin."""

    server: Server
    pushpin: Pushpin
    shop: Publisher
    """Sends, and tells Pushpin."""
    silent: Publisher
    """Sends, and tells nobody: as a process that is killed before it could."""

    @property
    def url(self) -> str:
        return self.pushpin.url


@contextlib.contextmanager
def running(databases: Databases, more: dict[str, object] | None = None, **grip: object) -> Iterator[Site]:
    """Run a site with these settings of ``GRIP``, and more of livepush's."""
    port = processes.free_port()
    pushpin = Pushpin(port)
    settings = {"GRIP": {**pushpin.settings, **grip}, "RECHECK": 3600.0, "MAX_EVENT_BYTES": 1_000_000, **(more or {})}
    try:
        pushpin.start()
        with (
            databases.fresh("postgresql") as database,
            processes.server(processes.WSGI, database, settings, port=port) as server,
            processes.publisher(database, settings) as shop,
            processes.publisher(database) as silent,
        ):
            wait_until(lambda: holds(pushpin), pushpin.log)
            yield Site(server, pushpin, shop, silent)
    except BaseException:
        print(pushpin.log()[-20_000:])
        raise
    finally:
        pushpin.stop()


def holds(pushpin: Pushpin) -> bool:
    """Return whether a proxy that has just started holds streams already, and does not answer 500."""
    url = clients.address(pushpin.url, "sse", "board")
    try:
        with httpx.stream("GET", url, timeout=4, trust_env=False) as found:
            return found.status_code == 200
    except httpx.TransportError:  # a starting proxy may drop a request that it has taken, or never answer it
        return False


Follow = Callable[[Site, list[str], str], Awaitable[list[str]]]
"""Reads the types of some groups' events after a position, until ``end``, also while the proxy is killed."""


async def audit_kills(databases: Databases, figures: Figures, follow: Follow) -> None:
    """Kill the proxy again and again while ten clients read; hold what each got against what was sent."""
    count, kills = (600, 15) if FULL else (200, 5)

    async def send(site: Site) -> None:
        for number in range(count):
            sender = site.silent if number % 10 == 3 else site.shop
            groups = ["board", "order:1"] if number % 3 else "board"
            await asyncio.to_thread(sender.send, groups, f"n{number}")
        await asyncio.to_thread(site.shop.send, "board", "end")

    async def kill(site: Site) -> None:
        for _ in range(kills):
            await asyncio.to_thread(wait_until, lambda: holds(site.pushpin))
            site.pushpin.kill()
            await asyncio.to_thread(site.pushpin.start)

    with running(databases, CHECK=1) as site:
        async with asyncio.timeout(3 * PATIENCE), asyncio.TaskGroup() as tasks:
            start = site.shop.position()
            groups = (["board"], ["board", "order:1"])
            following = [asyncio.ensure_future(follow(site, each, start)) for each in groups for _ in range(5)]
            tasks.create_task(kill(site))
            tasks.create_task(send(site))
            got = await asyncio.gather(*following)
    expected = [*(f"n{number}" for number in range(count)), "end"]
    lost = sum(len(set(expected) - set(each)) for each in got)
    repeated = sum(len(each) - len(set(each)) for each in got)
    figures(kills=kills, clients=len(got), events=len(expected), lost=lost, repeated=repeated)
    wrong = {client: around_difference(each, expected) for client, each in enumerate(got) if each != expected}
    assert not wrong, f"the first difference of each client, the first five read one group: {wrong}"


def around_difference(got: list[str], expected: list[str]) -> list[str]:
    """Return what was got about the first place where it is not what was expected."""
    place = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(got, expected, strict=False)))
    return got[max(0, place - 3) : place + 4]
