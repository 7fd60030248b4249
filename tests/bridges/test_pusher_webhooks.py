"""Pusher's webhooks: signed as Pusher's library checks it, one for all processes, in order, and none lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pusher
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.test import override_settings
from django.utils import timezone

from livepush import log, process, publish
from livepush.bridges.holding import Superseded
from livepush.bridges.pusher import config, hooks, posting
from livepush.bridges.pusher.models import PusherCursor
from livepush.bridges.pusher.occupying import GROUP
from livepush.models import Event as Row
from livepush.models import LogHead
from livepush.notes import Rarely
from livepush.wire import Event, Position
from tests.bridges.pushers import APP, APPLICATION, SETTINGS, Site, raw
from tests.conftest import ALIASES, Thread
from tests.integration import clients
from tests.patience import PATIENCE, eventually
from tests.servers import processes
from tests.servers.warm import ROOT

ALL = [*config.EVENTS, *config.MORE_EVENTS]


class Receiver:
    """A site that takes webhooks, and checks them with Pusher's library."""

    def __init__(self) -> None:
        self.events: list[dict[str, object]] = []
        self.refuses = 0
        """How many requests it refuses from now on."""
        self.refused = 0
        self.library = pusher.Pusher(APP["APP_ID"], APP["KEY"], APP["SECRET"], host="127.0.0.1")
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                named = (self.headers["X-Pusher-Key"], self.headers["X-Pusher-Signature"])
                found = receiver.library.validate_webhook(*named, body)
                assert receiver.library.validate_webhook(*named, body.replace("time_ms", "time_mS")) is None
                self.send_response(receiver.take(found))
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hooks?of=shop"

    def take(self, found: dict[str, list[dict[str, object]]] | None) -> int:
        """Return the status of the answer."""
        if found is None:
            return 401
        if self.refuses:
            self.refuses, self.refused = self.refuses - 1, self.refused + 1
            return 503
        self.events += found["events"]
        return 200

    def of(self, name: str) -> list[dict[str, object]]:
        """Return the events of a name that it got, without the name."""
        return [{key: value for key, value in each.items() if key != "name"}
                for each in list(self.events) if each["name"] == name]  # fmt: skip

    @contextlib.contextmanager
    def serving(self) -> Iterator[Receiver]:
        """Serve for a while."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serving() as found:
        yield found


@contextlib.contextmanager
def site_of(databases, tmp_path, receiver, servers=1, **more):
    """Yield a site for each of some servers on one database."""
    app = {**APP, "WEBHOOK": receiver.url, "WEBHOOK_EVENTS": ALL}
    settings = {**SETTINGS, "PUSHER": app, **more}
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(databases.fresh("postgresql"))
        elsewhere = stack.enter_context(processes.publisher(database))
        found = [
            stack.enter_context(
                processes.server("uvicorn", database, settings=settings, application=APPLICATION, may_fail=True)
            )
            for _ in range(servers)
        ]
        yield [Site(server, elsewhere, tmp_path, database) for server in found]


async def subscribed(client, channel, **more):
    """Subscribe; wait for the answer."""
    await client.say("pusher:subscribe", {"channel": channel, **more})
    while (await client.next())["event"] != "pusher_internal:subscription_succeeded":
        pass


@pytest.mark.long
async def test_a_channel_is_occupied_and_vacated_once_whatever_number_of_processes_has_its_subscribers(
    databases, tmp_path, receiver
):
    with site_of(databases, tmp_path, receiver, servers=2) as (one, other):
        async with raw(one) as first:
            await subscribed(first, "board")
            await eventually(lambda: receiver.of("channel_occupied") == [{"channel": "board"}])
            asked = partial(other.http.channel_info, "board", ["subscription_count"])
            assert await asyncio.to_thread(asked) == {"occupied": True, "subscription_count": 1}
            assert await asyncio.to_thread(other.http.channels_info) == {"channels": {"board": {}}}
            async with raw(other) as second, raw(other) as third:
                await subscribed(second, "board")
                await subscribed(third, "board")
                await eventually(lambda: receiver.of("subscription_count")[-1]["subscription_count"] == 3)
            await eventually(lambda: receiver.of("subscription_count")[-1]["subscription_count"] == 1)
            assert receiver.of("channel_vacated") == []
        await eventually(lambda: receiver.of("channel_vacated") == [{"channel": "board"}])
        assert receiver.of("channel_occupied") == [{"channel": "board"}]


@pytest.mark.long
async def test_what_a_killed_process_had_is_vacated_and_the_other_goes_on_sending(databases, tmp_path, receiver):
    with site_of(databases, tmp_path, receiver, servers=2, PRESENCE_LEASE=1.0) as (one, other):
        async with raw(one) as first:
            await subscribed(first, "board")
            await eventually(lambda: receiver.of("channel_occupied") == [{"channel": "board"}])
            async with raw(other) as second:
                await subscribed(second, "cache-room;news")
                await eventually(lambda: receiver.of("cache_miss") == [{"channel": "cache-room;news"}])
                one.server.kill()
                await eventually(lambda: receiver.of("channel_vacated") == [{"channel": "board"}])
        assert receiver.of("channel_occupied") == [{"channel": "board"}, {"channel": "cache-room;news"}]


async def test_a_webhook_that_is_refused_is_sent_again_in_order(databases, tmp_path, receiver):
    receiver.refuses = 3
    with site_of(databases, tmp_path, receiver) as (site,):
        async with raw(site) as client:
            for name in ("board", "room;a", "room;b"):
                await subscribed(client, name)
            await eventually(lambda: len(receiver.of("channel_occupied")) == 3)
        assert receiver.refused == 3
        await eventually(lambda: len(receiver.of("channel_vacated")) == 3)


@pytest.mark.long
async def test_members_and_what_clients_say_are_told(databases, tmp_path, receiver):
    with site_of(databases, tmp_path, receiver) as (site,):
        cookie = {"Cookie": site.elsewhere.session("ann")}
        async with raw(site, **cookie) as client:
            greeting = await client.next()
            socket = greeting["data"]["socket_id"]
            told = await authorized(site, cookie, socket, "presence-lobby;a")
            await subscribed(client, "presence-lobby;a", **told)
            await eventually(lambda: receiver.of("member_added") == [{"channel": "presence-lobby;a", "user_id": "1"}])
            await client.say("client-typing", {"at": 3}, channel="presence-lobby;a")
            await eventually(lambda: receiver.of("client_event") == [{
                "channel": "presence-lobby;a", "event": "client-typing", "data": '{"at":3}', "socket_id": socket,
                "user_id": "1",
            }])  # fmt: skip
        await eventually(lambda: receiver.of("member_removed") == [{"channel": "presence-lobby;a", "user_id": "1"}])
        assert all(each["channel"] != "presence-lobby;a" for each in receiver.of("subscription_count"))


async def authorized(site, cookie, socket, channel):
    """Return what the auth endpoint answers."""
    async with clients.http() as http:
        form = {"socket_id": socket, "channel_name": channel}
        answer = await http.post(f"{site.server.url}/pusher/auth", data=form, headers=cookie)
        assert answer.status_code == 200, answer.text
        return answer.json()


# What is told


def test_an_event_of_livepushs_own_client_and_a_visitor_are_no_news_for_pusher():
    typed = Event(1, ("room:a",), "client-typing", "1", "2026-01-01T00:00:00.000000Z", '{"id": "1", "name": "Ann"}')
    came = typed._replace(type="presence.join", data='{"members": [{"id": "~ab"}, {"id": "7"}]}', sender=None)
    assert hooks.said_of(typed, ALL) == []
    assert hooks.said_of(came, ALL) == [{"name": "member_added", "channel": "presence-room;a", "user_id": "7"}]
    assert hooks.said_of(came._replace(groups=("a+b",)), ALL) == []
    missed = came._replace(groups=(GROUP,), type="cache_miss", data='{"channel": "cache-a"}')
    assert hooks.said_of(missed, ALL) == [{"name": "cache_miss", "channel": "cache-a"}]
    assert hooks.said_of(missed, config.EVENTS) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"WEBHOOK": "http://example.com/"}, "expected https"),
        ({"WEBHOOK": 7}, "expected https"),
        ({"WEBHOOK": "https://a:b@example.com/"}, "expected https"),
        ({"WEBHOOK_EVENTS": ["channel_ocupied"]}, "expected some of"),
        ({"WEBHOOK_EVENTS": "channel_occupied"}, "expected some of"),
        ({"WEBHOOKS": []}, "which nothing reads"),
    ],
)
def test_a_malformed_setting_is_named(given, message):
    with override_settings(LIVEPUSH={"PUSHER": {**APP, **given}}), pytest.raises(ImproperlyConfigured, match=message):
        config.app()


def test_a_request_is_one_that_pushers_library_takes_for_the_apps_own():
    with override_settings(LIVEPUSH={"PUSHER": APP}):
        body, headers = hooks.request(config.app(), [{"name": "channel_occupied", "channel": "ä"}], 1)
    assert json.loads(body) == {"time_ms": 1, "events": [{"name": "channel_occupied", "channel": "ä"}]}
    assert headers["X-Pusher-Key"] == "shop"
    assert len(headers["X-Pusher-Signature"]) == 64


def test_an_answer_that_comes_a_byte_at_a_time_holds_up_nobody(settings, monkeypatch, caplog):
    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                while time.monotonic() - begun < PATIENCE:
                    self.request.sendall(b"H")
                    time.sleep(0.05)

    monkeypatch.setattr(posting, "TIMEOUT", 0.3)
    monkeypatch.setattr(posting, "failures", Rarely(0.0))
    begun = time.monotonic()
    with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        settings.LIVEPUSH = {"PUSHER": {**APP, "WEBHOOK": f"http://127.0.0.1:{server.server_address[1]}/"}}
        with pytest.raises((OSError, HTTPException)) as raised:
            posting._post(config.app(), [{"name": "channel_occupied", "channel": "a"}])
        server.shutdown()
    assert time.monotonic() - begun < PATIENCE
    posting._complain(raised.value)
    assert caplog.records[-1].getMessage().isprintable()


# After a failover


@pytest.fixture
def known(using, settings):
    """The app, whose webhooks tell what clients say."""
    app = {**APP, "WEBHOOK": "http://127.0.0.1/", "WEBHOOK_EVENTS": ["client_event"]}
    settings.LIVEPUSH = {"DATABASE": using, "PUSHER": app, "PRESENCE_LEASE": 0.6}
    return config.app()


def say(using, *data):
    """Send some events of clients, in one transaction."""
    sender = json.dumps({"id": "1", "name": "Ann", "socket": "1.1", "channel": "private-board"})
    with transaction.atomic(using=using):
        for each in data:
            log.append(log.Content(("board",), "client-said", json.dumps(each), sender), None, using)
    publish.deliver(using)


def place_in(using):
    """Return how the row of the webhooks' place is."""
    return PusherCursor.objects.using(using).values("position", "holder", "beats").first()


def fail_over(using, place):
    """Have a replica take over whose last event is the third, and whose row of the webhooks' place is older too."""
    with transaction.atomic(using=using):
        Row.objects.using(using).filter(position__gt=3).delete()
        LogHead.objects.using(using).update(position=3)
        PusherCursor.objects.using(using).update(**place)


@contextlib.asynccontextmanager
async def posting_in_this_process(using, known, monkeypatch, take):
    """Post until the block ends; ``take`` is given what each request says. Yields what does work in a thread."""

    async def in_thread(work, level=0):
        return await asyncio.to_thread(lambda: Thread(work).join())

    async def follow():
        while not hub.draining:
            hub.position = await in_thread(lambda: log.state(using).position)
            await asyncio.sleep(0.02)

    monkeypatch.setattr(process, "in_thread", in_thread)
    monkeypatch.setattr(posting, "_post", lambda known, said: take([each["data"] for each in said]))
    hub = SimpleNamespace(draining=False, position=Position("", 0))
    working = asyncio.gather(posting.Poster(hub, known).run(), follow())
    try:
        yield in_thread
    finally:
        hub.draining = True
        await asyncio.wait_for(working, PATIENCE)


@pytest.mark.parametrize("is_on_its_way", [True, False], ids=["while a request is on its way", "between two requests"])
@pytest.mark.parametrize("anew", [[], ["x"], ["x", "y", "z"]], ids=len)
@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
async def test_after_a_failover_webhooks_tell_all_that_is_new_and_nothing_of_long_ago(
    using, known, monkeypatch, anew, is_on_its_way
):
    told, older, has_failed_over = [], {}, threading.Event()

    def lose_the_last():
        fail_over(using, older)
        if anew:
            say(using, *anew)
        has_failed_over.set()

    def take(data):
        told.extend(data)
        if is_on_its_way and data[-1] == "5":
            Thread(lose_the_last).join()

    async with posting_in_this_process(using, known, monkeypatch, take) as in_thread:

        async def is_told_up_to(number):
            found = await in_thread(lambda: place_in(using))
            return found is not None and found["position"] == number

        await eventually(lambda: is_told_up_to(0))
        await in_thread(lambda: say(using, "1", "2", "3"))
        await eventually(lambda: is_told_up_to(3))
        older.update(await in_thread(lambda: place_in(using)))
        await in_thread(lambda: say(using, "4", "5"))
        if not is_on_its_way:
            await eventually(lambda: is_told_up_to(5))
            await in_thread(lose_the_last)
        await eventually(has_failed_over.is_set)
        await in_thread(lambda: say(using, "last"))
        await eventually(lambda: told[-1] == "last")
    assert told == ["1", "2", "3", "4", "5", *anew, "last"]


def told_in(part):
    return [each["data"] for each in part.said]


def test_what_was_read_before_a_failover_moves_no_place_after_it(using, known):
    place = posting.Place(known)
    assert place.take() == 0
    say(using, "1", "2", "3")
    place.write(position=place.read_on().upto)
    older = place_in(using)
    say(using, "4", "5")
    part = place.read_on()
    assert told_in(part) == ["4", "5"]
    fail_over(using, older)
    say(using, "x", "y", "z")
    with pytest.raises(Superseded):
        place.write(position=part.upto)
    assert place.take() == 3
    assert told_in(place.read_on()) == ["x", "y", "z"]


def test_a_standby_that_is_a_moment_behind_repeats_no_webhook(using, known, monkeypatch):
    place = posting.Place(known)
    place.take()
    say(using, "1", "2", "3")
    place.write(position=place.read_on().upto)
    state = log.state(using)
    with monkeypatch.context() as behind:
        behind.setattr(log, "state", lambda using: state._replace(position=state.position._replace(number=2)))
        assert place.read_on() == posting.Part([], 3)
    assert log.state(using) == state


def test_a_log_that_was_made_anew_is_told_from_its_first_event(using, known):
    say(using, "1")
    PusherCursor.objects.using(using).create(app=known.id, position=10)
    place = posting.Place(known)
    assert place.take() == 10
    assert place.read_on() == posting.Part([], 0, lost=posting.ANEW)
    assert told_in(place.read_on()) == ["1"]


def test_positions_that_were_pruned_before_webhooks_told_of_them_are_counted(using, known):
    say(using, "1", "2", "3", "4", "5")
    PusherCursor.objects.using(using).create(app=known.id, position=1)
    log.prune(using, timezone.now() + timedelta(seconds=1), 3)
    place = posting.Place(known)
    place.take()
    assert place.read_on() == posting.Part([], 3, True, posting.PRUNED % 2)
    assert told_in(place.read_on()) == ["4", "5"]


# Faults

PUBLISH = """
import json, time, django
django.setup()
from livepush import log, publish
sender = json.dumps({"id": "1", "name": "Ann", "socket": "1.1", "channel": "private-board"})
for number in range(300):
    log.append(log.Content(("board",), "client-said", str(number), sender), None, "default")
    publish.deliver("default")
    time.sleep(0.05)
"""


@pytest.mark.long
async def test_processes_that_are_killed_in_turn_lose_no_webhook_and_keep_the_order(databases, tmp_path, receiver):
    with site_of(databases, tmp_path, receiver, servers=2, PRESENCE_LEASE=0.6) as sites:
        async with contextlib.AsyncExitStack() as stack:
            for site in sites:
                await subscribed(await stack.enter_async_context(raw(site)), "board")
            await eventually(lambda: receiver.of("channel_occupied") == [{"channel": "board"}])
            env = {**os.environ, **sites[0].database.env}
            with subprocess.Popen([sys.executable, "-c", PUBLISH], cwd=ROOT, env=env) as publishing:
                for turn in range(6):
                    told = len(receiver.of("client_event"))
                    await eventually(lambda told=told: len(receiver.of("client_event")) >= min(told + 20, 300))
                    server = sites[turn % 2].server
                    server.kill()
                    await asyncio.to_thread(server.start)
                    await subscribed(await stack.enter_async_context(raw(sites[turn % 2])), "board")
                assert await asyncio.to_thread(publishing.wait, 60) == 0
            await eventually(lambda: receiver.of("client_event")[-1]["data"] == "299")
        numbers = [int(str(each["data"])) for each in receiver.of("client_event")]
        assert list(dict.fromkeys(numbers)) == list(range(300))
        assert len(numbers) - 300 <= 6 * 100  # what was on its way when a process was killed comes again
