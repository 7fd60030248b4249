"""A WSGI site behind a real Pushpin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from tests.integration import clients
from tests.patience import PATIENCE, wait_until
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
        with httpx.stream("GET", url, timeout=PATIENCE, trust_env=False) as found:
            return found.status_code == 200
    except httpx.ConnectError:
        return False
