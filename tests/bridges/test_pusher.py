"""Pusher's own client libraries on livepush: pusher-js and Laravel Echo under node, and ``pusher`` from PyPI.

The cases are those of pusher-js's own integration tests (``pusher_spec``) and more. Left out are its cases about other
transports than WebSocket, which livepush does not offer, and about timeouts and fallbacks, which happen in the client
alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.bridges import pushers
from tests.bridges.pushers import Site
from tests.docs_blocks import ROOT, blocks
from tests.patience import eventually
from tests.servers import npm, processes
from tests.servers.fresh import Databases


@pytest.fixture(scope="module")
def site(databases: Databases) -> Iterator[Site]:
    folder = npm.installed(pushers.HERE / "package.json", "pusher-clients")
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database, pushers.SETTINGS) as elsewhere,
        processes.server("uvicorn", database, pushers.SETTINGS, application=pushers.APPLICATION) as server,
    ):
        yield Site(server, elsewhere, folder)


async def test_a_public_channel_brings_what_pushers_library_and_django_send(site):
    async with site.client() as client:
        assert await client.subscribe("board") == {}
        assert await site.trigger("board", "App\\Events\\Moved", {"ä": [1]}) == {}
        assert await client.next() == {"event": "App\\Events\\Moved", "data": {"ä": [1]}, "of": "board"}
        site.elsewhere.send(["board", "room:a"], "moved", {"n": 2})
        assert await client.next() == {"event": "moved", "data": {"n": 2}, "of": "board"}
        await site.trigger(["board", "room;a"], "text", "no JSON")
        assert await client.next() == {"event": "text", "data": "no JSON", "of": "board"}


async def test_after_unsubscribing_as_often_as_one_likes_nothing_comes_and_one_may_come_again(site):
    async with site.client() as client:
        await client.subscribe("board")
        await client.subscribe("room;u")
        for _ in range(3):
            client.do("unsubscribe", channel="room;u")
        client.do("unsubscribe", channel="never")
        client.do("subscribe", channel="room;v")  # given up and taken up again before it is answered
        client.do("unsubscribe", channel="room;v")
        assert await client.subscribe("room;v") == {}
        client.do("socket")
        await client.until("socket")
        for name in ("room;u", "room;v", "board"):
            await site.trigger(name, "n", {"of": name})
        found = [(await client.next())["data"]["of"] for _ in range(3)]
        assert found == ["room;v", "room;v", "board"]  # twice, since the client watches it twice


async def test_a_batch_goes_out_whole_and_the_publishers_own_socket_is_left_out(site):
    async with site.client() as client, pushers.raw(site) as raw:
        await client.subscribe("board")
        socket = (await raw.next())["data"]["socket_id"]
        await raw.say("pusher:subscribe", {"channel": "board"})
        assert await raw.next() == {"event": "pusher_internal:subscription_succeeded", "channel": "board", "data": {}}
        batch = [{"channel": "board", "name": "a", "data": {"n": n}} for n in (1, 2)]
        await asyncio.to_thread(site.http.trigger_batch, batch)
        await site.trigger("board", "b", "to the others", socket)
        await site.trigger("board", "c", {})
        assert [(await client.next())["event"] for _ in range(4)] == ["a", "a", "b", "c"]
        assert [(await raw.next())["event"] for _ in range(3)] == ["a", "a", "c"]


async def test_a_private_channel_is_for_whom_the_rule_lets_in(site):
    async with site.client("ann") as ann, site.client() as nobody:
        assert await ann.subscribe("private-order;7") == {}
        site.elsewhere.send("order:7", "shipped", {"by": "DHL"})
        assert await ann.next() == {"event": "shipped", "data": {"by": "DHL"}, "of": "private-order;7"}
        refused = await nobody.subscribe("private-order;1000")
        assert refused["refused"]["status"] == 403
        assert (await nobody.subscribe("order;1000"))["refused"]["status"] == 403


async def test_members_see_each_other_come_and_go(site):
    async with site.client("ann") as ann:
        assert (await ann.subscribe("presence-lobby;a"))["count"] == 1
        ann.do("members", channel="presence-lobby;a")
        assert await ann.until("members") == {"count": 1, "me": "1", "members": {"1": {"name": "ann"}}}
        async with site.client("ben") as ben:
            await ben.subscribe("presence-lobby;a")
            ben.do("members", channel="presence-lobby;a")
            both = {"1": {"name": "ann"}, "2": {"name": "ben"}}
            assert await ben.until("members") == {"count": 2, "me": "2", "members": both}
            assert await ann.until("pusher:member_added") == {"id": "2", "info": {"name": "ben"}}
            found = await asyncio.to_thread(site.http.users_info, "presence-lobby;a")
            assert sorted(each["id"] for each in found["users"]) == ["1", "2"]
            found = await asyncio.to_thread(site.http.channel_info, "presence-lobby;a", ["user_count"])
            assert found == {"occupied": True, "user_count": 2}
        assert await ann.until("pusher:member_removed") == {"id": "2", "info": {"name": "ben"}}


async def test_a_member_who_becomes_invisible_is_shown_to_no_newcomer(site):
    async with site.client("gia") as gia, site.client("ben") as ben:
        assert (await gia.subscribe("presence-lobby;i"))["count"] == 1
        await eventually(lambda: site.elsewhere.do("is_present", username="gia", group="lobby:i"))
        site.elsewhere.do("rename", username="gia", first_name="ghost")
        await gia.until("pusher:member_removed")
        assert (await ben.subscribe("presence-lobby;i"))["count"] == 1


@pytest.mark.parametrize("channel", ["room;p", "private-room;p", "presence-lobby;p"])
async def test_an_event_that_is_named_like_one_of_presence_is_like_any_other(site, channel):
    """The data may have any form, and no member goes."""
    group = channel.rpartition("-")[2].replace(";", ":")
    values = [{"a": 1}, {"members": [{"id": "1"}]}, {}, [1], "x", 1, True, None]
    async with site.client("ann") as ann:
        await ann.subscribe(channel)
        for value in values:
            site.elsewhere.send(group, "pusher.event", {"name": "presence.leave", "data": value})
        await site.trigger(channel, "presence.changed", {"n": 1})
        found = [await ann.next() for _ in (*values, "changed")]
        left = [{"event": "presence.leave", "data": value, "of": channel} for value in values]
        assert found == [*left, {"event": "presence.changed", "data": {"n": 1}, "of": channel}]
        if channel.startswith("presence-"):
            ann.do("members", channel=channel)
            assert await ann.until("members") == {"count": 1, "me": "1", "members": {"1": {"name": "ann"}}}


async def test_client_events_go_to_the_others_and_say_who_sent_them(site):
    async with site.client("ann") as ann, site.client("ben") as ben:
        for each in (ann, ben):
            await each.subscribe("presence-lobby;b")
            await each.subscribe("private-room;b")
        ben.do("trigger", channel="presence-lobby;b", name="client-typing", data={"x": 1})
        ben.do("trigger", channel="private-room;b", name="client-said", data={"text": "hi"})
        typing = {"event": "client-typing", "data": {"x": 1}, "of": "presence-lobby;b"}
        said = {"event": "client-said", "data": {"text": "hi"}, "of": "private-room;b"}
        by = {"event": "by", "data": "2"}
        assert [await ann.next("pusher:member_added") for _ in range(3)] == [typing, by, said]
        ann.do("trigger", channel="private-room;b", name="client-said", data={"text": "hi yourself"})
        besides = ("triggered", "pusher:member_added")
        found = await ben.next(*besides)  # and nothing of what it has sent itself
        assert found == {"event": "client-said", "data": {"text": "hi yourself"}, "of": "private-room;b"}
        ben.do("trigger", channel="private-room;b", name="client-shout", data={})
        found = await ben.until("error")
        assert found["code"] is None
        assert "You may not send messages of this type" in found["message"]


async def test_a_handler_takes_client_events(site):
    async with site.client("ann") as ann:
        await ann.subscribe("private-help;a")
        ann.do("trigger", channel="private-help;a", name="client-ask", data={"q": "?"})
        assert await ann.until("asked") == {"by": "ann", "what": {"q": "?"}}
        ann.do("trigger", channel="private-help;a", name="client-ask", data={})
        assert (await ann.until("error"))["message"] == "Ask something."


async def test_a_cache_channel_begins_with_the_last_event_or_says_that_there_is_none(site):
    async with site.client("ann") as client:
        await client.subscribe("cache-room;cache")
        assert (await client.next())["event"] == "pusher:cache_miss"
        for n in (1, 2):
            await site.trigger("cache-room;cache", "score", {"n": n})
        assert [(await client.next())["data"] for _ in range(2)] == [{"n": 1}, {"n": 2}]
        await client.subscribe("private-cache-room;cache")
        assert await client.next() == {"event": "score", "data": {"n": 2}, "of": "private-cache-room;cache"}


async def test_a_client_that_resumes_gets_what_it_missed(site):
    async with site.client("ann") as client:
        client.do("resume")
        await client.subscribe("private-room;r")
        site.elsewhere.send("room:r", "n", 1)
        assert await client.until("n") == 1
        client.do("disconnect")
        await client.until("state", "disconnected")
        for n in range(2, 5):
            site.elsewhere.send("room:r", "n", n)
        client.do("connect")
        assert [await client.until("n") for _ in range(3)] == [2, 3, 4]


async def test_a_user_who_signs_in_gets_what_is_theirs_and_can_be_shown_out(site):
    async with site.client("ann") as client:
        client.do("signin")
        assert json.loads((await client.until("signin"))["user_data"]) == {"id": "1"}
        await asyncio.to_thread(site.http.send_to_user, "1", "hello", {"n": 1})
        assert await client.until("hello") == {"n": 1}
        site.elsewhere.send("user:1", "hi", 2)
        assert await client.until("hi") == 2
        await asyncio.to_thread(site.http.terminate_user_connections, "1")
        assert (await client.until("error"))["code"] == 4009
        await client.until("state", "disconnected")


async def test_a_logout_ends_private_subscriptions_and_leaves_the_public_ones(site):
    async with site.client("ann") as client:
        await client.subscribe("board")
        await client.subscribe("private-help;l")
        site.elsewhere.do("end_session", cookie=client.cookie, how="logout")
        assert (await client.until("pusher:subscription_error"))["status"] == 403
        site.elsewhere.send(["help:l", "board"], "n", 1)
        assert await client.next() == {"event": "n", "data": 1, "of": "board"}


async def test_laravel_echo_listens_whispers_and_joins(site):
    async with site.client("ann", "echo") as ann, site.client("ben", "echo") as ben:
        ann.do("join", channel="lobby;e")
        assert await ann.until("here") == [{"name": "ann"}]
        ben.do("join", channel="lobby;e")
        assert len(await ben.until("here")) == 2
        assert await ann.until("joining") == {"name": "ben"}
        for each in (ann, ben):
            each.do("private", channel="room;e", name="OrderShipped")
            await each.until("subscribed")
        await site.trigger("private-room;e", "App\\Events\\OrderShipped", {"id": 7})
        assert await ann.until("OrderShipped") == {"id": 7}
        ben.do("whisper", channel="room;e", data={"by": "ben"})
        assert await ann.until("whisper") == {"by": "ben"}
        ben.do("leave", channel="lobby;e")
        assert await ann.until("leaving") == {"name": "ben"}
        ann.do("private", channel="order;1000", name="x")
        assert await ann.until("refused")


async def test_the_pages_scripts_connect_and_resume(site, tmp_path):
    """docs/pusher.md: its two scripts, one after the other, and what it publishes with."""
    found = list(blocks(ROOT / "docs" / "pusher.md"))
    scripts = [block.text for block in found if block.language == "mjs"]
    (publish,) = [block.text for block in found if "def shipped" in block.text]
    async with site.page(scripts, tmp_path) as page:
        await page.until("log", "subscribed")
        await asyncio.to_thread(site.publish_as, publish, 7)
        assert await page.until("log") == "DHL"
        page.do("go")
        await page.until("log", "away")
        await asyncio.to_thread(site.publish_as, publish.replace("DHL", "post"), 7)
        page.do("come back")
        assert (await page.until("log"), await page.until("log")) == ("subscribed", "post")
