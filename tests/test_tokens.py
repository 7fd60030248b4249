"""Tokens: what they are good for, and everything that ends one."""

from __future__ import annotations

import json
import logging
import re
import time
from contextlib import nullcontext
from datetime import timedelta
from types import MappingProxyType

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.core.management import call_command
from django.db import OperationalError, transaction
from django.test import Client, RequestFactory, override_settings
from django.utils.crypto import get_random_string
from django.utils.translation import gettext_lazy

import livepush
from livepush import exceptions, log, notes, streams, tenants
from livepush.access import authenticating, identity, origins, tokens
from livepush.access.authenticating import Identity
from livepush.logs import HideTokens
from livepush.notes import Rarely
from livepush.rights import issuing, questions
from livepush.rights.questions import Question, ask_again, each_again
from livepush.roster import views as roster_views
from livepush.wire import WireError, unavailable
from tests.conftest import append, settle

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_memory():
    cache.clear()


@pytest.fixture
def ann():
    return User.objects.create_user("ann", password="secret")


def read(token: str, *groups: str, **headers: str):
    return Client().get("/livepush/poll/", {"group": groups}, headers={"Authorization": f"Bearer {token}", **headers})


def own(user: User) -> str:
    return livepush.user_group(user)


def test_a_bearer_reads_what_the_user_may_read_and_no_more(ann):
    answer = read(livepush.token(ann), own(ann), "user:999999", "board")
    assert answer.json()["refused"] == ["user:999999"]


def test_a_token_can_be_limited_to_groups(ann):
    answer = read(livepush.token(ann, ["board", "room:1"]), own(ann), "board", "order:7")
    assert answer.json()["refused"] == [own(ann), "order:7"]
    assert read(livepush.token(ann, ann), own(ann)).status_code == 200


def test_a_token_can_stand_wherever_clients_put_it(ann):
    for groups in (None, ["board"] * 3, [f"room:{number}" for number in range(100)]):
        assert re.fullmatch("[A-Za-z0-9_.-]{20,2000}", livepush.token(ann, groups))


def test_it_may_stand_in_the_address(ann):
    assert Client().get("/livepush/poll/", {"group": own(ann), "token": livepush.token(ann)}).status_code == 200


def test_a_token_that_works_once_works_once(ann):
    token = livepush.token(ann, once=True)
    assert read(token, own(ann)).status_code == 200
    assert (read(token, own(ann)).status_code, read(token, own(ann)).json()["code"]) == (401, "token_used")


def test_a_request_uses_a_token_once_though_it_asks_twice_who_it_is(ann):
    with streams.open("desk:a") as stream:
        token = livepush.token(ann, once=True)
        answers = [
            Client().post(f"/livepush/streams/{stream.id}/stop/", headers={"Authorization": f"Bearer {token}"})
            for _ in range(2)
        ]
    assert [answer.status_code for answer in answers] == [204, 401]


def test_a_token_that_works_once_needs_a_cache_that_remembers(ann, settings, caplog, monkeypatch):
    monkeypatch.setattr(notes, "_noted", set())
    for _ in range(2):
        livepush.token(ann, once=True)
    assert caplog.text.count("work once in each process") == 1
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    with pytest.raises(ImproperlyConfigured, match="DummyCache"):
        livepush.token(ann, once=True)
    livepush.token(ann)


def end_by_password(user):
    user.set_password("another")
    user.save()


def end_by_sql(user):
    User.objects.filter(pk=user.pk).update(is_active=False)


def end_by_revoke(user):
    livepush.revoke(user)


def end_by_epoch(user):
    log.begin_epoch("default")


@pytest.mark.parametrize("end", [end_by_password, end_by_sql, end_by_revoke, end_by_epoch, User.delete])
def test_it_ends_with(ann, end):
    token = livepush.token(ann)
    assert read(token, "board").status_code == 200
    end(ann)
    assert (read(token, "board").status_code, read(token, "board").json()["code"]) == (401, "bad_token")


def test_a_revoked_token_stays_so_when_the_log_is_pruned(ann):
    token = livepush.token(ann)
    livepush.revoke(ann)
    livepush.send("board", "later")
    settle("default")
    call_command("livepush_prune", seconds=0, verbosity=0)
    assert read(token, own(ann)).json()["code"] == "bad_token"
    assert read(livepush.token(ann), own(ann)).status_code == 200


def test_a_revoked_user_gets_new_tokens(ann):
    livepush.revoke(ann)
    assert read(livepush.token(ann), own(ann)).status_code == 200


@pytest.mark.parametrize("reason", ["moved", "revoked", "user", "token"])
def test_asking_the_rules_again_ends_no_token(ann, reason):
    token = livepush.token(ann)
    livepush.recheck(ann, reason=reason)
    assert read(token, own(ann)).status_code == 200


def test_no_token_is_issued_that_a_revocation_in_the_same_transaction_would_end(ann):
    with transaction.atomic():
        before = livepush.token(ann)
        livepush.revoke(User.objects.create(username="ben"))
        livepush.token(ann)
        livepush.revoke(ann)
        with pytest.raises(exceptions.TokenTooSoon, match="after the commit"):
            livepush.token(ann)
    assert read(before, own(ann)).status_code == 401
    after = livepush.token(ann)
    assert read(after, own(ann)).status_code == 200
    livepush.revoke(ann)
    assert read(after, own(ann)).status_code == 401


def test_every_attempt_to_give_a_revocation_its_position_counts(ann, monkeypatch):
    attempts = []

    def deliver(using):
        attempts.append(using)
        if len(attempts) == 2:
            settle(using)

    append("default", issuing.own_group(str(ann.pk), None))
    with monkeypatch.context() as patch:
        patch.setattr(issuing, "PAUSES", (0.0, 0.0))
        patch.setattr(issuing.publish, "deliver", deliver)
        token = livepush.token(ann)
    assert read(token, own(ann)).status_code == 200


def test_a_token_is_told_that_it_was_revoked(ann):
    token = livepush.token(ann)
    livepush.revoke(ann)
    assert read(token, own(ann)).json()["message"] == "The token was revoked: log in again, and get another one."


@pytest.mark.parametrize("issue", [livepush.token, livepush.revoke, lambda user, groups: livepush.send(groups, "t")])
def test_a_translated_text_is_no_list_of_its_letters(ann, issue):
    with pytest.raises(exceptions.InvalidGroup, match="is not a group"):
        issue(ann, gettext_lazy("board"))


def test_a_token_lasts_for_a_timedelta(ann):
    assert 290 < tokens.parse(livepush.token(ann, ttl=timedelta(minutes=5))).ends - time.time() <= 300


def test_taking_away_one_group_ends_no_token(ann):
    token = livepush.token(ann)
    livepush.revoke(ann, "board")
    assert read(token, "board").status_code == 200


def test_a_rotated_key_ends_no_token(ann):
    token = livepush.token(ann)
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=["tests-only"]):
        assert read(token, own(ann)).status_code == 200
    with override_settings(SECRET_KEY="another"):
        assert read(token, own(ann)).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: tokens.PREFIX,
        lambda text: f"{tokens.PREFIX}{'x' * 100_000}",
    ],
)
def test_a_malformed_token_is_refused(ann, change):
    assert read(change(livepush.token(ann)), "board").json()["code"] == "bad_token"


def test_a_bearer_token_of_another_kind_is_left_to_others(ann):
    assert read("9944b09199c62bcf9418ad846dd0e4bbdfc6ee4b", "board").status_code == 200


def test_a_session_comes_before_a_token(ann, client):
    ben = User.objects.create_user("ben")
    client.force_login(ben)
    answer = client.get(
        "/livepush/poll/", {"group": own(ben)}, headers={"Authorization": f"Bearer {livepush.token(ann)}"}
    )
    assert answer.status_code == 200


@pytest.mark.parametrize("ttl", [0, -1, True, "60", None, float("nan"), float("inf"), 8 * 86_400])
def test_a_token_that_makes_no_sense_is_not_issued(ann, ttl):
    with pytest.raises(exceptions.InvalidToken, match="expected 1 to 604800"):
        livepush.token(ann, ttl=ttl)


def many_groups() -> list[str]:
    """Return more groups than a token has room for."""
    return [f"desk:{get_random_string(32)}" for _ in range(500)]


def test_a_token_that_no_server_would_take_is_not_issued(ann):
    with pytest.raises(exceptions.InvalidToken, match=r"would have \d+ characters: name fewer groups, 8192 fit"):
        livepush.token(ann, many_groups())


@pytest.mark.parametrize("user", [None, User(username="new"), "user:5"])
def test_nobody_gets_no_token(user):
    with pytest.raises((exceptions.InvalidGroup, exceptions.InvalidToken)):
        livepush.token(user)


# POST token/


def ask(client: Client, body: object = None, **headers: str):
    text = "" if body is None else json.dumps(body)
    return client.post("/livepush/token/", text, content_type="application/json", headers=headers)


@pytest.mark.parametrize("path", ["token/", "presence/"])
def test_a_form_is_refused_as_no_json(ann, path):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    client.cookies["csrftoken"] = token = "t" * 32
    answer = client.post(f"/livepush/{path}", {"ttl": 60}, headers={"X-CSRFToken": token})  # multipart/form-data
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_body")


def test_who_is_logged_in_gets_one(ann, client):
    client.force_login(ann)
    answer = ask(client, {"groups": ["board", "user:999999"], "ttl": 60, "once": True})
    found = answer.json()
    assert found["groups"] == ["board"]
    assert 55 < found["expires"] - time.time() <= 60
    assert answer["Cache-Control"] == "private, no-store, no-transform"
    assert read(found["token"], "board").status_code == 200
    assert read(found["token"], "board").status_code == 401
    assert ask(client).json()["groups"] is None


def test_another_site_can_not_have_one_made(ann):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    assert (ask(client).status_code, ask(client).json()["code"]) == (403, "csrf")


@pytest.mark.parametrize("sent", ["X-CSRFToken", "X-XSRF-Token"])
@pytest.mark.parametrize(
    ("path", "body"),
    [("token/", {}), ("presence/", {"group": "lobby:x", "state": 1}), ("inbox/read/", {"id": []})],
)
def test_livepushs_own_header_counts_whatever_csrf_header_name_is(ann, settings, path, body, sent):
    settings.CSRF_HEADER_NAME = "HTTP_X_XSRF_TOKEN"
    client, token = Client(enforce_csrf_checks=True), "t" * 32
    client.force_login(ann)
    client.cookies["csrftoken"] = token

    def refused(value):
        answer = client.post(f"/livepush/{path}", body, content_type="application/json", headers={sent: value})
        return answer.status_code == 403 and answer.json()["code"] == "csrf"

    assert refused("x" * 32)
    assert not refused(token)


def test_null_stands_for_the_default(ann, client):
    client.force_login(ann)
    found = ask(client, {"groups": None, "ttl": None, "once": None}).json()
    assert 290 < found["expires"] - time.time() <= 300
    assert [read(found["token"], own(ann)).status_code for _ in range(2)] == [200, 200]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "bad_body"),
        ({"group": "board"}, "bad_body"),
        ({"once": 1}, "bad_body"),
        ({"ttl": "long"}, "bad_ttl"),
        ({"ttl": 0}, "bad_ttl"),
        ({"groups": []}, "bad_group"),
        ({"groups": "board"}, "bad_group"),
        ({"groups": ["a b"]}, "bad_group"),
        ({"groups": [7]}, "bad_group"),
        ({"groups": ["user:999999"]}, "forbidden"),
    ],
)
def test_a_malformed_wish_is_refused(ann, client, body, code):
    client.force_login(ann)
    assert ask(client, body).json()["code"] == code


def test_a_wish_for_more_groups_than_a_token_holds_is_refused(ann, client):
    client.force_login(ann)
    with override_settings(LIVEPUSH={"MAX_GROUPS": 1000}):
        answer = ask(client, {"groups": many_groups()})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_groups")


def test_who_was_revoked_a_moment_ago_is_to_ask_again(ann, client, monkeypatch):
    monkeypatch.setattr(issuing, "PAUSES", ())
    client.force_login(ann)
    append("default", issuing.own_group(str(ann.pk), None))
    answer = ask(client)
    assert (answer.status_code, answer.json()["code"], answer["Retry-After"]) == (503, "unavailable", "2")


def test_nobody_and_bearers_are_refused(ann, client):
    assert ask(client).json()["code"] == "unauthenticated"
    assert ask(client, Authorization=f"Bearer {livepush.token(ann)}").json()["code"] == "token_by_token"
    assert client.get("/livepush/token/").status_code == 405


# The inbox


def test_the_inbox_takes_a_token_and_no_csrf_token_with_it(ann):
    livepush.notify(ann, "Hello")
    client = Client(enforce_csrf_checks=True)
    bearer = {"Authorization": f"Bearer {livepush.token(ann)}"}
    found = client.get("/livepush/inbox/entries/", headers=bearer).json()["entries"]
    assert [entry["title"] for entry in found] == ["Hello"]
    answer = client.post("/livepush/inbox/read/", {"id": found[0]["id"]}, headers=bearer)
    assert (answer.status_code, answer.json()["unread"]) == (200, 0)


def test_a_limited_token_opens_no_inbox_but_the_users_own(ann):
    for groups, status in ((["board"], 403), ([own(ann)], 200)):
        bearer = {"Authorization": f"Bearer {livepush.token(ann, groups)}"}
        assert Client().get("/livepush/inbox/counts/", headers=bearer).status_code == status


# Other authenticators


def by_header(request):
    return User.objects.filter(username=request.headers.get("X-User", "")).first()


async def by_header_async(request):
    return await User.objects.filter(username=request.headers.get("X-User", "")).afirst()


def with_authenticators(*names: str):
    return override_settings(LIVEPUSH={"AUTHENTICATORS": [f"tests.test_tokens.{name}" for name in names]})


class ByHeader:
    async def __call__(self, request):
        return await by_header_async(request)


by_instance = ByHeader()


@pytest.mark.parametrize("name", ["by_header", "by_header_async", "by_instance"])
def test_a_project_has_authenticators_of_its_own(ann, name):
    with with_authenticators(name):
        client = Client(enforce_csrf_checks=True)
        poll = client.get("/livepush/poll/", {"group": own(ann)}, headers={"X-User": "ann"})
        assert poll.status_code == 200
        assert client.get("/livepush/poll/", {"group": own(ann)}, headers={"X-User": "ben"}).status_code == 403
        assert client.get("/livepush/inbox/counts/", headers={"X-User": "ann"}).status_code == 200


def as_rest_frameworks_do(request):
    return by_header(request), "key"


def test_an_authenticator_that_returns_no_user_is_named_in_the_log(ann, caplog, monkeypatch):
    monkeypatch.setattr(authenticating, "_no_users", Rarely())
    with with_authenticators("as_rest_frameworks_do"):
        assert Client().get("/livepush/poll/", {"group": own(ann)}, headers={"X-User": "ann"}).status_code == 403
    assert "tests.test_tokens.as_rest_frameworks_do returned a tuple (1 times), which is no user" in caplog.text


def test_an_authenticator_that_is_not_there_is_named_in_the_log(caplog):
    with with_authenticators("nothing"):
        assert Client().get("/livepush/poll/", {"group": "board"}).status_code == 503
    assert "LIVEPUSH['AUTHENTICATORS'] names 'tests.test_tokens.nothing', which is not there" in caplog.text


class AuthenticationFailed(Exception):
    """What REST frameworks raise."""

    status_code = 401


def refusing(request):
    if request.headers.get("X-User") == "ben":
        raise AuthenticationFailed("no such token")
    return by_header(request)


async def refusing_async(request):
    if request.headers.get("X-User") == "ben":
        raise PermissionDenied("no such token")
    return await by_header_async(request)


@pytest.mark.parametrize("name", ["refusing", "refusing_async"])
def test_what_an_authenticator_refuses_is_401(ann, name):
    with with_authenticators(name):
        answer = Client().get("/livepush/poll/", {"group": "board"}, headers={"X-User": "ben"})
        assert (answer.status_code, answer.json()["code"]) == (401, "bad_credentials")
        assert Client().get("/livepush/poll/", {"group": own(ann)}, headers={"X-User": "ann"}).status_code == 200


@pytest.mark.parametrize("error", [AuthenticationFailed(), ValueError("a bug"), PermissionDenied()])
def test_an_authenticator_that_raises_when_asked_again_takes_its_own_client_alone(ann, error):
    def again():
        raise error

    request = RequestFactory().get("/")
    view = identity.handshake(request)
    known = [Identity(ann, again=again), Identity(ann, again=lambda: ann)]
    answers = ask_again([Question(each, view, (own(ann),), None) for each in known])
    assert [each.identity.name for each in answers] == [None, str(ann.pk)]
    assert [set(each.answers.granted) for each in answers] == [set(), {own(ann)}]


@pytest.mark.parametrize("error", [ConnectionError, TimeoutError])
def test_an_authenticator_that_can_not_ask_now_is_asked_again_later(ann, error):
    def again():
        raise error("the directory is down")

    view = identity.handshake(RequestFactory().get("/"))
    with pytest.raises(OSError, match="the directory is down") as caught:
        ask_again([Question(Identity(ann, again=again), view, (own(ann),), None)])
    assert not isinstance(caught.value, TimeoutError)  # which would send the client away


def test_an_authenticator_that_raises_when_asked_again_logs_its_client_out_and_no_other(ann, caplog, monkeypatch):
    monkeypatch.setattr(questions, "_raising", Rarely())

    def ended():
        raise ValueError("this JWT has ended")

    ben, view = User.objects.create_user("ben"), identity.handshake(RequestFactory().get("/"))
    raising = authenticating.Identity(ann, again=ended)
    other = authenticating.Identity(ben, again=lambda: ben)
    asked = [Question(each, view, (own(each.user), "board"), None) for each in (raising, other)]
    first, second = ask_again(asked)
    assert (first.identity.name, set(first.answers.granted)) == (None, {"board"})
    assert (second.identity.name, set(second.answers.granted)) == (str(ben.pk), {own(ben), "board"})
    assert "ValueError: this JWT has ended" in caplog.text


def test_a_user_that_an_authenticator_has_found_stays_apart_from_others_of_that_name(ann):
    limited = User.objects.get(pk=ann.pk)
    limited.scopes = {"read"}
    view = identity.handshake(RequestFactory().get("/"))
    known = [Identity(ann, again=lambda: ann), Identity(limited, again=lambda: limited)]
    answers = ask_again([Question(each, view, (own(ann),), None) for each in known])
    assert answers[1].identity.user is limited


class Branches(tenants.Tenants):
    def of_request(self, request):
        return "acme"


@pytest.mark.parametrize(
    ("error", "keeps"),
    [(ConnectionError, True), (TimeoutError, True), (unavailable, True), (ValueError, False)],
)
def test_who_can_not_be_asked_about_takes_no_group_from_others_of_the_tenant(ann, monkeypatch, error, keeps):
    def fail(*args):
        raise error()

    monkeypatch.setattr(questions, "_asked_again", lambda known: known.again())
    ben, view = User.objects.create_user("ben"), identity.handshake(RequestFactory().get("/"))
    failing, other = Identity(ann, again=fail), Identity(ben, again=lambda: ben)
    asked = [Question(each, view, ("board",), "acme") for each in (other, failing, other)]
    answers, begun = [], []
    with override_settings(LIVEPUSH={"TENANT": "tests.test_tokens.Branches"}):
        with nullcontext() if not keeps else pytest.raises((OSError, WireError)):
            answers.extend(each_again(asked, lambda: begun.append(1)))
        if keeps:  # who asks puts this one aside
            assert len(begun) == 2
            answers = ask_again([asked[0], asked[2]])
    granted = [set(each.answers.granted) for each in answers]
    assert granted == ([{"board"}, {"board"}] if keeps else [{"board"}, set(), {"board"}])


def test_asking_again_about_many_tokens_takes_few_queries(django_assert_max_num_queries):
    users = [User.objects.create(username=f"u{number}") for number in range(20)]
    known = [authenticating.of_token(tokens.parse(livepush.token(user))) for user in users]
    livepush.revoke(users[7])
    known.append(authenticating.of_token(tokens.parse(livepush.token(users[7]))))  # after that, so it is good
    view = identity.handshake(RequestFactory().get("/"))
    asked = [Question(each, view, ("board",), None) for each in known]
    with django_assert_max_num_queries(4):
        answers = ask_again(asked)
    assert [place for place, answer in enumerate(answers) if answer.identity.name is None] == [7]


@pytest.mark.parametrize("broken", ["_of_sessions", "_of_tokens"])
def test_what_raises_for_one_client_is_looked_up_for_each_by_itself(ann, client, monkeypatch, broken):
    ask = getattr(questions, broken)

    def alone(keys):
        if len(keys) > 1:
            raise ValueError("one of them is odd")
        return ask(keys)

    monkeypatch.setattr(questions, broken, alone)
    view, sessions = identity.handshake(RequestFactory().get("/")), []
    for _ in range(2):
        client = Client()
        client.force_login(ann)
        sessions.append(client.session.session_key)
    known = [authenticating.of_session(key) for key in sessions]
    known += [authenticating.of_token(tokens.parse(livepush.token(ann, ["board", each]))) for each in ("a", "b")]
    answers = ask_again([Question(each, view, ("board",), None) for each in known])
    assert [each.identity.name for each in answers] == [str(ann.pk)] * 4


def test_a_failing_database_logs_nobody_out(ann):
    def fail():
        raise OperationalError("gone")

    view = identity.handshake(RequestFactory().get("/"))
    with pytest.raises(OperationalError):
        ask_again([Question(authenticating.Identity(ann, again=fail), view, ("board",), None)])


def by_session_header(request):
    return authenticating.of_session(request.headers.get("Authorization", "").partition(" ")[2])


@pytest.mark.parametrize(
    ("kind", "status"), [("Session", 200), ("Basic", 403), ("Digest", 403), ("Negotiate", 403), ("NTLM", 403)]
)
def test_what_browsers_send_by_themselves_needs_a_csrf_token(ann, kind, status):
    session = Client()
    session.force_login(ann)
    livepush.notify(ann, "Hello")
    with with_authenticators("by_session_header"):
        bearer = {"Authorization": f"{kind} {session.session.session_key}"}
        answer = Client(enforce_csrf_checks=True).post("/livepush/inbox/read/", {"upto": "a-1"}, headers=bearer)
        assert (answer.status_code == 403) is (status == 403)


def fails_to_explain(request, reason=""):
    raise ValueError("a page of the project's that fails")


def test_a_request_that_needs_no_csrf_token_is_not_taken_for_an_attack(ann, settings, caplog):
    settings.CSRF_FAILURE_VIEW = "tests.test_tokens.fails_to_explain"
    session = Client()
    session.force_login(ann)
    client = Client(enforce_csrf_checks=True)
    with with_authenticators("by_session_header"):
        assert ask(client, Authorization=f"Session {session.session.session_key}").status_code == 200
    assert ask(client, Authorization=f"Bearer {livepush.token(ann)}").json()["code"] == "token_by_token"
    assert [record.name for record in caplog.records if record.name.startswith("django.security")] == []


def test_a_cookie_needs_a_csrf_token_whatever_comes_with_it(ann):
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    headers = {"Authorization": f"Session {client.session.session_key}"}
    assert client.post("/livepush/inbox/read/", {"upto": "a-1"}, headers=headers).status_code == 403


# Other origins


def raw_cookie(request):
    return User.objects.filter(username="ann").first() if "HTTP_COOKIE" in request.META else None


def test_pages_of_any_origin_bring_no_cookie_that_an_authenticator_could_read(ann):
    with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": ["*"], "AUTHENTICATORS": ["tests.test_tokens.raw_cookie"]}):
        client = Client()
        client.cookies["any"] = "1"
        assert client.get("/livepush/poll/", {"group": own(ann)}).status_code == 200
        foreign = {"Origin": "https://any.example.com"}
        assert client.get("/livepush/poll/", {"group": own(ann)}, headers=foreign).status_code == 403


LISTED = "https://app.example.com"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("token/", {}),
        ("inbox/read/", {"id": []}),
        (f"streams/{'a' * 22}/stop/", {}),
    ],
)
def test_a_page_of_a_listed_origin_changes_things_with_the_csrf_token(ann, path, body):
    client, token = Client(enforce_csrf_checks=True), "t" * 32
    client.force_login(ann)
    client.cookies["csrftoken"] = token

    def refused(allowed, origin=LISTED, sent=token):
        headers = {"Origin": origin, "X-CSRFToken": sent}
        with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": allowed}):
            answer = client.post(f"/livepush/{path}", body, content_type="application/json", headers=headers)
        return answer.status_code == 403 and answer.json()["code"] == "csrf"

    assert not refused([LISTED])
    assert refused([LISTED], sent="x" * 32)
    assert refused([LISTED], "https://other.example.com")
    assert refused([LISTED], "http://app.example.com")
    assert refused(["*"])
    assert refused(["null"], "null")
    assert refused(["*", LISTED], "null")
    assert not refused(["*", LISTED])
    assert refused([])


def test_a_state_comes_from_a_page_of_the_site_or_of_a_listed_origin_also_after_a_login_in_another_tab(
    ann, monkeypatch
):
    asked = []
    monkeypatch.setattr(roster_views, "member_of_request", lambda request, known, tenant: asked.append(known.name))
    client = Client(enforce_csrf_checks=True)
    client.force_login(ann)
    client.cookies["csrftoken"] = "t" * 32

    def answered(origin, allowed=()):
        headers = {"Origin": origin, "X-CSRFToken": "x" * 32}  # the page's token is that of before the login
        body = {"group": "lobby:x", "state": {}}
        with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": [*allowed]}):
            answer = client.post("/livepush/presence/", body, content_type="application/json", headers=headers)
        return answer.status_code, answer.json()["code"]

    for origin, allowed in (("http://testserver", ()), (LISTED, [LISTED])):
        assert answered(origin, allowed) == (409, "not_present")
    for origin, allowed in ((LISTED, ()), ("http://app.example.com", [LISTED]), ("null", [LISTED])):
        assert answered(origin, allowed) == (403, "bad_origin")
    assert answered("null", ["null"]) == (409, "not_present")  # a visitor's request: the cookies do not count
    assert asked == [f"{ann.pk}", f"{ann.pk}", None]


ALLOWED = "Access-Control-Allow-Headers"


def cross(origin: str, method: str = "get", **headers: str):
    return getattr(Client(), method)("/livepush/poll/", {"group": "board"}, headers={"Origin": origin, **headers})


def test_pages_of_listed_origins_may_read():
    assert "Access-Control-Allow-Origin" not in cross("https://app.example.com")
    with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": ["https://app.example.com"]}):
        answer = cross("https://app.example.com")
        assert answer["Access-Control-Allow-Origin"] == "https://app.example.com"
        assert answer["Access-Control-Allow-Credentials"] == "true"
        for origin in ("https://evil.example.com", "http://app.example.com", "null", "https://app.example.com.evil.io"):
            answer = cross(origin)
            assert "Access-Control-Allow-Origin" not in answer
            assert "Origin" in answer["Vary"]
        wish = cross("https://app.example.com", "options", **{"Access-Control-Request-Method": "GET"})
        assert wish.status_code == 204
        allowed = wish["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"authorization", "cache-control", "last-event-id"} <= set(allowed)  # as polyfills of EventSource ask


def test_pages_of_listed_origins_may_send_what_an_authenticator_reads():
    wish = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
    for listed, allowed in ((["https://app.example.com"], "x-api-key"), (["*"], origins.PREFLIGHT[ALLOWED])):
        with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": listed}):
            assert cross("https://app.example.com", "options", **wish)[ALLOWED] == allowed
    assert "X-Session-Token" in origins.PREFLIGHT[ALLOWED]


@pytest.mark.parametrize("origin", ["file://", "capacitor://localhost"])
def test_pages_in_apps_have_origins_without_a_host_name(origin):
    assert origins.is_possible(origin)
    with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": [origin]}):
        assert cross(origin)["Access-Control-Allow-Origin"] == origin


@pytest.mark.parametrize(
    ("allowed", "origin", "shown"), [("*", "https://any.example.com", "*"), ("null", "null", "null")]
)
def test_pages_of_any_origin_may_read_with_a_token_and_never_with_a_cookie(ann, allowed, origin, shown):
    with override_settings(LIVEPUSH={"ALLOWED_ORIGINS": [allowed]}):
        client = Client()
        client.force_login(ann)
        foreign = {"Origin": origin}
        refused = client.get("/livepush/poll/", {"group": own(ann)}, headers=foreign)
        assert refused.status_code == 403
        by_middleware = RequestFactory().get("/", headers=foreign)
        origins.headers(by_middleware)
        assert authenticating.identify(by_middleware, {"user": ann}).name is None
        bearer = {"Authorization": f"Bearer {livepush.token(ann)}"}
        answer = Client().get("/livepush/poll/", {"group": own(ann)}, headers={**foreign, **bearer})
        assert (answer.status_code, answer["Access-Control-Allow-Origin"]) == (200, shown)
        assert "Access-Control-Allow-Credentials" not in answer


# Logs


def of_gunicorn(atoms):
    """Return what gunicorn fills a line of its access log with."""
    return pytest.importorskip("gunicorn.glogging").SafeAtoms(atoms)


def of_hypercorn(atoms):
    """Return what hypercorn fills a line of its access log with."""
    scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    found = pytest.importorskip("hypercorn.logging").AccessLogAtoms(scope, None, 0.1)
    found.update(atoms)
    return found


@pytest.mark.parametrize(
    ("message", "args"),
    [
        (
            '%s - "%s %s HTTP/%s" %d',
            ("127.0.0.1:5", "GET", "/livepush/sse/?group=board&token={}&since=a-1", "1.1", 200),
        ),
        ("Not Found: %s", ("/x/?token={}",)),
        ("GET /livepush/poll/?token={}", ()),
        ("%(path)s", ({"path": "/livepush/ws/?token={}"},)),
        ("Sec-WebSocket-Protocol: livepush.v1, livepush.token.{}, other", ()),
        ("Authorization: Bearer {}", ()),
    ],
)
def test_tokens_are_hidden_in_logs(ann, message, args):
    token = livepush.token(ann)
    filled = tuple(each.replace("{}", token) if isinstance(each, str) else each for each in args)
    if args and isinstance(args[0], dict):
        filled = ({"path": args[0]["path"].replace("{}", token)},)
    record = logging.LogRecord("x", logging.INFO, __file__, 1, message.replace("{}", token), filled, None)
    assert HideTokens().filter(record)
    said = record.getMessage()
    assert token not in said
    assert token[:14] not in said
    assert "***" in said
    assert said.endswith(("200", "***", "other"))


@pytest.mark.parametrize("of_server", [of_gunicorn, of_hypercorn])
def test_tokens_are_hidden_in_an_access_log_whose_server_finds_its_atoms_in_a_way_of_its_own(ann, of_server):
    token = livepush.token(ann)
    atoms = of_server({"r": f"GET /livepush/sse/?token={token}", "{x-request-id}i": "7"})
    message = "%(r)s %({X-Request-Id}i)s %({X-Forwarded-For}i)s"
    record = logging.LogRecord("access", logging.INFO, "", 1, message, (atoms,), None)
    assert HideTokens().filter(record)
    assert record.getMessage() == "GET /livepush/sse/?token=*** 7 -"
    assert token in atoms["r"], "others may log the same atoms"


@pytest.mark.parametrize("message", ["%(path)s %(code)d", "%s"])
def test_tokens_are_hidden_in_a_mapping_that_is_no_dict(ann, message):
    token = livepush.token(ann)
    args = (MappingProxyType({"path": f"/x/?token={token}", "code": 7}),)
    record = logging.LogRecord("x", logging.INFO, "", 1, message, args, None)
    HideTokens().filter(record)
    assert record.getMessage() in ("/x/?token=*** 7", "{'path': '/x/?token=***', 'code': 7}")


@pytest.mark.parametrize("encode", [lambda text: text.replace("_", "%5F"), lambda text: f"%6C{text[1:]}"])
def test_tokens_are_hidden_in_logs_however_they_are_encoded(ann, encode):
    token = livepush.token(ann)
    assert Client().get(f"/livepush/poll/?group={own(ann)}&token={encode(token)}").status_code == 200
    record = logging.LogRecord("x", logging.INFO, "", 1, f"GET /livepush/poll/?token={encode(token)}&group=a", (), None)
    HideTokens().filter(record)
    assert record.getMessage() == "GET /livepush/poll/?token=***&group=a"
