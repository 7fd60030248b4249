"""Rights that end: whatever ends a login or a permission, open streams and held polls lose what they may not read."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.integration import clients
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database, Databases
from tests.servers.processes import Publisher, Server


@dataclass
class Stream:
    """A stream over any transport: what it brought, in order."""

    types: list[str] = field(default_factory=list)
    envelopes: list[dict[str, Any]] = field(default_factory=list)
    revoked: list[dict[str, Any]] = field(default_factory=list)
    end: Any = None
    came: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def take(self, envelope: dict[str, Any]) -> None:
        async with self.came:
            if envelope["type"] == "livepush.revoked":
                self.revoked.append(envelope)
            elif not envelope["type"].startswith("livepush.") or envelope["type"] == "livepush.hello":
                self.types.append(envelope["type"])
                self.envelopes.append(envelope)
            self.came.notify_all()

    async def ended(self, how: Any) -> None:
        async with self.came:
            self.end = how
            self.came.notify_all()

    async def until(self, holds: Callable[[], Any]) -> None:
        async with self.came, asyncio.timeout(PATIENCE):
            await self.came.wait_for(holds)


async def read_sse(url: str, groups: list[str], headers: dict[str, str], stream: Stream) -> None:
    async with clients.sse(url, groups, headers=headers, format="envelope") as found:
        with contextlib.suppress(StopAsyncIteration):
            while True:
                fields = await found.fields()
                if "data" in fields:
                    await stream.take(json.loads(fields["data"]))
    await stream.ended("ended")


async def read_websocket(url: str, groups: list[str], headers: dict[str, str], stream: Stream) -> None:
    async with clients.websocket(url, groups, headers=headers) as socket:
        await read_frames(socket, stream)


async def read_frames(socket: Any, stream: Stream) -> None:
    try:
        while True:
            await stream.take(await clients.frame(socket))
    except clients.ConnectionClosed as closed:
        await stream.ended(closed.rcvd and closed.rcvd.code)


async def read_long_poll(url: str, groups: list[str], headers: dict[str, str], stream: Stream) -> None:
    position = (await clients.poll(url, groups, headers=headers)).json()["position"]
    await stream.take({"type": "livepush.hello"})
    refused: list[str] = []
    while True:
        answer = await clients.poll(url, groups, headers=headers, since=position, wait=6)
        if answer.status_code == 503:  # a browser may have another login by now, so it asks once more
            answer = await clients.poll(url, groups, headers=headers, since=position, wait=6)
        if answer.status_code != 200:
            break
        body = answer.json()
        for event in body["events"]:
            await stream.take(event)
        gone = [group for group in body["refused"] if group not in refused]
        if gone or "reason" in body:
            refused = body["refused"]
            await stream.take({"type": "livepush.revoked", "groups": gone, "reason": body.get("reason")})
        position = body["position"]
    await stream.ended(answer.status_code)


READERS = {"sse": read_sse, "websocket": read_websocket, "long poll": read_long_poll}
ENDS = {"sse": "ended", "websocket": 4403, "long poll": 403}


@contextlib.asynccontextmanager
async def reading(
    transport: str, server: Server, groups: list[str], cookie: str | None = None, token: str | None = None
) -> AsyncIterator[Stream]:
    """Read some groups, as the owner of a session or the bearer of a token."""
    headers = {"Cookie": cookie} if cookie else {"Authorization": f"Bearer {token}"} if token else {}
    stream = Stream()
    async with filled(stream, READERS[transport](server.url, groups, headers, stream)):
        yield stream


@contextlib.asynccontextmanager
async def filled(stream: Stream, read: Coroutine[Any, Any, None]) -> AsyncIterator[Stream]:
    """Let a reader fill a stream."""
    task = asyncio.create_task(read)
    try:
        await stream.until(lambda: stream.types)
        yield stream
    finally:
        while not task.done():  # asyncio.wait_for can swallow a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=0.2)
        if not task.cancelled():
            await task


@dataclass
class Site:
    server: Server
    elsewhere: Publisher
    settings: dict[str, Any]
    database: Database

    async def do(self, name: str, **arguments: Any) -> Any:
        return await asyncio.to_thread(self.elsewhere.do, name, **arguments)

    async def send(self, group: str, type: str) -> None:
        await self.do("send", groups=group, type=type, data=None)


@contextlib.contextmanager
def site(
    databases: Databases,
    kind: str = "uvicorn",
    recheck: float = 60.0,
    settings: dict[str, Any] | None = None,
    **env: str,
) -> Iterator[Site]:
    settings = {"RECHECK": recheck, **(settings or {})}
    with (
        databases.fresh("postgresql") as database,
        processes.server(kind, database, settings, env=env) as server,
        processes.publisher(database, settings, **env) as elsewhere,
    ):
        yield Site(server, elsewhere, settings, database)


@pytest.fixture(scope="module", params=some(["uvicorn", "daphne"]))
def shop(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Site]:
    with site(databases, request.param) as found:
        yield found


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A user of the test's own."""
    return f"u{abs(hash(request.node.nodeid)) % 10**12}"


async def user_group(shop: Site, name: str) -> str:
    [(pk,)] = shop.database.query(f"SELECT id FROM auth_user WHERE username = '{name}'")
    return f"user:{pk}"


def by(what: str, **more: Any) -> Callable[[Site, str, str], Any]:
    return lambda shop, name, cookie: shop.do("change", username=name, what=what, **more)


def ending(how: str) -> Callable[[Site, str, str], Any]:
    return lambda shop, name, cookie: shop.do("end_session", cookie=cookie, how=how)


ENDINGS = {
    "a logout": ending("logout"),
    "a flush": ending("flush"),
    "another password": by("password"),
    "an inactive user": by("inactive"),
    "a deleted user": by("deleted"),
    "a user deleted in a set": by("deleted as a set"),
    "revoke": lambda shop, name, cookie: shop.do("revoke", username=name),
}


@pytest.mark.parametrize("transport", READERS)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_nothing_private_comes_after(shop: Site, name: str, transport: str, ending: str) -> None:
    cookie = await shop.do("session", username=name)
    group = await user_group(shop, name)
    async with reading(transport, shop.server, [group], cookie) as stream:
        await shop.send(group, "before")
        await stream.until(lambda: "before" in stream.types)
        await eventually(lambda: asyncio.to_thread(shop.server.holds))  # a long poll comes again
        await ENDINGS[ending](shop, name, cookie)
        await stream.until(lambda: stream.end)
        await shop.send(group, "after")
        assert stream.end == ENDS[transport]
        assert "after" not in stream.types
        if transport != "long poll":
            assert [each["groups"] for each in stream.revoked] == [[group]]


@pytest.mark.parametrize("transport", READERS)
async def test_only_what_was_lost_is_taken_away(shop: Site, name: str, transport: str) -> None:
    cookie = await shop.do("session", username=name)
    group = await user_group(shop, name)
    async with reading(transport, shop.server, [group, "board"], cookie) as stream:
        await shop.do("end_session", cookie=cookie, how="logout")
        await shop.send("board", "next")  # a poll that began after the logout tells of it with its next event
        await stream.until(lambda: stream.revoked)
        assert [each["groups"] for each in stream.revoked] == [[group]]
        await shop.send(group, "private")
        await shop.send("board", f"public-{name}")
        await stream.until(lambda: f"public-{name}" in stream.types)
        assert "private" not in stream.types
        assert stream.end is None


ROLES = {
    "taken from the user": by("role taken", role="staff"),
    "all taken": by("roles cleared"),
    "emptied": by("role emptied", role="staff"),
    "deleted": by("role deleted", role="staff"),
    "renamed": by("role renamed", role="staff"),
}


@pytest.mark.parametrize("ending", ROLES)
async def test_the_end_of_a_role_ends_what_it_lets_read(shop: Site, name: str, ending: str) -> None:
    cookie = await shop.do("session", username=name)
    await shop.do("change", username=name, what="role given", role="staff")
    async with reading("sse", shop.server, ["role:staff", "board"], cookie) as stream:
        await ROLES[ending](shop, name, cookie)
        await stream.until(lambda: stream.revoked)
        assert [(each["groups"], each["reason"]) for each in stream.revoked] == [(["role:staff"], "permission")]


@pytest.mark.parametrize("transport", READERS)
async def test_revoked_groups_bring_nothing_from_that_very_event_on(shop: Site, name: str, transport: str) -> None:
    cookie = await shop.do("session", username=name)
    room = f"room:{name}"
    async with reading(transport, shop.server, [room, "board"], cookie) as stream:
        await eventually(lambda: asyncio.to_thread(shop.server.holds))  # a long poll comes again
        await shop.do("begin")
        await shop.send(room, "before")
        await shop.do("revoke", username=name, groups=[room, "room:other"])
        await shop.send(room, "secret")
        await shop.send("board", f"public-{name}")
        await shop.do("commit")
        await stream.until(lambda: f"public-{name}" in stream.types)
        assert "secret" not in stream.types
        await stream.until(lambda: stream.revoked)
        assert [each["groups"] for each in stream.revoked] == [[room]]


async def test_a_group_is_taken_from_everyone_and_others_keep_theirs(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    room = f"room:{name}"
    async with (
        reading("sse", shop.server, [room, "board"], cookie) as known,
        reading("sse", shop.server, [room]) as unknown,
        reading("sse", shop.server, ["board"]) as other,
    ):
        await shop.do("revoke", username="inbox:all", groups=room)
        await known.until(lambda: known.revoked)
        await unknown.until(lambda: unknown.end)
        await shop.send("board", f"public-{name}")
        for stream in (known, other):
            await stream.until(lambda stream=stream: f"public-{name}" in stream.types)
        assert not other.revoked


async def test_a_user_who_is_only_saved_keeps_everything(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    group = await user_group(shop, name)
    async with reading("websocket", shop.server, [group], cookie) as stream:
        await shop.do("change", username=name, what="role given", role="staff")
        await shop.do("change", username=name, what="saved")
        await shop.send(group, "after")
        await stream.until(lambda: "after" in stream.types)
        assert not stream.revoked


async def test_a_logout_ends_one_session_of_several(shop: Site, name: str) -> None:
    here, there = [await shop.do("session", username=name) for _ in range(2)]
    group = await user_group(shop, name)
    async with (
        reading("sse", shop.server, [group], here) as first,
        reading("sse", shop.server, [group], there) as second,
    ):
        await shop.do("end_session", cookie=here, how="logout")
        await first.until(lambda: first.end)
        await shop.send(group, "after")
        await second.until(lambda: "after" in second.types)


@pytest.mark.long
async def test_a_session_ends_when_it_expires_unless_it_was_extended(shop: Site, name: str) -> None:
    group, cookies = "", []
    for seconds in (2, 2, 3600):
        cookies.append(await shop.do("session", username=name))
        await shop.do("expire_session", cookie=cookies[-1], seconds=seconds)
        group = await user_group(shop, name)
    async with (
        reading("sse", shop.server, [group], cookies[0]) as short,
        reading("sse", shop.server, [group], cookies[1]) as extended,
        reading("sse", shop.server, [group], cookies[2]) as long,
    ):
        await shop.do("expire_session", cookie=cookies[1], seconds=3600)
        await short.until(lambda: short.end)
        await shop.send(group, "after")
        for stream in (extended, long):
            await stream.until(lambda stream=stream: "after" in stream.types)
        assert [each["reason"] for each in short.revoked] == ["session"]


async def test_a_change_that_makes_no_sense_stops_nobody(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    async with reading("sse", shop.server, ["board"], cookie) as stream:
        for data in ("[]", '{"groups": 7}', "null"):
            await shop.do("nonsense", data=data)
        await shop.send("board", f"public-{name}")
        await stream.until(lambda: f"public-{name}" in stream.types)


async def test_nobody_reads_what_livepush_tells_itself(shop: Site, name: str) -> None:
    cookie = await shop.do("session", username=name)
    async with clients.websocket(shop.server.url, ["livepush:rights", "board"], headers={"Cookie": cookie}) as socket:
        hello = await clients.frame(socket)
        assert (hello["groups"], hello["refused"]) == (["board"], ["livepush:rights"])


# Other projects

ENGINES = ["signed_cookies", "cache", "cached_db", "file", "db"]
SESSION_ENDINGS = ["a logout", "another password", "a deleted user", "inactive by SQL"]


@pytest.mark.parametrize(
    ("ending", "engine"),
    some([(ending, engine) for ending in SESSION_ENDINGS for engine in ENGINES]),
)
async def test_every_session_engine_ends_them(
    databases: Databases, tmp_path: Path, name: str, engine: str, ending: str
) -> None:
    env = {"LIVEPUSH_TEST_SESSIONS": engine, "LIVEPUSH_TEST_CACHE": str(tmp_path)}
    endings = {**ENDINGS, "inactive by SQL": by("inactive by SQL")}
    with site(databases, recheck=0.5, **env) as shop:
        cookie = await shop.do("session", username=name)
        group = await user_group(shop, name)
        async with reading("sse", shop.server, [group], cookie) as stream:
            await shop.send(group, "before")
            await stream.until(lambda: "before" in stream.types)
            cookie = await shop.do("change_session", cookie=cookie)
            await endings[ending](shop, name, cookie)
            await stream.until(lambda: stream.end)


@pytest.mark.long
@pytest.mark.parametrize("layer", some(["core", "pubsub"]))
async def test_with_a_layer_it_is_heard_of_at_once(databases: Databases, name: str, layer: str) -> None:
    with (
        processes.valkey() as redis,
        site(databases, LIVEPUSH_TEST_LAYER=layer, LIVEPUSH_TEST_REDIS=redis) as shop,
    ):
        cookie = await shop.do("session", username=name)
        group = await user_group(shop, name)
        async with reading("sse", shop.server, [group], cookie) as stream:
            await shop.do("end_session", cookie=cookie, how="logout")
            await stream.until(lambda: stream.end)


async def test_what_no_signal_tells_is_found_out_in_time(databases: Databases, name: str) -> None:
    with site(databases, recheck=1.0) as shop:
        cookie = await shop.do("session", username=name)
        group = await user_group(shop, name)
        async with (
            reading("sse", shop.server, [group], cookie) as stream,
            reading("websocket", shop.server, ["board"]) as other,
        ):
            await shop.do("end_session", cookie=cookie, how="delete")
            await stream.until(lambda: stream.end)
            assert not other.revoked


async def test_a_login_that_goes_on_under_another_key_is_no_lost_right(databases: Databases, name: str) -> None:
    with site(databases, recheck=1.0) as shop:
        cookie = await shop.do("session", username=name)
        group = await user_group(shop, name)
        async with contextlib.AsyncExitStack() as stack:
            streams = [
                await stack.enter_async_context(reading(transport, shop.server, [group, "board"], cookie))
                for transport in READERS
            ]
            await eventually(lambda: asyncio.to_thread(lambda: shop.server.holds() == len(streams)))
            renewed = await shop.do("renew_session", cookie=cookie)
            for stream in streams:
                await stream.until(lambda stream=stream: stream.revoked)
                assert [(each["groups"], each["reason"]) for each in stream.revoked] == [([group], "session")]
        again = await clients.poll(shop.server.url, [group], headers={"Cookie": renewed})
        assert (again.status_code, again.json()["refused"]) == (200, [])


@pytest.mark.long
@pytest.mark.parametrize("recheck", some([60.0, 1.0]), ids=["heard of", "found out"])
async def test_a_user_about_whom_the_backend_can_not_ask_keeps_nobody_else_reading(
    databases: Databases, recheck: float
) -> None:
    with site(databases, recheck=recheck, LIVEPUSH_TEST_BACKEND="tests.shop.backends.Directory") as shop:
        cookies = [await shop.do("session", username=name) for name in ("ann", "ben")]
        for name in ("ann", "ben"):
            await shop.do("change", username=name, what="role given", role="staff")
        async with (
            reading("sse", shop.server, ["role:staff", "board"], cookies[0]) as unreachable,
            reading("sse", shop.server, ["role:staff", "board"], cookies[1]) as other,
        ):
            shop.database.query("UPDATE auth_user SET first_name = 'unreachable' WHERE username = 'ann' RETURNING id")
            if recheck > 1:
                await shop.do("change", username="ben", what="role emptied", role="staff")
            else:
                shop.database.query("DELETE FROM auth_user_groups RETURNING id")
            await other.until(lambda: other.revoked)
            assert [each["groups"] for each in other.revoked] == [["role:staff"]]
            assert not unreachable.revoked
            shop.database.query("UPDATE auth_user SET first_name = '' WHERE username = 'ann' RETURNING id")
            await unreachable.until(lambda: unreachable.revoked)


# Tokens

TOKEN_ENDINGS = {
    name: ENDINGS[name] for name in ENDINGS if "session" not in name and name not in ("a logout", "a flush")
}


@pytest.mark.parametrize(
    ("ending", "transport"),
    some(
        sorted(itertools.product(TOKEN_ENDINGS, READERS), key=lambda pair: pair[1] != "sse"),
        len(TOKEN_ENDINGS) + 2,
    ),
)
async def test_a_bearer_reads_until_something_ends_the_token(
    shop: Site, name: str, transport: str, ending: str
) -> None:
    await shop.do("session", username=name)
    group, token = await user_group(shop, name), await shop.do("token", username=name)
    async with reading(transport, shop.server, [group], token=token) as stream:
        await shop.send(group, "before")
        await stream.until(lambda: "before" in stream.types)
        await TOKEN_ENDINGS[ending](shop, name, "")
        await stream.until(lambda: stream.end)
        await shop.send(group, "after")
        assert "after" not in stream.types
    again = await clients.poll(shop.server.url, [group], headers={"Authorization": f"Bearer {token}"})
    assert (again.status_code, again.json()["code"]) == (401, "bad_token")
    assert again.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("transport", READERS)
async def test_a_token_ends_in_time(shop: Site, name: str, transport: str) -> None:
    await shop.do("session", username=name)
    group, token = await user_group(shop, name), await shop.do("token", username=name, ttl=5)
    async with (
        reading(transport, shop.server, [group, "board"], token=token) as stream,
        reading(transport, shop.server, ["board"], token=token) as public,
        reading(transport, shop.server, [group], token=token) as private,
    ):
        await stream.until(lambda: stream.revoked)
        assert [(each["groups"], each["reason"]) for each in stream.revoked] == [([group], "token")]
        await public.until(lambda: public.revoked)
        assert [(each["groups"], each["reason"]) for each in public.revoked] == [([], "token")]
        await private.until(lambda: private.end)
        assert private.end == {**ENDS, "long poll": 401}[transport]
    late = await clients.poll(shop.server.url, [group], token=token)
    assert (late.status_code, late.json()["code"]) == (401, "token_ended")


async def test_a_socket_takes_a_token_as_a_subprotocol_and_another_one_in_place(shop: Site, name: str) -> None:
    await shop.do("session", username=name)
    await shop.do("session", username=f"{name}-other")
    group = await user_group(shop, name)
    short, long = [await shop.do("token", username=name, ttl=ttl) for ttl in (5, 300)]
    others = await shop.do("token", username=f"{name}-other")
    async with clients.websocket(shop.server.url, [group], subprotocols=[f"livepush.token.{short}"]) as socket:
        assert (await clients.frame(socket))["groups"] == [group]
        for ref, token in enumerate((others, "livepush_nonsense", None, long)):
            await socket.send(json.dumps({"command": "auth", "token": token, "ref": ref}))
        replies = {}
        while len(replies) < 4:
            frame = await clients.frame(socket)
            replies[frame["ref"]] = frame.get("code", frame["ok"])
        assert replies == {0: "other_user", 1: "bad_token", 2: "bad_token", 3: True}
        ends = asyncio.get_running_loop().time() + 5.5
        while (left := ends - asyncio.get_running_loop().time()) > 0:
            with contextlib.suppress(TimeoutError):
                frame = json.loads(await asyncio.wait_for(socket.recv(), left))
                assert frame["type"] != "livepush.revoked"
        await shop.send(group, "after")
        while (await clients.frame(socket))["type"] != "after":
            pass
