"""The keeper of one hub's members: what it writes, and whom it clears away."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.db import OperationalError, connections
from django.test import override_settings
from django.utils import timezone

import livepush
from livepush import access, process
from livepush.access.authenticating import Identity, nobody
from livepush.access.identity import Handshake
from livepush.bridges.pusher import occupying
from livepush.hub import Waiter
from livepush.rights import Grant, Rights
from livepush.rights.changes import Change
from livepush.roster import leases, reading, rules, table
from livepush.roster.changes import Seat
from livepush.roster.keeper import Keeper
from livepush.roster.models import Presence, PresenceLease
from livepush.roster.who import keys_of
from livepush.streams.models import Stream
from tests import asking
from tests.conftest import Thread, events_of
from tests.patience import PATIENCE, eventually


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


async def test_after_a_failover_the_rows_are_those_of_the_members_who_are_there(concurrent, request):
    with override_settings(LIVEPUSH={"DATABASE": concurrent, "TENANT": "tests.shop.subdomains.Subdomains"}):
        keeper = request.getfixturevalue("keeper")
        for number in (1, 2):
            keeper.follow(client(number, "acme|lobby:a"), True)
        await keeper._write()

        def fail_over():
            rows = Presence.objects.using(concurrent)
            rows.filter(member="1").delete()
            rows.create(group="acme|lobby:a", member="3", process=keeper._name, info="{}", since=0)

        Thread(fail_over).join()
        for follower in keeper._hub.router.followers:
            follower.lose_track()
        await keeper._write()
        assert Thread(members, concurrent).join() == ["1", "2"]


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


@pytest.fixture
async def stopped(transactional_db):
    yield
    await process.stop()


async def test_a_client_that_reads_only_a_stream_of_a_group_is_no_member_of_it(stopped, monkeypatch):
    monkeypatch.setattr(access.rules, "rules", [])
    monkeypatch.setattr(rules, "registry", [])
    livepush.can_read("lobby:<slug:name>")(lambda user, name: True)
    livepush.presence("lobby:<slug:name>")(lambda user, name: {"name": "somebody"})
    await Stream.objects.acreate(id="s", group="lobby:a", format="text", producer="p", created=timezone.now())
    begun = []
    for path, query in (("streams/s/", ""), ("sse/", "group=lobby:a")):
        visitor = {"Cookie": f"csrftoken={path[1] * 32}"}
        begun.append(await asking.request(f"/livepush/{path}", query, visitor))
        assert (await begun[-1].receive_output(PATIENCE))["status"] == 200
    await eventually(Presence.objects.aexists)
    assert [member.connections for member in await livepush.amembers("lobby:a")] == [1]
    for each in begun:
        await each.send_input({"type": "http.disconnect"})
        await each.wait(PATIENCE)
    await sync_to_async(connections.close_all)()


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


async def test_the_presence_rule_is_asked_again_about_a_visitor(rights, hub, keeper, monkeypatch, transactional_db):
    answers = iter(["first", "second"])
    monkeypatch.setattr(rules, "registry", [])
    livepush.presence("lobby:<slug:name>")(lambda user, name: {"answer": next(answers)})
    hub.attached["presence"], rights.answers = keeper, True
    grant = visitor()
    grant.identity = Identity(nobody())
    rights.add(grant, rights.heard)
    await keeper._write()
    rights._rechecks.soon.put([grant], "permission")
    await asked_again(rights)
    await keeper._write()
    assert json.loads(Thread(lambda: Presence.objects.get().info).join()) == {"answer": "second"}


async def test_a_member_of_whom_the_rules_can_not_be_asked_stays(rights, transactional_db):
    grant = visitor()
    rights.add(grant, rights.heard)
    rights.replace(grant, grant.identity._replace())  # with another token
    await asked_again(rights)
    assert keys_of(grant) == {("lobby:a", "7")}


# Leases


@pytest.fixture
def clock(monkeypatch):
    """This process's clock, which stands still, and those of the databases, which follow it."""
    found = SimpleNamespace(seconds=1_000_000.0)
    monkeypatch.setattr(leases, "monotonic", lambda: found.seconds)
    monkeypatch.setattr(table, "now", lambda using: round(1000 * found.seconds))
    return found


def put(using="default", process="p"):
    assert table.write(using, table.Process(process, 1, False), [Seat("lobby:a", "7", '{"name":"Ann"}', 1)], [])


def kinds(using="default"):
    return [event.type.removeprefix("presence.") for event in events_of(using)]


LEASE = 15.0
DIED, LIVES = ["join", "leave"], ["join"]


def test_a_process_that_starts_after_an_outage_lets_others_renew(transactional_db, keeper, clock):
    put()
    clock.seconds += 100  # the database was away
    assert keeper._look() == (True, LEASE)
    clock.seconds += 11  # a query of the other process hung
    assert table.renew("default", "p")
    for _ in range(10):
        clock.seconds += LEASE / 3
        keeper._look()
        assert table.renew("default", "p")
    assert kinds() == LIVES


def test_a_process_that_lives_through_an_outage_lets_others_renew(transactional_db, keeper, clock):
    put()
    for _ in range(6):
        assert table.renew("default", "p")
        clock.seconds += LEASE / 3 - 1
        keeper._look()
    clock.seconds += LEASE - 3  # the other one's lease has ended, and this one's look is less than a lease ago
    assert keeper._look() == (True, LEASE)
    assert table.renew("default", "p")
    assert kinds() == LIVES


def test_a_process_that_has_died_is_cleared_away_when_its_lease_ends(transactional_db, keeper, clock):
    for _ in range(3):
        keeper._look()
        clock.seconds += LEASE / 3
    put()
    for _ in range(3):
        _, wait = keeper._look()
        assert kinds() == LIVES
        clock.seconds += min(wait, LEASE / 3)
    assert keeper._look() == (True, None)
    assert kinds() == DIED


def test_a_process_that_starts_clears_away_the_dead_after_one_lease(transactional_db, keeper, clock):
    put()
    clock.seconds += 100
    for _ in range(3):
        assert keeper._look()[1] > 0
        assert kinds() == LIVES
        clock.seconds += LEASE / 3
    assert keeper._look() == (True, None)
    assert kinds() == DIED


def test_a_process_that_has_died_is_cleared_away_though_the_clock_was_set_back(
    transactional_db, keeper, clock, monkeypatch
):
    put()
    put(process="q")
    monkeypatch.setattr(table, "now", lambda using: round(1000 * (clock.seconds - 3600)))
    for _ in range(5):
        keeper._look()
        assert table.renew("default", "q")
        clock.seconds += LEASE / 3
    assert list(PresenceLease.objects.values_list("process", flat=True)) == ["q"]


async def test_a_process_that_writes_down_channels_lets_others_renew_too(transactional_db, hub, clock, monkeypatch):
    async def sleep(seconds):
        clock.seconds += 100
        hub.draining = True  # it is the last look

    monkeypatch.setattr(occupying.asyncio, "sleep", sleep)
    Thread(put).join()
    await occupying.Occupying(hub, False)._renew_on()
    assert Thread(kinds).join() == LIVES


def test_who_asks_after_an_outage_lets_others_renew(transactional_db, clock, monkeypatch):
    monkeypatch.setattr(reading, "known_ended", leases.Ended())
    put()
    clock.seconds += 100
    assert len(reading.snapshot("lobby:a").members) == 1
    clock.seconds += 11
    assert table.renew("default", "p")
    for _ in range(4):
        clock.seconds += LEASE / 3
        assert len(reading.snapshot("lobby:a").members) == 1
        assert table.renew("default", "p")
    assert kinds() == LIVES
    clock.seconds += 100  # the database was away again
    assert len(reading.snapshot("lobby:a").members) == 1
    assert table.renew("default", "p")
    assert kinds() == LIVES
