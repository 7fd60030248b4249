"""Pusher's own client libraries on livepush: pusher-js and Laravel Echo under node, and ``pusher`` from PyPI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bridges import pushers
from tests.bridges.pushers import Site
from tests.servers import npm, processes
from tests.servers.fresh import Databases


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    folder = npm.installed(pushers.HERE / "package.json", "pusher-clients")
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, pushers.SETTINGS) as elsewhere,
        processes.server("uvicorn", database, pushers.SETTINGS, application=pushers.APPLICATION) as server,
    ):
        yield Site(server, elsewhere, folder)


async def test_a_public_channel_brings_what_pushers_library_and_django_send(site):
    async with site.client() as client:
        assert await client.subscribe("board") == {}
        assert await site.trigger("board", "App\\Events\\Moved", {"ä": [1]}) == {}
        assert await client.next() == {"event": "App\\Events\\Moved", "data": {"ä": [1]}, "of": "board"}
        site.elsewhere.send(["board", "room:a"], "moved", {"n": 2})
        assert await client.next() == {"event": "moved", "data": {"n": 2}, "of": "board"}
        await site.trigger(["board", "room;a"], "text", "no JSON")
        assert await client.next() == {"event": "text", "data": "no JSON", "of": "board"}
