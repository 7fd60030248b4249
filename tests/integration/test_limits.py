"""Who is over a limit is told so and when to come back; nobody else is affected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.integration import clients
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

APPLICATION = "tests.servers.limited:application"
TOO_MANY = 4429


def logged_in(elsewhere: Publisher, name: str) -> dict[str, str]:
    return {"Cookie": elsewhere.session(name)}


@contextlib.asynccontextmanager
async def held(server: Server, count: int, headers: dict[str, str] | None = None) -> AsyncIterator[list[clients.SSE]]:
    """Keep some streams open."""
    async with contextlib.AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(clients.sse(server.url, "board", headers=headers)) for _ in range(count)
        ]
        for each in streams:
            assert (await each.fields())["event"] == "livepush.hello"
        yield streams


async def is_refused(server: Server, headers: dict[str, str] | None = None) -> None:
    """Check what each transport says to a client that is over a limit."""
    for endpoint in ("sse", "poll"):
        async with clients.http() as client:
            found = await client.get(clients.address(server.url, endpoint, "board", wait=5), headers=headers)
        assert found.status_code == 429
        assert found.json()["code"] == "throttled"
        assert int(found.headers["Retry-After"]) >= 1
    async with clients.sse(server.url, "board", headers={**(headers or {}), "Accept": "text/event-stream"}) as stream:
        assert stream.response.status_code == 200  # an EventSource would never come back after an error
        fields = await stream.fields()
        assert json.loads(fields["data"])["reason"] == "throttled"
        assert int(fields["retry"]) >= 1000
    async with clients.websocket(server.url, "board", headers=headers) as socket:
        frames, close = await clients.until_closed(socket)
    assert close is not None
    assert close[0] == TOO_MANY
    (bye,) = map(json.loads, frames)
    assert (bye["type"], bye["reason"]) == ("livepush.bye", "throttled")
    assert bye["retry"] >= 1000


async def is_let_in(server: Server, headers: dict[str, str] | None = None) -> None:
    async with held(server, 1, headers):
        pass


@pytest.mark.parametrize("kind", some(["uvicorn", "daphne"]))
async def test_a_user_has_so_many_connections_and_others_theirs(
    kind: str, database: Database, elsewhere: Publisher
) -> None:
    ann, ben = logged_in(elsewhere, "ann"), logged_in(elsewhere, "ben")
    settings = {"MAX_CONNECTIONS_PER_USER": 3}
    with processes.server(kind, database, settings, application=APPLICATION) as server:
        async with held(server, 3, ann):
            await is_refused(server, logged_in(elsewhere, "ann"))  # another session of hers
            await is_let_in(server, ben)
            await is_let_in(server)
        await lets_in_again(server, ann)


async def lets_in_again(server: Server, headers: dict[str, str] | None = None) -> None:
    async def is_open() -> bool:
        return (await clients.poll(server.url, "board", headers=headers)).status_code == 200

    await eventually(is_open)


async def test_a_process_has_so_many_connections(database: Database) -> None:
    with processes.server("uvicorn", database, {"MAX_CONNECTIONS": 2}, application=APPLICATION) as server:
        async with held(server, 2):
            await is_refused(server)
        await lets_in_again(server)


async def test_an_address_has_so_many_connections_behind_a_proxy_that_is_trusted(database: Database) -> None:
    settings = {"MAX_CONNECTIONS_PER_ADDRESS": 2, "TRUSTED_PROXIES": ["127.0.0.1", "10.0.0.0/8"]}
    options = ["--no-proxy-headers"]
    with processes.server("uvicorn", database, settings, application=APPLICATION, options=options) as server:
        async with held(server, 2, {"X-Forwarded-For": "203.0.113.7, 10.1.2.3"}):
            await is_refused(
                server, {"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}
            )  # what the client says counts not
            await is_let_in(server, {"X-Forwarded-For": "203.0.113.8"})
        await lets_in_again(server, {"X-Forwarded-For": "203.0.113.7"})


@pytest.mark.long
async def test_who_logs_in_on_an_open_websocket_counts_for_the_user(database: Database, elsewhere: Publisher) -> None:
    elsewhere.session("ann")
    token = elsewhere.do("token", username="ann")
    with processes.server("uvicorn", database, {"MAX_CONNECTIONS_PER_USER": 2}, application=APPLICATION) as server:
        async with contextlib.AsyncExitStack() as stack:
            codes = []
            for ref in range(3):
                socket = await stack.enter_async_context(clients.websocket(server.url, "board"))
                await clients.frame(socket)
                await socket.send(json.dumps({"command": "auth", "token": token, "ref": ref}))
                codes.append((await clients.frame(socket)).get("code"))
            assert codes == [None, None, "throttled"]
        await lets_in_again(server, {"Authorization": f"Bearer {token}"})


@pytest.mark.long
async def test_without_trusted_proxies_addresses_are_not_limited(database: Database) -> None:
    settings = {"MAX_CONNECTIONS_PER_ADDRESS": 2}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        async with held(server, 5):
            pass


async def test_who_is_not_logged_in_may_ask_for_fewer_groups(database: Database, elsewhere: Publisher) -> None:
    groups = ["board", *(f"asks:{number}" for number in range(5))]
    with processes.server("uvicorn", database, {"MAX_GROUPS_ANONYMOUS": 5}, application=APPLICATION) as server:
        answer = await clients.poll(server.url, groups)
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many_groups")
        assert (await clients.poll(server.url, groups[:5])).status_code == 200
        assert (await clients.poll(server.url, groups, headers=logged_in(elsewhere, "ann"))).status_code == 200
        async with clients.websocket(server.url, groups[:4]) as socket:
            await clients.frame(socket)
            await socket.send(json.dumps({"command": "subscribe", "groups": groups[4:], "ref": 1}))
            assert (await clients.frame(socket))["code"] == "too_many_groups"


async def test_a_stream_ends_after_a_while_and_its_client_comes_back(database: Database) -> None:
    with processes.server("uvicorn", database, {"MAX_STREAM_AGE": 0.5}, application=APPLICATION) as server:
        async with clients.sse(server.url, "board") as stream, clients.websocket(server.url, "board") as socket:
            assert "livepush.bye" in (await stream.rest()).decode()
            frames, _ = await clients.until_closed(socket)
            assert "livepush.bye" in frames[-1]


async def replies(socket: Any, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) < count:
        envelope = await clients.frame(socket)
        if envelope["type"] == "livepush.reply":
            found.append(envelope)
    return found


@pytest.mark.long
async def test_commands_over_the_limit_are_refused_and_who_does_not_stop_is_closed(
    database: Database,
) -> None:
    with processes.server("uvicorn", database, {"COMMANDS_PER_SECOND": 2}, application=APPLICATION) as server:
        async with clients.websocket(server.url, "board") as socket, clients.websocket(server.url, "board") as other:
            for number in range(30):
                await socket.send(json.dumps({"command": "ping", "ref": number}))
            said = await replies(socket, 30)
            assert [each["ref"] for each in said] == list(range(30))
            done = [each["ok"] for each in said]
            assert done[:10] == [True] * 10
            assert sum(done) < 15
            late = said[done.index(False)]
            assert late["code"] == "throttled"
            await asyncio.sleep(late["retry"] / 1000)
            await socket.send(json.dumps({"command": "ping", "ref": "later"}))
            assert (await replies(socket, 1))[0]["ok"]
            with pytest.raises(clients.ConnectionClosed) as closed:
                async with asyncio.timeout(PATIENCE):
                    while True:  # one at a time: a server that closes with messages unread may reset the connection
                        await socket.send("no command")
                        await replies(socket, 1)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == TOO_MANY
            await other.send(json.dumps({"command": "ping", "ref": 1}))
            assert (await replies(other, 1))[0]["ok"]


@pytest.mark.long
async def test_a_user_stores_so_many_messages_and_bytes_over_all_sockets(
    database: Database, elsewhere: Publisher
) -> None:
    settings = {"MESSAGES_PER_SECOND": 2, "MESSAGE_BYTES_PER_SECOND": 20_000, "COMMANDS_PER_SECOND": 1000}
    small, large = {"data": "x"}, {"data": "x" * 60_000}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        for name, message, most in (("ann", small, 10), ("ben", large, 1)):
            headers = logged_in(elsewhere, name)
            done = 0
            for _ in range(2):
                async with clients.websocket(server.url, "chat", headers=headers) as socket:
                    for number in range(20):
                        sent = {"command": "send", "group": "chat", "type": "said", "ref": number, **message}
                        await socket.send(json.dumps(sent))
                    done += sum(each["ok"] for each in await replies(socket, 20))
            assert most <= done < most + 10
            stored = database.query("SELECT count(*) FROM livepush_event WHERE type = 'said'")[0][0]
            assert stored == done
            database.query("DELETE FROM livepush_event RETURNING 1")


@pytest.mark.long
async def test_of_ephemeral_messages_by_post_readers_get_30_a_second(database: Database, elsewhere: Publisher) -> None:
    headers, settings = logged_in(elsewhere, "ann"), {"EPHEMERAL_PER_SECOND": 10_000}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        async with clients.sse(server.url, "chat") as stream, clients.http() as client:

            async def say(number: int) -> None:
                body = {"group": "chat", "type": "said", "data": number, "ephemeral": True}
                own = {**headers, "Origin": server.url}
                answer = await client.post(f"{server.url}/livepush/send/", json=body, headers=own)
                assert answer.json()["ok"]

            await stream.until(event="livepush.hello")
            begun, count = time.monotonic(), 0
            await asyncio.gather(*map(say, range(80)))
            await say(80)
            took = time.monotonic() - begun
            while (await stream.until(event="said"))["data"] != "80":
                count += 1
            assert count <= 30 * took + 1


async def test_clients_that_leave_while_they_are_let_in_hold_no_place(database: Database) -> None:
    groups = [f"asks:{number}" for number in range(50)]
    settings = {"MAX_CONNECTIONS": 5, "MAX_HANDSHAKES": 30}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        place = clients.address(server.url, "sse", groups)
        for _ in range(4):
            await asyncio.gather(*(hang_up(place) for _ in range(20)))
        for _ in range(6):  # what is answered at once holds none either
            await eventually(lambda: is_answered(server))

        async def all_are_free() -> bool:
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(5):
                    stream = await stack.enter_async_context(clients.sse(server.url, "board"))
                    if stream.response.status_code != 200:
                        return False
            return True

        await eventually(all_are_free)


async def is_answered(server: Server) -> bool:
    return (await clients.poll(server.url, "board")).status_code == 200


async def hang_up(place: str) -> None:
    """Ask, and leave at once."""
    rest = place.partition("//")[2]
    netloc, _, path = rest.partition("/")
    host, _, port = netloc.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET /{path} HTTP/1.1\r\nHost: {netloc}\r\n\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.005)
    writer.transport.abort()


async def test_a_flood_of_expensive_handshakes_makes_nobody_wait_long(database: Database, elsewhere: Publisher) -> None:
    """100 requests at once, each for 100 groups whose rule asks the database, which hang up or not."""
    groups = [f"asks:{number}" for number in range(100)]
    ann = logged_in(elsewhere, "ann")
    with processes.server("uvicorn", database, application=APPLICATION) as server:
        quiet = [await seconds(server, ann) for _ in range(20)]
        place = clients.address(server.url, "poll", groups)
        for flood in (hang_up, stay):
            work = [asyncio.create_task(flood(place)) for _ in range(100)]
            await asyncio.sleep(0.1)
            busy = [await seconds(server, ann) for _ in range(20)]
            for each in work:
                each.cancel()
            await asyncio.gather(*work, return_exceptions=True)
            print(flood.__name__, f"{statistics.median(quiet):.4f} {statistics.median(busy):.4f} {max(busy):.4f}")
            assert max(busy) < 2


async def stay(place: str) -> None:
    async with clients.http() as client:
        await client.get(place)


async def seconds(server: Server, headers: dict[str, str]) -> float:
    """Return how long a poll takes."""
    begin = time.perf_counter()
    async with asyncio.timeout(PATIENCE):
        assert (await clients.poll(server.url, "board", headers=headers)).status_code == 200
    return time.perf_counter() - begin
