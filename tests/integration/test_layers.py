"""Each layer that the manual names brings events to other processes, and its failure loses none.

``LAYERS`` is what ``docs/deploying.md`` lists. Those that the tests' environment has not installed run in
``make layers``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration import clients
from tests.patience import PATIENCE
from tests.scale import some
from tests.servers import faults, processes, warm
from tests.servers.databases import ENV
from tests.servers.fresh import Database, Databases

ROOT = Path(__file__).parents[2]
ONLY_HINTS = {"TAIL_INTERVAL": 10 * PATIENCE, "TAIL_INTERVAL_WITH_LAYER": 10 * PATIENCE}
"""With these, no event reaches another process but by a hint."""
SOON = {"TAIL_INTERVAL": 0.1, "TAIL_INTERVAL_WITH_LAYER": 0.5}


@contextlib.contextmanager
def redis(database: Database) -> Iterator[dict[str, Any]]:
    with faults.redis() as found:
        yield {"hosts": [found.url]}


@contextlib.contextmanager
def nats(database: Database) -> Iterator[dict[str, Any]]:
    port = processes.free_port()
    program = Path(sys.executable).parent / "nats-server"
    with subprocess.Popen([program, "--addr", "127.0.0.1", "--port", str(port)], stderr=subprocess.DEVNULL) as server:
        try:
            yield {"servers": [f"nats://127.0.0.1:{port}"]}
        finally:
            server.kill()


@contextlib.contextmanager
def postgresql(database: Database) -> Iterator[dict[str, Any]]:
    yield {
        "PASSWORD": "",
        "PORT": "",
        "TIME_ZONE": None,
        **json.loads(os.environ[ENV])["postgresql"],
        "NAME": database.name,
    }


@contextlib.contextmanager
def sqlite(database: Database) -> Iterator[dict[str, Any]]:
    yield {"database": "default"}


@dataclass(frozen=True)
class Layer:
    """A layer, what it needs, and on which database the site is."""

    backend: str
    config: Callable[[Database], contextlib.AbstractContextManager[dict[str, Any]]]
    database: str = "postgresql"
    apps: list[str] = field(default_factory=list)

    @property
    def package(self) -> str:
        return self.backend.partition(".")[0]


LAYERS = [
    Layer("channels_redis.pubsub.RedisPubSubChannelLayer", redis),
    Layer("channels_redis.core.RedisChannelLayer", redis),
    Layer("channels_valkey.pubsub.ValkeyPubSubChannelLayer", redis),
    Layer("channels_valkey.core.ValkeyChannelLayer", redis),
    Layer("channels_nats.NatsChannelLayer", nats),
    Layer("channels_postgres.core.PostgresChannelLayer", postgresql, apps=["channels_postgres"]),
    Layer("channels_lite.layers.core.SQLiteChannelLayer", sqlite, "sqlite", ["channels_lite"]),
]


@dataclass
class Site:
    """A site with a layer."""

    database: Database
    env: dict[str, str]


HERE = [layer for layer in LAYERS if "LIVEPUSH_TEST_LAYERS" in os.environ or importlib.util.find_spec(layer.package)]
"""Those to test: all of them under ``make layers``, elsewhere those that are installed."""


@pytest.fixture(params=some(HERE), ids=lambda layer: layer.backend)
def site(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    layer: Layer = request.param
    with databases.fresh(layer.database) as database, layer.config(database) as config:
        env = {"LIVEPUSH_TEST_LAYER": json.dumps({"backend": layer.backend, "config": config, "apps": layer.apps})}
        if layer.apps:
            migrate = warm.start("django", "migrate", "-v", "0", env={**database.env, **env})
            assert migrate.wait(PATIENCE) == 0
        yield Site(database, env)


@pytest.mark.long
async def test_events_reach_another_process_through_the_layer(site: Site) -> None:
    with (
        processes.publisher(site.database, **site.env) as elsewhere,
        processes.server("uvicorn", site.database, ONLY_HINTS, env=site.env) as server,
    ):
        async with clients.sse(server.url, "board") as stream:
            await stream.fields()
            heard = asyncio.create_task(stream.until(event="here"))
            async with asyncio.timeout(PATIENCE):
                while not heard.done():  # the server may still be joining its group
                    await asyncio.to_thread(elsewhere.send, "board", "here", ephemeral=True)
                    await asyncio.wait([heard], timeout=0.2)
            for number in range(20):
                elsewhere.send("board", "durable", number)
            rows = [row["id"] for row in elsewhere.rows(["board"])]
            assert [(await stream.until(event="durable"))["id"] for _ in range(20)] == rows


async def test_no_event_is_lost_whatever_the_layer_loses(site: Site) -> None:
    with (
        processes.publisher(site.database, **site.env) as elsewhere,
        processes.server("uvicorn", site.database, SOON, env=site.env) as server,
    ):
        async with clients.sse(server.url, "board") as stream:
            await stream.fields()
            for number in range(300):
                elsewhere.send("board", "durable", number)
            for number in range(300):
                assert (await stream.until(event="durable"))["data"] == str(number)


def test_the_manual_names_the_layers_that_are_tested() -> None:
    table = (ROOT / "docs" / "deploying.md").read_text().partition("## The channel layer")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE)
    assert named == [layer.backend for layer in LAYERS]
