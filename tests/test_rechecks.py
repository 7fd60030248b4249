"""Asking about clients again: the reason that they get if they lose groups."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.test import Client

import livepush
from livepush import log, process
from livepush.access import authenticating, identity, rules, tokens
from livepush.access.authenticating import Identity
from livepush.access.identity import Handshake
from livepush.hub import Waiter
from livepush.rights import Grant, Rights, confirm, rechecks, watch
from livepush.rights.changes import Change
from livepush.rights.rechecks import Queue
from livepush.wire import WireError
from tests.conftest import ALIASES, Thread

OTHER = ALIASES[-1]


@pytest.fixture
def rights(monkeypatch):
    """The rights of a hub's clients, with jobs in threads of their own."""

    async def in_thread(work, level=0):
        return Thread(work).join()

    monkeypatch.setattr(process, "in_thread", in_thread)
    monkeypatch.setattr(watch, "on_change", [])
    router = SimpleNamespace(followers=[])
    return Rights(SimpleNamespace(router=router, keep=lambda work: work.close(), loop=None), 60.0)


def reader(known, *groups):
    waiter = Waiter(list(groups))
    return waiter, Grant(known, Handshake({}, "localhost", known.session, "/"), waiter, waiter.revoke)


def by_session(user):
    client = Client()
    client.force_login(user)
    return authenticating.of_session(client.session.session_key)


def by_token(user):
    return authenticating.of_token(tokens.parse(livepush.token(user)))


def by_authenticator(user):
    return Identity(user, again=lambda: User.objects.filter(is_active=True).first())


def goes_on_under_another_key(known):
    SessionStore(known.session).cycle_key()


def is_lost(known):
    Session.objects.all().delete()


def becomes_inactive(known):
    User.objects.update(is_active=False)


def is_of_another_epoch(known):
    log.begin_epoch("default")


async def asked_about(rights):
    """Ask about everybody, as a process does now and then."""
    rights.lose_track()
    later = rights._rechecks.later
    await rights._rechecks._ask_about(later, later.take())


@pytest.mark.parametrize(
    ("by", "ends", "reason"),
    [
        (by_session, goes_on_under_another_key, "session"),
        (by_session, is_lost, "session"),
        (by_session, becomes_inactive, "session"),
        (by_token, is_of_another_epoch, "token"),
        (by_token, becomes_inactive, "token"),
        (by_authenticator, becomes_inactive, "user"),
    ],
)
async def test_a_client_whose_login_has_ended_is_told_that_another_one_may_help(
    rights, transactional_db, by, ends, reason
):
    user = Thread(User.objects.create_user, "ann").join()
    known = Thread(by, user).join()
    waiter, grant = reader(known, livepush.user_group(user), "board")
    rights.add(grant, rights.heard)
    await asked_about(rights)
    assert (list(waiter.groups), waiter.reason) == ([livepush.user_group(user), "board"], "")
    Thread(ends, known).join()
    await asked_about(rights)
    assert (list(waiter.groups), waiter.reason) == (["board"], reason)


async def test_a_client_that_is_still_who_it_was_is_told_that_the_right_has_ended(
    rights, transactional_db, monkeypatch
):
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("lobby:<slug:name>")(lambda user, name: user.first_name != "Banned")
    user = Thread(User.objects.create_user, "ann").join()
    waiter, grant = reader(Thread(by_session, user).join(), "lobby:a")
    rights.add(grant, rights.heard)
    Thread(lambda: User.objects.update(first_name="Banned")).join()
    await asked_about(rights)
    assert (list(waiter.groups), waiter.reason) == ([], "permission")


class Replica:
    """Reads users from another database."""

    def db_for_read(self, model, **hints):
        return OTHER if model is User else None


@pytest.mark.skipif(OTHER == "default", reason="the run has one database")
@pytest.mark.django_db(transaction=True, databases=["default", OTHER])
async def test_where_users_are_read_from_a_replica_a_change_that_it_has_late_is_found_out_soon(rights, settings):
    timers = []
    rights._loop = SimpleNamespace(call_later=lambda seconds, *work: timers.append(partial(*work)))
    user = Thread(User.objects.create_user, "ann").join()
    Thread(partial(user.save, using=OTHER, force_insert=True)).join()
    settings.DATABASE_ROUTERS = [Replica()]
    waiter, grant = reader(Identity(user), livepush.user_group(user), "board")
    rights.add(grant, rights.heard)

    async def asked_soon():
        soon = rights._rechecks.soon
        await rights._rechecks._ask_about(soon, soon.take())

    Thread(partial(User.objects.using("default").update, is_active=False)).join()
    rights._heed(Change(user=str(user.pk), reason="user"))
    await asked_soon()
    assert list(waiter.groups) == [livepush.user_group(user), "board"]
    Thread(partial(User.objects.using(OTHER).update, is_active=False)).join()
    timers.pop()()
    await asked_soon()
    assert (list(waiter.groups), waiter.reason) == (["board"], "user")


async def test_while_a_client_is_to_be_asked_about_what_its_user_remembers_lets_it_into_no_group(
    rights, transactional_db, monkeypatch
):
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("lobby:<slug:name>")(lambda user, name: user.first_name != "Banned")
    known = Thread(by_token, Thread(User.objects.create_user, "ann").join()).join()
    _, grant = reader(known, "board")
    rights.add(grant, rights.heard)
    Thread(lambda: User.objects.update(first_name="Banned")).join()
    rights._heed(Change(user=known.name))
    heard = rights.heard_for(grant)
    asked = identity.Asked(known, *rules.ask_sync(known.user, ["lobby:a"], grant.view), None)
    admission = identity.admission(asked, ["lobby:a"], asked.answers)
    assert admission.granted == ("lobby:a",)
    with pytest.raises(WireError) as refused:
        await confirm(rights, admission, grant.view, heard)
    assert refused.value.code == "forbidden"


async def test_what_takes_too_long_to_look_up_for_many_clients_is_looked_up_for_fewer(
    rights, transactional_db, monkeypatch
):
    batches, in_thread = [], process.in_thread

    async def slow(job, level):
        batches.append(len(job._questions))
        if batches[-1] > 50:
            raise TimeoutError
        await in_thread(job, level)

    monkeypatch.setattr(process, "in_thread", slow)
    monkeypatch.setattr(rechecks, "PAUSE", 0.0)
    for _ in range(200):
        rights.add(reader(Identity(None), "board")[1], rights.heard)
    rights.lose_track()
    later = rights._rechecks.later
    for _ in range(20):
        await rights._rechecks._ask_about(later, later.take())
    assert batches[:4] == [200, 100, 50, 150]
    assert not later.filled.is_set()


class Hangs(BaseException):
    """Stands for an answer that does not come."""


class Directory(ModelBackend):
    def get_user(self, user_id):
        found = super().get_user(user_id)
        if found is not None and found.first_name == "hangs":
            raise Hangs
        return found


async def test_a_client_about_whom_a_backend_does_not_answer_must_come_back_and_others_need_not_wait(
    rights, transactional_db, settings, monkeypatch
):
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.Directory"]

    async def in_thread(job, level):
        try:
            Thread(job).join()
        except Hangs:
            raise TimeoutError from None

    monkeypatch.setattr(process, "in_thread", in_thread)
    waiters = {}
    for name in ("ann", "ben", "eve"):
        user = Thread(User.objects.create_user, name).join()
        waiters[name], grant = reader(Thread(by_session, user).join(), livepush.user_group(user))
        rights.add(grant, rights.heard)
    Thread(lambda: User.objects.filter(username="ben").update(first_name="hangs")).join()
    await asked_about(rights)
    later = rights._rechecks.later
    await rights._rechecks._ask_about(later, later.take())
    assert [name for name, waiter in waiters.items() if waiter.is_sent_away] == ["ben"]
    assert all(waiter.groups for waiter in waiters.values())
    assert not later.filled.is_set()


@pytest.mark.parametrize("reason", ["logout", "moved"])
async def test_a_reason_that_says_more_is_kept_until_the_client_is_asked_about(reason):
    queue, (_, grant) = Queue(jobs=1, patience=None, level=0), reader(Identity(None), "board")
    for put in (queue.put, lambda grants, why: queue.put_back(dict.fromkeys(grants, why))):
        for first, second in (("permission", reason), (reason, "permission")):
            queue.put([grant], first)
            put([grant], second)
            assert queue.take() == {grant: reason}
