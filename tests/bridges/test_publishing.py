"""Publishing over HTTP, with Django's test client against real databases."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.db.models.signals import pre_save
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

import livepush
from livepush import log
from livepush.bridges.publishing import authorizing, idempotency, keys
from livepush.bridges.publishing.models import ApiKey, PublishReceipt
from livepush.exceptions import InvalidApiKey
from livepush.inbox.reading import Inbox
from tests.conftest import Thread, events_of

pytestmark = pytest.mark.long_on("mariadb")

URL, NOTIFY = "/livepush/publish/", "/livepush/publish/notify/"


@pytest.fixture(autouse=True)
def fresh():
    """Nothing that an earlier test has let this process know."""
    authorizing.forget()
    idempotency._prune_at = 0.0


@pytest.fixture
def key(using):
    return keys.create_key("shop", groups=["order:*", "board"], types=["status", "note"], recipients=["user:*", "team"])


class Publisher:
    """A program with a key."""

    def __init__(self, key):
        self.key = key

    def post(self, body, url=URL, content_type="application/json", **headers):
        named = {"authorization": f"Bearer {self.key}"} if self.key else {}
        text = body if isinstance(body, str | bytes) else json.dumps(body)
        return Client().post(url, text, content_type=content_type, headers={**named, **headers})


@pytest.fixture
def shop(key):
    return Publisher(key)


def said(response):
    """Return an answer's status and code."""
    return response.status_code, response.json().get("code")


EVENT = {"group": "order:7", "type": "status", "data": {"status": "shipped"}}


def test_an_event_is_in_the_log_when_the_answer_comes(using, shop):
    response = shop.post(EVENT)
    (event,) = events_of(using)
    assert (event.groups, event.type, event.data) == (("order:7",), "status", '{"status":"shipped"}')
    position = f"{log.state(using).position.epoch}-{event.number}"
    assert (response.status_code, response.json()) == (200, {"accepted": 1, "positions": [position]})
    assert response["Cache-Control"] == "private, no-store"


def test_a_list_comes_in_its_order_and_each_event_has_its_position(using, shop):
    response = shop.post([{"groups": [f"order:{n}", "board"], "type": "note", "data": n} for n in range(100)])
    events = events_of(using)
    assert [event.data for event in events] == [str(n) for n in range(100)]
    assert [int(each.rpartition("-")[2]) for each in response.json()["positions"]] == [each.number for each in events]


def test_an_ephemeral_event_has_no_position(using, shop):
    response = shop.post([{**EVENT, "ephemeral": True}, EVENT])
    (event,) = events_of(using)
    assert [each and int(each.rpartition("-")[2]) for each in response.json()["positions"]] == [None, event.number]


def test_an_event_with_a_key_that_was_sent_before_has_the_first_ones_position(using, shop):
    first = shop.post({**EVENT, "key": "a"}).json()
    assert shop.post({**EVENT, "key": "a"}).json() == first
    both = shop.post([{**EVENT, "key": "a"}, {**EVENT, "key": "b"}]).json()["positions"]
    assert both[0] == first["positions"][0] != both[1]
    assert len(events_of(using)) == 2


def test_who_prefers_not_to_wait_is_told_no_positions(using, shop):
    response = shop.post(EVENT, prefer="wait=5, respond-async")
    assert (response.status_code, response.json()) == (202, {"accepted": 1})
    assert response["Preference-Applied"] == "respond-async"
    livepush.send("board", "after")  # which settles, if another process has not
    assert [event.type for event in events_of(using)] == ["status", "after"]


# Keys


def test_the_secret_is_not_stored(using, key):
    row = ApiKey.objects.using(using).get()
    _, prefix, secret = key.split("_", 2)
    assert row.prefix == prefix
    assert all(secret not in str(value) for value in vars(row).values())


def test_a_revoked_key_ends_within_a_second(using, shop, monkeypatch):
    assert shop.post(EVENT).status_code == 200
    keys.revoke_key(ApiKey.objects.using(using).get().prefix)
    now = authorizing.time.monotonic()
    monkeypatch.setattr(authorizing.time, "monotonic", lambda: now + 1.0)
    assert said(shop.post(EVENT)) == (401, "bad_api_key")


@pytest.mark.parametrize("use_tz", [True, False])
@pytest.mark.parametrize("zone", [UTC, None])
def test_a_key_ends_at_a_time_that_is_given_with_a_zone_or_without(using, shop, settings, use_tz, zone):
    settings.USE_TZ = use_tz
    hour = timedelta(hours=1)
    end = datetime.now(zone)
    keys.create_key("later", groups=["a"], expires=end + hour)
    assert abs(ApiKey.objects.using(using).get(name="later").expires - timezone.now() - hour) < timedelta(minutes=1)
    with pytest.raises(InvalidApiKey, match="which is past"):
        keys.create_key("past", groups=["a"], expires=end - hour)


def test_a_key_that_has_ended_is_refused(using, shop):
    ApiKey.objects.using(using).update(expires=timezone.now())
    assert said(shop.post(EVENT)) == (401, "bad_api_key")


def test_after_a_rotation_both_keys_work_until_the_grace_is_over(using, shop):
    row = ApiKey.objects.using(using).get()
    new = Publisher(keys.rotate_key(row.prefix))
    assert [each.post(EVENT).status_code for each in (shop, new)] == [200, 200]
    authorizing.forget()
    ApiKey.objects.using(using).update(old_ends=timezone.now())
    assert [each.post(EVENT).status_code for each in (shop, new)] == [401, 200]


def test_the_use_of_a_key_is_noted_once_a_minute(using, shop):
    assert shop.post(EVENT).status_code == 200
    used = ApiKey.objects.using(using).get().last_used
    assert abs(used - timezone.now()) < timedelta(minutes=1)
    authorizing.forget()
    assert shop.post(EVENT).status_code == 200
    assert ApiKey.objects.using(using).get().last_used == used


def test_a_key_is_asked_for_once_while_it_is_used(using, shop):
    shop.post(EVENT)
    with CaptureQueriesContext(connections[using]) as queries:
        shop.post(EVENT)
    assert not [each for each in queries if "apikey" in each["sql"]]


async def test_async_code_makes_rotates_and_revokes_keys(transactional_db):
    made = await keys.acreate_key("shop", groups=["board"])
    prefix = made.split("_")[1]
    rotated = await keys.arotate_key(prefix)
    assert rotated != made
    await keys.arevoke_key(prefix)
    assert (await ApiKey.objects.aget()).revoked is not None
    await sync_to_async(connections.close_all)()


# Idempotency


def test_a_repeated_request_has_no_second_effect_and_gets_the_same_answer(using, shop):
    first = shop.post([EVENT, EVENT], **{"idempotency-key": '"8e03"'})
    again = shop.post([EVENT, EVENT], **{"idempotency-key": "8e03"})
    assert len(events_of(using)) == 2
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert (first.get("Idempotent-Replayed"), again.get("Idempotent-Replayed")) == (None, "true")


def test_a_receiver_that_checks_all_models_checks_no_receipt(using, shop):
    def check(instance, **kwargs):
        instance.full_clean()  # which says that a repeated receipt is not unique

    pre_save.connect(check)
    try:
        answers = [shop.post(EVENT, **{"idempotency-key": "a"}) for _ in range(2)]
    finally:
        pre_save.disconnect(check)
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(events_of(using)) == 1


@pytest.mark.parametrize(
    "other", [{"body": {**EVENT, "data": 2}}, {"body": EVENT, "content_type": "application/json; a=b"}]
)
def test_another_request_with_the_same_key_is_refused(using, shop, other):
    shop.post(EVENT, **{"idempotency-key": "a"})
    assert said(shop.post(**other, **{"idempotency-key": "a"})) == (422, "idempotency_mismatch")
    assert len(events_of(using)) == 1


def test_another_publishers_key_is_another_key(using, shop):
    other = Publisher(keys.create_key("other", groups=["order:*"]))
    assert [each.post(EVENT, **{"idempotency-key": "a"}).status_code for each in (shop, other)] == [200, 200]
    assert len(events_of(using)) == 2


def test_a_request_that_failed_can_be_repeated(using, shop):
    assert shop.post({**EVENT, "group": "secret"}, **{"idempotency-key": "a"}).status_code == 403
    assert shop.post(EVENT, **{"idempotency-key": "a"}).status_code == 200


def test_an_old_receipt_counts_no_more_and_is_deleted(using, shop):
    shop.post(EVENT, **{"idempotency-key": "a"})
    PublishReceipt.objects.using(using).update(created=timezone.now() - timedelta(days=2))
    assert "Idempotent-Replayed" not in shop.post(EVENT, **{"idempotency-key": "a"})
    PublishReceipt.objects.using(using).update(created=timezone.now() - timedelta(days=2))
    idempotency._prune_at = 0.0
    shop.post(EVENT, **{"idempotency-key": "b"})
    assert [each.key for each in PublishReceipt.objects.using(using).all()] == ["b"]


@pytest.mark.parametrize(("noted", "asked"), [(0, 2), (-2, 0)], ids=["one is ahead", "one is behind"])
def test_a_receipt_is_as_old_as_the_databases_clock_says(concurrent, noted, asked, monkeypatch):
    """Two hosts, one of which has the wrong time (in days)."""
    with override_settings(LIVEPUSH={"DATABASE": concurrent}):
        shop = Publisher(keys.create_key("shop", groups=["order:*"]))
        now = timezone.now()
        monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=noted))
        shop.post(EVENT, **{"idempotency-key": "a"})
        monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=asked))
        assert shop.post(EVENT, **{"idempotency-key": "a"})["Idempotent-Replayed"] == "true"
        assert idempotency.prune(concurrent) == 0
    assert len(events_of(concurrent)) == 1


def test_of_many_at_once_with_one_key_one_takes_effect_and_all_get_its_answer(concurrent):
    with override_settings(LIVEPUSH={"DATABASE": concurrent}):
        shop = Publisher(keys.create_key("shop", groups=["order:*"]))
        threads = [Thread(lambda: shop.post([EVENT] * 3, **{"idempotency-key": "a"})) for _ in range(8)]
        answers = [thread.join() for thread in threads]
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert len(events_of(concurrent)) == 3


# Notifications


def test_a_notification_is_in_the_inbox_when_the_answer_comes(using, shop):
    ann = User.objects.create_user("ann")
    livepush.join(ann, "team")
    response = shop.post(
        [
            {"recipients": [f"user:{ann.pk}"], "title": "Shipped", "url": "/orders/7/", "level": "success"},
            {"recipients": ["team"], "title": "Hello, team"},
        ],
        url=NOTIFY,
    )
    assert response.status_code == 200
    found = Inbox(ann).page().entries
    assert [entry.notification.title for entry in found] == ["Hello, team", "Shipped"]
    numbers = [int(each.rpartition("-")[2]) for each in response.json()["positions"]]
    assert numbers == [entry.number for entry in reversed(found)]


def test_a_repeated_notification_comes_once(using, shop):
    ann = User.objects.create_user("ann")
    body = {"recipients": [f"user:{ann.pk}"], "title": "Shipped"}
    answers = [shop.post(body, url=NOTIFY, **{"idempotency-key": "a"}).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert [shop.post({**body, "key": "k"}, url=NOTIFY).status_code for _ in range(2)] == [200, 200]
    assert Inbox(ann).counts().unread == 2
