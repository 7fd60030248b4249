"""From publish to receive: how long after ``send`` is called a client holds the event.

Ways: in the server's own process beside django-eventstream in the same process; from another process with no hint, with
PostgreSQL's NOTIFY and with the pub/sub layer. One client over SSE, PostgreSQL, uvicorn; turns alternate.
"""

from __future__ import annotations

import contextlib
import json
import queue
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from typing import Any

from tests.servers.fresh import ROOT, Database
from tests.servers.processes import Publisher, Server, publisher, server, settings_env, valkey

TURNS = 3
EVENTS = 60
PAUSE = 0.02


class Client(threading.Thread):
    """Reads a stream and notes how old each event is when it arrives (seconds)."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.ages: queue.Queue[float] = queue.Queue()
        self.ready = threading.Event()
        self._response = urllib.request.urlopen(url, timeout=60)
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            for line in self._response:
                self.ready.set()
                if line.startswith(b"data: {"):
                    data = json.loads(line[5:])
                    if isinstance(data, dict) and "t" in data:
                        self.ages.put(time.time() - data["t"])


def in_process(found: Server, path: str, client: Client) -> tuple[list[float], list[float]]:
    """Send from a view of the server; return the events' ages and how long each send took."""
    ages, took = [], []
    for _ in range(EVENTS):
        with urllib.request.urlopen(f"{found.url}{path}") as response:
            took.append(json.load(response)["took"])
        ages.append(client.ages.get(timeout=10))
        time.sleep(PAUSE)
    return ages, took


def from_elsewhere(other: Publisher, client: Client) -> list[float]:
    """Send from another process; return the events' ages."""
    ages = []
    other.position()  # it has started
    for n in range(EVENTS):
        other.send("board", "bench", {"t": time.time()})
        ages.append(client.ages.get(timeout=10))
        time.sleep(PAUSE + n % 10 / 100)  # at no fixed place of the tail's interval
    return ages


def drain(clients: Iterable[Client]) -> None:
    """Wait until every client has what was sent, and forget it: the next turn sends by another way."""
    time.sleep(0.5)
    for client in clients:
        with contextlib.suppress(queue.Empty):
            while True:
                client.ages.get_nowait()


def row(name: str, values: list[float]) -> str:
    """Return a line of the table, in milliseconds."""
    ordered = sorted(values)
    figures = [statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1]]
    return f"| {name} | {' | '.join(f'{figure * 1e3:.1f}' for figure in figures)} | {len(ordered)} |"


@contextlib.contextmanager
def command(database: Database, env: dict[str, str]) -> Iterator[None]:
    """Migrate the peer's tables."""
    environment = {**settings_env(database), **env}
    subprocess.run([sys.executable, "-m", "django", "migrate", "-v0"], env=environment, cwd=ROOT, check=True)
    yield


def main(database: Database) -> list[str]:
    """Measure; return the table's lines."""
    env = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
    ours: list[float] = []
    ours_took: list[float] = []
    peers: list[float] = []
    peers_took: list[float] = []
    elsewhere: dict[str, list[float]] = {"none": [], "notify": [], "channels": []}
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(valkey())
        stack.enter_context(command(database, env))
        pairs: dict[str, tuple[Server, Publisher, Client]] = {}
        for hint in elsewhere:
            layer = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis} if hint == "channels" else {}
            settings = {"HINT": hint}
            run: dict[str, Any] = {"application": "benchmarks.asgi:application", "may_fail": True}
            found = stack.enter_context(server("uvicorn", database, settings, env={**env, **layer}, **run))
            other = stack.enter_context(publisher(database, settings, **layer))
            client = Client(f"{found.url}/livepush/sse/?group=board")
            assert client.ready.wait(10)
            pairs[hint] = found, other, client
        here, _, mine = pairs["none"]
        theirs = Client(f"{here.url}/peer/")
        assert theirs.ready.wait(10)
        for _ in range(TURNS):
            ages, took = in_process(here, "/send/", mine)
            ours, ours_took = ours + ages, ours_took + took
            ages, took = in_process(here, "/send-peer/", theirs)
            peers, peers_took = peers + ages, peers_took + took
            drain(each for _, _, each in pairs.values())
            for hint, (_, other, client) in pairs.items():
                elsewhere[hint] += from_elsewhere(other, client)
                drain(each for _, _, each in pairs.values())
        for found, _, _ in pairs.values():
            found.kill()
    return [
        "| what was measured | median, ms | p99, ms | most, ms | events |",
        "|---|---|---|---|---|",
        row("livepush, within the process", ours),
        row("django-eventstream, within the process", peers),
        row("livepush, another process, no hint", elsewhere["none"]),
        row("livepush, another process, NOTIFY", elsewhere["notify"]),
        row("livepush, another process, pub/sub layer", elsewhere["channels"]),
        row("livepush: `send` itself", ours_took),
        row("django-eventstream: `send_event` itself", peers_took),
    ]
