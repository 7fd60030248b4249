"""django-eventstream's functions on livepush's log."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import include, path
from django_eventstream.storage import EventDoesNotExist
from hypothesis import given
from hypothesis import strategies as st

from livepush import checks, log
from livepush.bridges import eventstream
from livepush.bridges.eventstream import channels, encoding, views
from livepush.bridges.eventstream.channelmanager import manager
from livepush.bridges.eventstream.reading import may_read
from livepush.bridges.eventstream.storage import LivepushStorage
from livepush.bridges.mercure import encoding as mercure_encoding
from livepush.exceptions import InvalidGroup, InvalidType
from livepush.testing import capture_events
from livepush.wire import GROUP, Cache, dumps
from tests.bridges.test_eventstream_page import Stream
from tests.conftest import events_of
from tests.integration import clients
from tests.patience import PATIENCE
from tests.servers import processes

APPLICATION = "tests.servers.channels:application"


def stored(using="default"):
    return [(event.groups, event.type, json.loads(event.data)) for event in events_of(using)]


# Sending


def test_an_event_goes_to_the_channels_group_when_the_transaction_commits(using):
    with contextlib.suppress(RuntimeError), transaction.atomic(using):
        eventstream.send_event("room-7", "message", {"text": "never"})
        raise RuntimeError
    with transaction.atomic(using):
        eventstream.send_event("room-7", "message", {"text": "hello"}, None, False)
        assert not events_of(using)
    assert stored(using) == [(("eventstream:room-7",), "message", {"text": "hello"})]


def test_texts_and_those_that_some_users_do_not_get_say_so(transactional_db):
    eventstream.send_event("a", "html", "<b>", json_encode=False)
    eventstream.send_event("a", "message", [1], skip_user_ids=["7", 8])
    eventstream.send_event("a", "message", [1], skip_user_ids="78")
    assert [each[1:] for each in stored()] == [
        ("eventstream.text:html", {"text": "<b>"}),
        ("eventstream.text:message", {"data": [1], "skip": ["7", "8"]}),
        ("eventstream.text:message", {"data": [1], "skip": ["78"]}),
    ]


def test_what_can_not_be_sent_is_refused_before_anything_is_written(transactional_db):
    with pytest.raises(InvalidType, match="is not a type"):
        eventstream.send_event("a", "a b", 1)
    with pytest.raises(InvalidGroup, match="is not a group"):
        eventstream.send_event("x" * 200, "a", 1)
    assert stored() == []


def test_a_type_may_have_83_characters_if_the_event_is_a_text_or_skips_users(transactional_db):
    eventstream.send_event("a", "t" * 100, 1)
    for more in ({"json_encode": False}, {"skip_user_ids": [7]}):
        eventstream.send_event("a", "t" * 83, 1, **more)
        with pytest.raises(InvalidType):
            eventstream.send_event("a", "t" * 84, 1, **more)


class Loose:
    def is_channel_reliable(self, channel):
        return False


def test_an_event_of_an_unreliable_channel_is_not_stored(transactional_db, settings):
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{__name__}.Loose"
    with capture_events() as events:
        eventstream.send_event("a", "message", 1)
    assert [event.ephemeral for event in events] == [True]
    assert stored() == []


async def test_async_code_sends_too(transactional_db):
    await eventstream.asend_event("a", "message", 1)
    await eventstream.achannel_permission_changed(None, "a")
    assert (await sync_to_async(stored)())[0][1] == "message"
    await sync_to_async(connections.close_all)()


def test_an_id_for_a_page_is_the_logs_position(transactional_db):
    eventstream.send_event("a", "message", 1)
    assert eventstream.get_current_event_id(["a", "b"]) == str(log.state("default").position)


# Channels and who reads them


@pytest.mark.long
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=40))
def test_each_channel_has_a_group_of_its_own(channel):
    group = channels.group_of(channel)
    assert channels.channel_of(group) == channel
    assert GROUP.fullmatch(group) or len(group) > 200


def test_no_channel_is_a_group_of_livepushs_own_or_of_another_app():
    for name in ("user:7", "inbox:all", "livepush:rights", "order:7"):
        assert channels.group_of(name) == f"eventstream:{name}"


class Picky:
    def can_read_channel(self, user, channel):
        return user is None and channel == "a ä"


def test_the_channel_manager_is_asked_with_the_channels_own_name(settings):
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{__name__}.Picky"
    assert may_read(AnonymousUser(), "a=20=C3=A4")
    assert not may_read(AnonymousUser(), "a=20=c3=a4")
    assert not may_read(AnonymousUser(), "b")
    assert not may_read(User(pk=1), "a=20=C3=A4")


@pytest.mark.parametrize("path", ["nowhere.Manager", "tests.bridges.test_eventstream.Missing"])
def test_a_channel_manager_that_is_not_there_is_named(settings, path):
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = path
    with pytest.raises(ImproperlyConfigured, match="EVENTSTREAM_CHANNELMANAGER_CLASS"):
        manager()


urlpatterns = [path("rooms/", include([path("events/", include(eventstream.urls))]))]


NO_WRAPPED_DATA = [
    None, True, 5, 0.5, "x", [], [1], {}, {"text": 5}, {"text": None}, {"text": "x", "skip": 7},
    {"data": 1, "skip": None}, {"data": 1, "skip": "7"}, {"data": 1, "skip": [[]]}, {"data": 1, "skip": [{}]},
]  # fmt: skip


@pytest.mark.parametrize("data", NO_WRAPPED_DATA, ids=repr)
def test_a_wrapped_event_with_malformed_data_is_left_out(data):
    envelope = dumps({"id": "e-1", "type": "eventstream.text:message", "data": data})
    assert encoding.translated(envelope) == encoding.Part(b"")


def test_an_event_that_is_nested_too_deeply_is_left_out():
    envelope = f'{{"id": "e-1", "type": "message", "data": {"[" * 100_000}{"]" * 100_000}}}'
    for translated in (encoding.translated, mercure_encoding.translated):
        assert translated(envelope).content == b""


def test_what_is_remembered_of_events_has_a_bound_in_bytes(monkeypatch):
    monkeypatch.setattr(encoding, "_parts", Cache(100_000))
    for number in range(200):
        envelope = dumps({"type": "message", "data": f"{number}" + "x" * 1000})
        assert encoding.translated(envelope) is encoding.translated(envelope)
        assert encoding._parts.size <= 100_000
    assert len(encoding._parts) < 200


class Empty:
    def get_channels_for_request(self, request, view_kwargs):
        return next(iter([]))


async def test_a_channel_manager_that_raises_stop_iteration_fails_in_time(settings):
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{__name__}.Empty"
    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(views.events(AsyncRequestFactory().get("/events/")), PATIENCE)


def test_a_site_whose_channels_anybody_may_read_is_warned(settings):
    assert checks.check_eventstream(None) == []
    settings.ROOT_URLCONF = __name__
    assert [each.id for each in checks.check_eventstream(None)] == ["livepush.W021"]
    settings.EVENTSTREAM_CHANNELMANAGER_CLASS = f"{__name__}.Picky"
    assert checks.check_eventstream(None) == []


# Bytes


def test_an_event_has_as_many_lines_as_its_text():
    assert encoding.event("a", "x\r\ny\rz\n", "1") == b"event: a\nid: 1\ndata: x\ndata: y\ndata: z\ndata: \n\n"


def test_an_ephemeral_event_has_no_id():
    found = encoding.translated('{"group":"eventstream:a","type":"m","data":{"ä":1},"time":""}')
    assert found == (b'event: m\ndata: {"\xc3\xa4":1}\n\n', frozenset(), False, "")


@pytest.mark.parametrize("name", ["reply", "future"])
def test_what_livepush_says_besides_is_left_out(name):
    assert encoding.translated(f'{{"type":"livepush.{name}"}}').content == b""


def test_under_wsgi_a_stream_is_refused():
    response = async_to_sync(views.events)(RequestFactory().get("/events/"))
    assert (response.status_code, b"needs ASGI" in response.content) == (501, True)


@pytest.mark.parametrize("name", ["Origin", "Referer"])
def test_a_malformed_origin_is_none_of_those_that_are_allowed(settings, name):
    settings.EVENTSTREAM_ALLOW_ORIGINS = ["https://app.example.com"]
    for origin, allowed in (("https://app.example.com", "https://app.example.com"), ("http://[", None)):
        response = async_to_sync(views.events)(RequestFactory().get("/events/", headers={name: origin}))
        assert response.headers.get("Access-Control-Allow-Origin") == allowed


# The storage class, and a stream: what django-eventstream's own tests observe (test_storage, test_stream)


def test_a_channel_without_events_has_none(transactional_db):
    storage = LivepushStorage()
    at = storage.get_current_id("empty")
    assert storage.get_events("empty", at) == []
    with pytest.raises(EventDoesNotExist) as caught:
        storage.get_events("empty", at + 1)
    assert caught.value.current_id == at


def test_what_is_appended_is_there_once_and_in_its_channel_alone(transactional_db):
    storage = LivepushStorage()
    at = storage.get_current_id("channel")
    event = storage.append_event("channel", "message", {"a": "b"})
    assert (event.id, event.channel, event.type, event.data) == (at + 1, "channel", "message", {"a": "b"})
    assert storage.get_current_id("channel") == at + 1
    assert [(each.id, each.data) for each in storage.get_events("channel", at)] == [(at + 1, {"a": "b"})]
    assert storage.get_events("channel", at + 1) == storage.get_events("other", at) == []
    with pytest.raises(EventDoesNotExist) as caught:
        storage.get_events("channel", at + 2)
    assert caught.value.current_id == at + 1


@pytest.mark.long
async def test_a_replay_of_more_events_than_a_page_brings_each_once_and_then_goes_on(site):
    server, elsewhere = site
    async with stream(server, "a") as found:
        await found.next()
        opened = found.last
    await asyncio.to_thread(elsewhere.do, "send_many", groups="eventstream:a", type="n", count=1002)
    async with stream(server, "a", **{"Last-Event-ID": opened}) as found:
        assert [(await found.next("stream-open", "keep-alive"))[1] for _ in range(1002)] == list(range(1002))
        elsewhere.send("eventstream:a", "n", "live")
        assert await found.next("keep-alive") == ("n", "live")


# Streams


@pytest.fixture
def site(databases):
    with (
        databases.fresh("postgresql") as database,
        processes.publisher(database) as elsewhere,
        processes.server("uvicorn", database, application=APPLICATION) as server,
    ):
        yield server, elsewhere


def stream(server, *names, **headers):
    query = "&".join(f"channel={name}" for name in names)
    return Stream(f"{server.url}/events/?{query}", headers)


async def test_a_stream_brings_what_other_processes_send_and_resumes_where_it_was(site):
    server, elsewhere = site
    async with stream(server, "a", "b") as found:
        assert await found.next() == ("stream-open", "")
        opened = found.last
        elsewhere.send("eventstream:a", "message", {"n": 1})
        assert await found.next() == ("message", {"n": 1})
    elsewhere.send(["eventstream:a", "eventstream:b"], "message", {"n": 2})
    async with stream(server, "a", "b", **{"Last-Event-ID": opened}) as found:
        assert [(await found.next("stream-open"))[1] for _ in range(2)] == [{"n": 1}, {"n": 2}]


async def test_skipped_users_do_not_get_an_event_and_others_do(site):
    server, elsewhere = site
    ann, ben = elsewhere.session("ann"), elsewhere.session("ben")
    async with (
        stream(server, "a", Cookie=ann) as hers,
        stream(server, "a", Cookie=ben) as his,
        stream(server, "a") as of,
    ):
        for each in (hers, his, of):
            await each.next()
        elsewhere.send("eventstream:a", "eventstream.text:message", {"text": "x", "skip": ["1", "anonymous"]})
        elsewhere.send("eventstream:a", "end")
        assert [(await each.next())[0] for each in (hers, his, of)] == ["end", "message", "end"]


async def test_a_stream_ends_when_the_user_may_no_longer_read_one_of_its_channels(site):
    server, elsewhere = site
    ann = elsewhere.do("session", username="ann", is_staff=True)
    async with stream(server, "staff", "a", Cookie=ann) as found:
        assert await found.next() == ("stream-open", "")
        elsewhere.do("change", username="ann", what="saved")
        elsewhere.send("eventstream:a", "message", 1)
        assert await found.next() == ("message", 1)
        elsewhere.do("change", username="ann", what="no longer of the staff")
        elsewhere.do("recheck")
        text = "Permission denied to channels: staff"
        told = {"condition": "forbidden", "text": text, "channels": ["staff"]}
        assert await found.next("keep-alive") == ("stream-error", told)
        assert await found.rest() == ""
    async with stream(server, "staff", "a", Cookie=ann) as found:
        assert await found.next() == ("stream-error", told)


async def test_a_channel_manager_that_fails_for_a_moment_lets_the_client_come_back_and_miss_nothing(site):
    server, elsewhere = site
    async with stream(server, "a", "b") as found:
        await found.next()
        opened = found.last
    for name in ("a", "shaky"):
        elsewhere.send(f"eventstream:{name}", "message", name)
    for names in ("a", "shaky"), ("shaky",):
        async with stream(server, *names, **{"Last-Event-ID": opened}) as found:
            assert await found.rest() == "retry: 2000\n\n"
    elsewhere.session("ready")
    async with stream(server, "a", "shaky", **{"Last-Event-ID": opened}) as found:
        assert [(await found.next("stream-open"))[1] for _ in range(2)] == ["a", "shaky"]


@pytest.mark.long
async def test_a_request_for_no_channel_or_too_many_is_an_error_that_ends_the_stream(site):
    server, _ = site
    for names, text in ([], "No channels specified"), (map(str, range(11)), "Channel limit exceeded"):
        async with stream(server, *names) as found:
            told = {"condition": "bad-request", "text": f"Invalid request: {text}."}
            assert await found.next() == ("stream-error", told)
            assert await found.rest() == ""


@pytest.mark.long
async def test_a_slow_client_loses_nothing(site):
    server, elsewhere = site
    async with stream(server, "a") as found:
        await found.next()
        await asyncio.to_thread(elsewhere.do, "send_many", groups="eventstream:a", type="n", count=3000)
        assert [(await found.next("keep-alive"))[1] for _ in range(3000)] == list(range(3000))


@pytest.mark.long
async def test_a_server_that_ends_tells_its_clients_when_to_come_back(site):
    server, _ = site
    async with stream(server, "a") as found:
        await found.next()
        await asyncio.to_thread(server.terminate)
        assert (await found.rest()).startswith("retry: ")
        await asyncio.to_thread(server.wait)
        await asyncio.to_thread(server.start)


@pytest.mark.long
async def test_an_event_that_is_not_stored_reaches_who_is_connected(site):
    server, _ = site
    async with stream(server, "loose") as found, clients.http() as client:
        await found.next()
        assert (await client.get(f"{server.url}/send-loose/")).status_code == 200
        assert await found.next() == ("message", 1)
        assert found.last.count("-") == 1
