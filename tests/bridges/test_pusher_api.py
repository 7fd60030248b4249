"""What Pusher's HTTP API answers about many channels, and what that costs."""

from __future__ import annotations

import json

import pytest
from django.db import connections
from django.test import RequestFactory
from django.test.utils import CaptureQueriesContext

from livepush import tallies, tenants
from livepush.bridges.pusher import api, occupancy, signing
from livepush.bridges.pusher.occupying import GROUP
from livepush.roster import table
from livepush.roster.changes import Seat
from livepush.roster.models import PresenceLease
from tests.bridges.pushers import APP
from tests.conftest import events_of

pytestmark = pytest.mark.long_on("mariadb")


@pytest.fixture(autouse=True)
def here(using, settings, monkeypatch):
    settings.LIVEPUSH = {"DATABASE": using, "PUSHER": {**APP, "SUBSCRIPTION_COUNT": True}}
    monkeypatch.setattr(signing, "check_request", lambda *args: None)


def seated(using, process, *seats):
    table.write(using, table.Process(process, 1, False), [Seat(*seat, "{}", 1) for seat in seats], [])


def ask(view, query=None, body=None, **named):
    make = RequestFactory()
    request = make.get("/", query) if body is None else make.post("/", json.dumps(body), "application/json")
    answer = view(request, **named)
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)


def cost(using, view, *args, **more):
    with CaptureQueriesContext(connections[using]) as queries:
        ask(view, *args, **more)
    return len(queries)


INFO = "user_count,subscription_count"


def test_attributes_of_many_channels_take_as_many_queries_as_those_of_few(using):
    def costs(count):
        names = [f"presence-room;{number}" for number in range(count)]
        presence = [(f"room:{number}", "ann") for number in range(count)]
        seated(using, f"p{count}", *((GROUP, f":room;{count}.{number}") for number in range(count)), *presence)
        return (
            cost(using, api.channels, {"info": "subscription_count"}),
            cost(using, api.channels, {"info": INFO, "filter_by_prefix": "presence-"}),
            *(
                cost(using, view, body=body(INFO)) - cost(using, view, body=body(""))
                for view, body in (
                    (api.events, lambda info: {"name": "n", "channels": names, "data": "1", "info": info}),
                    (api.batch_events, lambda info: {"batch": batch_of(names[:10], info)}),
                )
            ),
        )

    def batch_of(names, info):
        return [{"name": "n", "channel": name, "data": "1", "info": info} for name in names]

    assert costs(2) == costs(20)


def test_what_is_asked_for_wrongly_is_refused_before_anything_is_sent(using):
    event = {"name": "n", "channel": "board", "data": "1", "info": "x"}
    for view, body in ((api.events, event), (api.batch_events, {"batch": [event]})):
        assert view(RequestFactory().post("/", json.dumps(body), "application/json")).status_code == 400
    assert not events_of(using)


def test_the_metrics_count_what_is_published_as_they_do_with_api_keys(using):
    before = tallies.counts["published", "event"]
    event = {"name": "n", "channel": "board", "data": "1"}
    ask(api.events, body=event)
    ask(api.batch_events, body={"batch": [event, event]})
    assert tallies.counts["published", "event"] == before + 3
    assert ("published", "events") not in tallies.counts


def test_members_are_counted_once_whatever_number_of_processes_has_them(using):
    seated(using, "one", ("room:1", "ann"), ("room:1", "bob"), ("room:2", "ann"))
    seated(using, "two", ("room:1", "ann"), ("room:1", "eve"))
    query = {"info": "user_count", "filter_by_prefix": "presence-"}
    assert ask(api.channels, query) == {
        "channels": {"presence-room;1": {"user_count": 3}, "presence-room;2": {"user_count": 1}}
    }
    PresenceLease.objects.using(using).update(ends=1)  # all processes have died
    assert ask(api.channels, query) == {"channels": {}}
    assert ask(api.channel, {"info": "user_count"}, channel="presence-room;1") == {"occupied": False, "user_count": 0}


def test_each_event_of_a_batch_gets_the_attributes_that_it_asks_for(using):
    seated(using, "one", ("room:1", "ann"), (GROUP, ":room;2"))
    asked = [("presence-room;1", "user_count"), ("room;2", "subscription_count"), ("room;2", "user_count"), ("a", "")]
    batch = [{"name": "n", "channel": channel, "data": "1", "info": info} for channel, info in asked]
    assert ask(api.batch_events, body={"batch": batch}) == {
        "batch": [{"user_count": 1}, {"subscription_count": 1}, {}, {}]
    }


def test_members_of_a_tenant_are_counted_for_it_alone(using, settings):
    settings.LIVEPUSH = {"DATABASE": using, "PUSHER": APP, "TENANT": "tests.shop.subdomains.Subdomains"}
    seated(using, "one", ("acme|room:1", "ann"), ("globex|room:1", "bob"), ("globex|room:1", "eve"))
    with tenants.active("globex"):
        assert occupancy.member_counts({"room:1", "room:2"}) == {"room:1": 2}
