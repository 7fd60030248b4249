"""What Pusher's clients may not do, what is malformed, and what ends: by hand over a WebSocket and HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from livepush.bridges.pusher import config, signing
from tests.bridges import pushers
from tests.bridges.pushers import APP, Site, raw
from tests.docs_blocks import ROOT
from tests.integration import clients
from tests.patience import eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Databases

OWN = config.App(*APP.values())
SETTINGS = {**pushers.SETTINGS, "MAX_GROUPS": 3, "COMMANDS_PER_SECOND": 20.0, "MESSAGES_PER_SECOND": 2.0}


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, SETTINGS) as elsewhere,
        processes.server("uvicorn", database, SETTINGS, application=pushers.APPLICATION) as server,
    ):
        yield Site(server, elsewhere, pushers.HERE, database)


async def connected(socket: pushers.Raw) -> str:
    """Return the id of a connection."""
    found = await socket.next()
    assert found["event"] == "pusher:connection_established", found
    assert found["data"]["activity_timeout"] == 120
    return str(found["data"]["socket_id"])


async def auth(site: Site, cookie: str, socket: str, channel: str = "", **headers: str) -> httpx.Response:
    """Ask the auth endpoint."""
    form = {"socket_id": socket, **({"channel_name": channel} if channel else {})}
    given = {**headers, **({"Cookie": cookie} if cookie else {})}
    async with clients.http() as client:
        path = "auth" if channel else "user-auth"
        return await client.post(f"{site.server.url}/pusher/{path}", data=form, headers=given)


async def subscribe(site: Site, socket: pushers.Raw, id: str, channel: str, cookie: str) -> dict[str, Any]:
    """Subscribe to a channel with what the auth endpoint answers; return what the server says."""
    await socket.say("pusher:subscribe", {"channel": channel, **(await auth(site, cookie, id, channel)).json()})
    return await socket.next()


def refusal(found: dict[str, Any]) -> tuple[str, int]:
    assert found["event"] == "pusher:subscription_error", found
    return found["channel"], found["data"]["status"]


# Coming in


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/app/other?protocol=7", 4001),
        ("/app/shop", 4008),
        ("/app/shop?protocol=x", 4006),
        ("/app/shop?protocol=99", 4007),
    ],
)
async def test_an_address_that_is_wrong_is_told_why(site, path, code):
    async with raw(site, path) as socket:
        found = await socket.next()
        assert (found["event"], found["data"]["code"]) == ("pusher:error", code)
        assert await socket.closed() == code


async def test_a_page_of_another_site_can_not_connect(site):
    async with raw(site, Origin="https://evil.example") as socket:
        assert (await socket.next())["data"]["code"] == 4009
        assert await socket.closed() == 4009


async def test_the_query_subscribes_to_no_group(site):
    async with raw(site, "/app/shop?protocol=7&group=board&since=x") as socket:
        await connected(socket)
        site.elsewhere.send("board", "secret", 1)
        await socket.say("pusher:ping")
        assert await socket.next() == {"event": "pusher:pong", "data": {}}


async def test_the_address_answers_plain_http_with_a_sentence(site):
    async with clients.http() as client:
        assert (await client.get(f"{site.server.url}/app/shop?protocol=7")).status_code == 501


# Subscribing


async def test_an_auth_is_good_for_its_connection_channel_and_data_alone(site):
    ann = site.elsewhere.session("ann")
    async with raw(site) as one, raw(site) as two:
        first, second = await connected(one), await connected(two)
        answer = (await auth(site, ann, first, "private-help;a")).json()["auth"]
        member = (await auth(site, ann, first, "presence-lobby;a")).json()
        key, signature, proof = answer.split(":", 2)
        forged = {"user_id": "2", "user_info": {"name": "ben"}}
        for socket, channel, given in (
            (two, "private-help;a", {"auth": answer}),
            (one, "private-help;b", {"auth": answer}),
            (one, "private-help;a", {}),
            (one, "private-help;a", {"auth": 7}),
            (one, "private-help;a", {"auth": f"{key}:{'0' * 64}:{proof}"}),
            (one, "private-help;a", {"auth": f"{key}:{signature}:{proof[:-1]}{'a' if proof[-1] != 'a' else 'b'}"}),
            (one, "private-help;a", {"auth": f"{key}:{signature}:{'x' * 9000}"}),
            (one, "presence-lobby;a", {"auth": member["auth"]}),
            (one, "presence-lobby;a", {**member, "channel_data": json.dumps(forged)}),
        ):
            await socket.say("pusher:subscribe", {"channel": channel, **given})
            assert refusal(await socket.next()) == (channel, 401)
        await one.say("pusher:subscribe", {"channel": "private-help;a", "auth": answer})
        assert (await one.next())["event"] == "pusher_internal:subscription_succeeded"
        await one.say("pusher:subscribe", {"channel": "private-help;a", "auth": answer})
        assert refusal(await one.next()) == ("private-help;a", 400)
    assert second != first


async def test_a_signature_by_another_backend_names_nobody(site):
    async with raw(site) as socket:
        id = await connected(socket)
        for channel, status in ("private-room;a", 0), ("private-help;a", 403), ("presence-lobby;a", 403):
            given = site.http.authenticate(channel, id, {"user_id": "1"} if "presence" in channel else None)
            await socket.say("pusher:subscribe", {"channel": channel, **given})
            found = await socket.next()
            assert found["event"].endswith("succeeded") if not status else refusal(found) == (channel, status)


async def test_a_connection_stays_one_users(site):
    ann, ben = site.elsewhere.session("ann"), site.elsewhere.session("ben")
    async with raw(site) as socket:
        id = await connected(socket)
        assert (await subscribe(site, socket, id, "private-help;a", ann))["event"].endswith("succeeded")
        assert refusal(await subscribe(site, socket, id, "private-help;b", ben)) == ("private-help;b", 403)
        await socket.say("pusher:signin", (await auth(site, ben, id)).json())
        assert (await socket.next())["data"]["code"] == 4009
        assert await socket.closed() == 4009


async def test_who_has_not_signed_in_gets_no_users_own_channel(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "#server-to-user-1"})
        assert refusal(await socket.next()) == ("#server-to-user-1", 401)


async def test_what_comes_between_a_sign_in_and_the_users_own_channel_arrives_there_once(site):
    ann = site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        await socket.say("pusher:signin", (await auth(site, ann, id)).json())
        user = json.loads((await socket.next())["data"]["user_data"])["id"]
        for name in ("first", "second"):
            site.elsewhere.send(f"user:{user}", name)
            site.elsewhere.send("board", "meanwhile")
        assert [(await socket.next())["event"] for _ in range(2)] == ["meanwhile", "meanwhile"]
        await socket.say("pusher:subscribe", {"channel": f"#server-to-user-{user}"})
        assert [(await socket.next())["event"] for _ in range(3)] == [
            "pusher_internal:subscription_succeeded", "first", "second",
        ]  # fmt: skip
        site.elsewhere.send(f"user:{user}", "third")
        assert (await socket.next())["event"] == "third"


async def test_channels_are_limited_and_the_limit_counts_groups(site):
    async with raw(site) as socket:
        await connected(socket)
        for name in ("room;a", "room;b", "room;c"):
            await socket.say("pusher:subscribe", {"channel": name})
            assert (await socket.next())["event"].endswith("succeeded")
        await socket.say("pusher:subscribe", {"channel": "room;d"})
        assert refusal(await socket.next()) == ("room;d", 400)
        await socket.say("pusher:unsubscribe", {"channel": "room;a"})
        await socket.say("pusher:subscribe", {"channel": "room;d"})
        assert (await socket.next())["event"].endswith("succeeded")


async def test_the_auth_endpoint_signs_nothing_for_whom_no_rule_lets_in(site):
    ann = site.elsewhere.session("ann")
    for cookie, socket, channel, status in (
        (ann, "1.2", "private-order;1000", 403),
        ("", "1.2", "private-help;a", 403),
        (ann, "1.2", "board", 400),
        (ann, "x", "private-board", 400),
        (ann, "1.2", "presence-board", 403),  # no presence rule
        ("", "1.2", "presence-lobby;a", 401),
        ("", "1.2", "", 401),
        (ann, "1.2", "private-livepush;rights", 403),
    ):
        answer = await auth(site, cookie, socket, channel)
        assert (answer.status_code, "auth" in answer.json()) == (status, False), channel


async def test_an_app_without_cookies_brings_a_token_and_the_tokens_limit_holds(site):
    site.elsewhere.session("ann")
    token = site.elsewhere.do("token", username="ann", groups=["help:a"])
    async with raw(site) as socket:
        id = await connected(socket)
        answer = await auth(site, "", id, "private-help;a", Authorization=f"Bearer {token}")
        await socket.say("pusher:subscribe", {"channel": "private-help;a", **answer.json()})
        assert (await socket.next())["event"].endswith("succeeded")
        assert (await auth(site, "", id, "private-help;b", Authorization=f"Bearer {token}")).status_code == 403
        await socket.say("pusher:subscribe", {"channel": "help;b"})
        assert refusal(await socket.next()) == ("help;b", 403)


@pytest.mark.long
async def test_a_member_who_has_gone_before_it_was_written_down_is_taken_back(site):
    ann, ben = site.elsewhere.session("ann"), site.elsewhere.session("ben")
    async with raw(site) as hers, raw(site) as his:
        first, second = await connected(hers), await connected(his)
        await subscribe(site, hers, first, "presence-lobby;g", ann)
        found = await subscribe(site, his, second, "presence-lobby;g", ben)
        await hers.say("pusher:unsubscribe", {"channel": "presence-lobby;g"})
        assert found["data"]["presence"]["count"] == 2
        names = []
        while "pusher_internal:member_removed" not in names:
            names.append((await his.next())["event"])
        assert set(names) == {"pusher_internal:member_removed"}


# Rights that end


async def test_a_revocation_ends_a_subscription_before_the_next_event(site):
    ann = site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        await subscribe(site, socket, id, "private-help;a", ann)
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        site.elsewhere.do("revoke", username="ann", groups=["help:a"])
        site.elsewhere.send(["help:a", "board"], "n", 1)
        assert refusal(await socket.next()) == ("private-help;a", 403)
        assert await socket.next() == {"event": "n", "channel": "board", "data": 1}


async def test_another_password_ends_what_a_token_or_session_has_opened(site):
    cat = site.elsewhere.session("cat")
    async with raw(site) as socket:
        id = await connected(socket)
        await subscribe(site, socket, id, "private-help;a", cat)
        answer = (await auth(site, cat, id, "private-help;b")).json()
        site.elsewhere.do("change", username="cat", what="password")
        assert refusal(await socket.next()) == ("private-help;a", 403)
        await socket.say("pusher:subscribe", {"channel": "private-help;b", **answer})
        assert refusal(await socket.next()) == ("private-help;b", 401)


async def test_an_auth_is_good_for_nothing_after_the_logout(site):
    ann = site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        answer, user = (await auth(site, ann, id, "private-help;a")).json(), (await auth(site, ann, id)).json()
        site.elsewhere.do("end_session", cookie=ann, how="logout")
        site.elsewhere.send("board", "n")
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        await socket.say("pusher:subscribe", {"channel": "private-help;a", **answer})
        assert refusal(await socket.next("n")) == ("private-help;a", 401)
        await socket.say("pusher:signin", user)
        assert await socket.closed() == 4009


async def test_a_login_that_ends_ends_what_it_has_opened(site):
    site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        token = site.elsewhere.do("token", username="ann", ttl=5)
        answer = await auth(site, "", id, "private-help;a", Authorization=f"Bearer {token}")
        await socket.say("pusher:subscribe", {"channel": "private-help;a", **answer.json()})
        assert (await socket.next())["event"].endswith("succeeded")
        assert await socket.closed() == 4200


# Saying


async def test_what_is_malformed_gets_a_sentence_and_the_connection_goes_on(site):
    async with raw(site) as socket:
        await connected(socket)
        for text in (
            "",
            "{",
            "[]",
            "7",
            '{"event": 7}',
            '{"data": {}}',
            "[" * 5000,
            '{"event":"pusher:subscribe","data":"{"}',
        ):
            await socket.send(text)
            assert (await socket.next())["event"] == "pusher:error"
        for event in ("pusher:nope", "pusher_internal:subscription_succeeded", "livepush:position", ""):
            await socket.say(event)
            assert "no event" in (await socket.next())["data"]["message"]
        await socket.say("pusher:subscribe", {"channel": {"a": 1}})
        assert "malformed" in (await socket.next())["data"]["message"]
        await socket.say("livepush:resume", {"position": "x"})
        assert "position is malformed" in (await socket.next())["data"]["message"]
        await socket.say("pusher:ping", "")
        assert (await socket.next())["event"] == "pusher:pong"


@pytest.mark.parametrize("message", [b"\x00", "x" * 80_000])
async def test_bytes_and_what_is_too_large_end_the_connection(site, message):
    async with raw(site) as socket:
        await connected(socket)
        await socket.send(message)
        assert (await socket.next())["data"]["code"] == 4010
        assert await socket.closed() == 4010


async def test_client_events_need_a_subscription_and_are_limited(site):
    dan = site.elsewhere.session("dan")
    async with raw(site) as socket:
        id = await connected(socket)
        await socket.say("client-said", {}, channel="private-room;a")
        assert "need a subscription" in (await socket.next())["data"]["message"]
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        await socket.say("client-said", {}, channel="board")
        assert "need a subscription" in (await socket.next())["data"]["message"]
        await subscribe(site, socket, id, "private-room;a", dan)
        for _ in range(12):
            await socket.say("client-said", {"n": 1}, channel="private-room;a")
        found = await socket.next()
        assert (found["event"], found["data"]["code"]) == ("pusher:error", 4301)


@pytest.mark.parametrize("event", some(["pusher:ping", "pusher:subscribe"]))
async def test_who_does_not_heed_a_limit_is_sent_away(site, event):
    async with raw(site) as socket:
        await connected(socket)
        for number in range(300):
            await socket.say(event, {"channel": f"order;{number + 1000}"})
        assert await socket.closed() == 4100


async def test_subscriptions_over_the_limit_wait_and_are_all_answered(site):
    async with raw(site) as socket:
        await connected(socket)
        wanted = [(f"order;{number + 1000}", 403) for number in range(130)]
        for channel, _ in wanted:
            await socket.say("pusher:subscribe", {"channel": channel})
        assert [refusal(await socket.next("pusher:ping")) for _ in wanted] == wanted


async def test_the_tabs_of_a_user_that_come_back_together_get_all_their_channels(site):
    eve = site.elsewhere.session("eve")
    async with raw(site, Cookie=eve) as one, raw(site, Cookie=eve) as other:
        for socket in (one, other):
            await connected(socket)
            for _ in range(35):  # both together say more than may be said at once
                await socket.say("pusher:subscribe", {"channel": "room;tabs"})
                await socket.say("pusher:unsubscribe", {"channel": "room;tabs"})
        for socket in (one, other):
            found = [(await socket.next("pusher:ping"))["event"] for _ in range(35)]
            assert found == ["pusher_internal:subscription_succeeded"] * 35


async def test_a_client_comes_back_if_a_rule_could_not_be_asked(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "down;a"})
        assert (await socket.next())["data"]["code"] == 4100
        assert await socket.closed() == 4100


async def test_nobody_can_speak_for_the_protocol(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        site.elsewhere.send("board", "pusher:error", {"code": 4009})
        site.elsewhere.send("board", "pusher_internal:member_added", {})
        site.elsewhere.send("board", "pusher.event", {"name": "pusher:error", "data": {}})
        site.elsewhere.send("board", "pusher.event", {"name": 7})
        assert await socket.next() == {"event": "pusher.event", "channel": "board", "data": {"name": 7}}


async def test_an_event_that_can_not_be_told_is_left_out_and_the_next_one_comes(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        taken = []
        for depth in range(800, 1000, 9):  # how deep the data may be depends on who calls
            event = {"name": "nested", "data": "[" * depth + "]" * depth, "channel": "board"}
            taken.append((await call(site, "POST", "/apps/1/events", event)).status_code)
        assert 200 in taken
        site.elsewhere.send("board", "n", 1)
        assert (await socket.next("nested"))["data"] == 1


@pytest.mark.long
async def test_an_event_over_daphnes_limit_is_left_out_loudly_and_the_next_one_comes(databases: Databases):
    large = {"quoted": '"' * 300_000}  # in JSON inside of JSON each has four signs
    settings = {**SETTINGS, "MAX_EVENT_BYTES": 2 * 1_048_576, "BUFFER_BYTES": 8 * 1_048_576}
    with (
        databases.fresh("sqlite") as database,
        processes.publisher(database, settings) as elsewhere,
        processes.server("daphne", database, settings, application=pushers.APPLICATION) as server,
    ):
        site, start = Site(server, elsewhere, pushers.HERE), elsewhere.position()
        async with raw(site) as live, raw(site) as late:
            await connected(live)
            await live.say("pusher:subscribe", {"channel": "cache-board"})
            await live.next()
            elsewhere.send("board", "large", large)
            position = elsewhere.position()
            elsewhere.send("board", "small", 1)
            await connected(late)
            await late.say("livepush:resume", {"position": start})
            await late.say("pusher:subscribe", {"channel": "cache-board"})
            for socket in (live, late):
                told = [await socket.next(*ASIDE, "pusher:ping") for _ in range(3)]
                assert [each["event"] for each in told] == ["pusher:error", "livepush:reset", "small"]
                assert told[0]["data"]["code"] is None
                assert told[1]["data"] == {"position": position, "reason": "too_large"}
            elsewhere.send("board", "large", large)
            assert (await live.next("pusher:ping"))["event"] == "pusher:error"
        async with raw(site) as cached:
            await connected(cached)
            await cached.say("pusher:subscribe", {"channel": "cache-board"})
            assert [(await cached.next())["event"] for _ in range(2)] == [
                "pusher_internal:subscription_succeeded", "pusher:error",
            ]  # fmt: skip
        assert server.log().count("daphne accepts no WebSocket message of more than 1048576 bytes") == 1


# Over HTTP


async def call(site: Site, method: str, path: str, given: Any = None, host: str = "", **query: str) -> httpx.Response:
    """Make a signed request."""
    body = b"" if given is None else given if isinstance(given, bytes) else json.dumps(given).encode()
    known = {"auth_key": OWN.key, "auth_timestamp": str(int(time.time())), "auth_version": "1.0", **query}
    if body:
        known["body_md5"] = signing.hashlib.md5(body).hexdigest()
    text = signing._text(method, path, known)
    known["auth_signature"] = signing.sign(OWN, text)
    async with clients.http() as client:
        address, headers = f"{site.server.url}{path}?{urlencode(known)}", {"Host": host} if host else {}
        return await client.request(method, address, content=body, headers=headers)


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (b"{", 400),
        (b"[" * 5000, 400),
        ([], 400),
        ({"name": "a", "data": "{}"}, 400),
        ({"name": "", "data": "{}", "channel": "a"}, 400),
        ({"name": "a" * 201, "data": "{}", "channel": "a"}, 400),
        ({"name": "pusher:error", "data": "{}", "channel": "a"}, 400),
        ({"name": "pusher_internal:x", "data": "{}", "channel": "a"}, 400),
        ({"name": "a", "data": {}, "channel": "a"}, 400),
        ({"name": "a", "data": "\0", "channel": "a"}, 400),
        ({"name": "a", "data": '{"$bytes": "?"}', "channel": "a"}, 400),
        ({"name": "a", "data": '{"$bytes": "AAAA="}', "channel": "a"}, 400),
        ({"name": "a", "data": "{}", "channels": []}, 400),
        ({"name": "a", "data": "{}", "channels": ["a"] * 101}, 400),
        ({"name": "a", "data": "{}", "channels": "abc"}, 400),
        ({"name": "a", "data": "{}", "channel": "a b"}, 400),
        ({"name": "a", "data": "{}", "channel": "a", "socket_id": "x"}, 400),
        ({"name": "a", "data": "{}", "channel": "livepush;rights"}, 403),
        ({"name": "a", "data": "{}", "channel": "private-inbox;all"}, 403),
        ({"name": "a", "data": "x" * 70_000, "channel": "a"}, 413),
        (b"x" * 2_000_000, 413),
    ],
)
async def test_what_can_not_be_published_is_refused_with_a_sentence(site, given, status):
    answer = await call(site, "POST", "/apps/1/events", given)
    assert (answer.status_code, answer.headers["cache-control"]) == (status, "private, no-store, no-transform")
    assert answer.json()["message"].endswith(".")


async def test_one_bad_event_keeps_a_batch_from_being_sent(site):
    before = site.elsewhere.position()
    good = {"name": "a", "data": "{}", "channel": "board"}
    for batch in [good, {**good, "name": ""}], [], [good] * 11, {}:
        assert (await call(site, "POST", "/apps/1/batch_events", {"batch": batch})).status_code == 400
    assert site.elsewhere.position() == before
    answer = await call(site, "POST", "/apps/1/batch_events", {"batch": [{**good, "info": "subscription_count"}]})
    assert answer.json() == {"batch": [{"subscription_count": 0}]}


async def test_requests_without_the_secret_get_nothing(site):
    async with clients.http() as client:
        for method, path in (
            ("POST", "events"), ("POST", "batch_events"), ("GET", "channels"), ("GET", "channels/board"),
            ("GET", "channels/presence-a/users"), ("POST", "users/1/terminate_connections"),
        ):  # fmt: skip
            answer = await client.request(method, f"{site.server.url}/apps/1/{path}")
            assert answer.status_code == 401
    assert (await call(site, "GET", "/apps/2/channels")).status_code == 404
    assert (await call(site, "GET", "/apps/1/events")).status_code == 405


async def test_servers_can_ask_which_channels_have_subscribers(site):
    async with raw(site) as socket:
        id = await connected(socket)
        for name in ("room;q", "cache-room;q"):
            await socket.say("pusher:subscribe", {"channel": name})
            await socket.next("pusher:cache_miss")
        ann = site.elsewhere.session("ann")
        await subscribe(site, socket, id, "presence-lobby;q", ann)

        async def channels(**query: str) -> Any:
            return (await call(site, "GET", "/apps/1/channels", **query)).json()["channels"]

        assert (await channels(filter_by_prefix="cache-")) == {"cache-room;q": {}}
        assert (await channels(info="subscription_count"))["room;q"] == {"subscription_count": 1}

        async def is_counted() -> bool:
            found = await channels(filter_by_prefix="presence-", info="user_count")
            return found == {"presence-lobby;q": {"user_count": 1}}

        await eventually(is_counted)
        for path, query in (("", {"info": "user_count"}), ("/room;q", {"info": "user_count"}), ("", {"info": "x"})):
            assert (await call(site, "GET", f"/apps/1/channels{path}", **query)).status_code == 400
        assert (await call(site, "GET", "/apps/1/channels/room;q")).json() == {"occupied": True}
        assert (await call(site, "GET", "/apps/1/channels/room;z")).json() == {"occupied": False}
        assert (await call(site, "GET", "/apps/1/channels/room;q/users")).status_code == 400


@pytest.mark.long
async def test_a_slow_client_loses_nothing(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "room;slow"})
        await socket.next()
        await asyncio.to_thread(site.elsewhere.do, "send_many", groups="room:slow", type="n", count=3000)
        assert [(await socket.next("pusher:ping"))["data"] for _ in range(3000)] == list(range(3000))


# Servers that end


async def test_a_deploy_loses_nothing_for_a_client_that_resumes(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {})
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        site.elsewhere.send("board", "n", 1)
        await socket.next()
        position = (await socket.next())["data"]["position"]
        await asyncio.to_thread(site.server.terminate)
        assert (await socket.next())["data"]["code"] == 4200
        assert await socket.closed() == 4200
    site.elsewhere.send("board", "n", 2)
    await asyncio.to_thread(site.server.wait)
    await asyncio.to_thread(site.server.start)
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        await socket.say("pusher:subscribe", {"channel": "board"})
        assert (await socket.next())["event"].endswith("succeeded")
        assert await socket.next() == {"event": "n", "channel": "board", "data": 2}
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": "other-1"})
        found = await socket.next()
        assert (found["event"], found["data"]["reason"]) == ("livepush:reset", "epoch")


async def test_who_resumes_from_a_position_that_is_lost_misses_nothing_after_the_reset(site):
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": "other-1"})
        assert (await socket.next())["event"] == "livepush:reset"
        site.elsewhere.send("room:lost", "n", 1)
        await socket.say("pusher:subscribe", {"channel": "room;lost"})
        assert (await socket.next("livepush:position"))["event"].endswith("succeeded")
        site.elsewhere.send("room:lost", "n", 2)
        assert [(await socket.next(*ASIDE))["data"] for _ in range(2)] == [1, 2]


ASIDE = ("livepush:position", "pusher_internal:subscription_succeeded", "pusher:cache_miss")


async def missed(site: Site, group: str) -> str:
    """Send three events after a position; return the position."""
    before = site.elsewhere.position()
    await asyncio.to_thread(site.elsewhere.do, "send_many", groups=group, type="n", count=3)
    return before


async def test_each_channel_of_a_group_goes_on_from_the_position_once(site):
    position = await missed(site, "room:twice")
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        for channel in ("room;twice", "cache-room;twice"):
            await socket.say("pusher:subscribe", {"channel": channel})
            found = [await socket.next(*ASIDE) for _ in range(3)]
            assert [(each["channel"], each["data"]) for each in found] == [(channel, n) for n in range(3)]
        site.elsewhere.send("room:twice", "later", 1)
        found = [await socket.next(*ASIDE) for _ in range(2)]
        assert [(each["channel"], each["event"]) for each in found] == [
            ("room;twice", "later"), ("cache-room;twice", "later"),
        ]  # fmt: skip


async def test_a_channel_that_is_left_and_entered_again_does_not_go_on_a_second_time(site):
    position = await missed(site, "room:again")
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        await socket.say("pusher:subscribe", {"channel": "room;again"})
        assert [(await socket.next(*ASIDE))["data"] for _ in range(3)] == [0, 1, 2]
        await socket.say("pusher:unsubscribe", {"channel": "room;again"})
        await socket.say("pusher:subscribe", {"channel": "room;again"})
        assert (await socket.next("livepush:position"))["event"].endswith("succeeded")
        site.elsewhere.send("room:again", "later", 3)
        assert (await socket.next(*ASIDE))["data"] == 3


async def test_who_resumes_after_the_subscription_gets_the_events_again_on_its_channels_once(site):
    position = await missed(site, "room:late")
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("pusher:subscribe", {"channel": "room;late"})
        await socket.next()
        for _ in range(2):
            await socket.say("livepush:resume", {"position": position})
            assert [(await socket.next(*ASIDE))["data"] for _ in range(3)] == [0, 1, 2]
        await socket.say("pusher:unsubscribe", {"channel": "room;late"})
        await socket.say("pusher:subscribe", {"channel": "room;late"})
        assert (await socket.next("livepush:position"))["event"].endswith("succeeded")
        site.elsewhere.send("room:late", "later", 3)
        assert (await socket.next(*ASIDE))["data"] == 3


async def told(socket: pushers.Raw, event: str, count: int = 1) -> list[dict[str, Any]]:
    """Return what a client is told until it has had an event some times, and a ping of its own is answered."""
    found = []
    while [each["event"] for each in found].count(event) < count:
        found.append(await socket.next())
    await socket.say("pusher:ping")
    while (message := await socket.next())["event"] != "pusher:pong":
        found.append(message)
    return found


def position_in(messages: list[dict[str, Any]], before: str) -> str:
    """Return the last position that a client was told, or the one that it had before."""
    return [before, *(each["data"]["position"] for each in messages if each["event"] == "livepush:position")][-1]


@pytest.mark.parametrize("late", ["shaky", "room"])
async def test_a_channel_misses_nothing_if_the_connection_ends_after_another_one_has_gone_on(site, late):
    """The connection ends because a rule fails for a moment, or without a reason."""
    position = await missed(site, f"{late}:second")
    await missed(site, "room:first")
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        await socket.say("pusher:subscribe", {"channel": "room;first"})
        position = position_in(await told(socket, "n", 3), position)
        if late == "shaky":
            await socket.say("pusher:subscribe", {"channel": "shaky;second"})
            assert await socket.closed() == 4100
    async with raw(site) as socket:
        await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        for channel in ("room;first", f"{late};second"):
            await socket.say("pusher:subscribe", {"channel": channel})
            found = [await socket.next(*ASIDE) for _ in range(3)]
            assert [(each["channel"], each["data"]) for each in found] == [(channel, n) for n in range(3)]


async def test_what_is_sent_to_a_user_before_the_users_own_channel_and_a_cut_arrives_after_the_cut(site):
    ann = site.elsewhere.session("ann")
    async with raw(site) as socket:
        id = await connected(socket)
        await socket.say("livepush:resume", {})
        await socket.say("pusher:subscribe", {"channel": "board"})
        await socket.next()
        await socket.say("pusher:signin", (await auth(site, ann, id)).json())
        user = json.loads((await socket.next(*ASIDE))["data"]["user_data"])["id"]
        site.elsewhere.send(f"user:{user}", "first")
        site.elsewhere.send("board", "meanwhile")
        position = position_in(await told(socket, "meanwhile"), "")
    async with raw(site) as socket:
        id = await connected(socket)
        await socket.say("livepush:resume", {"position": position})
        await socket.say("pusher:signin", (await auth(site, ann, id)).json())
        assert (await socket.next(*ASIDE))["event"] == "pusher:signin_success"
        await socket.say("pusher:subscribe", {"channel": f"#server-to-user-{user}"})
        assert (await socket.next(*ASIDE))["event"] == "first"


@pytest.mark.long
async def test_a_client_that_answers_pings_no_more_is_given_up_and_one_that_never_did_is_not(databases: Databases):
    settings = {**SETTINGS, "HEARTBEAT": 0.1}
    with (
        databases.fresh("sqlite") as database,
        processes.publisher(database, settings) as elsewhere,
        processes.server("uvicorn", database, settings, application=pushers.APPLICATION) as server,
    ):
        site = Site(server, elsewhere, pushers.HERE)
        async with raw(site) as silent, raw(site) as fallen_silent, raw(site) as answering:
            await silent.say("pusher:subscribe", {"channel": "board"})
            await fallen_silent.next("pusher:connection_established")
            await fallen_silent.say("pusher:pong")
            for _ in range(20):
                await answering.next("pusher:connection_established")
                await answering.say("pusher:pong")
            assert await fallen_silent.closed() == 4201
            await answering.say("pusher:ping")
            while (await answering.next())["event"] != "pusher:pong":
                pass
            elsewhere.send("board", "n", 1)
            assert (await silent.next(*ASIDE, "pusher:connection_established", "pusher:ping"))["data"] == 1


@pytest.mark.long
@pytest.mark.parametrize("kind", ["daphne", "hypercorn", "granian"])
async def test_other_servers_do_the_same(databases: Databases, kind: str):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, SETTINGS) as elsewhere,
        processes.server(kind, database, SETTINGS, application=pushers.APPLICATION) as server,
    ):
        site = Site(server, elsewhere, pushers.HERE)
        ann = elsewhere.session("ann")
        async with raw(site) as socket:
            id = await connected(socket)
            assert (await subscribe(site, socket, id, "private-help;a", ann))["event"].endswith("succeeded")
            await site.trigger("private-help;a", "n", {"n": 1})
            assert (await socket.next("pusher:ping"))["data"] == {"n": 1}
            await socket.say("pusher:signin", {})
            assert await socket.closed() == 4009


@pytest.mark.long
def test_nothing_of_it_is_imported_where_it_is_not_mounted():
    script = (
        "import sys, django; django.setup(); import livepush.asgi; from livepush import routing; "
        "from django.core.management import call_command; routing.endpoints(); call_command('check'); "
        "print([name for name in sys.modules if name.startswith('livepush.bridges.pusher')])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        cwd=ROOT,
        capture_output=True,
        check=True,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "LIVEPUSH_TEST_SETTINGS": json.dumps({"PUSHER": {}}),
        },
    )
    tables = ["livepush.bridges.pusher", "livepush.bridges.pusher.models"]
    assert done.stdout.decode().splitlines()[-1] == str(tables)


@pytest.mark.long
async def test_a_tenants_channels_are_its_own(databases: Databases):
    settings = {**SETTINGS, "TENANT": "tests.shop.subdomains.Subdomains"}
    tenants = {"LIVEPUSH_TEST_TENANTS": "1"}
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, settings) as elsewhere,
        processes.server("uvicorn", database, settings, application=pushers.APPLICATION, env=tenants) as server,
    ):
        site, ann = Site(server, elsewhere, pushers.HERE), elsewhere.session("ann")
        hosts = [f"{name}.shop.test:{server.port}" for name in ("acme", "globex")]
        async with raw(site, host="acme.shop.test") as acme, raw(site, host="globex.shop.test") as globex:
            ids = [await connected(each) for each in (acme, globex)]
            for each, name in (acme, "board"), (acme, "site;acme"), (globex, "board"):
                await each.say("pusher:subscribe", {"channel": name})
                assert (await each.next())["event"].endswith("succeeded")
            await globex.say("pusher:subscribe", {"channel": "site;acme"})
            assert refusal(await globex.next()) == ("site;acme", 403)
            answer = (await auth(site, ann, ids[0], "presence-lobby;a", Host=hosts[0])).json()
            await globex.say("pusher:subscribe", {"channel": "presence-lobby;a", **answer})
            assert refusal(await globex.next()) == ("presence-lobby;a", 401)
            await acme.say("pusher:subscribe", {"channel": "presence-lobby;a", **answer})
            assert (await acme.next())["event"].endswith("succeeded")
            for host, each in zip(hosts, (acme, globex), strict=True):
                event = {"name": "n", "data": json.dumps({"of": host}), "channels": ["board"]}
                assert (await call(site, "POST", "/apps/1/events", event, host=host)).status_code == 200
                assert (await each.next())["data"] == {"of": host}

            async def occupied(host: str) -> list[str]:
                return list((await call(site, "GET", "/apps/1/channels", host=host)).json()["channels"])

            async def is_there() -> bool:
                path = "/apps/1/channels/presence-lobby;a/users"
                return (await call(site, "GET", path, host=hosts[0])).json() == {"users": [{"id": "1"}]}

            await eventually(is_there)
            assert await occupied(hosts[0]) == ["board", "presence-lobby;a", "site;acme"]
            assert await occupied(hosts[1]) == ["board"]


@pytest.mark.long
async def test_what_one_process_is_told_reaches_the_clients_of_another(site):
    elsewhere = site.elsewhere
    with processes.server("uvicorn", site.database, SETTINGS, application=pushers.APPLICATION) as server:
        other, ann, ben = Site(server, elsewhere, pushers.HERE), elsewhere.session("ann"), elsewhere.session("ben")
        async with raw(site) as hers, raw(other) as his:
            first, second = await connected(hers), await connected(his)
            # The one asks this process for its auth, the other the other one.
            await subscribe(other, hers, first, "presence-lobby;two", ann)
            await subscribe(site, his, second, "presence-lobby;two", ben)
            while len((await call(other, "GET", "/apps/1/channels/presence-lobby;two/users")).json()["users"]) < 2:
                pass
            await hers.say("pusher:signin", (await auth(other, ann, first)).json())
            assert (await hers.next("pusher_internal:member_added"))["event"] == "pusher:signin_success"
            await other.trigger("presence-lobby;two", "n", 1, second)
            await his.say("client-typing", {"x": 1}, channel="presence-lobby;two")
            besides = "pusher_internal:member_added"
            assert (await hers.next(besides))["data"] == 1
            found = await hers.next(besides)
            assert (found["event"], found["user_id"]) == ("client-typing", "2")
            assert (await call(other, "POST", "/apps/1/users/1/terminate_connections", {})).json() == {}
            assert await hers.closed() == 4009
            names = [(await his.next("pusher_internal:member_added"))["event"]]
            assert names == ["pusher_internal:member_removed"]
