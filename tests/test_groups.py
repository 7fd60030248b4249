"""Rules: what no rule admits is denied."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError
from django.urls import converters
from django.urls.converters import StringConverter

import livepush
from livepush import exceptions
from livepush.access import rules
from livepush.access.identity import Handshake
from livepush.notes import Rarely
from tests.archive import models as archive
from tests.patience import PATIENCE
from tests.shop.models import Clerk, Driver

REQUEST = Handshake({"X-Tenant": "acme"}, "testserver", None, "/")


def answered(user, *names, right=rules.READ, request=REQUEST, limit=PATIENCE):
    answers, questions = rules.ask_sync(user, names, request, right)
    return async_to_sync(rules.ask_async)(questions, answers, limit)


def granted(user, *names, **options):
    return set(answered(user, *names, **options).granted)


@pytest.fixture(autouse=True)
def own_rules(monkeypatch):
    monkeypatch.setattr(rules, "rules", list(rules.rules))


def test_what_no_rule_matches_is_denied():
    assert granted(AnonymousUser(), "nobody:1", "board:x", "boards", "xboard") == set()


def test_no_rule_opens_livepushs_own_groups():
    livepush.can_read("<path:name>")(lambda user, name: True)
    livepush.can_send("<path:name>", types=("t",))(lambda user, name: True)
    names = ("livepush:rights", "livepush:rights:7", "livepush:doctor", "anything")
    assert granted(AnonymousUser(), *names) == {"anything"}
    assert granted(AnonymousUser(), *names, right=rules.Right(rules.SEND.name, "t")) == {"anything"}


def test_a_rule_decides_by_the_patterns_values():
    assert granted(AnonymousUser(), "board", "order:7", "order:1000", "order:x", "order:-1") == {
        "board",
        "order:7",
    }


def test_async_rules_are_awaited():
    assert granted(None, "async:yes", "async:no") == {"async:yes"}


def test_a_rule_that_raises_denies_and_is_logged_once_in_a_while(caplog, own_rules):
    @livepush.can_read("failing:<int:n>")
    def fail(user, n):
        raise ValueError(n)

    @livepush.can_read("failing-late:<int:n>")
    async def fail_late(user, n):
        raise ValueError(n)

    names = [f"{kind}:{n}" for kind in ("failing", "failing-late") for n in range(50)]
    assert granted(None, *names) == set()
    assert sorted(record.message for record in caplog.records) == [
        "The rule for 'failing-late:<int:n>' raised, so it denies.",
        "The rule for 'failing:<int:n>' raised, so it denies.",
    ]
    assert all(record.exc_info for record in caplog.records)
    caplog.clear()
    rules.rules[-2]._failures.every = 0.0
    assert granted(None, "failing:1") == set()
    (record,) = caplog.records
    assert record.message == "The rule for 'failing:<int:n>' raised, so it denies. It is the last of 50 times."


def test_a_rule_whose_database_is_away_is_logged_once_in_a_while(caplog):
    @livepush.can_read("away:<int:n>")
    def ask(user, n):
        raise OperationalError("no route to host")

    (rule,) = rules.rules_of(rules.READ, "away:1")
    rule._outages = Rarely(every=600.0)
    names = [f"away:{n}" for n in range(50)]
    assert answered(None, *names).failed == set(names)
    rule._outages.every = 0.0
    assert answered(None, "away:1").failed == {"away:1"}
    said = "The rule for 'away:<int:n>' could not ask its database: OperationalError: no route to host."
    assert [record.message for record in caplog.records] == [said, f"{said} It is the last of 50 times."]


def test_rules_that_hang_are_logged_once_in_a_while(caplog, monkeypatch):
    @livepush.can_read("hanging:<int:n>")
    async def hang(user, n):
        await asyncio.Event().wait()

    monkeypatch.setattr(rules, "_late_ones", Rarely(every=600.0))
    names = [f"hanging:{n}" for n in range(50)]
    assert answered(None, *names, limit=0.01).failed == set(names)
    (record,) = caplog.records
    assert record.message == "The rule for 'hanging:0' did not answer within 0.01 s."


def test_a_rule_that_names_request_gets_the_handshake():
    assert granted(None, "tenant:acme", "tenant:other") == {"tenant:acme"}


def test_each_user_and_nobody_else_reads_the_group_of_that_user():
    ann, bob = User(pk=7), User(pk=17)
    assert granted(ann, "user:7", "user:17", "user:07") == {"user:7"}
    assert granted(bob, "user:7") == set()
    assert granted(AnonymousUser(), "user:7", "user:None") == set()
    assert granted(None, "user:7") == set()


def test_a_user_is_known_as_a_proxy_or_a_child_too_and_an_instance_of_another_model_is_no_user():
    assert granted(Clerk(pk=7), "user:7", "user:8") == {"user:7"}
    assert granted(Driver(id=7, licence="8"), "user:7", "user:8") == {"user:7"}
    assert granted(archive.User(pk=7), "user:7") == set()


def test_sending_from_clients_is_a_right_of_its_own():
    user = SimpleNamespace(is_authenticated=True)
    assert granted(user, "room:a", "board", right=rules.SEND) == {"room:a"}
    assert granted(AnonymousUser(), "room:a", right=rules.SEND) == set()


def test_where_several_patterns_match_one_yes_is_enough():
    livepush.can_read("order:<slug:name>")(lambda user, name: name == "1000")
    assert granted(None, "order:1000", "order:1001") == {"order:1000"}


@pytest.mark.parametrize(
    ("pattern", "rule", "message"),
    [
        ("a:<int:pk>", lambda user: True, r"does not fit its pattern .*: expected <lambda>\(user, pk\)"),
        ("a", lambda user, pk: True, "does not fit its pattern"),
        ("a:<nope:pk>", lambda user, pk: True, "is not a pattern"),
        ("a:<int:pk", lambda user, pk: True, "matches no group: no name has '<'"),
        ("order:*", lambda user: True, r"matches no group: no name has '\*'. A part that varies is written as"),
        ("board ", lambda user: True, "matches no group: no name has ' '"),
        ("größe", lambda user: True, "matches no group"),
        (7, lambda user: True, "7 is not a pattern of a group: expected a text such as"),
        (None, lambda user: True, "None is not a pattern of a group"),
        ("board", True, "True stands under the pattern 'board': expected a function"),
        ("board", object, "object'> stands under the pattern 'board': expected a function"),
    ],
)
def test_a_rule_that_can_not_work_is_refused_when_it_is_registered(pattern, rule, message):
    for decorator in (livepush.can_read, livepush.can_send, livepush.presence):
        with pytest.raises(exceptions.InvalidRule, match=message):
            decorator(pattern)(rule)


@pytest.mark.parametrize("decorator", [livepush.can_read, livepush.can_send])
def test_a_rule_without_a_pattern_is_refused(decorator):
    with pytest.raises(
        exceptions.InvalidRule, match=rf"The rule board has no pattern: write @livepush.{decorator.__name__}"
    ):

        @decorator
        def board(user):
            return True


def test_a_pattern_has_one_rule():
    with pytest.raises(exceptions.InvalidRule, match=r"'board' has a rule already, tests\.shop\.live\.board"):
        livepush.can_read("board")(lambda user: True)


def test_a_module_that_is_loaded_again_replaces_its_rules():
    def rule(user):
        return False

    livepush.can_read("again")(rule)
    livepush.can_read("again")(rule)
    assert len([rule for rule in rules.rules if rule.pattern == "again"]) == 1


def test_an_async_rule_behind_a_sync_decorator_denies_rather_than_grants(caplog):
    def decorated(function):
        return lambda *args, **kwargs: function(*args, **kwargs)

    @livepush.can_read("hidden")
    @decorated
    async def hidden(user):
        return False

    assert granted(None, "hidden") == set()
    assert "a sync function returned an awaitable" in caplog.text


@pytest.mark.parametrize("name", ["sync", "async"])
def test_a_database_that_is_away_is_no_denial(name, db):
    @livepush.can_read("sync")
    def sync_rule(user):
        raise OperationalError("gone")

    @livepush.can_read("async")
    async def async_rule(user):
        raise OperationalError("gone")

    answers = answered(None, name, "board")
    assert (set(answers.granted), answers.failed) == ({"board"}, {name})


@pytest.mark.parametrize(
    "rules_of", [("fails", "grants"), ("grants", "fails"), ("fails", "agrants"), ("afails", "grants")]
)
def test_a_rule_that_fails_does_not_outweigh_one_that_grants(rules_of, db):
    def fails(user, name):
        raise OperationalError("gone")

    async def afails(user, name):
        raise OperationalError("gone")

    async def agrants(user, name):
        return True

    functions = {"fails": fails, "afails": afails, "grants": lambda user, name: True, "agrants": agrants}
    for place, each in enumerate(rules_of):
        livepush.can_read(f"<{['slug', 'str'][place]}:name>")(functions[each])
    answers = answered(None, "both")
    assert (set(answers.granted), answers.failed) == ({"both"}, set())


@pytest.mark.parametrize("name", ["sync", "async"])
def test_a_rule_whose_database_fails_is_asked_once_more(name, db):
    asked = []

    @livepush.can_read("sync")
    def sync_rule(user):
        asked.append(user)
        if len(asked) == 1:
            raise OperationalError("gone")
        return True

    @livepush.can_read("async")
    async def async_rule(user):
        return sync_rule(user)

    assert granted("ann", name) == {name}
    assert asked == ["ann", "ann"]


def test_an_async_rule_that_returns_an_awaitable_denies(caplog):
    @livepush.can_read("later")
    async def later(user):
        async def yes():
            return True

        return yes()

    assert granted(None, "later") == set()
    assert "The rule for 'later' raised, so it denies." in caplog.text


def test_an_async_rule_that_hangs_fails_alone():
    @livepush.can_read("hangs")
    async def hangs(user):
        await asyncio.Event().wait()

    answers = answered(None, "hangs", "async:yes", limit=0.05)
    assert (set(answers.granted), answers.failed) == ({"async:yes"}, {"hangs"})


def test_a_converter_that_raises_does_not_match_and_is_logged(caplog, monkeypatch):
    class Broken(StringConverter):
        def to_python(self, value):
            raise RuntimeError("a converter that fails")

    monkeypatch.setitem(converters.REGISTERED_CONVERTERS, "broken", Broken())
    converters.get_converters.cache_clear()
    try:
        livepush.can_read("fragile:<broken:name>")(lambda user, name: True)
    finally:
        converters.get_converters.cache_clear()
    livepush.can_read("sound:<slug:name>")(lambda user, name: True)
    assert granted(AnonymousUser(), "fragile:a", "sound:a") == {"sound:a"}
    assert "The pattern 'fragile:<broken:name>' raised" in caplog.text
