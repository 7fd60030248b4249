"""Tenants with a subdomain each, on a server that serves them all: live, from the log, and what they send."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration import clients
from tests.integration.test_rights import Stream, filled, read_frames, read_long_poll, read_sse
from tests.patience import PATIENCE
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher

SETTINGS = {"TENANT": "tests.shop.subdomains.Subdomains"}
TENANTS = {"LIVEPUSH_TEST_TENANTS": "1"}


@dataclass
class Site:
    server: processes.Server
    elsewhere: Publisher
    database: Database

    def host(self, tenant: str) -> dict[str, str]:
        return {"Host": f"{tenant}.shop.test:{self.server.port}"}

    def address(self, tenant: str, groups: str | list[str], since: str | None = None) -> str:
        """Return the WebSocket's address; the connection goes to this machine whatever it says."""
        return clients.address(f"ws://{tenant}.shop.test:{self.server.port}", "ws", groups, since=since)

    def send(self, tenant: str, groups: str | list[str], data: object) -> None:
        self.elsewhere.send(groups, "moved", data, tenant=tenant)


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, SETTINGS) as elsewhere,
        processes.server("uvicorn", database, SETTINGS, env=TENANTS) as server,
    ):
        yield Site(server, elsewhere, database)


async def test_each_transport_brings_a_tenant_its_own_events_live_and_from_the_log(site: Site) -> None:
    start = site.elsewhere.position()
    host, port = site.host("acme"), site.server.port
    for number in range(2):
        async with (
            clients.sse(site.server.url, ["room:1", "board"], headers=host, since=start, format="envelope") as stream,
            clients.connected(site.address("acme", "board", start), port, {}) as socket,
        ):
            hello, greeted = json.loads((await stream.fields())["data"]), await clients.frame(socket)
            assert (hello["groups"], greeted["groups"]) == (["room:1", "board"], ["board"])
            if number == 0:  # live; the second time from the log
                for tenant in ("globex", "acme", "globex"):
                    site.send(tenant, ["board", "room:1"], tenant)
            found, framed = json.loads((await stream.fields())["data"]), await clients.frame(socket)
            assert (found["data"], found["group"], found["groups"]) == ("acme", "room:1", ["room:1", "board"])
            assert (framed["data"], framed["group"], "groups" in framed) == ("acme", "board", False)
            await socket.send('{"command":"ping","ref":1}')
            assert (await clients.frame(socket))["type"] == "livepush.reply"  # and nothing else before it
        async with clients.http() as client:
            address = clients.address(site.server.url, "poll", "board", since=start)
            answer = (await client.get(address, headers=host)).json()
        assert [event["data"] for event in answer["events"]] == ["acme"]


async def test_commands_are_of_the_connections_tenant(site: Site) -> None:
    cookie, port = site.elsewhere.session("ann"), site.server.port
    async with (
        clients.connected(site.address("acme", "board"), port, {"Cookie": cookie}) as acme,
        clients.connected(site.address("globex", "room:7"), port, {"Cookie": cookie}) as globex,
    ):
        assert (await clients.frame(acme))["type"] == (await clients.frame(globex))["type"] == "livepush.hello"
        since = site.elsewhere.position()
        site.send("globex", "room:7", "before")
        site.send("acme", "room:7", "before, in acme")
        assert (await clients.frame(globex))["data"] == "before"
        await acme.send(json.dumps({"command": "subscribe", "groups": ["room:7"], "since": since, "ref": 1}))
        assert (await clients.frame(acme))["groups"] == ["room:7"]
        assert (await clients.frame(acme))["data"] == "before, in acme"
        await acme.send(json.dumps({"command": "send", "group": "room:7", "type": "said", "data": "hi", "ref": 2}))
        told = [await clients.frame(acme), await clients.frame(acme)]
        assert {found.get("data") or found["type"] for found in told} == {"hi", "livepush.reply"}
        await acme.send(json.dumps({"command": "unsubscribe", "groups": ["room:7"], "ref": 3}))
        assert (await clients.frame(acme))["ok"]
        site.send("acme", "room:7", "after")
        site.send("acme", "board", "seen")
        site.send("globex", "room:7", "the next")
        assert (await clients.frame(acme))["data"] == "seen"
        assert (await clients.frame(globex))["data"] == "the next"


async def test_nobody_connects_where_there_is_no_tenant_or_to_another_ones_groups(site: Site) -> None:
    port = site.server.port
    async with clients.connected(site.address("nobody", "board"), port, {}) as socket:
        assert await clients.until_closed(socket) == ([], (4403, "no_tenant"))
    async with clients.connected(site.address("acme", "globex|board"), port, {}) as socket:
        assert await clients.until_closed(socket) == ([], (4400, "bad_group"))
    async with clients.sse(site.server.url, "board", headers=site.host("nobody")) as stream:
        assert stream.response.status_code == 403


async def test_a_user_who_reads_the_inbox_of_one_tenant_hears_of_that_one(site: Site) -> None:
    cookie = site.elsewhere.session("ben")
    headers = {"Cookie": cookie, **site.host("acme")}
    async with clients.sse(site.server.url, ["inbox:all", "inbox:of:room:1"], headers=headers) as stream:
        hello = json.loads((await stream.fields())["data"])
        assert (hello["groups"], hello["refused"]) == (["inbox:all"], ["inbox:of:room:1"])
        for tenant in ("globex", "acme"):
            site.elsewhere.do("notify", to="inbox:all", title=f"Hello, {tenant}", tenant=tenant)
        assert json.loads((await stream.fields())["data"])["title"] == "Hello, acme"


@pytest.mark.long
async def test_what_the_layer_brings_is_the_tenants_too(databases: Databases) -> None:
    with processes.valkey() as redis, databases.fresh("postgresql") as database:
        layer = {"LIVEPUSH_TEST_LAYER": "pubsub", "LIVEPUSH_TEST_REDIS": redis}
        with (
            processes.publisher(database, SETTINGS, **layer) as elsewhere,
            processes.server("uvicorn", database, SETTINGS, env={**TENANTS, **layer}) as server,
        ):
            site = Site(server, elsewhere, database)
            async with clients.sse(server.url, "board", headers=site.host("acme")) as stream:
                await stream.fields()
                found: dict[str, str] = {}
                for number in range(50):  # the server may not listen yet
                    for tenant in ("globex", "acme"):
                        elsewhere.send("board", "moved", f"{tenant} {number}", tenant=tenant, ephemeral=True)
                    with suppress(TimeoutError):
                        found = await asyncio.wait_for(stream.fields(), 0.5)
                        break
                assert found["data"].startswith('"acme ')
                assert "id" not in found


# Rights that end


@pytest.fixture(scope="module")
def apart(databases: Databases) -> Iterator[Site]:
    """As if each tenant had users of its own, whose primary keys are the same."""
    settings = {"TENANT": "tests.shop.subdomains.OwnUsers", "RECHECK": 60.0}
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, settings) as elsewhere,
        processes.server("uvicorn", database, settings, env=TENANTS) as server,
    ):
        yield Site(server, elsewhere, database)


TRANSPORTS = ["sse", "websocket", "long poll"]


@asynccontextmanager
async def reading(
    site: Site, transport: str, tenant: str, groups: list[str], headers: dict[str, str]
) -> AsyncIterator[Stream]:
    stream, port = Stream(), site.server.port

    async def read() -> None:
        if transport == "websocket":
            async with clients.connected(site.address(tenant, groups), port, headers) as socket:
                await read_frames(socket, stream)
        else:
            read = read_sse if transport == "sse" else read_long_poll
            await read(site.server.url, groups, {**headers, **site.host(tenant)}, stream)

    async with filled(stream, read()):
        await stream.until(lambda: stream.types)
        yield stream


async def do(site: Site, name: str, tenant: str, **arguments: Any) -> Any:
    return await asyncio.to_thread(site.elsewhere.do, name, tenant=tenant, **arguments)


async def until_revoked(site: Site, tenant: str, stream: Stream) -> None:
    """Send until the stream has lost groups: a poll that comes later says so when there is an event."""
    async with asyncio.timeout(PATIENCE):
        number = 0
        while not stream.revoked:
            number += 1
            await do(site, "send", tenant, groups="board", type=f"nudge-{number}", data=None)
            await stream.until(lambda: stream.revoked or f"nudge-{number}" in stream.types)


@pytest.mark.parametrize(
    ("transport", "by", "ending"),
    some(
        [
            *(
                (transport, by, ending)
                for transport in ("sse", "websocket")
                for by, ending in (
                    ("session", "revoke"),
                    ("session", "revoke one"),
                    ("session", "logout"),
                    ("token", "role"),
                )
            ),
            *(("long poll", by, ending) for by, ending in (("token", "revoke"), ("session", "logout"))),
        ],
        3,
    ),
)
async def test_what_ends_in_one_tenant_goes_on_in_another(
    apart: Site, transport: str, by: str, ending: str, request: pytest.FixtureRequest
) -> None:
    name = f"u{abs(hash(request.node.nodeid)) % 10**12}"
    headers = {}
    for tenant in ("acme", "globex"):
        cookie = await do(apart, "session", tenant, username=name)
        token = await do(apart, "token", tenant, username=name)
        headers[tenant] = {"Cookie": cookie} if by == "session" else {"Authorization": f"Bearer {token}"}
    await do(apart, "change", "acme", username=name, what="role given", role="staff")
    [(pk,)] = apart.database.query(f"SELECT id FROM auth_user WHERE username = '{name}'")
    groups = [f"user:{pk}", "role:staff"]
    lost = {"role": ["role:staff"], "revoke one": [f"user:{pk}"], "revoke": [*groups, "board"]}.get(ending, groups)
    async with (
        reading(apart, transport, "acme", [*groups, "board"], headers["acme"]) as here,
        reading(apart, transport, "globex", [*groups, "board"], headers["globex"]) as there,
    ):
        if ending.startswith("revoke"):
            named = {"groups": lost} if ending == "revoke one" else {}
            await do(apart, "revoke", "acme", username=name, **named)
        elif ending == "logout":
            await do(apart, "end_session", "acme", cookie=headers["acme"]["Cookie"], how="logout")
        else:
            await do(apart, "change", "acme", username=name, what="role taken", role="staff")
        if ending == "revoke":
            await here.until(lambda: here.end)
        else:
            await until_revoked(apart, "acme", here)
        if here.revoked:  # a poll that has no group left is refused
            assert [sorted(each["groups"]) for each in here.revoked] == [sorted(lost)]
        for tenant, stream in (("acme", here), ("globex", there))[ending == "revoke" :]:
            await do(apart, "send", tenant, groups=lost, type="private", data=None)
            await do(apart, "send", tenant, groups="board", type=f"public-{name}", data=None)
            await stream.until(lambda stream=stream: f"public-{name}" in stream.types)
        assert "private" not in here.types
        assert (there.revoked, "private" in there.types) == ([], True)


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_shared_user_loses_a_tenants_group_in_this_one_and_all_groups_in_all(
    site: Site, transport: str
) -> None:
    headers = {"Cookie": site.elsewhere.session(f"cleo-{transport}")}
    async with (
        reading(site, transport, "acme", ["room:1", "board"], headers) as acme,
        reading(site, transport, "globex", ["room:1", "board"], headers) as globex,
    ):
        await do(site, "revoke", "acme", username=f"cleo-{transport}", groups="room:1")
        await acme.until(lambda: acme.revoked)
        assert [each["groups"] for each in acme.revoked] == [["room:1"]]
        await do(site, "send", "globex", groups="room:1", type="kept", data=None)
        await globex.until(lambda: "kept" in globex.types)
        assert not globex.revoked
        await do(site, "revoke", "acme", username=f"cleo-{transport}")
        for stream in (acme, globex):
            await stream.until(lambda stream=stream: stream.end)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_rules_are_asked_again_for_the_tenant_of_the_client(site: Site, transport: str) -> None:
    name = f"dora-{transport}"
    headers = {"Cookie": site.elsewhere.session(name)}
    await do(site, "change", "acme", username=name, what="role given", role="staff")
    async with (
        reading(site, transport, "acme", ["site:acme", "role:staff", "asite:acme", "board"], headers) as acme,
        reading(site, transport, "globex", ["asite:globex", "role:staff", "site:globex", "board"], headers) as globex,
    ):
        await do(site, "change", "acme", username=name, what="role taken", role="staff")
        for tenant, stream in (("acme", acme), ("globex", globex)):
            await until_revoked(site, tenant, stream)
            await do(site, "send", tenant, groups=[f"site:{tenant}"], type="kept", data=None)
            await do(site, "send", tenant, groups=[f"asite:{tenant}"], type="kept-too", data=None)
            await stream.until(lambda stream=stream: {"kept", "kept-too"} <= set(stream.types))
            assert [each["groups"] for each in stream.revoked] == [["role:staff"]]


async def test_a_socket_takes_no_token_of_another_tenant(site: Site) -> None:
    site.elsewhere.session("emil")
    tokens = {tenant: await do(site, "token", tenant, username="emil") for tenant in ("acme", "globex")}
    headers = {"Authorization": f"Bearer {tokens['acme']}"}
    async with clients.connected(site.address("acme", "board"), site.server.port, headers) as socket:
        assert (await clients.frame(socket))["groups"] == ["board"]
        replies = []
        for tenant in ("globex", "acme"):
            await socket.send(json.dumps({"command": "auth", "token": tokens[tenant], "ref": 1}))
            replies.append(await clients.frame(socket))
        assert [(each["ok"], each.get("code")) for each in replies] == [(False, "bad_token"), (True, None)]
