"""A browser's EventSource reads a stream under WSGI and ASGI; it gives up for good after an error's status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client

from livepush import process, streams
from livepush.streams.models import Stream, StreamState
from tests import asking
from tests.scale import some

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]

Ask = Callable[..., Awaitable[tuple[int, str]]]
TEXT = "hello world"
WHOLE = f':\nid: 11\ndata: {{"offset":11,"parts":["{TEXT}"]}}\n\n'
END = 'id: end\ndata: {"offset":11,"parts":[],"state":"finished","error":"","metadata":{}}\n\n'


def written() -> str:
    with streams.open("room:1") as stream:
        stream.write(TEXT)
    return stream.id


async def ask_wsgi(id: str, query: str, headers: dict[str, str]) -> tuple[int, str]:
    """Ask under WSGI, so in a thread that no event loop knows; return the status and the body."""

    def ask() -> tuple[int, str]:
        try:
            response = Client().get(f"/livepush/streams/{id}/?{query}", headers=headers)
            return response.status_code, b"".join(response).decode()
        finally:
            connections.close_all()

    return await asyncio.to_thread(ask)


async def ask_asgi(id: str, query: str, headers: dict[str, str]) -> tuple[int, str]:
    """Ask under ASGI; return the status and the body."""
    return await asking.ask(f"/livepush/streams/{id}/", query, headers)


@pytest.fixture(params=[ask_wsgi, ask_asgi], ids=["wsgi", "asgi"])
async def ask(request: pytest.FixtureRequest) -> AsyncIterator[Ask]:
    await process.stop()
    yield request.param
    await process.stop()
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("query", ["format=livepush", "format=text", "wait=0"])
async def test_who_has_read_a_stream_to_its_end_is_told_to_stop(ask: Ask, query: str) -> None:
    id = await sync_to_async(written)()
    assert await ask(id, query, {"Last-Event-ID": "end"}) == (204, "")


@pytest.mark.parametrize(
    "last",
    some(["k3x9-12", "é", "9" * 20, "12", "board:17,user:4", "-1", "1e3", "٣", "1700000000000"], 4),
)
async def test_a_foreign_last_event_id_is_as_none(ask: Ask, last: str) -> None:
    id = await sync_to_async(written)()
    assert await ask(id, "format=livepush", {"Last-Event-ID": last}) == (200, WHOLE + END)
    status, rest = await ask(id, "format=livepush&after=6", {"Last-Event-ID": last})
    assert (status, '"parts":["world"]' in rest) == (200, True)


async def test_an_offset_of_the_stream_wins_over_the_address(ask: Ask) -> None:
    id = await sync_to_async(written)()
    assert await ask(id, "format=text&after=2", {"Last-Event-ID": "6"}) == (200, "world")
    assert await ask(id, "format=livepush&after=2", {"Last-Event-ID": "11"}) == (200, ":\n" + END)


async def test_who_had_text_that_a_killed_process_did_not_store_gets_nothing_twice(ask: Ask) -> None:
    id = await sync_to_async(written)()
    await Stream.objects.filter(id=id).aupdate(state=StreamState.INTERRUPTED)
    assert await ask(id, "format=text", {"Last-Event-ID": "15"}) == (200, "")


async def test_an_offset_in_the_address_must_be_one(ask: Ask) -> None:
    id = await sync_to_async(written)()
    status, body = await ask(id, "after=k3x9-12", {})
    assert (status, "bad_offset" in body) == (400, True)
