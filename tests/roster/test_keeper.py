"""The keeper of one hub's members: what it writes, and whom it clears away."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from django.db import OperationalError
from django.test import override_settings

import livepush
from livepush import access, process
from livepush.access.authenticating import Identity, nobody
from livepush.access.identity import Handshake
from livepush.hub import Waiter
from livepush.rights import Grant, Rights
from livepush.rights.changes import Change
from livepush.roster import rules
from livepush.roster.keeper import Keeper
from livepush.roster.models import Presence
from livepush.roster.who import keys_of
from tests.conftest import Thread


@pytest.fixture
def lobby(monkeypatch):
    """One presence rule, and jobs in threads of their own."""

    async def in_thread(work, level=0):
        return Thread(work).join()

    monkeypatch.setattr(process, "in_thread", in_thread)
    monkeypatch.setattr(rules, "registry", [])
    livepush.presence("lobby:<slug:name>")(lambda user, name: {"name": user.username})


class Loop:
    """A loop that notes what is to be called later."""

    def __init__(self):
        self.later = []

    def call_later(self, seconds, *call):
        self.later.append((seconds, *call))


@pytest.fixture
def hub(lobby):
    router = SimpleNamespace(followers=[])
    return SimpleNamespace(router=router, keep=lambda work: work.close(), loop=Loop(), attached={}, draining=False)


@pytest.fixture
def keeper(hub):
    return Keeper(hub)


def client(number, *groups):
    user = SimpleNamespace(pk=number, username=f"u{number}", is_authenticated=True)
    waiter = Waiter(list(groups))
    return Grant(Identity(user), Handshake({}, "localhost", None, "/"), waiter, waiter.revoke, "acme")


def members(using):
    return sorted(Presence.objects.using(using).values_list("member", flat=True), key=int)


async def test_a_member_that_the_database_refuses_holds_up_no_other(concurrent, request):
    with override_settings(LIVEPUSH={"DATABASE": concurrent, "TENANT": "tests.shop.subdomains.Subdomains"}):
        keeper = request.getfixturevalue("keeper")
        for number in range(20):
            group = f"acme|lobby:{'x' * 200}" if number in (3, 19) else "acme|lobby:a"
            keeper.follow(client(number, group), True)
        await keeper._write()
        expected = [str(number) for number in range(20) if number not in (3, 19)]
        assert Thread(members, concurrent).join() == expected
        keeper.follow(client(20, "acme|lobby:a"), True)
        await keeper._write()
        assert Thread(members, concurrent).join() == [*expected, "20"]
        assert [seconds for seconds, *_ in keeper._hub.loop.later] == [30.0, 30.0]


@pytest.fixture
def rights(hub, monkeypatch):
    """What watches a hub's clients, with one rule that can't ask its database until ``answers`` is true."""

    def rule(user, name):
        if not found.answers:
            raise OperationalError("the database is away")
        return True

    monkeypatch.setattr(access.rules, "rules", [])
    livepush.can_read("lobby:<slug:name>")(rule)
    found = Rights(hub, 60.0)
    found.answers = False
    return found


async def asked_again(rights):
    soon = rights._rechecks.soon
    await rights._rechecks._ask_about(soon, soon.take())


def visitor():
    waiter = Waiter(["lobby:a"])
    view = Handshake({"Cookie": "csrftoken=" + "c" * 32}, "localhost", "session", "/")
    user = SimpleNamespace(pk=7, username="ann", is_authenticated=True)
    return Grant(Identity(user), view, waiter, waiter.revoke)


async def test_who_has_logged_out_is_shown_to_nobody_before_the_rules_have_answered(rights, transactional_db):
    grant = visitor()
    rights.add(grant, rights.heard)
    assert keys_of(grant) == {("lobby:a", "7")}
    rights._heed(Change(session=grant.session))
    assert keys_of(grant) == frozenset()
    await asked_again(rights)
    assert (grant.groups(), keys_of(grant)) == (("lobby:a",), frozenset())
    rights.answers = True
    rights._rechecks.soon.put([grant], "logout")
    await asked_again(rights)
    [(group, member)] = keys_of(grant)
    assert (group, member[0]) == ("lobby:a", "~")


async def test_a_visitor_who_turns_out_to_be_a_user_is_shown_once_the_rules_have_answered(rights, transactional_db):
    grant = visitor()
    user = grant.identity
    grant.identity = Identity(nobody())
    rights.add(grant, rights.heard)
    assert len(keys_of(grant)) == 1
    rights.replace(grant, user)
    assert keys_of(grant) == frozenset()
    rights.answers = True
    await asked_again(rights)
    assert keys_of(grant) == {("lobby:a", "7")}


async def test_a_member_of_whom_the_rules_can_not_be_asked_stays(rights, transactional_db):
    grant = visitor()
    rights.add(grant, rights.heard)
    rights.replace(grant, grant.identity._replace())  # with another token
    await asked_again(rights)
    assert keys_of(grant) == {("lobby:a", "7")}
