"""Rules that say since when: what is older never comes, whatever a client asks for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.integration import clients, test_rights
from tests.patience import PATIENCE
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server

APPLICATION = "tests.servers.newcomers:application"
GROUPS = ["board", "after:5", "from:5", "afrom:5"]


@pytest.fixture(params=some(["postgresql", "sqlite", "mariadb"]))
def site(request: pytest.FixtureRequest, databases: Any) -> Iterator[tuple[Server, Publisher, Database]]:
    with (
        databases.fresh(request.param) as database,
        processes.server("uvicorn", database, application=APPLICATION) as server,
        processes.publisher(database) as elsewhere,
    ):
        yield server, elsewhere, database


@pytest.fixture(params=some(list(test_rights.READERS)))
def reader(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def follow(
    transport: str, server: Server, groups: list[str], since: str, count: int, headers: dict[str, str] | None = None
) -> list[dict[str, Any]]:
    """Return the first envelopes behind a position."""
    found = []
    async with contextlib.aclosing(clients.TRANSPORTS[transport](server.url, groups, since, headers)) as events:
        async for envelope in events:
            if not envelope["type"].startswith("livepush."):
                found.append(envelope)
                if len(found) == count:
                    break
    return found


async def send_alone(elsewhere: Publisher, count: int) -> str:
    """Send some events to ``after:5``; return the position before them."""
    start = elsewhere.position()
    for number in range(1, count + 1):
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    return start


TRANSPORTS = ["sse", "long poll", "websocket", "websocket livepush.v1", "poll"]


@pytest.mark.parametrize("transport", some(TRANSPORTS))
async def test_each_group_begins_where_its_rule_says(site: Any, transport: str) -> None:
    """The rules of ``after:5`` and ``from:5`` let everybody read from the sixth event on."""
    server, elsewhere, _ = site
    start = elsewhere.position()
    for number in range(1, 9):
        await asyncio.to_thread(elsewhere.do, "send", groups=GROUPS, type="all", data=number)
        await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=number)
    elsewhere.position()
    found = await follow(transport, server, GROUPS, start, 8 + 3)
    alone = [each["data"] for each in found if each["type"] == "alone"]
    together = [(each["data"], each.get("groups", [each["group"]])) for each in found if each["type"] == "all"]
    assert alone == [6, 7, 8]
    assert [number for number, _ in together] == list(range(1, 9))
    for number, groups in together:
        assert groups == (GROUPS if number > 5 else ["board"])


async def test_a_websocket_that_subscribes_later_gets_no_more(site: Any) -> None:
    server, elsewhere, _ = site
    start = await send_alone(elsewhere, 8)
    async with clients.websocket(server.url, "board") as socket:
        await clients.frame(socket)
        for ref in range(2):  # the second time it goes back
            await socket.send(json.dumps({"command": "subscribe", "groups": ["after:5"], "since": start, "ref": ref}))
            assert (await clients.frame(socket))["ok"]
            assert [(await clients.frame(socket))["data"] for _ in range(3)] == [6, 7, 8]


async def test_an_event_source_that_names_an_old_event_gets_no_more(site: Any) -> None:
    server, elsewhere, _ = site
    start = await send_alone(elsewhere, 8)
    async with clients.sse(server.url, "after:5", headers={"Last-Event-ID": start}) as stream:
        assert [(await stream.until(event="alone"))["data"] for _ in range(3)] == ["6", "7", "8"]


@pytest.mark.long
async def test_a_held_poll_is_not_answered_with_nothing(site: Any) -> None:
    server, elsewhere, _ = site
    start = await send_alone(elsewhere, 5)
    held = asyncio.create_task(clients.poll(server.url, "after:5", since=start, wait=20))
    await asyncio.to_thread(elsewhere.do, "send", groups="board", type="other", data=None)
    await asyncio.sleep(0)
    await asyncio.to_thread(elsewhere.do, "send", groups="after:5", type="alone", data=6)
    assert [each["data"] for each in (await held).json()["events"]] == [6]


async def test_what_is_older_is_hidden_live_too_and_a_recheck_moves_where_a_group_begins(
    site: Any, reader: str
) -> None:
    """The rule of ``said:x`` says what the test has sent to ``rule:x``."""
    server, elsewhere, _ = site
    groups, numbers = ["said:x", "board"], itertools.count()

    async def send(to: list[str] | str, type: str, **more: Any) -> None:
        await asyncio.to_thread(elsewhere.do, "send", groups=to, type=type, data=None, **more)

    async def say(since: str | None) -> None:
        await asyncio.to_thread(elsewhere.do, "send", groups="rule:x", type="since", data=since)
        await asyncio.to_thread(elsewhere.do, "recheck")

    async with test_rights.reading(reader, server, groups) as stream:

        async def until_listed(expected: list[str]) -> None:
            """Send to both groups until the reader gets it in the expected ones."""
            async with asyncio.timeout(PATIENCE):
                for number in numbers:
                    await send(groups, probe := f"probe-{number}")
                    await stream.until(lambda probe=probe: stream.types[-1] == probe)
                    last = stream.envelopes[-1]
                    if last.get("groups", [last["group"]]) == expected:
                        return

        await until_listed(groups)
        await say("2999-01-01T00:00:00Z")
        await until_listed(["board"])
        await send("said:x", "hidden")
        await send("said:x", "hidden", ephemeral=True)
        await say(await asyncio.to_thread(elsewhere.position))
        await until_listed(groups)
        await send("said:x", "shown")
        await stream.until(lambda: stream.types[-1] == "shown")
        assert "hidden" not in stream.types
        assert len(stream.types) == len(set(stream.types)), "nothing came twice"
        assert not stream.revoked


@pytest.mark.parametrize("site", some(["postgresql", "mariadb"]), indirect=True)  # SQLite has one writer at a time
@pytest.mark.parametrize("reader", some(list(test_rights.READERS)), indirect=True)
async def test_what_a_long_transaction_brings_late_is_hidden_from_newcomers_live_and_later(
    site: Any, reader: str
) -> None:
    server, elsewhere, database = site
    start = elsewhere.position()
    with processes.publisher(database) as other:
        await asyncio.to_thread(elsewhere.do, "begin")
        await asyncio.to_thread(elsewhere.do, "send", groups=["said:y", "board"], type="late", data=None)
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        await asyncio.to_thread(other.do, "send", groups="rule:y", type="since", data=now)
        async with test_rights.reading(reader, server, ["said:y", "board"]) as stream:
            await asyncio.to_thread(elsewhere.do, "commit")
            await asyncio.to_thread(other.do, "send", groups="said:y", type="new", data=None)
            await stream.until(lambda: stream.types[-1] == "new")
            live = stream.envelopes[-2:]
    later = await follow("websocket", server, ["said:y", "board"], start, 2)
    for found in (live, later):
        assert [(each["type"], each["group"], "groups" in each) for each in found] == [
            ("late", "board", False),
            ("new", "said:y", False),
        ]


@pytest.mark.long
async def test_a_held_poll_reads_past_pages_that_hold_only_what_is_too_old(site: Any) -> None:
    server, elsewhere, _ = site
    start = elsewhere.position()
    for _ in range(40):
        await asyncio.to_thread(elsewhere.do, "send", groups="said:z", type="old", data="x" * 60_000)
    await asyncio.to_thread(elsewhere.do, "send", groups="rule:z", type="since", data=elsewhere.position())
    await asyncio.to_thread(elsewhere.do, "send", groups="said:z", type="new", data=None)
    last = elsewhere.position()
    answer = (await clients.poll(server.url, "said:z", since=start, wait=20)).json()
    assert [each["type"] for each in answer["events"]] == ["new"]
    assert answer["position"] == last


@pytest.mark.parametrize("transport", some(list(clients.TRANSPORTS)))
async def test_a_newcomer_reads_nothing_older_in_any_audience_of_the_inbox(site: Any, transport: str) -> None:
    server, elsewhere, database = site
    cookies = {name: elsewhere.do("session", username=name) for name in ("early", "new")}
    start = elsewhere.position()
    elsewhere.do("change", username="early", what="role given", role="staff")
    elsewhere.do("join", username="early", group="team")
    [(role,)] = database.query("SELECT id FROM auth_group WHERE name = 'staff'")
    audiences = [f"inbox:auth:{role}", "inbox:of:team"]
    groups = [*audiences, "inbox:all", "board"]
    elsewhere.do("send", groups=groups, type="first", data=None)
    elsewhere.do("change", username="new", what="role given", role="staff")
    elsewhere.do("join", username="new", group="team")
    cookies["newest"] = elsewhere.do("session", username="newest")
    elsewhere.do("send", groups=groups, type="last", data=None)
    elsewhere.position()
    expected = {
        "early": [("first", groups), ("last", groups)],
        "new": [("first", ["inbox:all", "board"]), ("last", groups)],
        "newest": [("first", ["board"]), ("last", ["inbox:all", "board"])],
    }
    for name, cookie in cookies.items():
        found = await follow(transport, server, groups, start, 2, {"Cookie": cookie})
        assert [(each["type"], each.get("groups", [each["group"]])) for each in found] == expected[name]


@pytest.mark.parametrize("proof", some(["session", "token"]))
async def test_one_who_leaves_and_comes_back_on_one_websocket_gets_nothing_from_in_between(
    site: Any, proof: str
) -> None:
    server, elsewhere, _ = site
    cookie, start = elsewhere.do("session", username="ann"), elsewhere.position()
    token = elsewhere.do("token", username="ann")
    headers = {"Cookie": cookie} if proof == "session" else {"Authorization": f"Bearer {token}"}
    subscribe = json.dumps({"command": "subscribe", "groups": ["inbox:of:club"], "since": start})
    async with clients.websocket(server.url, "board", headers=headers) as socket:

        async def until(type: str) -> list[str]:
            found = []
            while type not in found:
                found.append((await clients.frame(socket))["type"])
            return found

        await until("livepush.hello")
        for visit in ("first", "second"):
            await asyncio.to_thread(elsewhere.do, "send", groups="inbox:of:club", type=f"before-{visit}", data=None)
            await asyncio.to_thread(elsewhere.do, "join", username="ann", group="club")
            await socket.send(subscribe)
            await until("livepush.reply")
            await asyncio.to_thread(elsewhere.do, "send", groups="inbox:of:club", type=visit, data=None)
            assert await until(visit) == [visit]
            await asyncio.to_thread(elsewhere.do, "leave", username="ann", group="club")
            await until("livepush.revoked")
