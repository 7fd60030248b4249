"""Messages from clients: who may send what, what a handler gets, and that it takes effect once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import logging
import threading
from datetime import date, timedelta
from importlib import import_module
from io import BytesIO
from types import SimpleNamespace
from typing import Literal

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django import forms
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.handlers.asgi import ASGIRequest
from django.db import DatabaseError, IntegrityError, OperationalError, connection, connections, transaction
from django.db.models import QuerySet
from django.db.models.signals import pre_save
from django.template import Context, Template
from django.test import Client
from django.utils import timezone
from django.utils.crypto import get_random_string
from django.utils.translation import gettext

import livepush
from livepush import exceptions, process, publish, receiving, testing
from livepush.access import limits, rules
from livepush.access.authenticating import Identity
from livepush.access.identity import Admission
from livepush.conf import get_settings
from livepush.consumers import commands
from livepush.consumers import send as endpoint
from livepush.consumers.commands import Visitor
from livepush.consumers.incoming import Incoming
from livepush.publish import senders
from livepush.receiving import gathering, handlers, once, outages, taking, trying
from livepush.receiving.models import Receipt
from livepush.receiving.schemas import check_of
from livepush.wire import MORE_BYTES, Close, Format, WireError
from tests.conftest import Thread, events_of
from tests.patience import PATIENCE
from tests.shop.models import Driver

pytestmark = pytest.mark.django_db(transaction=True)
SEND = "/livepush/send/"
ORIGIN = {"Origin": "http://testserver"}
GERMAN_CHOICE = "Bitte eine gültige Auswahl treffen. Dies ist keine gültige Auswahl."


@pytest.fixture(autouse=True)
def own_rules(monkeypatch):
    """The rules and handlers of one test."""
    monkeypatch.setattr(rules, "rules", [])
    monkeypatch.setattr(handlers, "handlers", [])
    livepush.can_send("room:<slug:name>", types=("chat", "typing"))(lambda user, name: user.is_authenticated)
    livepush.can_send("desk:<slug:name>")(lambda user, name: name != "closed")


@pytest.fixture
def ada():
    return User.objects.create_user("ada", first_name="Ada", last_name="Lovelace")


@pytest.fixture
def client(ada):
    return logged_in(ada)


def logged_in(user, **options):
    found = Client(enforce_csrf_checks=True, **options)
    found.force_login(user)
    return found


def send(client, group="room:lobby", type="chat", data=None, status=200, headers=ORIGIN, **more):
    body = {"group": group, "type": type, "data": data, **more}
    response = client.post(SEND, body, content_type="application/json", headers=headers)
    assert response.status_code == status, response.content
    return response.json()


def handler(pattern="desk:<slug:name>", type="chat", **options):
    return livepush.receive(pattern, type, **options)


def sent():
    return [(event.groups, event.type, event.data) for event in events_of("default")]


def test_a_message_is_sent_in_its_users_name(client, ada):
    assert send(client, data={"text": "Hi", "from": {"id": "1", "name": "root"}}) == {"ok": True, "reply": None}
    (event,) = events_of("default")
    assert json.loads(event.sender) == {"id": str(ada.pk), "name": "Ada Lovelace"}
    answer = Client().get("/livepush/poll/?group=room:lobby").json()
    assert "events" not in answer or answer["events"] == []  # nobody may read it here


def test_readers_see_who_sent_it(client, ada):
    livepush.can_read("room:<slug:name>")(lambda user, name: True)
    start = client.get("/livepush/poll/?group=room:lobby").json()["position"]
    send(client, data="Hi")
    livepush.send("room:lobby", "chat", "by the server")
    livepush.send("room:lobby", "chat", "by a task", sender=ada)
    events = client.get(f"/livepush/poll/?group=room:lobby&since={start}").json()["events"]
    name = {"id": str(ada.pk), "name": "Ada Lovelace"}
    assert [(event["data"], event.get("from")) for event in events] == [
        ("Hi", name),
        ("by the server", None),
        ("by a task", name),
    ]


@pytest.mark.parametrize(
    ("group", "type"),
    [("room:lobby", "order.updated"), ("board", "chat"), ("desk:closed", "chat"), ("desk:open", "chat")],
)
def test_what_no_rule_names_is_forbidden(client, group, type):
    assert send(client, group, type, status=403)["code"] == "forbidden"
    assert sent() == []


def test_a_rule_without_types_allows_what_the_group_has_a_handler_for(client):
    handler(type="question")(lambda user, data, name: f"{user.username} asks {name}: {data}")
    assert send(client, "desk:open", "question", "why?")["reply"] == "ada asks open: why?"
    assert send(client, "desk:open", "answer", status=403)["code"] == "forbidden"
    assert send(client, "desk:closed", "question", status=403)["code"] == "forbidden"
    assert sent() == []


@pytest.mark.parametrize("type", ["livepush.reset", "inbox.changed", "error", "a b", "", None, 7, ["chat"]])
def test_no_client_sends_a_type_of_livepushs_own(client, type):
    assert send(client, type=type, status=400)["code"] == "bad_event"


@pytest.mark.parametrize("types", ["chat", ("livepush.x",), ("a b",), (7,), None])
def test_a_rule_names_types_that_there_can_be(types):
    with pytest.raises(exceptions.InvalidRule, match=r"chat|is not a type|expected a tuple"):
        livepush.can_send("other", types=types)


def test_somebody_who_is_not_logged_in_sends_as_nobody():
    livepush.can_send("wall", types=("note",))(lambda user: True)
    send(Client(), "wall", "note", "Hi", headers=ORIGIN)
    assert [event.sender for event in events_of("default")] == [senders.NOBODY]


def test_the_project_says_what_others_see_of_a_user(client, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "PUBLIC_USER": "tests.test_receiving.nickname"}
    send(client)
    assert [json.loads(event.sender) for event in events_of("default")] == [{"id": "x", "name": "ADA", "colour": "red"}]


def nickname(user):
    return {"id": "x", "name": user.username.upper(), "colour": "red"}


def only_a_name(user):
    return user.username


def test_a_wrong_public_user_is_the_projects_error(client, settings, caplog):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "PUBLIC_USER": "tests.test_receiving.only_a_name"}
    assert send(client, status=503)["code"] == "unavailable"
    assert "LIVEPUSH['PUBLIC_USER'] names 'tests.test_receiving.only_a_name', and it returned 'ada'" in caplog.text
    assert sent() == []


def with_an_avatar(user):
    return {"id": str(user.pk), "name": "<b>", "avatar": "/a.png"}


@pytest.mark.parametrize(("username", "name"), [("ben", "ben"), ("ben@example.com", "ben")])
def test_a_name_without_a_full_name_is_the_usernames_without_its_domain(username, name):
    user = User(pk=3, username=username)
    assert livepush.public_user(user) == {"id": "3", "name": name}
    template = Template("{% load livepush %}{{ user|livepush_name }}")
    assert template.render(Context({"user": user})) == name


def test_a_sender_has_the_primary_key_of_the_user_model():
    driver = Driver(licence="A7", id=3, user_ptr_id=3, username="dan")
    assert livepush.public_user(driver) == {"id": "3", "name": "dan"}


def test_a_page_shows_the_name_that_events_have(settings):
    alice = User(pk=3, username="alice")
    settings.LIVEPUSH = {**settings.LIVEPUSH, "PUBLIC_USER": "tests.test_receiving.with_an_avatar"}
    template = Template("{% load livepush %}{{ user|livepush_name }}")
    assert template.render(Context({"user": alice})) == "&lt;b&gt;"
    assert livepush.public_user(alice)["avatar"] == "/a.png"
    assert livepush.public_user(AnonymousUser()) == {"id": None, "name": ""}


# Once


def test_a_repeated_message_takes_effect_once(client):
    for _ in range(3):
        assert send(client, data="Hi", key="k1")["ok"]
    send(client, data="Hi", key="k2")
    assert sent() == [(("room:lobby",), "chat", '"Hi"')] * 2


def test_a_repeated_message_gets_the_handlers_first_answer(client):
    calls = []

    @handler()
    def take(user, data, name):
        calls.append(data)
        livepush.send("board", "told", data)
        return {"number": len(calls)}

    answers = [send(client, "desk:a", data="Hi", key="k")["reply"] for _ in range(3)]
    assert answers == [{"number": 1}] * 3
    assert calls == ["Hi"]
    assert sent() == [(("board",), "told", '"Hi"')]
    assert send(client, "desk:b", data="Hi", key="k")["reply"] == {"number": 2}  # another group


def test_nobody_uses_up_anothers_key(client):
    ben = logged_in(User.objects.create_user("ben"))
    send(ben, data="of ben", key="k")
    send(client, data="of ada", key="k")
    livepush.send("room:lobby", "chat", "of the server", key="k")
    assert [data for _, _, data in sent()] == ['"of ben"', '"of ada"', '"of the server"']


def visitor(known_by=""):
    """Return a browser without a login."""
    found = Client(enforce_csrf_checks=True)
    if known_by == "csrftoken":
        found.cookies["csrftoken"] = get_random_string(32)
    elif known_by == "sessionid":
        session = found.session  # has a cookie now
        session["basket"] = [1]
        session.save()
    return found


@pytest.mark.parametrize("known_by", ["csrftoken", "sessionid"])
def test_visitors_who_are_not_logged_in_have_keys_of_their_own(known_by):
    livepush.can_send("wall", types=("note",))(lambda user: True)
    handler(type="vote")(lambda user, data, name: f"receipt of {data}")
    first, second = visitor(known_by), visitor(known_by)
    for browser, data in ((first, "first"), (second, "second"), (first, "repeated")):
        told = "first" if data == "repeated" else data
        assert send(browser, "desk:poll", "vote", data, key="vote")["reply"] == f"receipt of {told}"
        send(browser, "wall", "note", data, key="note")
    assert [data for _, _, data in sent()] == ['"first"', '"second"']


@pytest.mark.parametrize("atomic", [True, False])
def test_the_keys_of_visitors_who_can_not_be_told_apart_count_for_nothing(atomic):
    livepush.can_send("wall", types=("note",))(lambda user: True)
    handler(type="vote", atomic=atomic)(lambda user, data, name: data)
    for data in ("first", "second"):
        assert send(visitor(), "desk:poll", "vote", data, key="vote")["reply"] == data
        assert testing.client().send("desk:poll", "vote", data, key="vote") == data
        send(visitor(), "wall", "note", data, key="note")
    assert Receipt.objects.count() == 0
    assert [data for _, _, data in sent()] == ['"first"', '"second"']


def test_a_handler_that_fails_has_done_nothing_and_may_be_asked_again(client, caplog):
    @handler()
    def take(user, data, name):
        User.objects.create(username=f"made by {data}")
        livepush.send("board", "told", data)
        if data == "bad":
            raise RuntimeError("secret inside")
        return "done"

    answer = send(client, "desk:a", data="bad", key="k", status=500)
    assert answer == {"ok": False, "code": "failed", "message": "The server could not handle the message."}
    assert "secret inside" in caplog.text
    assert not User.objects.filter(username__startswith="made").exists()
    assert sent() == []
    assert Receipt.objects.count() == 0
    assert send(client, "desk:a", data="good", key="k")["reply"] == "done"


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("answer", ["done", None])
@pytest.mark.parametrize("kind", ["constraint", "statement"])
def test_a_handler_that_hides_an_error_of_the_database_has_failed(client, ada, kind, answer, key, caplog):
    @handler()
    def take(user, data, name):
        User.objects.create(username="made")
        livepush.send("board", "told", data)
        with contextlib.suppress(DatabaseError):  # nothing in the transaction can be committed after it
            if kind == "constraint":
                User.objects.create(username="ada")
            else:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT no_such_column FROM livepush_receipt")
        return answer

    made = kind == "statement" and connection.vendor != "postgresql"  # other databases go on after such an error
    if made:
        assert send(client, "desk:a", key=key)["reply"] == answer
    else:
        assert send(client, "desk:a", key=key, status=500)["code"] == "failed"
        assert "TransactionManagementError" in caplog.text
    assert User.objects.filter(username="made").exists() == made
    assert bool(sent()) == made
    assert Receipt.objects.exists() == (made and key is not None)


def test_a_message_took_effect_although_what_is_done_on_commit_raises(client, caplog):
    @handler()
    def take(user, data, name):
        def delay():
            raise ConnectionError("the broker is down")

        transaction.on_commit(delay)
        User.objects.create_user(data)
        return {"saved": data}

    for _ in range(2):
        assert send(client, "desk:a", data="carl", key="k") == {"ok": True, "reply": {"saved": "carl"}}
    assert User.objects.filter(username="carl").exists()
    (record,) = [record for record in caplog.records if record.name == "livepush"]
    assert record.getMessage().startswith("What the handler for 'desk:<slug:name>' does on commit raised.")
    assert "the broker is down" in caplog.text
    assert testing.client().send("desk:b", "chat", "dora") == {"saved": "dora"}


class TestInATestCase:
    @pytest.mark.django_db(transaction=False)
    def test_what_a_handler_does_on_commit_is_all_that_a_test_captures(self, django_capture_on_commit_callbacks):
        handler()(lambda user, data, name: transaction.on_commit(list))
        with django_capture_on_commit_callbacks() as callbacks:
            testing.client().send("desk:a", "chat", key="k")
        assert callbacks == [list]


def test_a_commit_that_fails_undoes_the_message(client, monkeypatch):
    @handler()
    def take(user, data, name):
        User.objects.create_user(data)
        monkeypatch.setattr(connection, "_commit", fail)

    def fail():
        raise IntegrityError("a deferred constraint")

    assert send(client, "desk:a", data="carl", key="k", status=500)["code"] == "failed"
    monkeypatch.undo()
    assert not User.objects.filter(username="carl").exists()


@pytest.mark.django_db(transaction=True, databases="__all__")
def test_two_copies_at_once_take_effect_once(concurrent, client, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": concurrent}
    answers, calls = [], []

    @handler()
    def take(user, data, name):
        calls.append(data)
        return len(calls)

    threads = [Thread(lambda: answers.append(send(client, "desk:a", key="k", data=1)["reply"])) for _ in range(4)]
    for thread in threads:
        thread.join()
    assert answers == [1, 1, 1, 1]
    assert calls == [1]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_outside_of_a_transaction_takes_a_message_once(client, is_async):
    calls = []

    def take(user, data, name):
        calls.append(data)
        if data == "bad":
            raise ValueError("no")
        return [data]

    async def atake(user, data, name):
        return await sync_to_async(take)(user, data, name)

    handler(atomic=False)(atake if is_async else take)
    assert send(client, "desk:a", data="bad", key="k", status=500)["code"] == "failed"
    for _ in range(2):
        assert send(client, "desk:a", data="good", key="k")["reply"] == ["good"]
    assert calls == ["bad", "good"]


def test_handlers_of_other_threads_may_begin_while_the_ended_ones_are_forgotten(client, monkeypatch):
    class Other:
        """The task of a handler in another thread, where one more begins while this one is looked at."""

        def get_loop(self):
            taking._running.add(Other())
            return SimpleNamespace(is_closed=lambda: False)

    async def take(user, data, name):
        return "done"

    monkeypatch.setattr(taking, "_running", {Other()})
    handler()(take)
    assert send(client, "desk:a")["reply"] == "done"


def failing(monkeypatch, times):
    """Have the statement that notes a handler's answer fail so many times."""
    update, left = QuerySet.update, iter([True] * times)

    def fail(rows, **values):
        if rows.model is Receipt and "reply" in values and next(left, False):
            raise OperationalError("server closed the connection unexpectedly")
        return update(rows, **values)

    monkeypatch.setattr(QuerySet, "update", fail)


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("is_away", [False, True], ids=["a dead connection", "the database is away"])
def test_a_handler_that_took_effect_is_not_called_again_though_its_note_failed(
    client, monkeypatch, caplog, is_async, is_away
):
    calls = []

    def take(user, data, name):
        calls.append(data)
        return "paid"

    async def atake(user, data, name):
        return take(user, data, name)

    handler(atomic=False)(atake if is_async else take)
    failing(monkeypatch, 1000 if is_away else 1)
    assert send(client, "desk:a", data=7, key="k")["reply"] == "paid"
    assert ("took effect, but the database was away" in caplog.text) == is_away
    if not is_away:
        Receipt.objects.update(created="2020-01-01T00:00Z")
        assert send(client, "desk:a", data=7, key="k")["reply"] == "paid"
    assert calls == [7]


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_client_hears_what_a_handler_has_raised_though_the_database_is_away(client, monkeypatch, is_async):
    def take(user, data, name):
        raise PermissionDenied("Not yours.")

    async def atake(user, data, name):
        take(user, data, name)

    def fail(rows):
        raise OperationalError("server closed the connection unexpectedly")

    handler(atomic=False)(atake if is_async else take)
    monkeypatch.setattr(QuerySet, "delete", fail)
    assert send(client, "desk:a", key="k", status=403)["message"] == "Not yours."


def take_in_loop(message, user, language="en"):
    """Take a message as a WebSocket's does."""
    admission = trying._admission(user, message.group, rules.Right("send", message.type))
    return receiving.take_async(
        message, admission, None, lambda work: process.in_thread(work, 1), process.tidy, language
    )


@pytest.fixture
async def stopped():
    yield
    await process.stop()


async def answered(message, user):
    """Send a message again and again, as a client does; return the answer."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(WireError, TimeoutError):
                return await take_in_loop(message, user)
            await asyncio.sleep(0.01)


async def test_an_async_handler_whose_connection_closes_goes_on_and_is_not_called_again(stopped, ada):
    charged, begun, go = [], asyncio.Event(), asyncio.Event()

    @handler()
    async def pay(user, data, name):
        charged.append(data)
        begun.set()
        await go.wait()
        return "paid"

    message = receiving.Message("desk:a", "chat", 7, "k")
    first = asyncio.create_task(take_in_loop(message, ada))
    await begun.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(WireError, match="is being handled"):
            await take_in_loop(message, ada)
    go.set()
    assert await answered(message, ada) == "paid"
    assert charged == [7]


@pytest.mark.django_db(transaction=True, databases="__all__")
async def test_a_sync_handler_that_takes_too_long_goes_on_and_is_not_called_again(concurrent, stopped, ada, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": concurrent, "DATABASE_TIMEOUT": 0.5}
    charged, workers, go = [], [], threading.Event()

    @handler(atomic=False)
    def pay(user, data, name):
        charged.append(data)
        workers.append(threading.current_thread())
        assert go.wait(PATIENCE)
        return "paid"

    message = receiving.Message("desk:a", "chat", 7, "k")
    with pytest.raises(TimeoutError):
        await take_in_loop(message, ada)
    go.set()
    await asyncio.to_thread(workers[0].join, PATIENCE)
    await Receipt.objects.using(concurrent).aupdate(created="2020-01-01T00:00Z")
    assert await answered(message, ada) == "paid"
    assert charged == [7]
    await sync_to_async(connections.close_all)()


async def test_a_server_ends_after_its_async_handlers(stopped, ada):
    begun, done = asyncio.Event(), []

    @handler()
    async def pay(user, data, name):
        begun.set()
        await asyncio.sleep(0.3)
        done.append(data)

    message = receiving.Message("desk:a", "chat", 7, "k")
    first = asyncio.create_task(take_in_loop(message, ada))
    await begun.wait()
    first.cancel()
    await process.stop()
    assert done == [7]


def careless(limits):
    """Return a handler that hangs, and that loses a cancellation first, as asyncio.wait_for of Python 3.11 may."""

    async def take(user, data, name):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)
        limits.append(data)
        await asyncio.sleep(PATIENCE)

    return take


@pytest.fixture
def half_a_second(settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 0.5}


async def test_an_async_handler_that_hangs_is_refused_in_time_and_may_be_asked_again(
    stopped, ada, half_a_second, caplog
):
    reached = []
    handler()(careless(reached))
    async with asyncio.timeout(PATIENCE):
        for _ in range(2):
            with pytest.raises(WireError) as caught:
                await take_in_loop(receiving.Message("desk:a", "chat", 7, "k"), ada)
            assert caught.value.code == "failed"
    assert reached == [7, 7]
    assert "did not end within 0.4 s" in caplog.text


def test_an_async_handler_that_hangs_holds_no_request(client, half_a_second, caplog):
    handler()(careless([]))
    assert send(client, "desk:a", status=500)["code"] == "failed"
    assert "did not end within 0.4 s" in caplog.text


def test_while_a_message_is_handled_its_copy_is_told_to_come_back(client):
    handler(atomic=False)(lambda user, data, name: "done")
    assert once.begin("k") == (True, None)
    with pytest.raises(ValueError, match="is being handled"):
        once.begin("k")
    Receipt.objects.update(created="2020-01-01T00:00Z")  # its process has died
    assert once.begin("k") == (True, None)


def test_a_message_is_handled_anew_only_after_the_longest_time_that_a_handler_has(client, settings):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 100.0}
    once.begin("k")
    Receipt.objects.update(created=timezone.now() - timedelta(seconds=190))
    with pytest.raises(WireError, match="is being handled"):
        once.begin("k")
    Receipt.objects.update(created=timezone.now() - timedelta(seconds=201))
    assert once.begin("k") == (True, None)


@pytest.mark.parametrize("atomic", [True, False])
def test_a_receiver_that_checks_all_models_checks_no_receipt(client, atomic):
    def check(instance, **kwargs):
        instance.full_clean()  # a reply may not be blank, it would say, and that a repeated one is not unique

    taken = []
    handler(atomic=atomic)(lambda user, data, name: taken.append(data))
    pre_save.connect(check)
    try:
        answers = [send(client, "desk:a", data="x", key="k") for _ in range(2)]
    finally:
        pre_save.disconnect(check)
    assert answers == [{"ok": True, "reply": None}] * 2
    assert taken == ["x"]


def test_receipts_go_with_the_log(client):
    handler()(lambda user, data, name: None)
    send(client, "desk:a", key="new")
    Receipt.objects.create(key="old", created="2020-01-01T00:00Z")
    assert once.prune("default") == 1
    assert Receipt.objects.count() == 1


def test_receipts_are_deleted_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr(once, "PRUNED_AT_ONCE", 2)
    Receipt.objects.bulk_create([Receipt(key=f"old {n}", created="2020-01-01T00:00Z") for n in range(5)])
    assert [once.prune("default") for _ in range(4)] == [2, 2, 1, 0]


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize(("noted", "asked"), [(0, 8), (-8, 0)], ids=["one is ahead", "one is behind"])
def test_receipts_are_as_old_as_the_databases_clock_says(concurrent, noted, asked, settings, monkeypatch):
    """Two hosts, one of which has the wrong time (in days)."""
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": concurrent}
    now, taken = timezone.now(), []
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=noted))
    once.in_transaction("a", lambda: taken.append(1))
    assert once.begin("b") == (True, None)
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=asked))
    assert once.prune(concurrent) == 0
    once.in_transaction("a", lambda: taken.append(2))
    with pytest.raises(WireError, match="is being handled"):
        once.begin("b")
    assert taken == [1]


# What a handler wants


class TextForm(forms.Form):
    text = forms.CharField(max_length=5)


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@dataclasses.dataclass
class Drawing:
    kind: Literal["line", "dot"]
    points: list[Point]
    title: str | None = None
    more: dict[str, int] = dataclasses.field(default_factory=dict)


def test_a_form_cleans_the_data(client):
    handler(schema=TextForm)(lambda user, data, name: data)
    assert send(client, "desk:a", data={"text": " Hi ", "other": 1})["reply"] == {"text": "Hi"}
    answer = send(client, "desk:a", data={"text": "too long"}, status=422)
    assert (answer["code"], list(answer["errors"])) == ("invalid", ["text"])
    assert "at most 5 characters" in answer["message"]
    assert send(client, "desk:a", data="text", status=422)["errors"] == {"__all__": ["The data are no object."]}


class Member(forms.Form):
    username = forms.ModelChoiceField(User.objects.all(), to_field_name="username")


@dataclasses.dataclass
class Known:
    username: str

    def __post_init__(self):
        if not User.objects.filter(username=self.username).exists():
            raise ValidationError({"username": [gettext("Enter a valid value.")]})


@pytest.mark.parametrize("schema", [Member, Known])
async def test_a_schema_may_query_for_an_async_handler_too(stopped, ada, schema):
    calls = []

    @handler(schema=schema)
    async def take(user, data, name):
        calls.append(data)
        return "taken"

    message = receiving.Message("desk:a", "chat", {"username": "ada"}, "k")
    assert [await take_in_loop(message, ada) for _ in range(2)] == ["taken", "taken"]
    assert len(calls) == 1
    with pytest.raises(WireError) as caught:
        await take_in_loop(receiving.Message("desk:a", "chat", {"username": "ben"}, "k2"), ada, "de")
    assert (caught.value.code, list(caught.value.errors)) == ("invalid", ["username"])
    assert caught.value.errors["username"][0] in ("Bitte einen gültigen Wert eingeben.", GERMAN_CHOICE)
    assert await process.in_thread(lambda: list(Receipt.objects.values_list("reply"))) == [('"taken"',)]


@pytest.mark.parametrize("schema", [Member, Known])
def test_a_schema_may_query_for_an_async_handler_over_post(client, schema):
    @handler(schema=schema)
    async def take(user, data, name):
        return "taken"

    assert send(client, "desk:a", data={"username": "ada"})["reply"] == "taken"
    assert list(send(client, "desk:a", data={"username": "ben"}, status=422)["errors"]) == ["username"]


async def test_a_schema_with_a_mistake_is_no_fault_of_the_database(stopped, ada, caplog):

    class Wrong(forms.Form):
        def clean(self):
            raise RuntimeError("a mistake")

    @handler(schema=Wrong)
    async def take(user, data, name):
        pass

    with pytest.raises(WireError) as caught:
        await take_in_loop(receiving.Message("desk:a", "chat", {}), ada)
    assert caught.value.code == "failed"
    assert "a mistake" in caplog.text


def test_a_dataclass_checks_the_data():
    check = check_of(Drawing)
    found = check({"kind": "dot", "points": [{"x": 1}], "more": {"n": 1}})
    assert found == Drawing("dot", [Point(1.0)], None, {"n": 1})
    with pytest.raises(ValidationError) as caught:
        check({"kind": "box", "points": [{"x": "1", "z": 2}], "title": 3, "own": 1})
    assert caught.value.message_dict == {
        "own": ["There is no such field."],
        "kind": ["Expected one of 'line', 'dot'."],
        "points": ["z: There is no such field.", "x: Expected a number."],
        "title": ["Expected a text.", "Expected null."],
    }
    for data in (None, [], 7, {"kind": "dot"}, {"kind": "dot", "points": {}}, {"kind": "dot", "points": [True]}):
        with pytest.raises(ValidationError):
            check(data)


def test_a_schema_that_can_not_be_checked_is_refused():
    made = dataclasses.make_dataclass("Made", [("at", complex)])
    for schema in (made, 7, "text", dict):
        with pytest.raises(exceptions.InvalidRule, match=r"schema is|can't check"):
            check_of(schema)


@pytest.mark.parametrize(
    ("raised", "status", "expected"),
    [
        (ValidationError("Too late."), 422, {"code": "invalid", "errors": {"__all__": ["Too late."]}}),
        (ValidationError({"text": "No."}), 422, {"code": "invalid", "errors": {"text": ["No."]}}),
        (PermissionDenied("Not yours."), 403, {"code": "forbidden", "message": "Not yours."}),
        (KeyError("secret"), 500, {"code": "failed"}),
        (TimeoutError("secret"), 500, {"code": "failed"}),
        (ConnectionError("secret"), 500, {"code": "failed"}),
        (exceptions.InvalidGroup("secret"), 500, {"code": "failed"}),
        (asyncio.CancelledError("secret"), 500, {"code": "failed"}),
        (StopIteration("secret"), 500, {"code": "failed"}),
        (ValidationError("%(secret)s", params={"other": 1}), 500, {"code": "failed"}),
        (ValidationError({"text": ValidationError("%(secret)d", params={"other": 1})}), 500, {"code": "failed"}),
    ],
)
@pytest.mark.parametrize("kind", ["atomic", "outside", "async"])
def test_what_a_handler_raises_is_the_senders_to_hear(client, raised, status, expected, kind, caplog):
    def take(user, data, name):
        raise raised

    async def atake(user, data, name):
        raise raised

    handler(atomic=kind == "atomic")(atake if kind == "async" else take)
    answer = send(client, "desk:a", status=status)
    assert answer.items() >= expected.items()
    assert "secret" not in json.dumps(answer)
    assert ("secret" in caplog.text) == (status == 500)


def test_the_database_that_does_not_answer_in_time_is_no_fault_of_an_async_handler(caplog, ada):
    @handler()
    async def take(user, data, name):
        return "done"

    async def too_late(work):
        raise TimeoutError("The database did not answer within 10 s.")

    admission = trying._admission(ada, "desk:a", rules.Right("send", "chat"))
    with pytest.raises(WireError) as caught:
        async_to_sync(receiving.take_async)(
            receiving.Message("desk:a", "chat"), admission, None, too_late, process.tidy, "en"
        )
    assert (caught.value.code, caught.value.status) == ("unavailable", 503)
    assert "The database did not answer within 10 s." in caplog.text


def test_an_answer_that_is_no_json_undoes_the_message(client):
    @handler()
    def take(user, data, name):
        livepush.send("board", "told")
        return object()

    assert send(client, "desk:a", status=500)["code"] == "failed"
    assert sent() == []


@pytest.mark.parametrize("sender", [7, "ada", object()])
def test_an_event_is_sent_in_the_name_of_a_user_alone(db, sender):
    with pytest.raises(exceptions.InvalidEvent, match=r"sender is .*: expected a user"):
        livepush.send("board", "told", sender=sender)


def test_a_handler_fits_its_pattern():
    with pytest.raises(exceptions.InvalidRule, match=r"expected take\(user, data, name\)"):

        @handler()
        def take(user, name):
            pass

    for bad in (
        lambda: livepush.receive(len, "t"),
        lambda: handler(type="a b"),
        lambda: handler(pattern="ä")(len),
        lambda: handler(pattern=7)(len),
        lambda: handler()("take"),
    ):
        with pytest.raises(exceptions.InvalidRule):
            bad()
    handler()(lambda user, data, name: 1)

    def other(user, data, name):
        return 2

    with pytest.raises(exceptions.InvalidRule, match="has a handler already"):
        handler()(other)


# From where


def test_a_page_of_another_site_sends_nothing(client):
    for origin in ("https://evil.example", "null", "http://testserver.evil.example"):
        assert send(client, status=403, headers={"Origin": origin})["code"] == "bad_origin"
    assert send(client, status=403, headers={})["code"] == "csrf"
    assert sent() == []


def test_a_page_of_the_origin_null_sends_nothing_by_cookie(client, ada, settings):
    """Any site can make such a page."""
    settings.LIVEPUSH = {**settings.LIVEPUSH, "ALLOWED_ORIGINS": ["null"]}
    send(client, status=403, headers={"Origin": "null"})
    assert sent() == []
    send(Client(), headers={"Origin": "null", "Authorization": f"Bearer {livepush.token(ada)}"})
    assert len(sent()) == 1


def test_without_an_origin_the_csrf_token_counts(client):
    token = "a" * 32
    client.cookies["csrftoken"] = token
    send(client, headers={"X-CSRFToken": token})
    assert len(sent()) == 1


def test_a_token_sends_what_its_user_may(client, ada):
    token = livepush.token(ada, groups=["room:lobby"])
    bearer = {"Authorization": f"Bearer {token}"}
    send(Client(), headers=bearer)
    assert send(Client(), "room:other", status=403, headers=bearer)["code"] == "forbidden"
    assert send(Client(), status=401, headers={"Authorization": f"Bearer {token[:-3]}"})["code"]


def test_a_message_of_another_logins_page_is_refused(client):
    livepush.can_read("room:<slug:name>")(lambda user, name: True)
    from livepush.access.logins import login_name

    mine = login_name(client.cookies["sessionid"].value, None)
    send(client, login=mine)
    assert send(client, login="0" * 16, status=409)["code"] == "other_login"
    assert send(Client(), login=mine, status=409)["code"] == "other_login"
    assert len(sent()) == 1


def test_signed_cookies_name_the_user_whose_page_sends(settings, ada):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    from livepush.access.logins import login_name

    livepush.can_send("hall:<slug:name>", types=("chat",))(lambda user, name: True)
    first, other = Client(), Client()
    first.force_login(ada)
    other.force_login(User.objects.create_user("eve", password="eve"))
    mine = login_name(first.cookies["sessionid"].value, None)
    session = first.session
    session["cart"] = [7]
    session.save()
    first.cookies["sessionid"] = session.session_key  # it changes with the session's data
    assert login_name(session.session_key, None) == mine
    send(first, "hall:a", login=mine)
    assert send(other, "hall:a", login=mine, status=409)["code"] == "other_login"
    first.logout()
    assert send(first, "hall:a", login=mine, status=409)["code"] == "other_login"
    assert [groups for groups, *_ in sent()].count(("hall:a",)) == 1


def test_visitors_with_signed_cookies_have_names_of_their_own(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    from livepush.access.logins import login_name

    names = set()
    for cart in (7, 8):
        session = import_module(settings.SESSION_ENGINE).SessionStore()
        session["cart"] = cart
        session.save()
        names.add(login_name(session.session_key, None))
    assert len(names) == 2


def test_a_page_without_a_session_sends_nothing_in_the_name_of_who_logs_in(client, settings):
    livepush.can_send("square:<slug:name>", types=("chat",))(lambda user, name: True)
    assert send(client, "square:a", login="", status=409)["code"] == "other_login"
    send(Client(), "square:a", login="")
    visitor = Client()
    visitor.session.save()  # a cart, say: nobody is logged in
    send(visitor, "square:a", login="")
    send(client, "square:a")  # a program that does not tell
    send(client, "square:a", login=None)
    assert send(client, "square:a", login=1, status=400)["code"] == "bad_message"
    assert len(sent()) == 4


def test_a_token_sends_whatever_the_page_had(ada):
    token = livepush.token(ada, groups=["room:lobby"])
    send(Client(), login="", headers={"Authorization": f"Bearer {token}"})
    assert len(sent()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_message"),
        (b"[1]", "bad_message"),
        (b"\xff", "bad_message"),
        (b"[" * 50_000, "bad_message"),
        (b'{"group": "a b", "type": "chat"}', "bad_group"),
        (b'{"type": "chat"}', "bad_group"),
        (b'{"group": "room:lobby", "type": "chat", "key": ""}', "bad_key"),
        (b'{"group": "room:lobby", "type": "chat", "key": 7}', "bad_key"),
        (b'{"group": "room:lobby", "type": "chat", "ephemeral": 1}', "bad_message"),
        (b'{"group": "room:lobby", "type": "chat", "data": NaN}', "bad_event"),
        (b'{"group": "room:lobby", "type": "chat", "data": {"$bytes": "AAAA="}}', "bad_event"),
        (b'{"group": "room:lobby", "type": "chat", "data": "\\u0000"}', "bad_event"),
        (b'{"group": "room:lobby", "type": "chat", "data": "\\ud800"}', "bad_event"),
        (b'{"group": "room:lobby", "type": "chat", "data": "' + b"x" * 66_000 + b'"}', "bad_event"),
        (b" " * 200_000, "too_large"),
    ],
)
def test_a_malformed_message_is_refused(client, body, code):
    response = client.generic("POST", SEND, body, content_type="application/json", headers=ORIGIN)
    assert response.json()["code"] == code
    assert sent() == []


def test_of_a_body_without_a_length_no_more_is_read_than_a_message_may_have(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    body = BytesIO(b" " * 10_000_000)
    scope = {"type": "http", "method": "POST", "path": SEND, "query_string": b"", "headers": []}
    assert endpoint.send(ASGIRequest(scope, body)).status_code == 413
    assert body.tell() == get_settings().MAX_EVENT_BYTES + MORE_BYTES + 1


@pytest.mark.parametrize("data", ["NaN", "[-Infinity]", "1e999", '"\\ud800"', '"\\u0000"'])
def test_a_handler_gets_no_data_that_no_event_can_have(client, data):
    taken = []
    handler()(lambda user, data, name: taken.append(data))
    body = f'{{"group": "desk:first", "type": "chat", "data": {data}}}'
    response = client.generic("POST", SEND, body, content_type="application/json", headers=ORIGIN)
    assert (response.json()["code"], taken) == ("bad_event", [])


def test_only_post_sends(client):
    response = client.get(SEND, headers=ORIGIN)
    assert (response.status_code, response["Allow"]) == (405, "POST")


def test_an_ephemeral_message_to_a_handler_counts_as_an_ordinary_one(client, settings):
    taken = []
    handler()(lambda user, data, name: taken.append(data))
    settings.LIVEPUSH = {**settings.LIVEPUSH, "MESSAGES_PER_SECOND": 0.2, "EPHEMERAL_PER_SECOND": 100}
    get_settings.cache_clear()
    send(client, "desk:a", data=1, ephemeral=True)
    assert send(client, "desk:a", data=2, ephemeral=True, status=429)["code"] == "throttled"
    assert taken == [1]


@pytest.mark.parametrize("ephemeral", [True, False])
async def test_a_page_that_moves_something_for_a_handler_is_not_closed_for_it(ephemeral, settings, monkeypatch):
    handler()(lambda user, data, name: None)
    monkeypatch.setattr(commands, "PAUSE", 0)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "COMMANDS_PER_SECOND": 0.001}
    get_settings.cache_clear()
    budget = limits.Budget()
    budget.command()  # there is room for the next one after a quarter of an hour
    command = {"command": "send", "group": "desk:a", "type": "chat", "data": 1, "ephemeral": ephemeral}
    sent = [{"type": "websocket.receive", "text": json.dumps(command)}] * 200
    messages = iter([*sent, {"type": "websocket.disconnect"}])

    async def receive():
        return next(messages)

    client = SimpleNamespace(refuse=lambda *told: None)
    connection = SimpleNamespace(say=lambda frames: None, format=Format.TEXT)
    visitor = SimpleNamespace(budget=lambda: budget, entry=SimpleNamespace(client=client), connection=connection)
    with Incoming(receive) as incoming:
        code = await commands.take_commands(visitor, incoming)
    assert code is (None if ephemeral else Close.TOO_MANY)


class DriverError(Exception):
    """A driver's error, with what tells its kind."""

    def __init__(self, *args, **known):
        super().__init__(*args)
        self.__dict__ |= known


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (DriverError(sqlstate="57P01"), "unavailable"),
        (DriverError(sqlstate="40P01"), "unavailable"),
        (DriverError(sqlstate="57014"), "failed"),
        (DriverError(pgcode="42P01"), "failed"),
        (DriverError(sqlite_errorcode=517), "unavailable"),
        (DriverError(sqlite_errorcode=1), "failed"),
        (DriverError(2006, "gone away"), "unavailable"),
        (DriverError(1213, "a deadlock"), "unavailable"),
        (DriverError(4031, "idle for too long"), "unavailable"),
        (DriverError(1047, "not ready"), "unavailable"),
        (DriverError(1364, "no default"), "failed"),
        (None, "unavailable"),
    ],
)
def test_an_error_of_a_database_that_comes_each_time_does_not_have_the_message_sent_for_ever(cause, code):
    error = OperationalError("?")
    error.__cause__ = cause
    assert outages.may_pass(error) == (code == "unavailable")


def test_a_handler_that_names_a_column_that_is_missing_has_failed(client):
    @handler()
    def ask(user, data, name):
        with connection.cursor() as cursor:
            cursor.execute("SELECT no_such_column FROM livepush_loghead")

    assert send(client, "desk:a", data=1, status=500)["code"] == "failed"


def test_a_flood_is_told_to_wait(client, settings, caplog):
    caplog.set_level(logging.ERROR)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "MESSAGES_PER_SECOND": 1, "EPHEMERAL_PER_SECOND": 2}
    get_settings.cache_clear()
    for ephemeral in (False, True):
        statuses = [
            client.post(
                SEND,
                {"group": "room:lobby", "type": "typing", "ephemeral": ephemeral},
                content_type="application/json",
                headers=ORIGIN,
            )
            for _ in range(15)
        ]
        refused = [each for each in statuses if each.status_code == 429]
        assert 3 <= len(refused) <= 10
        assert all(int(each["Retry-After"]) >= 1 and each.json()["code"] == "throttled" for each in refused)


def test_an_ephemeral_message_is_not_stored(client, announced):
    send(client, type="typing", ephemeral=True)
    assert sent() == []
    ((event,),) = [batch.events for batch in announced]
    assert (event.number, event.groups, json.loads(event.sender)["name"]) == (None, ("room:lobby",), "Ada Lovelace")


@pytest.fixture
async def gathered(stopped, announced, monkeypatch):
    """The batches that are announced in a process that has streams."""
    monkeypatch.setattr(publish, "announce", announced.append)
    await process.get_hub()
    return announced


async def test_of_ephemeral_messages_by_post_the_newest_goes_out(gathered, client):
    livepush.can_send("wall", types=("note",))(lambda user: True)
    visitors = [visitor("csrftoken"), visitor("csrftoken")]

    def post():
        for number in range(20):
            send(client, type="typing", data=number, ephemeral=True)
        for browser in visitors:
            send(browser, "wall", "note", ephemeral=True)

    thread = Thread(post)
    thread.join()  # meanwhile the loop sends nothing
    assert gathered == []
    async with asyncio.timeout(PATIENCE):
        while not gathered:
            await asyncio.sleep(0.01)
    (batch,) = gathered
    assert [(event.groups[0], event.data) for event in batch.events] == [
        ("room:lobby", "19"),
        ("wall", "null"),
        ("wall", "null"),
    ]


async def test_a_message_by_post_follows_the_ephemeral_ones_that_were_sent_before(gathered, client):
    gathering.gatherer()._next = asyncio.get_running_loop().time() + PATIENCE

    def post():
        send(client, type="typing", ephemeral=True)
        send(client, data="Hi")

    await asyncio.to_thread(Thread(post).join)
    async with asyncio.timeout(PATIENCE / 2):
        while len(gathered) < 2:
            await asyncio.sleep(0.01)
    assert [event.type for batch in gathered for event in batch.events] == ["typing", "chat"]


async def test_a_message_without_a_key_is_stored_once_though_its_thread_takes_it_twice(stopped, ada):
    def in_thread(work):
        return process.in_thread(lambda: (work(), work())[-1])  # the connection broke before the first answer came

    sender = Admission(Identity(ada), ("room:lobby",), (), frozenset())
    message = receiving.Message("room:lobby", "chat", "Hi")
    await receiving.take_async(message, sender, None, in_thread, lambda is_last: None, "en")
    assert await process.in_thread(sent) == [(("room:lobby",), "chat", '"Hi"')]


async def test_what_nobody_has_said_goes_out_before_the_client_is_somebody(gathered):
    gathering.gatherer()._next = asyncio.get_running_loop().time() + PATIENCE
    visitor, times = Visitor({}, None, None, None), []

    async def admit(groups, right):
        times.append(right.type)
        return Admission(Identity(AnonymousUser()), groups, (), frozenset())

    for number in range(2):
        cursor = receiving.Message("room:lobby", "typing", number, ephemeral=True)
        await visitor.outgoing.send(cursor, admit, None, str)
    assert (gathered, times) == ([], ["typing"])
    visitor.begin_anew()
    ((event,),) = [batch.events for batch in gathered]
    assert (event.groups, event.data) == (("room:lobby",), "1")
    gathered.clear()
    await visitor.outgoing.send(cursor, admit, None, str)
    assert (gathered, times) == ([], ["typing", "typing"])  # the rule is asked about the new user


async def test_each_ephemeral_message_is_checked_though_the_rule_was_asked_a_moment_ago(gathered):
    visitor = Visitor({}, None, None, None)

    async def admit(groups, right):
        return Admission(Identity(AnonymousUser()), groups, (), frozenset())

    for data in (1, "x" * get_settings().MAX_EVENT_BYTES, 2):
        cursor = receiving.Message("room:lobby", "typing", data, ephemeral=True)
        with contextlib.nullcontext() if isinstance(data, int) else pytest.raises(WireError, match="bytes as JSON"):
            await visitor.outgoing.send(cursor, admit, None, str)
    async with asyncio.timeout(PATIENCE):
        while [event.data for batch in gathered for event in batch.events][-1:] != ["2"]:
            await asyncio.sleep(0.01)


def test_the_public_names_are_there():
    assert livepush.receive is receiving.receive


# In a project's own tests


def test_a_projects_test_sends_as_a_browser_would(ada):
    handler(schema=TextForm)(lambda user, data, name: f"{user.username}: {data['text']}")
    browser = testing.client(ada)
    assert browser.send("desk:a", "chat", {"text": "Hi"}) == "ada: Hi"
    assert browser.send("room:lobby", "chat", "Hi") is None
    with pytest.raises(testing.SendRefused, match="invalid: This field is required") as caught:
        browser.send("desk:a", "chat", {})
    assert caught.value.code == "invalid"
    with pytest.raises(testing.SendRefused, match="forbidden: No rule lets AnonymousUser send 'chat' to 'room:lobby'"):
        testing.client().send("room:lobby", "chat")
    assert [json.loads(event.sender)["name"] for event in events_of("default")] == ["Ada Lovelace"]


def test_a_projects_test_gives_a_handler_what_a_browser_can_send(ada):
    handler()(lambda user, data, name: {"got": repr(data)})
    browser = testing.client(ada)
    for sent, got in (
        ({"at": date(2026, 1, 31), "pair": (1, 2), 3: "three"}, {"at": "2026-01-31", "pair": [1, 2], "3": "three"}),
        (b"\0\xff", b"\0\xff"),
        (None, None),
    ):
        assert browser.send("desk:a", "chat", sent) == {"got": repr(got)}
    for refused in (float("nan"), {"x": "y" * 100_000}, {"$bytes": "no base64"}, {1, 2}):
        for group in ("desk:a", "room:lobby"):
            with pytest.raises(testing.SendRefused) as caught:
                browser.send(group, "chat", refused)
            assert caught.value.code == "bad_event"


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"key": "k" * 201}, "bad_key"),
        ({"key": ""}, "bad_key"),
        ({"key": 7}, "bad_key"),
        ({"group": "a b"}, "bad_group"),
        ({"type": "a b"}, "bad_event"),
        ({"ephemeral": 1}, "bad_message"),
    ],
)
def test_a_projects_test_is_refused_what_a_browser_is(client, ada, changed, code):
    message = {"group": "room:lobby", "type": "chat", **changed}
    assert send(client, status=400, **message)["code"] == code
    with pytest.raises(testing.SendRefused) as caught:
        testing.client(ada).send(**message)
    assert caught.value.code == code


def test_a_projects_test_knows_an_inactive_user_as_the_server_does(ada, client, settings):
    livepush.can_read("room:<slug:name>")(lambda user, name: user.is_authenticated)
    ada.is_active = False
    ada.save()
    testing.assert_may_not_read(ada, "room:lobby")
    testing.assert_may_not_send(ada, "room:lobby", "chat")
    with pytest.raises(testing.SendRefused, match="forbidden"):
        testing.client(ada).send("room:lobby", "chat")
    assert send(client, status=403)["code"] == "forbidden"
    settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
    testing.assert_may_read(ada, "room:lobby")


def test_a_projects_test_asks_who_may(ada):
    livepush.can_read("room:<slug:name>")(lambda user, name: user.is_authenticated)
    testing.assert_may_read(ada, "room:lobby")
    testing.assert_may_not_read(None, "room:lobby")
    testing.assert_may_send(ada, "room:lobby", "chat")
    testing.assert_may_not_send(ada, "room:lobby", "other")
    for fails in (
        lambda: testing.assert_may_read(None, "room:lobby"),
        lambda: testing.assert_may_not_read(ada, "room:lobby"),
        lambda: testing.assert_may_send(ada, "board", "chat"),
        lambda: testing.assert_may_not_send(ada, "room:lobby", "chat"),
    ):
        with pytest.raises(AssertionError, match=r"may (not )?(read|send)"):
            fails()
