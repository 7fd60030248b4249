"""Tenants with a subdomain each, on a server that serves them all: live, from the log, and what they send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.integration import clients
from tests.servers import processes
from tests.servers.fresh import Databases
from tests.servers.processes import Publisher

SETTINGS = {"TENANT": "tests.shop.subdomains.Subdomains"}
TENANTS = {"LIVEPUSH_TEST_TENANTS": "1"}


@dataclass
class Site:
    server: processes.Server
    elsewhere: Publisher

    def host(self, tenant: str) -> dict[str, str]:
        return {"Host": f"{tenant}.shop.test:{self.server.port}"}

    def address(self, tenant: str, groups: str, since: str | None = None) -> str:
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
        yield Site(server, elsewhere)


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
