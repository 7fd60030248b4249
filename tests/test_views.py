"""The polling view, as WSGI serves it."""

from __future__ import annotations

from asyncio import CancelledError
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.memcached import BaseMemcachedCache
from django.db import OperationalError, transaction
from django.test import override_settings
from django.utils import timezone

import livepush
from livepush import log
from livepush.access import authenticating, rules
from livepush.log import pruning
from livepush.models import Event
from tests.conftest import append, settle

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/livepush/poll/"


def gone(user):
    raise OperationalError("this database is down")


async def agone(user):
    raise OperationalError("this database is down")


def position(client):
    return client.get(URL, {"group": "board"}).json()["position"]


def numbers(answer):
    return [int(event["id"].partition("-")[2]) for event in answer.json()["events"]]


def test_without_since_there_are_no_events_and_the_position_now(client):
    livepush.send("board", "t", 1)
    answer = client.get(URL, {"group": "board"})
    epoch = log.state("default").position.epoch
    assert answer.json() == {"events": [], "position": f"{epoch}-1", "reset": False, "refused": []}
    assert answer["Cache-Control"] == "private, no-store, no-transform"


def test_a_site_that_demands_a_login_everywhere_leaves_it_to_the_rules_who_may_read(client, settings):
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, "django.contrib.auth.middleware.LoginRequiredMiddleware"]
    assert client.get(URL, {"group": "board"}).status_code == 200
    assert client.get(URL, {"group": "nobody:1"}).json()["code"] == "forbidden"
    for path in ("sse", "ws"):
        assert client.get(f"/livepush/{path}/").json()["code"] == "needs_asgi"


@pytest.mark.parametrize("function", [gone, agone])
def test_a_rule_whose_database_fails_takes_no_other_group_with_it(client, monkeypatch, function):
    monkeypatch.setattr(rules, "rules", [*rules.rules])
    livepush.can_read("gone")(function)
    answer = client.get(URL, {"group": ["board", "gone"]})
    assert (answer.status_code, answer.json()["refused"]) == (200, ["gone"])
    answer = client.get(URL, {"group": "gone"})
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


def cancelled(user):
    raise CancelledError


async def acancelled(user):
    raise CancelledError


@pytest.mark.parametrize("function", [cancelled, acancelled])
def test_a_rule_that_awaits_what_somebody_cancelled_takes_no_other_group_with_it(client, monkeypatch, function):
    monkeypatch.setattr(rules, "rules", [*rules.rules])
    livepush.can_read("gone")(function)
    answer = client.get(URL, {"group": ["board", "gone"]})
    assert (answer.status_code, answer.json()["refused"]) == (200, ["gone"])


def test_what_a_group_gets_while_its_rule_fails_comes_afterwards(client, monkeypatch):
    monkeypatch.setattr(rules, "rules", [*rules.rules])
    asked = iter("123456")
    livepush.can_read("shaky")(lambda user: next(asked) > "2" or gone(user))
    groups, since = ["board", "shaky"], position(client)
    livepush.send("shaky", "t", 1)
    livepush.send("board", "t", 2)
    answer = client.get(URL, {"group": groups, "since": since})
    assert numbers(answer) == [2]
    assert (answer.json()["position"], answer.json()["failed"]) == (since, ["shaky"])
    answer = client.get(URL, {"group": groups, "since": answer.json()["position"]})
    assert numbers(answer) == [1, 2]
    assert "failed" not in answer.json()
    assert answer.json()["position"].endswith("-2")


def test_events_behind_a_position_come_in_order(client):
    since = position(client)
    livepush.send("board", "t", {"a": 1})
    livepush.send("order:1000", "t", 2)
    livepush.send("board", "u", 3)
    answer = client.get(URL, {"group": "board", "since": since}).json()
    assert [(event["type"], event["data"]) for event in answer["events"]] == [("t", {"a": 1}), ("u", 3)]
    assert answer["position"].endswith("-3")


def test_a_send_to_several_groups_of_a_reader_comes_once_and_names_them_in_the_readers_order(client):
    since = position(client)
    livepush.send(["board", "room:1"], "t", 1)
    livepush.send("board", "t", 2)
    answer = client.get(URL, {"group": ["room:1", "board"], "since": since})
    assert numbers(answer) == [1, 2]
    first, second = answer.json()["events"]
    assert (first["group"], first["groups"]) == ("room:1", ["room:1", "board"])
    assert (second["group"], "groups" in second) == ("board", False)


def test_what_is_committed_and_not_settled_is_settled_first(client):
    since = position(client)
    append("default", "board")
    assert numbers(client.get(URL, {"group": "board", "since": since})) == [1]


def test_a_full_page_goes_on_from_its_last_event(client):
    since = position(client)
    for _ in range(600):
        append("default", "board")
    settle("default")
    first = client.get(URL, {"group": "board", "since": since})
    second = client.get(URL, {"group": "board", "since": first.json()["position"]})
    assert numbers(first) + numbers(second) == list(range(1, 601))
    assert len(numbers(first)) < 600


def test_last_event_id_wins_over_since(client):
    since = position(client)
    append("default", "board")
    append("default", "board")
    settle("default")
    epoch = since.partition("-")[0]
    answer = client.get(URL, {"group": "board", "since": since}, headers={"Last-Event-ID": f"{epoch}-1"})
    assert numbers(answer) == [2]


@pytest.mark.parametrize("since", ["other-0", "{epoch}-99"])
def test_a_position_that_the_log_can_not_continue_gets_a_reset(client, since):
    epoch = position(client).partition("-")[0]
    answer = client.get(URL, {"group": "board", "since": since.format(epoch=epoch)}).json()
    assert answer == {"events": [], "position": f"{epoch}-0", "reset": True, "refused": []}


def test_a_pruned_position_gets_a_reset(client):
    since = position(client)
    for _ in range(3):
        append("default", "board")
    settle("default")
    Event.objects.filter(position__lte=2).update(created=timezone.now() - timedelta(days=8))
    pruning.prune("default", timezone.now() - timedelta(days=7))
    answer = client.get(URL, {"group": "board", "since": since}).json()
    assert (answer["events"], answer["reset"], answer["position"][-2:]) == ([], True, "-3")


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "no_group"),
        ("group=nobody", 403, "forbidden"),
        ("group=order:1000", 403, "forbidden"),
        ("group=a%20b", 400, "bad_group"),
        ("group=board&since=x", 400, "bad_position"),
        ("group=board&wait=x", 400, "bad_wait"),
        ("group=%FF", 400, "bad_query"),
    ],
)
def test_a_refusal_is_json_with_a_stable_code(client, query, status, code):
    answer = client.get(f"{URL}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["message"]


def test_only_get_is_answered(client):
    answer = client.post(URL, {"group": "board"})
    assert (answer.status_code, answer.json()["code"], answer["Allow"]) == (405, "bad_method", "GET")


@pytest.mark.parametrize("length", ["65537", "9" * 5000])
def test_a_body_over_the_limit_is_refused(client, length):
    answer = client.get(URL, {"group": "board"}, CONTENT_LENGTH=length)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_refused_groups_are_named_beside_granted_ones(client):
    assert client.get(URL, {"group": ["board", "nobody"]}).json()["refused"] == ["nobody"]


def test_a_users_own_group_needs_the_login(client):
    user = User.objects.create_user("ann")
    url = f"{URL}?group=user:{user.pk}"
    assert client.get(url).status_code == 403
    client.force_login(user)
    assert client.get(url).status_code == 200
    client.logout()
    assert client.get(url).status_code == 403


class Strict(LocMemCache):
    """A cache that refuses keys as memcached does."""

    validate_key = BaseMemcachedCache.validate_key


@pytest.mark.parametrize("engine", ["cache", "cached_db"])
@pytest.mark.parametrize("cookie", ["x" * 300, "with a space", "unknown1"])
def test_a_session_cookie_that_the_cache_refuses_names_nobody(client, settings, engine, cookie):
    settings.CACHES = {"default": {"BACKEND": "tests.test_views.Strict", "LOCATION": "strict"}}
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    user = User.objects.create_user("ann")
    client.force_login(user)
    known = client.session.session_key
    assert authenticating.of_sessions([cookie, known])[known].name == str(user.pk)
    client.cookies[settings.SESSION_COOKIE_NAME] = cookie
    answer = client.get(URL, {"group": ["board", livepush.user_group(user)]})
    assert answer.json()["refused"] == [livepush.user_group(user)]


def test_async_rules_are_asked_too(client):
    assert client.get(URL, {"group": "async:yes"}).status_code == 200
    assert client.get(URL, {"group": "async:no"}).status_code == 403


def test_tenants_are_told_by_the_request(client):
    assert client.get(URL, {"group": "tenant:acme"}, headers={"X-Tenant": "acme"}).status_code == 200
    assert client.get(URL, {"group": "tenant:acme"}, headers={"X-Tenant": "other"}).status_code == 403


@override_settings(ALLOWED_HOSTS=["example.com"])
def test_a_foreign_host_is_refused(client):
    assert client.get(URL, {"group": "board"}).status_code == 400


@pytest.mark.parametrize("name", ["sse", "ws"])
def test_the_streams_say_that_they_need_asgi(client, name):
    answer = client.get(f"/livepush/{name}/", {"group": "board"})
    assert (answer.status_code, answer.json()["code"]) == (501, "needs_asgi")
    assert "livepush.asgi" in answer.json()["message"]


@override_settings(MIDDLEWARE=["django.middleware.gzip.GZipMiddleware"])
def test_answers_are_not_compressed(client):
    since = position(client)
    livepush.send("board", "t", "x" * 1000)
    answer = client.get(URL, {"group": "board", "since": since}, headers={"Accept-Encoding": "gzip"})
    assert answer["Content-Encoding"] == "identity"
    assert answer.json()["events"][0]["data"] == "x" * 1000


CACHING = ["django.middleware.cache.UpdateCacheMiddleware", "django.middleware.cache.FetchFromCacheMiddleware"]


@override_settings(MIDDLEWARE=CACHING)
def test_answers_are_not_cached(client):
    since = position(client)
    livepush.send("board", "t", 1)
    assert position(client) != since


def test_a_send_beside_a_hook_that_fails_is_not_lost(client):
    def fail():
        raise RuntimeError("a hook that fails")

    since = position(client)
    with pytest.raises(RuntimeError), transaction.atomic():
        transaction.on_commit(fail)
        livepush.send("board", "t", 1)
    (event,) = client.get(URL, {"group": "board", "since": since}).json()["events"]
    assert event["data"] == 1


@pytest.mark.parametrize("path", ["poll/?group=board", "poll/", "poll/?group=nobody:1", "sse/?group=board", "ws/"])
def test_no_browser_takes_an_answer_for_a_page(client, path):
    assert client.get(f"/livepush/{path}")["X-Content-Type-Options"] == "nosniff"
