"""The objects of an open stream: the garbage collector walks through all of them whenever many clients have come."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, MutableMapping
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from livepush import process
from livepush.consumers.entering import Entry, Watched
from livepush.hub import Connection
from livepush.rights import Grant
from tests.asgi import application
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
COUNT = 200
HEADERS = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


class Client:
    """One that is greeted, and says nothing until it leaves."""

    def __init__(self, kind: str) -> None:
        self.greeted, self._left = asyncio.Event(), asyncio.Event()
        self._kind = kind
        self._has_come = False
        self.task = asyncio.create_task(application(self._scope(), self._receive, self._send))

    def leave(self) -> None:
        self._left.set()

    def _scope(self) -> dict[str, Any]:
        kind = {"type": "http", "method": "GET"} if self._kind == "sse" else {"type": "websocket", "subprotocols": []}
        shared = {"path": f"/livepush/{self._kind}/", "query_string": b"group=board", "headers": HEADERS}
        return {**kind, **shared, "server": ("127.0.0.1", 1), "client": ("127.0.0.1", 2), "http_version": "1.1"}

    async def _receive(self) -> dict[str, str]:
        if self._kind == "ws" and not self._has_come:
            self._has_come = True
            return {"type": "websocket.connect"}
        await self._left.wait()
        return {"type": "http.disconnect" if self._kind == "sse" else "websocket.disconnect"}

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] in ("http.response.body", "websocket.send"):
            self.greeted.set()


async def greeted(count: int, kind: str) -> list[Client]:
    """Return clients that were let in one after another, as in an hour in which nobody is in a hurry."""
    found = []
    for _ in range(count):
        found.append(Client(kind))
        await asyncio.wait_for(found[-1].greeted.wait(), PATIENCE)
    return found


@pytest.mark.parametrize(("kind", "most"), [("sse", 65), ("ws", 90)])
async def test_an_open_stream_keeps_few_objects_for_the_garbage_collector(
    kind: str, most: int, settings: Any, collected: Callable[[], int]
) -> None:
    settings.LIVEPUSH = {}
    warm = await greeted(10, kind)
    before = collected()
    clients = await greeted(COUNT, kind)
    try:
        assert (collected() - before) / COUNT <= most
    finally:
        for each in (*warm, *clients):
            each.leave()
        await asyncio.wait_for(asyncio.gather(*(each.task for each in (*warm, *clients))), PATIENCE)


@pytest.mark.parametrize("kind", ["sse", "ws"])
async def test_an_ended_stream_is_freed_without_the_garbage_collector(kind: str, collected: Callable[[], int]) -> None:
    def kept() -> list[str]:
        return [type(each).__name__ for each in gc.get_objects() if type(each) in (Connection, Grant, Watched, Entry)]

    collected()
    before, clients = kept(), await greeted(3, kind)
    assert len(kept()) == len(before) + 12
    gc.disable()
    try:
        while clients:
            client = clients.pop()
            client.leave()
            await asyncio.wait_for(client.task, PATIENCE)
            del client
        await asyncio.sleep(0)
        assert kept() == before
    finally:
        gc.enable()


@pytest.fixture
async def collected():
    """Return a function that counts the objects that the garbage collector knows."""

    def count() -> int:
        gc.collect()
        return len(gc.get_objects())

    await process.stop()
    yield count
    await process.stop()
    await sync_to_async(connections.close_all)()
