"""Each server serves each transport, byte for byte, to clients that know nothing of livepush."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import httpx_sse
import pytest

from tests.integration import clients
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher

DATA = {"text": 'Zürich "quoted" \u2028 line\nbreak', "n": [1, 2.5, None]}


def text_of(data: object) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def envelope_of(row: dict[str, object]) -> str:
    """Return a row's envelope as the wire format says, written down a second time."""
    return (
        f'{{"id":"{row["id"]}","group":"{row["group"]}","type":"{row["type"]}",'
        f'"data":{text_of(row["data"])},"time":"{row["time"]}"}}'
    )


def sse_of(row: dict[str, object]) -> bytes:
    return f"id: {row['id']}\nevent: {row['type']}\ndata: {text_of(row['data'])}\n\n".encode()


def hello_of(position: str, groups: list[str], refused: list[str] | None = None) -> str:
    return text_of(
        {
            "type": "livepush.hello",
            "id": position,
            "protocol": 1,
            "position": position,
            "heartbeat": 15.0,
            "retry": 2000,
            "groups": groups,
            "refused": refused or [],
        }
    )


def sse_hello_of(position: str, groups: list[str]) -> bytes:
    return f"id: {position}\nretry: 2000\nevent: livepush.hello\ndata: {hello_of(position, groups)}\n\n".encode()


@dataclass
class Site:
    """A server, and another process on its database."""

    url: str
    server: processes.Server
    elsewhere: Publisher

    async def position(self) -> str:
        """Return the log's position when the server has come to it."""
        position = self.elsewhere.position()

        async def reached() -> bool:
            return (await clients.poll(self.url, "board")).json()["position"] == position

        await eventually(reached)
        return position


@pytest.fixture(scope="module", params=some(list(processes.ASGI), 2))
def site(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    """Each server in turn; its tests share it and keep to groups of their own."""
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server(request.param, database) as server,
    ):
        yield Site(server.url, server, elsewhere)


async def test_sse_byte_for_byte(site: Site) -> None:
    start = await site.position()
    async with clients.sse(site.url, "room:sse") as stream:
        headers = stream.response.headers
        assert stream.response.status_code == 200
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "private, no-store, no-transform"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-content-type-options"] == "nosniff"
        assert await stream.block() == sse_hello_of(start, ["room:sse"])
        site.elsewhere.send("room:sse", "moved", DATA)
        site.elsewhere.send("room:other", "moved", "not asked for")
        site.elsewhere.send("room:sse", "message", 2)
        first = await stream.block()
        second = await stream.block()
    one, two = site.elsewhere.rows(["room:sse"])
    assert first == sse_of(one)
    assert second == f"id: {two['id']}\ndata: 2\n\n".encode()

    site.elsewhere.send("room:sse", "later", 3)
    third = site.elsewhere.rows(["room:sse"])[2]
    for query, headers in (({"since": one["id"]}, {}), ({"since": start}, {"Last-Event-ID": str(one["id"])})):
        async with clients.sse(site.url, "room:sse", headers=headers, **query) as stream:
            assert await stream.block() == sse_hello_of(one["id"], ["room:sse"])
            assert await stream.block() == second
            assert await stream.block() == sse_of(third)
    async with clients.sse(site.url, "room:sse", since=two["id"], format="envelope") as stream:
        assert await stream.block() == (
            f"id: {two['id']}\nretry: 2000\ndata: {hello_of(two['id'], ['room:sse'])}\n\n".encode()
        )
        assert await stream.block() == f"id: {third['id']}\ndata: {envelope_of(third)}\n\n".encode()


async def test_websocket_byte_for_byte(site: Site) -> None:
    start = await site.position()
    async with clients.websocket(site.url, ["room:ws", "nobody:1"]) as socket:
        assert socket.subprotocol is None
        assert await clients.text(socket) == hello_of(start, ["room:ws"], ["nobody:1"])
        site.elsewhere.send("room:ws", "moved", DATA)
        first = await clients.text(socket)
        await socket.send('{"command":"ping","ref":7}')
        assert await clients.text(socket) == '{"type":"livepush.reply","ref":7,"ok":true}'
    site.elsewhere.send("room:ws", "later", 2)
    site.elsewhere.send("room:ws", "later", 3)
    one, two, three = site.elsewhere.rows(["room:ws"])
    assert first == envelope_of(one)
    await site.position()
    async with clients.websocket(site.url, "room:ws", since=one["id"]) as socket:
        assert await clients.text(socket) == hello_of(one["id"], ["room:ws"])
        assert await clients.text(socket) == envelope_of(two)
        assert await clients.text(socket) == envelope_of(three)
    async with clients.websocket(site.url, "room:ws", since=one["id"], subprotocols=["livepush.v1"]) as socket:
        assert socket.subprotocol == "livepush.v1"
        assert await clients.text(socket) == hello_of(one["id"], ["room:ws"])
        assert await clients.text(socket) == f"[{envelope_of(two)},{envelope_of(three)}]"
        site.elsewhere.send("room:ws", "alone", 4)
        assert await clients.text(socket) == envelope_of(site.elsewhere.rows(["room:ws"])[3])


async def test_polls_byte_for_byte(site: Site) -> None:
    start = await site.position()
    now = await clients.poll(site.url, ["room:poll", "nobody:1"])
    assert now.text == f'{{"events":[],"position":"{start}","reset":false,"refused":["nobody:1"]}}'
    assert now.headers["content-type"] == "application/json"
    assert now.headers["cache-control"] == "private, no-store, no-transform"
    held = asyncio.create_task(clients.poll(site.url, "room:poll", since=start, wait=20))
    await eventually(lambda: asyncio.to_thread(lambda: site.server.holds() == 1))
    site.elsewhere.send("room:poll", "moved", DATA)
    (row,) = site.elsewhere.rows(["room:poll"])
    answer = f'{{"events":[{envelope_of(row)}],"position":"{row["id"]}","reset":false,"refused":[]}}'
    assert (await held).text == answer
    assert (await clients.poll(site.url, "room:poll", since=start)).text == answer
    nothing = await clients.poll(site.url, "room:poll", since=row["id"], wait=0.1)
    assert nothing.text == f'{{"events":[],"position":"{row["id"]}","reset":false,"refused":[]}}'


async def test_a_client_that_goes_is_forgotten(site: Site) -> None:
    start = await site.position()
    held = asyncio.create_task(clients.poll(site.url, "room:gone", since=start, wait=25))
    async with clients.sse(site.url, "room:gone"), clients.websocket(site.url, "room:gone"):
        await eventually(lambda: asyncio.to_thread(lambda: site.server.holds() == 3))
    held.cancel()
    await eventually(lambda: asyncio.to_thread(lambda: site.server.holds() == 0))


async def test_httpx_sse_reads_and_resumes(site: Site) -> None:
    url = clients.address(site.url, "sse", "room:httpx-sse")
    async with clients.http() as client:
        async with httpx_sse.aconnect_sse(client, "GET", url) as source:
            events = source.aiter_sse()
            assert (await anext(events)).event == "livepush.hello"
            site.elsewhere.send("room:httpx-sse", "moved", DATA)
            event = await anext(events)
            assert (event.event, event.json()) == ("moved", DATA)
        site.elsewhere.send("room:httpx-sse", "message", 2)
        async with httpx_sse.aconnect_sse(client, "GET", url, headers={"Last-Event-ID": event.id}) as source:
            events = source.aiter_sse()
            hello = await anext(events)
            assert (hello.event, hello.id, hello.retry) == ("livepush.hello", event.id, 2000)
            event = await anext(events)
            assert (event.event, event.data) == ("message", "2")


async def test_a_logged_in_user_reads_the_own_group_alone(site: Site) -> None:
    cookie = {"Cookie": site.elsewhere.session("ann")}
    other = {"Cookie": site.elsewhere.session("bob")}
    async with (
        clients.sse(site.url, "user:1", headers=cookie) as stream,
        clients.websocket(site.url, "user:1", headers=cookie) as socket,
    ):
        await stream.block()
        await clients.text(socket)
        site.elsewhere.send("user:1", "mail", 1)
        assert (await stream.fields())["event"] == "mail"
        assert (await clients.frame(socket))["type"] == "mail"
    async with clients.sse(site.url, "user:1", headers=other) as stream:
        assert stream.response.status_code == 403
    async with clients.websocket(site.url, "user:1", headers=other) as socket:
        _, close = await clients.until_closed(socket)
        # daphne sends no reason, so that clients can only go by the code
        assert close == (4403, "" if site.server.kind in ("daphne", "runserver") else "forbidden")


@pytest.mark.parametrize("kind", some(list(processes.ASGI), 2))
async def test_the_server_ends_while_streams_are_open(kind: str, database: Database, elsewhere: Publisher) -> None:
    """No deploy hangs on open streams."""
    with processes.server(kind, database, {"DRAIN": 1.0}) as server:
        start = elsewhere.position()
        async with (
            clients.sse(server.url, "board") as stream,
            clients.websocket(server.url, "board") as socket,
        ):
            await stream.block()
            await clients.text(socket)
            held = asyncio.create_task(clients.poll(server.url, "board", since=start, wait=25))
            await eventually(lambda: asyncio.to_thread(lambda: server.holds() == 3))
            server.terminate()
            ended = asyncio.create_task(asyncio.to_thread(server.wait))
            rest, answer = await asyncio.gather(stream.rest(), held, return_exceptions=True)
            told, close = await clients.until_closed(socket)
            await ended
        bye = r'{"type":"livepush\.bye","retry":(\d+),"reason":"drain"}'
        assert isinstance(rest, bytes)
        assert re.fullmatch(rf"retry: (\d+)\nevent: livepush\.bye\ndata: {bye}\n\n", rest.decode())
        assert [re.fullmatch(bye, text) is not None for text in told] == [True]
        assert isinstance(answer, httpx.Response)
        assert answer.json() == {"events": [], "position": start, "reset": False, "refused": []}
        if kind == "uvicorn":  # granian cuts the connection before the close frame, daphne sends no reason
            assert close == (4503, "the server is going away: connect again")


@pytest.mark.long
async def test_a_quiet_stream_is_kept_alive(database: Database, elsewhere: Publisher) -> None:
    with processes.server("uvicorn", database, {"HEARTBEAT": 0.2}) as server:
        start = elsewhere.position()
        async with clients.sse(server.url, "board") as stream, clients.websocket(server.url, "board") as socket:
            await stream.block()
            await clients.text(socket)
            elsewhere.send("order:1", "moved")
            row = elsewhere.rows()[0]
            told = {"type": "livepush.position", "id": row["id"], "position": row["id"]}
            assert await stream.until(event="livepush.position", id=row["id"]) == {
                "id": row["id"],
                "event": "livepush.position",
                "data": text_of(told),
            }
            while (chunk := await stream.chunk()) != b":\n":
                assert row["id"].encode() in chunk  # it is told at two beats, since a beat may spare a client
            while (found := await clients.frame(socket))["id"] == start:
                pass
            assert found == told


@pytest.mark.long
async def test_under_wsgi_polls_work_and_streams_say_what_they_need(database: Database, elsewhere: Publisher) -> None:
    with processes.server(processes.WSGI, database) as server:
        start = elsewhere.position()
        assert (await clients.poll(server.url, "board")).json()["position"] == start
        elsewhere.send("board", "moved", DATA)
        (row,) = elsewhere.rows()
        answer = await clients.poll(server.url, "board", since=start, wait=20)
        assert answer.text == (f'{{"events":[{envelope_of(row)}],"position":"{row["id"]}","reset":false,"refused":[]}}')
        for endpoint in ("sse", "ws"):
            async with clients.http() as client:
                refused = await client.get(clients.address(server.url, endpoint, "board"))
            assert (refused.status_code, refused.json()["code"]) == (501, "needs_asgi")
