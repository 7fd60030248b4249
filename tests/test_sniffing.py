"""No browser takes an answer of livepush's for a page or a script, without the site's middleware too."""

from __future__ import annotations

import re

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import Client
from django.urls import include, path

import livepush.bridges.eventstream.urls
from livepush import process, streams
from livepush.streams import here
from tests import asking
from tests.bridges import mercures, pushers
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "https://app.example.com"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "GET"}
GIVEN = {"name": "list", "action": "read", "key": "shop", "app_id": "1", "channel": "a", "user_id": "1"}

urlpatterns = [
    path("livepush/", include("livepush.urls")),
    path("", include("livepush.bridges.mercure.urls")),
    path("", include("livepush.bridges.pusher.urls")),
    path("events/", include(livepush.bridges.eventstream.urls)),
]


def routes(patterns=urlpatterns, before=""):
    """Yield each address."""
    for each in patterns:
        route = before + str(each.pattern)
        if hasattr(each, "url_patterns"):
            yield from routes(each.url_patterns, route)
        else:
            yield route


@pytest.fixture
def stream(settings):
    """Mount everything; return the id of a finished stream."""
    settings.ROOT_URLCONF = __name__
    settings.LIVEPUSH = {
        "METRICS_TOKEN": "t" * 20,
        "MERCURE": {"KEY": mercures.KEY},
        "PUSHER": pushers.APP,
        "ALLOWED_ORIGINS": [PAGE],
    }
    with streams.open("board") as found:
        found.write("text")
    yield found.id
    here.stop()
    connections.close_all()


@pytest.mark.parametrize("method", ["get", "post", "put", "options", "preflight"])
def test_each_view_says_so(method, stream):
    ask = getattr(Client(raise_request_exception=False), "options" if method == "preflight" else method)
    silent = []
    for route in routes():
        address = "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda found: {**GIVEN, "stream": stream}[found[1]], route)
        for query in ("", "?group=board&topic=a&channel=a"):
            answer = ask(address + query, headers=PREFLIGHT if method == "preflight" else {})
            if answer.get("X-Content-Type-Options") != "nosniff":
                silent.append((address + query, answer.status_code))
    assert silent == []


def test_metrics_and_what_is_missing_say_so(stream):
    for address, status, headers in (
        ("/livepush/metrics/", 200, {"authorization": "Bearer " + "t" * 20}),
        ("/livepush/scripts/livepush-nothing.js", 404, {}),
        ("/livepush/streams/nothing/", 404, {}),
    ):
        answer = Client().get(address, headers=headers)
        assert (answer.status_code, answer.get("X-Content-Type-Options")) == (status, "nosniff")


@pytest.mark.parametrize(
    ("address", "query", "headers"),
    [
        ("livepush/streams/STREAM/", "", {"last-event-id": "end"}),
        ("livepush/streams/STREAM/", "", {}),
        ("livepush/streams/STREAM/", "wait=0", {}),
        ("livepush/poll/", "group=board", {}),
        ("livepush/sse/", "group=board", {}),
        ("livepush/sse/", "", {}),
        ("events/", "channel=a", {}),
        (".well-known/mercure", "topic=a", mercures.bearer(subscribe=["a"])),
    ],
)
async def test_each_answer_under_asgi_says_so(address, query, headers, stream):
    found = await asking.request(f"/{address.replace('STREAM', stream)}", query, headers)
    begun = {name.lower(): value for name, value in (await found.receive_output(PATIENCE))["headers"]}
    await found.send_input({"type": "http.disconnect"})
    await found.wait(PATIENCE)
    await process.stop()
    await sync_to_async(connections.close_all)()
    assert begun.get(b"x-content-type-options") == b"nosniff"
