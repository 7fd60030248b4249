"""What Mercure's publishers and subscribers are refused, and what the hub tells them."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import quote, urlencode

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections, transaction
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory
from django.urls import include, path
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepush import log, process, tallies, tenants
from livepush.bridges import mercure
from livepush.bridges.mercure import publishing, resuming, subscribing
from livepush.bridges.mercure.views import hub
from livepush.consumers import views as polls
from livepush.models import Event
from livepush.notes import Rarely
from livepush.publish import pipeline
from livepush.testing import capture_events
from livepush.wire import Position
from tests.bridges.mercures import FORM, KEY, PATH, bearer, token
from tests.conftest import events_of

FOREIGN = "https://elsewhere.example"
PUBLISHER = bearer(publish=["*"])
COOKIE = {"cookie": f"mercureAuthorization={token(publish=['*'], subscribe=['a'])}"}


@pytest.fixture(autouse=True)
def mounted(settings):
    class Addresses:
        urlpatterns = [path("", include("livepush.bridges.mercure.urls"))]

    settings.ROOT_URLCONF = Addresses
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY}}


def post(fields, headers=None, query="", **more):
    """Publish as under WSGI; return the answer."""
    content = fields if isinstance(fields, bytes) else urlencode(fields).encode()
    given = {"content_type": FORM["content-type"], **more}
    return ask(RequestFactory().post(PATH + query, content, headers=PUBLISHER if headers is None else headers, **given))


def ask(request):
    async def answered():
        response = await hub(request)
        await sync_to_async(connections.close_all)()
        return response

    return asyncio.run(answered())


def get(query="?topic=a", method="GET", host="testserver", **headers):
    """Subscribe as under ASGI; return the answer, which does not stream."""

    async def answered():
        request = AsyncRequestFactory().generic(method, PATH + query, headers=headers)
        request.META["HTTP_HOST"] = host
        response = await hub(request)
        await process.stop()
        return response

    return asyncio.run(answered())


def said(response):
    return response.status_code, json.loads(response.content)["code"]


# Publishers


def test_a_form_is_an_update_under_wsgi_too(transactional_db):
    before = tallies.counts["published", "event"]
    with capture_events() as events:
        response = post([("topic", "a"), ("topic", "b"), ("data", "ü"), ("private", ""), ("later", "field")])
    assert tallies.counts["published", "event"] == before + 1
    assert (response.status_code, response["Content-Type"]) == (200, "text/plain; charset=utf-8")
    id = response.content.decode()
    [event] = events
    assert event.payload == {"topics": ["a", "b"], "data": "ü", "id": id, "private": True}


def test_a_form_like_symfonys_is_an_update(transactional_db):
    """Symfony's ``Hub`` leaves out what is null, and writes a space as a plus sign."""
    with capture_events() as events:
        response = post(b"topic=https%3A%2F%2Fexample.com%2F1&data=%7B%22a%22%3A+1%7D&private=on&id=urn%3Ax&retry=5")
    assert response.content == b"urn:x"
    told = {"topics": ["https://example.com/1"], "data": '{"a": 1}', "id": "urn:x", "private": True, "retry": 5}
    assert events[0].payload == told


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"data": "x"}, 400, "no_group"),
        ({"topic": ""}, 400, "bad_event"),
        ({"topic": "*"}, 400, "bad_event"),
        ({"topic": "a\r\nid: 7"}, 400, "bad_event"),
        ({"topic": "x" * 1001}, 413, "bad_event"),
        ([("topic", str(n)) for n in range(101)], 413, "too_many_groups"),
        ([("topic", str(n)) for n in range(5000)], 400, "bad_body"),
        ({"topic": "a", "id": "1\ndata: forged"}, 400, "bad_event"),
        ({"topic": "a", "id": "#7"}, 400, "bad_event"),
        ({"topic": "a", "id": "earliest"}, 400, "bad_event"),
        ({"topic": "a", "type": "x\rdata: forged"}, 400, "bad_event"),
        ({"topic": "a", "retry": "-1"}, 400, "bad_event"),
        ({"topic": "a", "retry": "٣"}, 400, "bad_event"),
        ({"topic": "a", "retry": "1" * 5000}, 400, "bad_event"),
        ({"topic": "a", "data": "\0"}, 400, "bad_event"),
        ({"topic": "a", "data": "x" * 70_000}, 413, "too_large"),
        ({"topic": "a", "data": "x" * 3_000_000}, 413, "too_large"),
        (b"topic=%FF", 400, "bad_body"),
        (b"\xff", 400, "bad_body"),
        (b"&", 400, "no_group"),
    ],
)
def test_a_malformed_update_is_refused_with_a_sentence_and_nothing_is_written(db, fields, status, code):
    response = post(fields)
    assert said(response) == (status, code)
    assert len(response.content) < 500
    assert not events_of("default")


def test_another_kind_of_body_is_refused():
    assert said(post(b'{"topic": "a"}', content_type="application/json")) == (415, "bad_body")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "unauthenticated"),
        ({"authorization": "Basic YTpi"}, 401, "bad_token"),
        ({"authorization": "Bearer"}, 401, "bad_token"),
        ({"authorization": "Bearer a.b.c"}, 401, "bad_token"),
        (bearer(publish=["*"], exp=1), 401, "bad_token"),
        (bearer(publish=["a", "{id:3}"]), 401, "bad_token"),
        (bearer(publish=["*"], key="another key of thirty-two bytes!"), 401, "bad_token"),
        (bearer(), 403, "forbidden"),
        (bearer(publish=[]), 403, "forbidden"),
        (bearer(subscribe=["*"]), 403, "forbidden"),
        (bearer(publish=["a"]), 403, "forbidden"),
        (bearer(publish=["{x}/2"]), 403, "forbidden"),
    ],
)
def test_a_publisher_needs_a_token_for_each_topic(db, headers, status, code):
    response = post([("topic", "a"), ("topic", "b/2")], headers)
    assert said(response) == (status, code)
    assert (response.get("WWW-Authenticate") == "Bearer") is (status == 401)
    assert not events_of("default")


def test_the_header_wins_over_the_query_and_the_query_over_the_cookie(transactional_db):
    bad, good = "?authorization=a.b.c", f"?authorization={token(publish=['*'])}"
    for headers, query, status in [
        (PUBLISHER, bad, 200),
        ({"authorization": "Bearer a.b.c"}, good, 401),
        ({}, good, 200),
        ({**COOKIE, "origin": "http://testserver"}, bad, 401),
        ({**COOKIE, "origin": "http://testserver"}, "", 200),
    ]:
        assert post({"topic": "a"}, headers, query).status_code == status


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ({"origin": "http://testserver"}, 200),
        ({"referer": "http://testserver/page/?q"}, 200),
        ({"origin": FOREIGN}, 403),
        ({"referer": f"{FOREIGN}/page/"}, 403),
        ({"origin": "null"}, 403),
        ({"referer": "http://["}, 403),
        ({}, 403),
    ],
)
def test_a_cookie_publishes_for_a_page_of_this_site_alone(transactional_db, page, status):
    assert post({"topic": "a"}, {**COOKIE, **page}).status_code == status


def test_a_page_of_an_origin_that_is_allowed_may_publish_by_cookie(transactional_db, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "ALLOWED_ORIGINS": [FOREIGN]}
    response = post({"topic": "a"}, {**COOKIE, "origin": FOREIGN})
    assert (response.status_code, response["Access-Control-Allow-Origin"]) == (200, FOREIGN)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "ALLOWED_ORIGINS": ["*"]}
    assert post({"topic": "a"}, {**COOKIE, "origin": FOREIGN}).status_code == 401  # its cookies are ignored


def test_publishers_are_limited_together(settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "PUBLISHED_PER_SECOND": 0.123}
    for _ in range(100):
        publishing.budget.spend()
    response = post({"topic": "a"})
    assert said(response) == (429, "throttled")
    assert int(response["Retry-After"]) >= 1


NAMES = st.sampled_from(["topic", "data", "private", "id", "type", "retry", "match", "lastEventID", "authorization"])
FIELDS = st.lists(
    st.tuples(NAMES, st.text(max_size=8) | st.sampled_from(["*", "{x}", "#1", "earliest", "7"])), max_size=5
)


@settings(max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(FIELDS.map(lambda pairs: urlencode(pairs, errors="replace").encode()) | st.binary(max_size=40))
def test_whatever_is_asked_is_answered_and_is_no_servers_error(transactional_db, content):
    response = post(content)
    assert response.status_code in (200, 400, 413, 415), response.content
    query = "?" + urlencode({"topic": "a"}) + "&" + quote(content, safe="&=%+")
    response = get(query, "HEAD", **bearer())
    assert response.status_code in (200, 400), response.content


# Subscribers


@pytest.mark.parametrize(
    ("query", "headers", "status", "code"),
    [
        ("?topic=a", {}, 401, "unauthenticated"),
        ("?topic=a", {"authorization": "Bearer a.b.c"}, 401, "bad_token"),
        ("?topic=a", bearer(subscribe=["*"], exp=1), 401, "bad_token"),
        ("?topic=a&authorization=a.b.c", {}, 401, "bad_token"),
        ("?topic=a", {"cookie": "mercureAuthorization=a.b.c"}, 401, "bad_token"),
        ("", bearer(), 400, "no_group"),
        ("?topic=", bearer(), 400, "bad_query"),
        ("?topic=%00", bearer(), 400, "bad_query"),
        ("?topic=%FF", bearer(), 400, "bad_query"),
        ("?topic=" + "x" * 1001, bearer(), 400, "bad_query"),
        ("?" + "&".join(f"topic={n}" for n in range(101)), bearer(), 400, "too_many_groups"),
        ("?" + "&".join(f"topic={n}" for n in range(5000)), bearer(), 400, "too_many_groups"),
        ("?" + "&".join(f"topic={n}" for n in range(5000)), {}, 401, "unauthenticated"),
        ("?match_urlpattern=/:id", bearer(), 400, "bad_query"),
        ("?match={id}", bearer(), 400, "bad_query"),
        ("?topic=a/{id:3}", bearer(), 400, "bad_query"),
        ("?topic=a/{?b,id:3*}", bearer(), 400, "bad_query"),
        ("?topic=" + "{x}" * 21, bearer(), 400, "bad_query"),
        ("?topic=a", bearer(subscribe=["a", "a/{id:3}"]), 401, "bad_token"),
        ("?Match=a", bearer(), 400, "bad_query"),
    ],
)
def test_a_subscriber_is_refused_with_a_sentence(query, headers, status, code):
    assert said(get(query, **headers)) == (status, code)


def test_nobody_in_particular_may_subscribe_if_the_setting_says_so(settings):
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY, "ANONYMOUS": True}}
    response = get(method="HEAD")
    assert (response.status_code, response["Content-Type"], response.content) == (200, "text/event-stream", b"")
    assert said(get(authorization="Bearer a.b.c")) == (401, "bad_token")


def test_a_stream_needs_asgi():
    assert said(ask(RequestFactory().get(f"{PATH}?topic=a", headers=bearer()))) == (501, "needs_asgi")


def test_a_subscriber_is_told_to_come_back_when_there_are_too_many(transactional_db, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "MAX_CONNECTIONS": 1, "MAX_CONNECTIONS_PER_USER": 1}

    async def answered():
        factory, found = AsyncRequestFactory(), []
        for accept in ("text/event-stream", "text/event-stream", "*/*"):
            request = factory.get(f"{PATH}?topic=a", headers={**bearer(sub="ann"), "accept": accept})
            found.append(await hub(request))
        stream = aiter(found[0].streaming_content)
        first = await anext(stream)
        await stream.aclose()
        await process.stop()
        return first, found

    first, (_, again, refused) = asyncio.run(answered())
    assert first == b":\nretry: 2000\n"
    assert (again.status_code, again.content[:7]) == (200, b"retry: ")
    assert said(refused) == (429, "throttled")


@pytest.mark.parametrize("shown", ["header", "query", "cookie"])
def test_a_subscriber_may_ask_for_as_many_topics_as_there_may_be_groups(shown, settings, transactional_db):
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY}, "MAX_GROUPS": 1500}
    known = token(subscribe=["*"])
    headers = {"header": bearer(subscribe=["*"]), "cookie": {"cookie": f"mercureAuthorization={known}; a="}}
    fields = [("topic", f"t{number}") for number in range(1500)] + [("lastEventID", "urn:x")]
    fields += [("authorization", known)] if shown == "query" else []
    headers = headers.get(shown, {})
    found = get(f"?{urlencode(fields)}", method="HEAD", **headers)
    assert (found.status_code, found["Content-Type"]) == (200, "text/event-stream")
    assert said(get(f"?{urlencode([*fields, ('topic', 'more')])}", **headers)) == (400, "too_many_groups")


def test_a_subscriber_is_told_to_come_back_when_the_database_is_away(monkeypatch, caplog):
    def away(*args):
        raise OperationalError("away")

    monkeypatch.setattr(resuming, "place_of", away)
    query = "?topic=a&lastEventID=urn:x"
    assert said(get(query, **bearer())) == (503, "unavailable")
    response = get(query, **bearer(), accept="text/event-stream")
    assert (response.status_code, response.content) == (200, b"retry: 2000\n")
    assert "can't be found" in caplog.text


def test_livepushs_own_clients_can_not_read_what_may_be_private(admin_user):
    request = RequestFactory().get("/livepush/poll/?group=mercure:a")
    request.user = admin_user
    assert said(polls.poll(request)) == (403, "forbidden")


# Other methods, and pages of other origins


def test_other_methods_are_refused_and_options_tell_which_there_are():
    for method, status in (("PUT", 405), ("DELETE", 405), ("OPTIONS", 204)):
        response = ask(RequestFactory().generic(method, PATH))
        assert (response.status_code, response["Allow"]) == (status, "GET, HEAD, POST, OPTIONS")


def test_a_page_of_another_origin_is_answered_if_the_setting_says_so(settings):
    assert "Access-Control-Allow-Origin" not in get(origin=FOREIGN)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "ALLOWED_ORIGINS": [FOREIGN]}
    response = get(origin=FOREIGN)
    assert response["Access-Control-Allow-Origin"] == FOREIGN
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert response["Access-Control-Expose-Headers"] == "Retry-After, Last-Event-ID"
    asked = {"origin": FOREIGN, "access-control-request-method": "POST"}
    preflight = ask(RequestFactory().options(PATH, headers=asked))
    assert (preflight.status_code, "POST" in preflight["Access-Control-Allow-Methods"]) == (204, True)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "ALLOWED_ORIGINS": ["*"]}
    assert said(get(origin=FOREIGN, **COOKIE)) == (401, "unauthenticated")  # its cookies are ignored


def test_a_header_with_an_id_is_read_as_browsers_and_others_write_it():
    for shown in ("urn:ü".encode().decode("latin-1"), "urn:ü"):
        request = RequestFactory().get(PATH, headers={"Last-Event-ID": shown})
        assert resuming.id_of(request) == "urn:ü"


# Places in the log


def test_ids_stand_for_places_on_every_database(using, settings):
    settings.LIVEPUSH = {"DATABASE": using, "MERCURE": {"KEY": KEY}}
    request = RequestFactory().get(PATH)
    ids = [mercure.send_update("a", str(n), id=id) for n, id in enumerate([None, "ä", None, "x" * 900, "ä"])]
    numbers = [event.number for event in events_of(using)]
    found = [resuming.place_of(id, request).position for id in ids]
    assert [place.number for place in found] == [numbers[0], numbers[4], numbers[2], numbers[3], numbers[4]]
    assert resuming.place_of(mercure.last_event_id(), request) == (log.state(using).position, False)
    for unknown in ("earliest", "b", "A", "Ä", "#", "#x", "a\0"):
        state = log.state(using)
        assert resuming.place_of(unknown, request) == (Position(state.position.epoch, state.floor), True)


def test_an_id_that_a_publisher_has_and_the_log_has_not_settled_is_found(transactional_db, monkeypatch):
    monkeypatch.setattr(pipeline, "deliver", lambda *args: None)  # as if it were killed after the commit
    with transaction.atomic():
        ids = [mercure.send_update("a", "1"), mercure.send_update("a", "2", id="mine")]
    monkeypatch.undo()
    assert [event.number for event in Event.objects.all() if event.position] == []
    places = [resuming.place_of(id, RequestFactory().get(PATH)).position for id in ids]
    assert [place.number for place in places] == [event.number for event in events_of("default")]


def test_tenants_are_apart(transactional_db, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "TENANT": "tests.shop.subdomains.Subdomains"}
    publisher = bearer(publish=["*"], **{"livepush.tenant": "acme"})
    id = post({"topic": "x" * 200, "id": "mine"}, {**publisher, "host": "acme.shop.test"}).content.decode()
    [event] = events_of("default")
    assert event.groups[0] == "acme|mercure:=2A"
    acme, globex = (RequestFactory().get(PATH, headers={"host": f"{name}.shop.test"}) for name in ("acme", "globex"))
    assert resuming.place_of(id, acme).position.number == event.number
    assert resuming.place_of(id, globex).is_lost
    assert said(post({"topic": "a"}, {**PUBLISHER, "host": "shop.test"})) == (403, "no_tenant")


# Tenants


@pytest.fixture
def of_acme(settings, transactional_db):
    """A token made for one of a site's tenants."""
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY}, "TENANT": "tests.shop.subdomains.Subdomains"}
    with tenants.active("acme"):
        return {"authorization": f"Bearer {mercure.make_token(subscribe=['*'], publish=['*'])}"}


def test_a_token_is_good_for_the_tenant_that_was_active_when_it_was_made(of_acme):
    assert get(method="HEAD", host="acme.shop.test", **of_acme).status_code == 200
    assert post({"topic": "a"}, of_acme, HTTP_HOST="acme.shop.test").status_code == 200
    assert [set(event.groups) for event in events_of("default")] == [{"acme|mercure:a", "acme|mercure:=2A"}]
    for method in ("GET", "HEAD"):
        assert get(method=method, host="globex.shop.test", **of_acme).status_code == 401
    assert said(get(host="globex.shop.test", **of_acme)) == (401, "bad_token")
    assert said(post({"topic": "a"}, of_acme, HTTP_HOST="globex.shop.test")) == (401, "bad_token")
    assert said(get(host="nobody.shop.test", **of_acme)) == (403, "no_tenant")
    assert len(events_of("default")) == 1


def test_a_cookie_is_good_for_the_tenant_whose_view_set_it(of_acme):
    request, response = RequestFactory().get("/", headers={"host": "acme.shop.test"}), HttpResponse()
    with tenants.active("acme"):
        mercure.set_cookie(request, response, subscribe=["*"], domain="shop.test")
    shown = {"authorization": f"Bearer {response.cookies['mercureAuthorization'].value}"}
    assert get(method="HEAD", host="acme.shop.test", **shown).status_code == 200
    assert said(get(host="globex.shop.test", **shown)) == (401, "bad_token")


def test_a_token_of_another_issuer_names_its_tenant(of_acme):
    named = bearer(publish=["*"], subscribe=["*"], **{"livepush.tenant": "globex"})
    assert get(method="HEAD", host="globex.shop.test", **named).status_code == 200
    assert post({"topic": "a"}, named, HTTP_HOST="globex.shop.test").status_code == 200
    for headers in (bearer(publish=["*"], subscribe=["*"]), named):
        assert said(get(host="acme.shop.test", **headers)) == (401, "bad_token")
        assert said(post({"topic": "a"}, headers, HTTP_HOST="acme.shop.test")) == (401, "bad_token")


def test_without_tenants_a_token_of_a_tenant_is_refused(transactional_db):
    named = bearer(publish=["*"], subscribe=["*"], **{"livepush.tenant": "acme"})
    assert said(get(**named)) == (401, "bad_token")
    assert said(post({"topic": "a"}, named)) == (401, "bad_token")


def test_a_subscriber_comes_back_when_its_tenant_can_not_be_found_out(of_acme, monkeypatch):
    def gone(request):
        raise OperationalError("the database is away")

    monkeypatch.setattr(tenants, "of_request", gone)
    monkeypatch.setattr(subscribing, "failures", Rarely(every=1.0))  # another test waits for its line in the log
    assert said(get(host="acme.shop.test", **of_acme)) == (503, "unavailable")
