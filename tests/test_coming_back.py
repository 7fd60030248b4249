"""An EventSource gives up for good after an error's status, so a refusal that passes tells it when to come back."""

from __future__ import annotations

import asyncio
import json
import re
import time

import jwt
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.http import HttpResponse
from django.test import AsyncRequestFactory, Client
from django.utils import timezone
from django.utils.http import http_date

from livepush import process, streams
from livepush.access import handshakes
from livepush.bridges.eventstream.views import events
from livepush.bridges.mercure.views import hub as mercure
from livepush.process.threads import Overdue
from livepush.streams import here, store
from livepush.streams.feed import Feed
from livepush.streams.feeds import Feeds, feeds_of
from livepush.streams.formats import CUT
from livepush.streams.models import Stream, StreamProducer
from tests import asking
from tests.bridges import mercures
from tests.patience import PATIENCE, eventually

pytestmark = pytest.mark.django_db(transaction=True)
KEY = "k" * 40
STREAM = {"accept": "text/event-stream", "host": "testserver"}


@pytest.fixture
async def stream(settings):
    """Return the id of a finished stream."""
    settings.LIVEPUSH = {"MERCURE": {"KEY": mercures.KEY}, "GRIP": {"CONTROL_URI": "http://127.0.0.1:9", "KEY": KEY}}
    await process.stop()
    yield await sync_to_async(written)()
    await process.stop()
    await sync_to_async(here.stop)()
    await sync_to_async(connections.close_all)()


def written():
    with streams.open("board") as found:
        found.write("text")
    return found.id


def database_gone(request):
    raise OperationalError("the server closed the connection")


def busy(request):
    return HttpResponse(status=429)


def closed(request):
    return HttpResponse(status=503, headers={"Retry-After": "7"})


async def asgi(path, query, **headers):
    """Ask one of livepush's own endpoints; return the status and the body."""
    return await asking.ask(f"/livepush/{path}/", query, {**STREAM, **headers})


async def wsgi(path, query, **headers):
    """Ask one of livepush's own views; return the status and the body."""
    response = await sync_to_async(Client().get)(f"/livepush/{path}/?{query}", headers={**STREAM, **headers})
    return response.status_code, response.content.decode()


async def view(view, query, **headers):
    """Ask a bridge's view; return the status and the body."""
    response = await view(AsyncRequestFactory().get(f"/?{query}", headers={"accept": STREAM["accept"], **headers}))
    return response.status_code, response.content.decode()


def signed():
    return {"Grip-Sig": jwt.encode({"iss": "pushpin", "exp": int(time.time()) + 600}, KEY, "HS256")}


ENDPOINTS = {
    "sse": lambda id: asgi("sse", "group=board"),
    "stream": lambda id: asgi(f"streams/{id}", "format=livepush&after=2"),
    "stream in its own format": lambda id: asgi(f"streams/{id}", ""),
    "stream under WSGI": lambda id: wsgi(f"streams/{id}", "format=livepush"),
    "GRIP": lambda id: wsgi("sse", "group=board", **signed()),
    "mercure": lambda id: view(mercure, "topic=a", **mercures.bearer(subscribe=["a"])),
    "eventstream": lambda id: view(events, "channel=a"),
}


def retry_of(found):
    """Return after how many milliseconds an EventSource comes back."""
    status, body = found
    assert status == 200, body
    return int(re.search(r"^retry: (\d+)$", body, re.MULTILINE)[1])


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("check", [database_gone, busy])
async def test_an_eventsource_comes_back_when_a_refusal_passes(endpoint, check, stream, monkeypatch):
    monkeypatch.setattr(handshakes, "checks", lambda: [handshakes.Prepared(check, False)])
    assert 900 <= retry_of(await ENDPOINTS[endpoint](stream)) <= 4000


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("after", [lambda: "7", lambda: http_date(time.time() + 7)], ids=["seconds", "date"])
async def test_a_check_says_when(endpoint, after, stream, monkeypatch):
    def check(request):
        return HttpResponse(status=503, headers={"Retry-After": after()})

    monkeypatch.setattr(handshakes, "checks", lambda: [handshakes.Prepared(check, False)])
    assert 5000 <= retry_of(await ENDPOINTS[endpoint](stream)) <= 10_500


@pytest.mark.parametrize("endpoint", [each for each in ENDPOINTS if each not in ("GRIP", "stream under WSGI")])
async def test_an_eventsource_comes_back_when_the_server_ends(endpoint, stream):
    hub = await process.get_hub()
    hub.draining_since = hub.loop.time()
    assert 900 <= retry_of(await ENDPOINTS[endpoint](stream)) <= 4000


async def test_a_stream_s_farewell_has_the_offset_that_the_client_has(stream, monkeypatch):
    monkeypatch.setattr(handshakes, "checks", lambda: [handshakes.Prepared(closed, False)])
    for ask in (asgi, wsgi):
        _, body = await ask(f"streams/{stream}", "after=1", **{"last-event-id": "3"})
        assert re.fullmatch(r':\nretry: (\d+)\ndata: {"offset":3,"parts":\[\],"retry":\1}\n\n', body)


@pytest.mark.parametrize("error", [OperationalError("gone"), Overdue("late"), RuntimeError("stopped")], ids=str)
async def test_readers_of_a_stream_that_can_not_be_read_now_come_back(error, stream, monkeypatch):
    async def away(feeds, id, after, upto):
        raise error

    monkeypatch.setattr(Feeds, "page", away)
    assert 900 <= retry_of(await asgi(f"streams/{stream}", "format=livepush")) <= 4000
    for format in ("openai", "ai-sdk"):
        status, body = await asgi(f"streams/{stream}", f"format={format}")
        assert status == 200
        assert CUT in body.rpartition("data: ")[2]
    cut = await asking.request(f"/livepush/streams/{stream}/", "format=text", STREAM)
    with pytest.raises(ConnectionAbortedError):
        await cut.wait(PATIENCE)
    status, body = await asgi(f"streams/{stream}", "wait=5")
    assert (status, json.loads(body)["code"]) == (503, "unavailable")


@pytest.mark.parametrize("query", ["format=livepush", "wait=5"])
async def test_a_mistake_in_the_code_is_not_taken_for_a_database_that_is_away(query, stream, monkeypatch):
    def fail(feed, after):
        raise ZeroDivisionError

    monkeypatch.setattr(Feed, "portion", fail)
    failed = await asking.request(f"/livepush/streams/{stream}/", query, STREAM)
    with pytest.raises(ZeroDivisionError):
        await failed.wait(PATIENCE)


async def test_readers_of_a_stream_that_can_not_be_read_under_wsgi_come_back(stream, monkeypatch):
    def away(*args):
        raise OperationalError("gone")

    monkeypatch.setattr(store, "read", away)
    assert 900 <= retry_of(await wsgi(f"streams/{stream}", "format=livepush")) <= 4000
    status, body = await wsgi(f"streams/{stream}", "format=text")
    assert (status, json.loads(body)["code"]) == (503, "unavailable")


async def test_a_held_poll_of_a_stream_is_answered_when_the_server_cancels_it():
    await Stream.objects.acreate(id="far", group="board", format="text", producer="far", created=timezone.now())
    await StreamProducer.objects.acreate(name="far")
    held = await asking.request("/livepush/streams/far/", "wait=25&after=7", {})
    hub = await process.get_hub()
    await eventually(lambda: any(feed.listeners for feed in feeds_of(hub)._feeds.values()))
    held.future.cancel()
    await asyncio.wait({held.future}, timeout=PATIENCE)
    start, body = [held.output_queue.get_nowait() for _ in range(2)]
    assert start["status"] == 200
    assert json.loads(body["body"]) == {"offset": 7, "parts": [], "state": "running", "error": "", "metadata": {}}
    await process.stop()
    await sync_to_async(connections.close_all)()


@pytest.mark.parametrize("query", ["format=openai", "format=text", "wait=0", "format=livepush"])
async def test_others_get_the_status(query, stream, monkeypatch):
    monkeypatch.setattr(handshakes, "checks", lambda: [handshakes.Prepared(closed, False)])
    headers = {"accept": "*/*"} if query == "format=livepush" else {}
    for ask in (asgi, wsgi):
        status, body = await ask(f"streams/{stream}", query, **headers)
        assert (status, "refused" in body) == (503, True)
