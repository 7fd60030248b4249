"""Mercure's topics, selectors, tokens and bytes, without a server."""

from __future__ import annotations

import hmac
import json
import re
import time
import tracemalloc
from base64 import urlsafe_b64encode

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import RequestFactory
from django.urls import include, path
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st
from uritemplate import URITemplate

from livepush import checks, log
from livepush.access.rules import ask_sync
from livepush.bridges import mercure
from livepush.bridges.mercure import config, encoding, reading, selectors, tokens, topics, updates
from livepush.bridges.mercure.selectors import MAX_EXPRESSIONS, Selectors, matches
from livepush.bridges.mercure.streaming import Subscription
from livepush.exceptions import EventTooLarge, InvalidData, InvalidEvent
from livepush.testing import capture_events
from livepush.wire import GROUP, Cache, WireError
from tests.bridges.mercures import KEY

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40)
VALUES = st.text(st.sampled_from("ab1-._~ /:?#é%&="), min_size=1, max_size=6)


@pytest.fixture
def hub(settings):
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY}}


# Selectors

OPERATORS = ["", "+", "#", ".", "/", ";", "?", "&"]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(OPERATORS), st.integers(1, 3), st.sampled_from(["", "*"])), max_size=3),
    st.lists(st.none() | VALUES | st.lists(VALUES, min_size=1, max_size=3), min_size=9, max_size=9),
)
def test_whatever_a_template_expands_to_is_matched_by_it(expressions, values):
    names, template, given = iter("abcdefghi"), "https://example.com/", dict(zip("abcdefghi", values, strict=True))
    for operator, count, modifier in expressions:
        chosen = [next(names) for _ in range(count)]
        template += "{" + operator + ",".join(f"{each}{modifier}" for each in chosen) + "}-end"
    topic = URITemplate(template).expand({name: value for name, value in given.items() if value is not None})
    assert matches(template, topic)


@settings(deadline=None)
@given(st.lists(st.sampled_from(["{x}", "{+x}", "a", "/", "aa"]), max_size=5), st.text("ab/?%", max_size=9))
def test_a_template_matches_what_a_regular_expression_does(parts, topic):
    values = {"{x}": "[ab%]*", "{+x}": "[ab/?%]*"}
    expected = re.fullmatch("".join(values.get(part, part) for part in parts), topic)
    assert matches("".join(parts), topic) is bool(expected)


@pytest.mark.parametrize(
    ("template", "topic", "is_match"),
    [
        ("https://example.com/books/{id}", "https://example.com/books/1", True),
        ("https://example.com/books/{id}", "https://example.com/books/1/pages", False),
        ("https://example.com/books/{id}", "https://example.com/bookshelf", False),
        ("{scheme}://{+host}/books/{id}.jsonld", "https://a.example:3000/x/books/1.jsonld", True),
        ("https://example.com/users/foo/{?topic}", "https://example.com/users/foo/?topic=https%3A%2F%2Fa%2F1", True),
        ("https://example.com/users/foo/{?topic}", "https://example.com/users/foo/", True),
        ("https://example.com/users/foo/{?topic}", "https://example.com/users/foo/?other=1", False),
        ("/a{/path*}", "/a/b/c/d", True),
        ("/a{/path}", "/a/b/c", False),
        ("{a}{b}", "xy", True),
        ("{n:2}", "ab", False),
        ("{?x,y}", "?y=2", True),
        ("{?x,y}", "?y=2&x=1", False),
        ("a{", "a{", False),
        ("a}", "a}", False),
        ("{}", "", False),
        ("{!a}", "a", False),
        ("{a b}", "a", False),
        ("{a,}", "a", False),
        ("{x}" * MAX_EXPRESSIONS, "abc", True),
        ("{x}" * (MAX_EXPRESSIONS + 1), "abc", False),
        ("é/{id}", "é/1", True),
    ],
)
def test_templates(template, topic, is_match):
    assert matches(template, topic) is is_match
    assert Selectors([template]).match(template)  # a selector stands for itself


def test_no_template_takes_long():
    """The work grows with the template and the topic, where a regular expression's would with a power of it."""
    for template in ("{a}" * MAX_EXPRESSIONS + "!", "{+a,b,c,d,e,f}" * MAX_EXPRESSIONS + "\n", "{?a,b,c}" * 20 + "!"):
        begun = time.process_time()
        assert not matches(template, "a" * topics.MAX_LENGTH)
        assert time.process_time() - begun < 0.5


def test_a_subscriber_gets_what_it_wants_and_of_private_updates_what_it_may_have():
    subscription = Subscription(Selectors(["a", "b/{x}"]), Selectors(["b/2", "me"]))
    for named, private, takes in [
        (("a",), False, True),
        (("c",), False, False),
        (("c", "b/1"), False, True),
        (("a",), True, False),
        (("b/2",), True, True),
        (("b/1", "me"), True, True),
        (("me",), True, False),
        ((), False, True),
    ]:
        assert subscription.takes(encoding.Part(b"x", named, private)) is takes


@pytest.mark.long
def test_what_is_remembered_of_templates_and_updates_has_a_bound_in_bytes(monkeypatch):
    for module, name in ((selectors, "_matches"), (selectors, "_templates"), (encoding, "_parts")):
        monkeypatch.setattr(module, name, Cache(200_000))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for n in range(1000):
            template = "{?" + ",".join(f"a{n}x{each}" for each in range(20)) + "}"
            assert matches(template, f"?a{n}x0=" + "x" * 900)
            data = {"topics": [f"{n}:{each}" for each in range(20)], "data": "x" * 1000, "id": str(n)}
            assert encoding.translated(json.dumps({"type": updates.UPDATE_TYPE, "data": data})).content
        selectors._places_of.cache_clear()
        assert tracemalloc.get_traced_memory()[0] - before < 3 * 200_000
    finally:
        tracemalloc.stop()
    assert len(selectors._matches) + len(selectors._templates) + len(encoding._parts) > 3


# Topics


@settings(deadline=None)
@given(TEXTS, TEXTS)
def test_each_topic_has_a_group_of_its_own(one, other):
    groups = [name(text) for name in (topics.group_of, topics.group_of_id) for text in {one, other}]
    assert len(set(groups)) == len(groups)
    assert all(GROUP.fullmatch(group) and len(group) < 130 for group in groups)


def test_a_long_topic_has_a_digest_for_a_group_that_no_topic_spells():
    group = topics.group_of("x" * 1000)
    assert GROUP.fullmatch(group)
    assert topics.group_of(group.removeprefix(topics.PREFIX)) != group
    assert topics.group_of("*") == topics.EVERY


# Updates


def told(*args, **more):
    with capture_events() as events:
        id = mercure.send_update(*args, **more)
    return id, [(event.groups, event.type, json.loads(event.data)) for event in events]


def test_an_update_is_one_event_of_its_topics_groups(transactional_db):
    id, found = told(["a", "é"], {"n": 1}, private=True, type="moved", retry=5)
    data = {"topics": ["a", "é"], "data": '{"n":1}', "id": id, "private": True, "type": "moved", "retry": 5}
    assert found == [(("mercure:=2A", "mercure:a", "mercure:=C3=A9"), "mercure.update", data)]
    assert id.startswith("urn:uuid:")
    id, [(groups, _, data)] = told("a", "text", id="mine")
    assert (id, groups, data) == (
        "mine",
        ("mercure:=2A", "mercure:a", "mercure.id:mine"),
        {"topics": ["a"], "data": "text", "id": "mine"},
    )


@pytest.mark.parametrize(
    ("args", "more", "error", "message"),
    [
        (([],), {}, InvalidEvent, "needs a topic"),
        (("",), {}, InvalidEvent, "0 characters"),
        (("*",), {}, InvalidEvent, "stands for all topics"),
        (("a\nb",), {}, InvalidEvent, "control character"),
        (("x" * 1001,), {}, InvalidEvent, "1001 characters"),
        (([str(n) for n in range(101)],), {}, InvalidEvent, "101 topics"),
        (("a",), {"id": "#1"}, InvalidEvent, "reserved"),
        (("a",), {"id": "earliest"}, InvalidEvent, "reserved"),
        (("a",), {"id": "a\rb"}, InvalidEvent, "control character"),
        (("a",), {"type": "a\0"}, InvalidEvent, "control character"),
        (("a",), {"retry": -1}, InvalidEvent, "milliseconds"),
        (("a", "x" * 70_000), {}, EventTooLarge, "MAX_EVENT_BYTES"),
        (("a", object()), {}, InvalidData, "JSON"),
    ],
)
def test_what_can_not_be_sent_is_refused_before_anything_is_written(transactional_db, args, more, error, message):
    with capture_events() as events, pytest.raises(error, match=message):
        mercure.send_update(*args, **more)
    assert events == []


def test_the_bytes_of_an_update_are_those_of_the_specification():
    update = updates.checked(["a"], "one\r\ntwo\rthree\n", id="7", type="moved", retry=0)
    assert encoding.encoded(update) == b"event: moved\nretry: 0\nid: 7\ndata: one\ndata: two\ndata: three\ndata: \n\n"
    assert encoding.encoded(updates.checked(["a"], id="7")) == b"id: 7\ndata: \n\n"


def test_nothing_but_an_update_ends_with_an_empty_line():
    said = [
        {"type": f"livepush.{name}", "retry": 5} for name in ("hello", "position", "bye", "reset", "revoked", "new")
    ]
    said += [{"type": "other", "data": 1}, {"type": updates.UPDATE_TYPE, "data": "no update"}]
    found = [encoding.translated(json.dumps(each)) for each in said]
    assert [part.content for part in found] == [
        b":\nretry: 5\n", b":\n", b"retry: 5\n", b":\n", b":\n", b"", b"", b"",
    ]  # fmt: skip
    assert [part.is_last for part in found] == [False, False, True, True, True, False, False, False]


UPDATE = {"topics": ["a"], "data": "x", "id": "7"}


@pytest.mark.parametrize(
    "data",
    [
        None,
        "text",
        [],
        {},
        {**UPDATE, "topics": []},
        {**UPDATE, "topics": 7},
        {**UPDATE, "topics": ["a", None]},
        {**UPDATE, "data": {"a": 1}},
        {**UPDATE, "id": "7\ndata: forged"},
        {**UPDATE, "id": None, "data": 7},
        {**UPDATE, "id": 7},
        {**UPDATE, "id": []},
        {**UPDATE, "id": True},
        {**UPDATE, "type": "x\n\ndata: forged"},
        {**UPDATE, "type": 7},
        {**UPDATE, "type": ["a"]},
        {**UPDATE, "retry": "5\n\ndata: forged"},
    ],
)
def test_what_others_send_to_a_topics_group_is_left_out_if_it_is_no_update(data):
    kind = updates.UPDATE_TYPE
    assert encoding.translated(json.dumps({"type": kind, "data": UPDATE})).content == b"id: 7\ndata: x\n\n"
    assert encoding.translated(json.dumps({"type": kind, "data": data})) == encoding.Part(b"")


# Who reads


def test_the_rule_lets_in_nobody_but_the_hubs_subscribers(django_user_model):
    subscriber = reading.identity_of(tokens.NOTHING).user
    for user, granted in ((subscriber, {"mercure:a"}), (django_user_model(pk=1, is_superuser=True), set())):
        assert ask_sync(user, ["mercure:a"], None)[0].granted.keys() == granted
    assert ask_sync(subscriber, ["mercure.id:a", "user:1"], None)[0].granted == {}


def test_a_subscriber_is_somebody_for_as_long_as_the_token_is_valid():
    known = reading.identity_of(tokens.NOTHING._replace(subject="ann", ends=time.time() + 100))
    assert known.name == "mercure:ann"
    assert known.again() is known.user
    assert reading.identity_of(tokens.NOTHING._replace(subject="ann", ends=time.time() - 1)).again() is None


# Tokens

PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PUBLIC = (
    PRIVATE.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


def test_a_token_says_what_its_client_may_do():
    key = config.Key(KEY, "HS256")
    claims = tokens.claims_of(
        jwt.encode({"mercure": {"publish": ["*"], "subscribe": ["a"], "payload": 1}, "sub": "ann", "aud": "x"}, KEY),
        key,
    )
    assert (claims.publish.texts, claims.subscribe.texts, claims.subject, claims.ends) == (("*",), ("a",), "ann", None)
    namespaced = jwt.encode({"https://mercure.rocks/": {"publish": ["b"]}, "mercure": {"publish": ["a"]}}, KEY)
    assert tokens.claims_of(namespaced, key).publish.texts == ("b",)
    signed = jwt.encode({"mercure": {"subscribe": ["a"]}}, PRIVATE, "RS256")
    assert tokens.claims_of(signed, config.Key(PUBLIC, "RS256")).subscribe.texts == ("a",)


def without_signature(claims):
    return jwt.encode(claims, None, "none")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a.b.c",
        "." * 17_000,
        without_signature({"mercure": {"publish": ["*"]}}),
        jwt.encode({"mercure": {"publish": ["*"]}}, "another key of thirty-two bytes!"),
        jwt.encode({"mercure": {"publish": ["*"]}}, KEY * 2, "HS512"),
        jwt.encode({"mercure": {"publish": ["*"]}}, PRIVATE, "RS256"),
        jwt.encode({"mercure": {"publish": ["*"]}, "exp": 1}, KEY),
        jwt.encode({"mercure": {"publish": ["*"]}, "nbf": 10**11}, KEY),
        jwt.encode({"mercure": ["publish"]}, KEY),
        jwt.encode({"mercure": {"publish": "*"}}, KEY),
        jwt.encode({"mercure": {"subscribe": [1]}}, KEY),
    ],
)
def test_a_token_that_is_not_valid_is_refused(text):
    with pytest.raises(WireError) as refused:
        tokens.claims_of(text, config.Key(KEY, "HS256"))
    assert refused.value.status == 401


def test_a_public_key_is_no_secret():
    """A client that knows the public key can't sign with it as if it were a secret (RFC 8725, section 2.1)."""

    def part(content):
        return urlsafe_b64encode(content).rstrip(b"=")

    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(b'{"mercure":{"publish":["*"]}}')
    forged = signed + b"." + part(hmac.digest(PUBLIC.encode(), signed, "sha256"))
    with pytest.raises(WireError):
        tokens.claims_of(forged.decode(), config.Key(PUBLIC, "RS256"))


def test_a_token_that_the_hub_makes_is_one_that_it_takes(hub):
    claims = tokens.claims_of(mercure.make_token(subscribe=["a"], seconds=60, subject="ann"), config.hub().subscribers)
    assert (claims.subscribe.texts, claims.publish.texts, claims.subject) == (("a",), (), "ann")
    assert 50 < (claims.ends or 0) - time.time() <= 60


@pytest.mark.parametrize("as_text", [str, gettext_lazy])
def test_a_text_in_place_of_a_list_is_one_selector(hub, as_text):
    one = as_text("https://example.com/books/{path*}")
    claims = tokens.claims_of(mercure.make_token(subscribe=one, publish=one), config.hub().subscribers)
    assert claims.subscribe.texts == claims.publish.texts == ("https://example.com/books/{path*}",)
    assert not claims.subscribe.stand_for_all
    claims = tokens.claims_of(mercure.make_token(subscribe=as_text("")), config.hub().subscribers)
    assert claims.subscribe.texts == ()


# The setting


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"KEY": "short"}, "5 bytes: HS256 needs 32"),
        ({}, "no message: it is off"),
        ({"ANONYMOUS": True}, "0 bytes"),
        ({"KEY": KEY, "ANONYMOUS": 1}, "True or False"),
        ({"KEY": KEY, "ALGORITHM": "none"}, "expected one of HS256"),
        ({"KEY": KEY, "ALGORITHM": "RS256"}, "no public key in PEM"),
        ({"KEY": KEY, "SUBSCRIBER_KEY": "short"}, "SUBSCRIBER_KEY'] has 5 bytes"),
        ({"KEY": 7}, "no text"),
        ({"KEY": KEY, "SECRET": "x"}, "'SECRET', which nothing reads"),
    ],
)
def test_a_bad_setting_is_found_by_the_check_and_no_key_is_shown(settings, given, message):
    settings.LIVEPUSH = {"MERCURE": given}
    found = [each for each in checks.check_settings(None) if each.id == "livepush.E025"]
    if not given:
        assert found == []
        return
    assert message in found[0].msg
    assert KEY not in found[0].msg


def test_keys_of_their_own_for_subscribers(settings):
    settings.LIVEPUSH = {"MERCURE": {"KEY": KEY, "SUBSCRIBER_KEY": PUBLIC, "SUBSCRIBER_ALGORITHM": "RS256"}}
    known = config.hub()
    assert (known.publishers, known.subscribers) == ((KEY, "HS256"), (PUBLIC, "RS256"))
    assert KEY not in repr(known)
    with pytest.raises(ImproperlyConfigured, match="can't sign"):
        mercure.make_token(subscribe=["a"])


def test_a_hub_that_is_mounted_without_a_key_is_found_by_the_check(settings, mounted):
    settings.LIVEPUSH = {}
    [found] = [each for each in checks.check_settings(None) if each.id == "livepush.E025"]
    assert "LIVEPUSH['MERCURE']['KEY'] has 0 bytes" in found.msg


# Discovery


@pytest.fixture
def mounted(settings):
    class Addresses:
        urlpatterns = [path("", include("livepush.bridges.mercure.urls"))]

    settings.ROOT_URLCONF = Addresses


def test_a_view_leads_to_the_hub_and_lets_its_page_read(hub, transactional_db, mounted):
    request, response = RequestFactory().get("/", secure=True), HttpResponse(headers={"Link": "<a>"})
    last = mercure.last_event_id()
    mercure.add_link(request, response, topic='https://example.com/é"', last_event_id=last, content_type="text/plain")
    assert last == f"#{log.state('default').position}"
    assert response["Link"] == (
        f'<a>, <https://testserver/.well-known/mercure>; rel="mercure"; last-event-id="{last}"; '
        'content-type="text/plain", <https://example.com/%C3%A9%22>; rel="self"'
    )
    mercure.set_cookie(request, response, subscribe=["a"], seconds=60)
    cookie = response.cookies["mercureAuthorization"]
    shown = {name: cookie[name] for name in ("path", "secure", "httponly", "samesite", "max-age")}
    assert shown == {
        "path": "/.well-known/mercure", "secure": True, "httponly": True, "samesite": "Strict", "max-age": 60,
    }  # fmt: skip
    assert tokens.claims_of(cookie.value, config.hub().subscribers).subscribe.texts == ("a",)
