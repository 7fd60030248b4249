"""With autocommit off: livepush commits what it does by itself, and nothing of the project's."""

from __future__ import annotations

import json

import pytest
from django.contrib.auth.models import User
from django.db import connections, transaction

import livepush
from livepush import log, publish, signals
from livepush.inbox.marking import Action, mark
from livepush.management.commands import livepush_send
from livepush.models import Event
from livepush.process.connections import close_connections, cut_connections
from livepush.process.database_log import DatabaseLog
from livepush.process.threads import Threads
from livepush.wire import RIGHTS
from tests.conftest import ALIASES, Thread, kind
from tests.patience import PATIENCE
from tests.shop.models import Order


@pytest.fixture
def manual(using, settings, monkeypatch):
    """The log's database. A new connection to it has autocommit off; the test's own has it on."""
    settings.LIVEPUSH = {"DATABASE": using}
    log.state(using)
    monkeypatch.setitem(connections.settings[using], "AUTOCOMMIT", False)
    return using


def project(work, *args):
    """Do some work as the project does it: on a new connection, which is closed afterwards."""
    return Thread(work, *args).join()


def send(using):
    """Send an event, and commit it."""
    livepush.send("board", "t")
    transaction.commit(using=using)


def numbers(using):
    """Return the positions that others see."""
    return project(lambda: list(Event.objects.using(using).order_by("id").values_list("position", flat=True)))


@pytest.mark.parametrize("name", ["livepush-hub", "livepush-auth"])
async def test_livepushs_own_threads_commit_what_they_do(manual, name):
    threads = Threads(1, name, PATIENCE, close_connections, cut_connections)
    hub = DatabaseLog(manual, 86_400.0, threads)
    try:
        for count in (1, 2):  # on SQLite the second write fails if the hub has not committed
            project(send, manual)
            assert (await hub.sweep()).position.number == count
            assert numbers(manual) == list(range(1, count + 1))
    finally:
        await hub.close()


def test_an_event_that_waits_is_settled_beside_the_projects_transaction(manual):
    def answer():
        assert log.state(manual).waiting
        publish.settle(manual)
        assert not log.state(manual).waiting
        transaction.rollback(using=manual)

    project(send, manual)
    project(answer)
    assert numbers(manual) == [1]


def test_what_a_project_has_not_committed_stays_so(manual, caplog):
    """On another connection settle might wait for it, which would wait for settle. MariaDB does not."""

    def answer():
        Order.objects.using(manual).create(note="not committed")
        livepush.send("board", "t")
        publish.deliver(manual)
        connections[manual].close()

    project(send, manual)
    project(answer)
    assert not Order.objects.using(manual).exists()
    assert numbers(manual) == ([1] if manual == "mariadb" else [None])
    assert caplog.messages == []


def test_an_ephemeral_event_goes_out_at_once(manual, announced):
    project(lambda: livepush.send("board", "t", ephemeral=True))
    assert [event.type for batch in announced for event in batch.events] == ["t"]


def test_a_delivery_waits_for_no_commit_that_django_does_not_notice(manual):
    def answer():
        with transaction.atomic(using=manual):
            livepush.send("board", "t")
        assert not connections[manual].run_on_commit
        transaction.commit(using=manual)

    project(answer)
    assert numbers(manual) == [None]


def test_a_change_of_rights_is_told_in_the_projects_transaction(manual, caplog):
    def save(end):
        user = User.objects.using(manual).get()
        user.email = "ann@example.com"
        user.save(using=manual)
        end(using=manual)

    User.objects.using(manual).create(username="ann")
    project(save, transaction.rollback)
    assert not Event.objects.using(manual).exists()
    project(save, transaction.commit)
    assert [json.loads(event.data)["reason"] for event in Event.objects.using(manual).filter(group=RIGHTS)] == ["user"]
    assert caplog.messages == []


def test_what_a_reader_marks_is_told_though_no_commit_is_noticed(manual):
    found = []

    def receive(action, **fields):
        found.append(action)

    def answer():
        mark(ann, Action.SEEN, upto=1)
        transaction.commit(using=manual)

    ann = User.objects.using(manual).create(username="ann")
    livepush.notify(ann, "Hello")
    signals.marked.connect(receive)
    try:
        project(answer)
    finally:
        signals.marked.disconnect(receive)
    assert found == ["seen"]


@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "postgresql"], indirect=True)
def test_a_transaction_of_the_projects_keeps_its_limits(manual):
    """PostgreSQL alone has such limits."""

    def answer():
        with connections[manual].cursor() as cursor:
            mark(ann, Action.SEEN, upto=1)
            cursor.execute("SELECT current_setting('idle_in_transaction_session_timeout')")
            return cursor.fetchone()

    ann = User.objects.using(manual).create(username="ann")
    livepush.notify(ann, "Hello")
    assert project(answer) == ("0",)


def test_a_command_commits_what_it_does(manual):
    project(lambda: livepush_send.Command().run_from_argv(["manage.py", "livepush_send", "board", "t"]))
    assert numbers(manual) == [1]


def test_a_command_that_the_projects_code_calls_leaves_the_commit_to_it(manual):
    def answer():
        livepush_send.Command().execute(
            group="board", type="t", data="null", key=None, ephemeral=False, tenant=None, database=None, verbosity=0,
            no_color=True, force_color=False, skip_checks=True,
        )  # fmt: skip
        transaction.rollback(using=manual)

    project(answer)
    assert numbers(manual) == []


def test_a_settle_beside_a_transaction_raises_what_it_raises(manual, monkeypatch):
    def fail(using):
        raise RuntimeError("no log")

    monkeypatch.setattr(log, "settle", fail)
    with pytest.raises(RuntimeError, match="no log"):
        project(publish.settle, manual)
