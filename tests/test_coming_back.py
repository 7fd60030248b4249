"""An EventSource gives up for good after an error's status, so a refusal that passes tells it when to come back."""

from __future__ import annotations

import re
import time

import jwt
import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.http import HttpResponse
from django.test import AsyncRequestFactory, Client
from django.utils.http import http_date

from livepush import process, streams
from livepush.access import handshakes
from livepush.bridges.eventstream.views import events
from livepush.bridges.mercure.views import hub as mercure
from livepush.streams import here
from tests import asking
from tests.bridges import mercures

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


@pytest.mark.parametrize("query", ["format=openai", "format=text", "wait=0", "format=livepush"])
async def test_others_get_the_status(query, stream, monkeypatch):
    monkeypatch.setattr(handshakes, "checks", lambda: [handshakes.Prepared(closed, False)])
    headers = {"accept": "*/*"} if query == "format=livepush" else {}
    for ask in (asgi, wsgi):
        status, body = await ask(f"streams/{stream}", query, **headers)
        assert (status, "refused" in body) == (503, True)
