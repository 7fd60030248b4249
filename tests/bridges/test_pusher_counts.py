"""Pusher's subscription counts: pusher-js hears how many subscribers a channel has in all processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from functools import partial

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from livepush.bridges.pusher import config, counting
from tests.bridges import pushers
from tests.bridges.pushers import APP, Site, raw
from tests.patience import eventually
from tests.servers import npm, processes
from tests.servers.fresh import Databases

SETTINGS = {**pushers.SETTINGS, "PUSHER": {**APP, "SUBSCRIPTION_COUNT": True}, "PRESENCE_LEASE": 1.0}
COUNT = "pusher:subscription_count"


@pytest.fixture(scope="module")
def sites(databases: Databases) -> Iterator[list[Site]]:
    """Two processes on one database."""
    folder = npm.installed(pushers.HERE / "package.json", "pusher-clients")
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql"))
        elsewhere = stack.enter_context(processes.publisher(database, SETTINGS))
        run = partial(processes.server, "uvicorn", database, SETTINGS, application=pushers.APPLICATION, may_fail=True)
        yield [Site(stack.enter_context(run()), elsewhere, folder) for _ in range(2)]


def count(number: int) -> dict[str, int]:
    return {"subscription_count": number}


async def subscribe(client, channel):
    await client.say("pusher:subscribe", {"channel": channel})
    while (await client.next())["event"] != "pusher_internal:subscription_succeeded":
        pass


async def told(client):
    """Return the next count that a client by hand is told."""
    while (found := await client.next())["event"] != "pusher_internal:subscription_count":
        pass
    assert found.keys() == {"event", "channel", "data"}
    return found["data"]["subscription_count"]


@pytest.mark.long
async def test_subscribers_hear_how_many_they_are_in_all_processes(sites):
    one, other = sites
    async with one.client() as client, raw(other) as first:
        await client.subscribe("board")
        await client.until(COUNT, count(1))
        await subscribe(first, "board")
        await client.until(COUNT, count(2))
        async with raw(one) as second:
            await subscribe(second, "board")
            await client.until(COUNT, count(3))
            found = await asyncio.to_thread(other.http.channel_info, "board", ["subscription_count"])
            assert found == {"occupied": True, **count(3)}
            assert await asyncio.to_thread(one.http.channels_info) == {"channels": {"board": {}}}
        await client.until(COUNT, count(2))
        while await told(first) != 2:
            pass


@pytest.mark.long
async def test_who_comes_while_another_one_leaves_hears_the_count_too(sites):
    site = sites[0]
    async with site.client() as client, raw(site) as first:
        await subscribe(first, "room;same")
        await client.subscribe("room;same")
        await client.until(COUNT, count(2))
        async with raw(site) as second:
            await first.say("pusher:unsubscribe", {"channel": "room;same"})
            await second.say("pusher:subscribe", {"channel": "room;same"})
            while await told(second) != 2:  # a slow machine may write both changes one after the other
                pass


@pytest.mark.long
async def test_presence_channels_have_members_and_no_count(sites):
    async with sites[0].client("ann") as client:
        await client.subscribe("presence-lobby;c")
        await client.subscribe("board")
        assert await client.until(COUNT, count(1)) == count(1)
        client.do("unsubscribe", channel="board")
        client.do("members", channel="presence-lobby;c")
        found = []
        while (said := await client.next())["event"] != "members":
            found.append(said)
        assert not [each for each in found if each["event"] == COUNT and each["of"] == "presence-lobby;c"]


@pytest.mark.long
async def test_a_large_channel_is_told_its_count_now_and_then_and_the_last_one_in_the_end(sites):
    one, other = sites
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(raw(one))
        await subscribe(first, "room;large")
        others = [await stack.enter_async_context(raw(each)) for each in (one, other) for _ in range(60)]
        for each in others:
            await subscribe(each, "room;large")
        while await told(first) != 121:
            pass
        begun = asyncio.get_running_loop().time()
        for _ in range(2):
            await subscribe(await stack.enter_async_context(raw(other)), "room;large")
        assert await told(first) == 123
        assert asyncio.get_running_loop().time() - begun > counting.INTERVAL / 2


@pytest.mark.long
async def test_the_clients_of_a_process_that_was_killed_count_no_more_after_the_next_change(sites):
    one, other = sites
    async with other.client() as client, raw(one) as first:
        await client.subscribe("room;killed")
        await subscribe(first, "room;killed")
        await client.until(COUNT, count(2))
        one.server.kill()
        asked = partial(other.http.channel_info, "room;killed", ["subscription_count"])
        await eventually(lambda: asked()["subscription_count"] == 1)
        async with raw(other) as second:
            await subscribe(second, "room;killed")
            await client.until(COUNT, count(2))
    await asyncio.to_thread(one.server.start)


@pytest.mark.parametrize(
    ("given", "more", "message"),
    [
        ({"SUBSCRIPTION_COUNT": "yes"}, {}, "expected True or False"),
        ({"SUBSCRIPTION_COUNT": True}, {"TENANT": "tests.shop.tenancy.tenant_of"}, "tenants"),
    ],
)
def test_a_setting_that_can_not_be_is_named(given, more, message):
    with (
        override_settings(LIVEPUSH={"PUSHER": {**APP, **given}, **more}),
        pytest.raises(ImproperlyConfigured, match=message),
    ):
        config.app()
