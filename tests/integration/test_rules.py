"""Rules in a running server: a database that hangs up, a pool, and a rule that fails or hangs beside others."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.integration import clients
from tests.patience import eventually
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.databases import ENV
from tests.servers.fresh import Database, Databases

APPLICATION = "tests.servers.rules:application"
POOL = {"min_size": 0, "max_size": 1, "timeout": 2}
V1 = ["livepush.v1"]
FAILING = ["fails:a", "afails:a", "hangs:a", "ahangs:a", "qhangs:a"]
"""One group for each way in which a rule fails."""


def named(database: Database, **options: object) -> Database:
    """Return the database for a process whose connections have a name."""
    return database.through(OPTIONS={"application_name": "server", **options})


def hang_up(database: Database) -> int:
    """Have the database close the server's connections; return how many there were."""
    return len(
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE datname = '{database.name}' AND application_name = 'server'"
        )
    )


async def statuses(url: str, *groups: str) -> list[int]:
    """Poll for each group at the same time; return the answers' status codes."""
    return [each.status_code for each in await asyncio.gather(*(clients.poll(url, group) for group in groups))]


@pytest.mark.parametrize("options", some([{}, {"pool": POOL}]), ids=["persistent", "pool of one"])
async def test_async_rules_get_a_new_connection_for_one_that_was_lost(
    options: dict[str, object], database: Database
) -> None:
    with processes.server("uvicorn", named(database, **options), application=APPLICATION) as server:
        for _ in range(3):
            assert await statuses(server.url, "orm:a") == [200]
            assert hang_up(database)
        async with clients.sse(server.url, "orm:a") as stream, clients.websocket(server.url, "orm:a") as socket:
            assert "hello" in (await stream.fields())["event"]
            assert (await clients.frame(socket))["groups"] == ["orm:a"]


ASKED = {"AUTHENTICATORS": ["tests.servers.rules.by_name"], "HANDSHAKE": ["tests.servers.rules.counted"]}


async def authenticated(url: str) -> bool:
    return (await clients.poll(url, "board", headers={"X-User": "nobody"})).status_code == 200


async def let_in(url: str) -> bool:
    return (await clients.poll(url, "board", headers={"X-Gate": "1"})).status_code == 200


async def handled(url: str, tries: int = 2) -> bool:
    """Send a message; send it again where it could not be handled, as clients do. A pool may give a lost connection."""
    async with clients.websocket(url, "counter:a") as socket:
        await clients.frame(socket)
        answer = {"ok": False}
        for ref in range(tries):
            await socket.send(f'{{"command":"send","group":"counter:a","type":"count","ref":{ref}}}')
            answer = await clients.frame(socket)
            if answer.get("code") != "unavailable":
                break
        return bool(answer["ok"])


@pytest.mark.parametrize("options", some([{}, {"pool": POOL}]), ids=["persistent", "pool of one"])
@pytest.mark.parametrize("ask", some([authenticated, let_in, handled]))
async def test_other_async_functions_get_a_new_connection_for_one_that_was_lost(
    options: dict[str, object], ask: Callable[[str], Awaitable[bool]], database: Database
) -> None:
    with processes.server("uvicorn", named(database, **options), ASKED, application=APPLICATION) as server:
        for _ in range(3):
            assert await ask(server.url)
            assert await statuses(server.url, "orm:a") == [200]  # nothing keeps the only connection
            hang_up(database)


async def test_an_async_handler_whose_connection_was_lost_fails_once_at_most(database: Database) -> None:
    lasting = database.through(OPTIONS={"application_name": "server"}, CONN_MAX_AGE=None)
    with processes.server("uvicorn", lasting, ASKED, application=APPLICATION) as server:
        for _ in range(2):
            assert await handled(server.url, tries=1)
            hang_up(database)
            await handled(server.url, tries=1)
            assert await handled(server.url, tries=1)


async def test_an_async_authenticator_that_hangs_is_given_up(database: Database) -> None:
    settings = {**ASKED, "DATABASE_TIMEOUT": 0.5, "MAX_HANDSHAKES": 1}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        answer = await clients.poll(server.url, "board", headers={"X-User": "hangs"})
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        assert (await clients.poll(server.url, "board")).status_code == 200


@pytest.mark.long
async def test_a_websocket_that_speaks_and_leaves_while_its_authenticator_hangs_makes_room(database: Database) -> None:
    settings = {**ASKED, "DATABASE_TIMEOUT": 3600, "MAX_HANDSHAKES": 1}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        for _ in range(3):
            async with clients.websocket(server.url, "board", headers={"X-User": "hangs"}) as socket:
                await socket.send('{"command":"ping"}')
                await socket.send('{"command":"ping"}')

            async def has_room() -> bool:
                return await statuses(server.url, "board") == [200]

            await eventually(has_room)


@pytest.mark.long
async def test_an_async_rule_leaves_the_only_connection_of_a_pool_to_others(database: Database) -> None:
    with processes.server("uvicorn", named(database, pool=POOL), application=APPLICATION) as server:
        for _ in range(3):
            assert await statuses(server.url, *["slow:a"] * 4) == [200] * 4
            async with clients.http() as client:
                assert (await client.get(f"{server.url}/send/")).status_code == 200
        await eventually(lambda: count(database) <= 2)  # one of the pool, and one that listens to NOTIFY


def count(database: Database) -> int:
    """Return how many connections the server has."""
    found = database.query(
        f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database.name}' AND application_name = 'server'"
    )
    return int(found[0][0])


@pytest.mark.long
async def test_async_rules_use_no_more_connections_than_there_are_threads(database: Database) -> None:
    settings = {"DATABASE_THREADS": 2}
    with processes.server("uvicorn", named(database), settings, application=APPLICATION) as server:
        assert await statuses(server.url, *["slow:a"] * 40) == [200] * 40
        assert count(database) <= 4  # the hub has one, and one listens to NOTIFY


@pytest.mark.long
async def test_async_rules_find_the_successor_of_a_host_that_vanished(database: Database) -> None:
    options = json.loads(os.environ[ENV])[database.kind]
    with faults.line(f"{options['HOST']}/.s.PGSQL.5432") as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)
        settings = {"DATABASE_TIMEOUT": 0.5}
        with processes.server("uvicorn", through, settings, application=APPLICATION) as server:
            assert await statuses(server.url, "orm:a") == [200]
            line.abandon()

            async def serves() -> bool:
                return await statuses(server.url, "orm:a") == [200]

            await eventually(serves)


@pytest.fixture(scope="module")
def url(databases: Databases) -> Iterator[str]:
    """A server whose rules get half a second."""
    with databases.fresh("postgresql") as database:
        settings = {"DATABASE_TIMEOUT": 0.5}
        with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
            yield server.url


@pytest.mark.parametrize("failing", some(FAILING, 2))
async def test_a_group_whose_rule_fails_does_not_take_others_with_it(url: str, failing: str) -> None:
    groups = [failing, "board", "orm:a"]
    answer = await clients.poll(url, groups)
    assert (answer.status_code, answer.json()["refused"]) == (200, [failing])
    async with clients.sse(url, groups) as stream, clients.websocket(url, groups) as socket:
        hello = json.loads((await stream.fields())["data"])
        assert (hello["groups"], hello["refused"]) == (["board", "orm:a"], [failing])
        hello = await clients.frame(socket)
        assert (hello["groups"], hello["refused"]) == (["board", "orm:a"], [failing])


@pytest.mark.parametrize("failing", some(FAILING, 2))
async def test_a_group_whose_rule_fails_is_not_denied_where_it_is_alone(url: str, failing: str) -> None:
    answer = await clients.poll(url, failing)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    async with clients.sse(url, failing) as stream, clients.websocket(url, failing) as socket:
        assert (await stream.fields())["event"] == "livepush.bye"
        assert await clients.until_closed(socket) == ([], (4503, "unavailable"))


async def test_a_command_whose_rule_fails_may_be_tried_again(url: str) -> None:
    async with clients.websocket(url, "board") as socket:
        await clients.frame(socket)
        await socket.send('{"command":"subscribe","groups":["afails:a"],"ref":1}')
        reply = await clients.frame(socket)
        assert (reply["ref"], reply["ok"], reply["code"]) == (1, False, "unavailable")
        await socket.send('{"command":"send","group":"fails:a","type":"t","ref":2}')
        reply = await clients.frame(socket)
        assert (reply["ref"], reply["ok"], reply["code"]) == (2, False, "unavailable")
        await socket.send('{"command":"subscribe","groups":["afails:a","orm:a"],"ref":3}')
        reply = await clients.frame(socket)
        assert (reply["ref"], reply["groups"], reply["refused"]) == (3, ["orm:a"], ["afails:a"])
        assert reply["failed"] == ["afails:a"]


async def test_a_rule_that_fails_once_is_asked_again_at_once(url: str) -> None:
    answer = await clients.poll(url, ["board", "recovers:a"])
    assert answer.json()["refused"] == []


@pytest.mark.long
async def test_a_client_that_was_refused_because_a_rule_failed_comes_back(database: Database) -> None:
    env = {"LIVEPUSH_TEST_ASK_AGAIN": "0.1"}
    with processes.server("uvicorn", database, application=APPLICATION, env=env) as server:
        for name, follow in (("a", clients.sse), ("b", clients.websocket)):
            groups = ["board", f"once:{name}"]
            async with follow(server.url, groups) as stream:
                if name == "a":
                    assert (await stream.until(event="livepush.bye"))["retry"] == "0"
                    assert (await stream.rest()).strip(b":\n") == b""
                else:
                    told, close = await clients.until_closed(stream)
                    assert json.loads(told[0])["refused"] == ["once:b"]
                    assert json.loads(told[-1])["type"] == "livepush.bye"
                    assert close is not None
                    assert close[0] == 4503
            answer = await clients.poll(server.url, groups)
            assert answer.json()["refused"] == []


async def follow_once(transport: str, url: str, groups: list[str], since: str, sent: Callable[[], None]) -> str:
    """Follow until the first event, which is sent meanwhile; return where such a client comes back from."""
    if transport.endswith("poll"):
        wait = 15 if transport == "long poll" else 0
        sent()
        answer = (await clients.poll(url, groups, since=since, wait=wait)).json()
        assert [each["type"] for each in answer["events"]] == ["other"]
        assert answer["failed"] == groups[1:]
        return str(answer["position"])
    last = since
    if transport == "sse":
        async with clients.sse(url, groups, since=since) as stream:
            fields = await stream.fields()
            assert json.loads(fields["data"])["failed"] == groups[1:]
            sent()
            while fields["event"] != "other":
                last = fields.get("id", last)
                fields = await stream.fields()
            return fields.get("id", last)
    async with clients.websocket(url, groups, since=since, subprotocols=V1 if "v1" in transport else None) as socket:
        hello = told = await clients.frame(socket)
        assert hello["failed"] == groups[1:]
        sent()
        while told["type"] != "other":
            last = told.get("id", last)
            told = await clients.frame(socket)
        return str(hello["position"] if "v1" in transport else told.get("id", last))


@pytest.mark.parametrize("transport", some(list(clients.TRANSPORTS)))
async def test_what_a_group_gets_while_its_rule_fails_comes_afterwards(database: Database, transport: str) -> None:
    with (
        processes.server("uvicorn", database, {"HEARTBEAT": 0.2}, application=APPLICATION) as server,
        processes.publisher(database) as elsewhere,
    ):
        groups, since = ["board", "once:a"], elsewhere.position()

        def send() -> None:
            elsewhere.do("send", groups="once:a", type="owed", data=1)
            elsewhere.do("send", groups="board", type="other", data=2)
            elsewhere.position()

        since = await follow_once(transport, server.url, groups, since, send)
        found = await clients.take(clients.TRANSPORTS[transport](server.url, groups, since), "other")
        assert [each["type"] for each in found] == ["owed", "other"]


async def test_pages_of_any_origin_get_nothing_by_a_cookie_when_they_ask_for_more(database: Database) -> None:
    with processes.server("uvicorn", database, {"ALLOWED_ORIGINS": ["*"]}, application=APPLICATION) as server:
        own = {"Cookie": "sessionid=theirs"}
        for headers, ok in ((own, True), ({**own, "Origin": "https://elsewhere.test"}, False)):
            async with clients.websocket(server.url, "board", headers=headers) as socket:
                await clients.frame(socket)
                await socket.send(json.dumps({"command": "subscribe", "groups": ["cart:theirs"], "ref": 1}))
                assert (await clients.frame(socket))["ok"] is ok


async def test_a_host_that_is_not_allowed_is_refused_in_order_whatever_the_origin(database: Database) -> None:
    settings = {"ALLOWED_ORIGINS": ["https://app.example.com"]}
    with processes.server("uvicorn", database, settings, application=APPLICATION) as server:
        for origin in ("https://elsewhere.test", "https://app.example.com", "http://evil.test"):
            answer = await clients.poll(server.url, "board", headers={"Host": "evil.test", "Origin": origin})
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_host")
