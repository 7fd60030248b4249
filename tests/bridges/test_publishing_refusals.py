"""What is not published, and what its publisher is told; on one database."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, InterfaceError, OperationalError, connections
from django.test import AsyncRequestFactory, Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.translation import gettext_lazy

from livepush.bridges.publishing import drafts, endpoint, keys
from livepush.bridges.publishing.models import ApiKey
from livepush.exceptions import InvalidApiKey
from livepush.inbox import kinds
from livepush.inbox.kinds import NotificationType
from tests.bridges.test_publishing import EVENT, NOTIFY, URL, Publisher, fresh, key, said, shop
from tests.conftest import ALIASES, events_of
from tests.inbox.conftest import inbox_on

using = inbox_on(ALIASES[0])
__all__ = ["fresh", "key", "shop", "using"]


@pytest.mark.parametrize(
    ("second", "status", "code"),
    [
        ({**EVENT, "group": "secret"}, 403, "forbidden"),
        ({**EVENT, "type": "other"}, 403, "forbidden"),
        ({**EVENT, "group": "order:ä"}, 400, "bad_event"),
        ({**EVENT, "group": ["order:7"]}, 400, "bad_event"),
        ({**EVENT, "groups": []}, 400, "bad_event"),
        ({"groups": [], "type": "status"}, 400, "bad_event"),
        ({"group": "order:7"}, 400, "bad_event"),
        ({**EVENT, "ephemeral": 1}, 400, "bad_event"),
        ({**EVENT, "key": ""}, 400, "bad_event"),
        ({**EVENT, "key": "livepush:x"}, 400, "bad_event"),
        ({**EVENT, "dato": 1}, 400, "bad_event"),
        ({**EVENT, "data": "\0"}, 400, "bad_event"),
        ({**EVENT, "data": "\ud800"}, 400, "bad_event"),
        ({**EVENT, "data": "x" * 70_000}, 413, "too_large"),
        (None, 400, "bad_body"),
    ],
    ids=lambda value: json.dumps(value)[:60],
)
def test_one_bad_event_keeps_the_whole_list_out_of_the_log(using, shop, second, status, code):
    response = shop.post([EVENT, second])
    assert said(response) == (status, code)
    assert "tem 1" in response.json()["message"] or code == "forbidden"
    assert not events_of(using)


@pytest.mark.parametrize("body", ["", "{", "[]", "1", '"x"', "NaN", b"\xff", "[" * 100_000, json.dumps([EVENT] * 101)])
def test_a_body_that_is_no_list_of_events_is_refused(shop, body):
    assert said(shop.post(body)) == (400, "bad_body")


def test_a_body_over_the_limit_is_refused_before_it_is_read(shop):
    assert said(shop.post(" " * (drafts.MAX_BODY + 1))) == (413, "too_large")
    assert said(shop.post(" " * drafts.MAX_BODY)) == (400, "bad_body")


def test_livepushs_own_groups_can_not_be_published_to_with_any_key(using):
    shop = Publisher(keys.create_key("all", groups=["*"]))
    for group in ("livepush:rights", "inbox:all", "inbox:of:team"):
        assert said(shop.post({**EVENT, "group": group})) == (403, "forbidden")
    for kind in ("livepush.rights", "inbox.notification", "error"):
        assert said(shop.post({**EVENT, "type": kind})) == (400, "bad_event")
    assert not events_of(using)


def test_other_methods_and_media_types_are_refused(shop):
    assert Client().get(URL).status_code == 405
    assert Client().get(URL)["Allow"] == "POST"
    assert said(shop.post(EVENT, content_type="text/plain")) == (415, "unsupported_media_type")
    assert said(shop.post(EVENT, url=NOTIFY, content_type="application/cloudevents+json"))[0] == 415


@pytest.mark.parametrize(
    "shown",
    ["", "Bearer", "Bearer x", "Basic abc", "Bearer lpk_aaaaaaaaaa_" + "a" * 43, "Bearer livepush_x", "bearer lpk_ä_b"],
)
def test_without_a_valid_key_nothing_is_published(using, shown):
    response = Client().post(URL, json.dumps(EVENT), content_type="application/json", headers={"authorization": shown})
    assert response.status_code == 401
    assert response["WWW-Authenticate"] == "Bearer"
    assert not events_of(using)


def test_a_malformed_key_asks_the_database_nothing(using):
    with CaptureQueriesContext(connections[using]) as queries:
        assert Publisher("lpk_short_x").post(EVENT).status_code == 401
    assert len(queries) == 0


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("", {"groups": ["a"]}),
        ("shop", {}),
        ("shop", {"groups": ["a"], "types": []}),
        ("shop", {"groups": ["a b/ä"]}),
        ("shop", {"groups": ["a"], "expires": timedelta()}),
        ("x" * 101, {"groups": ["a"]}),
        ("shop", {"groups": ["a"], "expires": date(2030, 1, 1)}),
        ("shop", {"groups": ["a"], "expires": "2030-01-01"}),
        ("shop", {"groups": ["a"], "expires": 3600}),
    ],
)
def test_a_key_that_can_not_work_is_not_made(using, name, given):
    with pytest.raises(InvalidApiKey):
        keys.create_key(name, **given)
    assert not ApiKey.objects.using(using).exists()


@pytest.mark.parametrize("as_text", [str, gettext_lazy])
@pytest.mark.parametrize("create", [keys.create_key, async_to_sync(keys.acreate_key)], ids=["sync", "async"])
def test_a_text_in_place_of_a_list_is_one_pattern(using, create, as_text):
    key = create("one", groups=as_text("order:*"), types=as_text("status"), recipients=as_text("user:7*"))
    row = ApiKey.objects.using(using).get()
    assert (row.groups, row.types, row.recipients) == ("order:*", "status", "user:7*")
    one = Publisher(key)
    assert said(one.post({**EVENT, "group": "payroll:secret"})) == (403, "forbidden")
    assert said(one.post({"recipients": ["everyone"], "title": "x"}, NOTIFY)) == (403, "forbidden")
    assert one.post(EVENT).status_code == 200


def test_there_is_no_changing_a_key_that_is_not_there_or_works_no_more(using, key):
    prefix = key.split("_")[1]
    with pytest.raises(InvalidApiKey, match="There is no key 'x'"):
        keys.revoke_key("x")
    for grace in (timedelta(seconds=-1), 3600, "1h"):
        with pytest.raises(InvalidApiKey, match="0 or more"):
            keys.rotate_key(prefix, grace)
    ApiKey.objects.using(using).update(expires=timezone.now())
    with pytest.raises(InvalidApiKey, match="has ended"):
        keys.rotate_key(prefix)
    keys.revoke_key(prefix)
    with pytest.raises(InvalidApiKey, match="was revoked"):
        keys.rotate_key(prefix)


def test_over_its_rate_a_key_is_throttled_and_told_when_to_come_back(using, shop):
    with override_settings(LIVEPUSH={"DATABASE": using, "PUBLISHED_PER_SECOND": 1e-6}):
        assert shop.post([EVENT] * 100).status_code == 200
        response = shop.post(EVENT)
    assert said(response) == (429, "throttled")
    assert int(response["Retry-After"]) >= 1
    assert len(events_of(using)) == 100


@pytest.mark.parametrize("given", ["ä", "x" * 201, '"', "a b", '""'])
def test_a_malformed_idempotency_key_is_refused(shop, given):
    assert said(shop.post(EVENT, **{"idempotency-key": given})) == (400, "bad_idempotency_key")


@pytest.mark.parametrize(
    ("item", "status", "code"),
    [
        ({"recipients": ["everyone"], "title": "x"}, 403, "forbidden"),
        ({"recipients": ["inbox:all"], "title": "x"}, 403, "forbidden"),
        ({"recipients": ["user:1"]}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": "x", "kind": "y"}, 400, "bad_event"),
        ({"recipients": ["user:1"], "kind": "nope"}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": " "}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": "x", "url": "javascript:alert(1)"}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": "x", "level": "loud"}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": "x", "data": []}, 400, "bad_event"),
        ({"recipients": "user:1", "title": "x"}, 400, "bad_event"),
        ({"recipients": ["user:1"], "title": "x", "to": 1}, 400, "bad_event"),
    ],
    ids=str,
)
def test_one_bad_notification_keeps_the_whole_list_out(using, shop, item, status, code):
    assert said(shop.post([{"recipients": ["user:1"], "title": "fine"}, item], url=NOTIFY)) == (status, code)
    assert not events_of(using)


class Failing(NotificationType):
    """A kind that raises an error whatever it is to say."""

    key = "failing"
    error: Exception

    def title(self, context):
        raise self.error


@pytest.mark.parametrize(
    "error",
    [
        KeyError("pk"),
        ValueError("no date"),
        ApiKey.DoesNotExist("none"),
        IntegrityError("twice"),
        RuntimeError("no"),
    ],
    ids=repr,
)
def test_a_kind_that_can_not_word_what_it_is_given_is_the_publishers_mistake(using, shop, monkeypatch, error):
    monkeypatch.setitem(kinds.registry, "failing", Failing())
    monkeypatch.setattr(Failing, "error", error, raising=False)
    for more in ({}, {"idempotency-key": "a"}):
        response = shop.post({"recipients": ["user:1"], "kind": "failing"}, url=NOTIFY, **more)
        assert said(response) == (400, "bad_event")
        assert f"'failing' can't word this ({type(error).__name__})" in response.json()["message"]
    assert not events_of(using)


OUTAGES = [OperationalError("gone"), InterfaceError("closed"), ConnectionError("the cache is down")]


@pytest.mark.parametrize("error", OUTAGES, ids=repr)
def test_a_kind_that_can_not_reach_the_database_is_to_be_tried_again(using, shop, monkeypatch, error):
    monkeypatch.setitem(kinds.registry, "failing", Failing())
    monkeypatch.setattr(Failing, "error", error, raising=False)
    response = shop.post({"recipients": ["user:1"], "kind": "failing"}, url=NOTIFY)
    assert said(response) == (503, "unavailable")


@pytest.mark.parametrize("path", [URL, NOTIFY])
async def test_what_can_never_succeed_gets_the_same_answer_under_asgi(transactional_db, monkeypatch, path):
    monkeypatch.setitem(kinds.registry, "failing", Failing())
    monkeypatch.setattr(Failing, "error", ValueError("no date"), raising=False)
    key = await keys.acreate_key("all", groups=["*"], recipients=["*"])
    found = {"specversion": "1.0", "id": "\ud800", "source": "/a", "type": "status", "subject": "order:7"}
    kind = "application/json" if path == NOTIFY else "application/cloudevents+json"
    body = json.dumps({"recipients": ["user:1"], "kind": "failing"} if path == NOTIFY else found).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": kind, "content-length": str(len(body))}
    scope = AsyncRequestFactory()._base_scope(path=path, method="POST")
    scope["headers"] = [(name.encode(), value.encode()) for name, value in headers.items()]
    sent = []

    async def receive():
        return {"type": "http.request", "body": body}

    async def send(message):
        sent.append(message)

    serve = endpoint.notify if path == NOTIFY else endpoint.publish
    await serve(scope, receive, send)
    await sync_to_async(connections.close_all)()
    assert (sent[0]["status"], json.loads(sent[1]["body"])["code"]) == (400, "bad_event")
