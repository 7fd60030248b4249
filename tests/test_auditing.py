"""What an audit is told: by signals, whatever their receivers do, and in lines of a log."""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, connections
from django.test import Client, override_settings
from django.utils import translation

import livepush
from livepush import audit, notes, signals, tallies, tenants
from livepush.access import limits
from livepush.consumers import auditing, commands
from livepush.consumers.incoming import Incoming
from livepush.wire import Format
from tests import asking
from tests.patience import PATIENCE, wait_until

NOBODY = {"user": None, "tenant": None, "transport": "sse", "address": "203.0.113.7"}


@pytest.fixture(autouse=True)
def own(monkeypatch):
    """Queues and counts of the test's own, and no receivers after it."""
    receivers = audit.Receivers()
    monkeypatch.setattr(audit, "_receivers", receivers)
    kinds = {name: kind._replace(lines=notes.AtMost(audit.LINES)) for name, kind in audit.KINDS.items()}
    monkeypatch.setattr(audit, "KINDS", kinds)
    yield
    for kind in kinds.values():
        kind.signal.receivers.clear()
        kind.signal.sender_receivers_cache.clear()
    receivers.wait(PATIENCE)


@pytest.fixture
def told():
    """What a receiver of each signal was told, as pairs of a name and the arguments."""
    found = []

    def listen(name):
        def receive(sender, signal, **fields):
            assert sender is None
            found.append((name, fields))

        getattr(signals, name).connect(receive, weak=False)

    for name in audit.KINDS:
        listen(name)
    return found


def until(told, count):
    wait_until(lambda: len(told) >= count, lambda: str(told))
    assert len(told) == count


def tell(number, name="connected", **more):
    audit.tell(name, **{**NOBODY, "groups": ("board",), "number": number, **more})


def numbers(told):
    return [fields["number"] for _, fields in told]


def test_the_reasons_of_a_projects_own_are_counted_together_and_told_as_they_are(told, monkeypatch):
    monkeypatch.setattr(tallies, "counts", Counter())
    given = []
    client = auditing.Client("sse", {"client": None, "headers": []})
    revoke = partial(client.revoke, lambda groups, reason: given.append(reason))
    own = ["logout", "session", "token", "user", "permission", "revoked"]
    reasons = [*own, "order 1 was closed", "order 2 was closed"]
    for reason in reasons:
        revoke(["board"], reason)
    assert tallies.counts == {**{("revoked", "sse", reason): 1 for reason in own}, ("revoked", "sse", "other"): 2}
    assert given == reasons
    until(told, len(reasons))
    assert [fields["reason"] for _, fields in told] == reasons


@pytest.mark.parametrize(
    ("command", "type"),
    [
        ({"command": "subscribe", "groups": ["order:1"]}, None),
        ({"command": "send", "group": "order:1", "type": "note", "data": 1}, "note"),
    ],
)
async def test_a_command_over_a_limit_is_told_with_its_groups(settings, command, type):
    settings.LIVEPUSH = {"COMMANDS_PER_SECOND": 0.001}
    budget, found = limits.Budget(), []
    budget.command()  # there is room for the next one after a quarter of an hour
    messages = iter([{"type": "websocket.receive", "text": json.dumps(command)}, {"type": "websocket.disconnect"}])

    async def receive():
        return next(messages)

    client = SimpleNamespace(refuse=lambda error, *asked: found.append((error.code, *asked)))
    connection = SimpleNamespace(say=lambda frames: None, format=Format.TEXT)
    visitor = SimpleNamespace(budget=lambda: budget, entry=SimpleNamespace(client=client), connection=connection)
    with Incoming(receive) as incoming:
        assert await commands.take_commands(visitor, incoming) is None
    assert found == [("throttled", ("order:1",), type)]


# Receivers


def test_receivers_are_called_in_order_and_in_no_thread_of_the_callers(told):
    threads = set()
    signals.connected.connect(lambda **fields: threads.add(threading.current_thread().name), weak=False)
    for number in range(100):
        tell(number)
    until(told, 100)
    assert numbers(told) == list(range(100))
    assert threads == {"livepush-audit"}


def test_receivers_run_for_the_tenant_of_the_client(settings):
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    found = []
    signals.connected.connect(lambda tenant, **fields: found.append((tenant, tenants.current())), weak=False)
    for name in ("acme", "globex"):
        tell(1, tenant=name)
    wait_until(lambda: found == [("acme", "acme"), ("globex", "globex")], lambda: str(found))


def test_async_receivers_are_called_too():
    found = []

    async def receive(sender, **fields):
        found.append(fields["number"])

    signals.connected.connect(receive)
    for number in range(3):
        tell(number)
    wait_until(lambda: found == [0, 1, 2])


def test_a_receiver_that_raises_stops_no_other(told):
    def fail(**fields):
        raise ValueError("no")

    signals.connected.connect(fail)
    tell(1)
    tell(2)
    until(told, 2)


def test_one_that_ends_its_thread_stops_none_of_the_next(told):
    def fail(number, **fields):
        if number == 1:
            raise SystemExit

    signals.connected.connect(fail)
    tell(1)
    tell(2)
    wait_until(lambda: 2 in numbers(told))


def test_nobody_waits_for_a_receiver_that_is_slow(told):
    go_on = threading.Event()
    signals.connected.connect(lambda **fields: go_on.wait(PATIENCE), weak=False)
    for number in range(10_000):
        tell(number)
    assert audit.waiting() >= 9_999
    go_on.set()
    until(told, 10_000)
    wait_until(lambda: audit.waiting() == 0)


def test_what_waits_has_a_bound_and_the_log_says_what_was_left_out(told, caplog):
    go_on = threading.Event()
    signals.connected.connect(lambda **fields: go_on.wait(PATIENCE), weak=False)
    groups = tuple(f"{number:0200}" for number in range(100))
    for number in range(3000):
        tell(number, groups=groups)
    held = audit._receivers._bytes
    assert audit.MAX_BYTES - 40_000 < held <= audit.MAX_BYTES
    assert "signals for an audit were left out" in caplog.text
    go_on.set()
    wait_until(lambda: audit.waiting() == 0)
    assert audit._receivers._bytes == 0


def test_what_anybody_can_cause_leaves_room_for_the_rest(told):
    go_on = threading.Event()
    signals.denied.connect(lambda **fields: go_on.wait(PATIENCE), weak=False)
    for number in range(40_000):
        tell(number, "denied")
    waiting = audit.waiting()
    assert waiting < 20_000
    for number in range(5000):
        tell(number)
    assert audit.waiting() == waiting + 5000
    go_on.set()
    wait_until(lambda: audit.waiting() == 0)


def test_another_thread_goes_on_where_one_is_stuck(told, monkeypatch):
    monkeypatch.setattr(audit, "STUCK", 0.05)
    go_on = threading.Event()
    signals.connected.connect(lambda number, **fields: number or go_on.wait(10 * PATIENCE), weak=False)
    tell(0)
    wait_until(lambda: told)  # the fixture's receiver comes first

    def next_comes():
        tell(1)
        return 1 in numbers(told)

    try:
        wait_until(next_comes)
    finally:
        go_on.set()
    wait_until(lambda: audit.waiting() == 0)


def test_a_thread_without_work_ends_and_the_next_record_starts_another(told, monkeypatch):
    monkeypatch.setattr(audit, "IDLE", 0.01)
    for number in range(3):
        tell(number)
        until(told, number + 1)
        wait_until(lambda: audit._receivers._worker is None)


@pytest.mark.django_db(transaction=True)
def test_a_receiver_may_use_the_database_also_after_its_connection_died():
    found = []

    def receive(number, **fields):
        if number == 0 and connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        found.append(User.objects.count())

    signals.connected.connect(receive)
    for number in range(3):
        tell(number)
    wait_until(lambda: len(found) >= 2)


@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_handles_the_error_of_its_dead_connection_gets_another_one():
    found, all_wait = [], threading.Event()  # a thread without work closes its connections anyway

    def receive(number, **fields):
        all_wait.wait(PATIENCE)
        connection.ensure_connection()
        found.append(connection.connection)
        if number == 0:
            with suppress(DatabaseError), connection.cursor() as cursor:
                cursor.execute("SELECT nothing FROM nowhere")

    signals.connected.connect(receive)
    for number in range(3):
        tell(number)
    all_wait.set()
    wait_until(lambda: len(found) == 3)
    assert found[0] is not found[1]
    assert found[1] is found[2]


def test_a_receiver_finds_nothing_that_was_set_in_its_context_for_another_client():
    user, found = ContextVar("user", default=None), []

    def receive(number, **fields):
        found.append((number, user.get(), translation.get_language()))
        user.set(number)
        translation.activate("de")

    signals.connected.connect(receive)
    for number in range(3):
        tell(number)
    wait_until(lambda: len(found) == 3)
    assert found == [(number, None, "en-us") for number in range(3)]


def test_without_listeners_nothing_is_done(monkeypatch):
    logging.getLogger("livepush.audit").setLevel(logging.ERROR)
    try:
        assert not any(map(audit.is_wanted, audit.KINDS))
        for name in audit.KINDS:
            tell(1, name)
        assert audit.waiting() == 0
        assert audit._receivers._worker is None
    finally:
        logging.getLogger("livepush.audit").setLevel(logging.NOTSET)


# Lines


def lines(caplog):
    return [record for record in caplog.records if record.name == "livepush.audit"]


@pytest.fixture
def records():
    """Have each new record of a log given to a function, as by a project's own factory of records."""
    before = logging.getLogRecordFactory()

    def change(work):
        def make(*args, **options):
            record = before(*args, **options)
            work(record)
            return record

        logging.setLogRecordFactory(make)

    yield change
    logging.setLogRecordFactory(before)


@pytest.fixture(params=["factory", "filter"])
def unloggable(request, records, monkeypatch):
    """Let the project's code fail for each line of the audit."""

    def fail(record):
        if record.name == "livepush.audit":
            raise ValueError("no")
        return True

    monkeypatch.setattr(notes, "_noted", set())
    if request.param == "factory":
        records(fail)
    else:
        monkeypatch.setattr(audit.logger, "filters", [fail])


def test_a_line_has_fields_of_its_own_and_says_them(caplog):
    caplog.set_level(logging.INFO, "livepush.audit")
    user = User(pk=7, username="ann")
    groups = tuple(f"order:{number}" for number in range(12))
    audit.tell("disconnected", **{**NOBODY, "user": user}, groups=groups, seconds=1.23456, reason="too large")
    (record,) = lines(caplog)
    assert record.levelno == logging.INFO
    assert record.audit == "disconnected"
    assert (record.user, record.address, record.seconds, record.reason) == ("7", "203.0.113.7", 1.235, "too large")
    assert (record.groups, record.groups_count) == (list(groups[:10]), 12)
    assert not hasattr(record, "tenant")
    assert record.getMessage() == (
        f"disconnected user=7 transport=sse address=203.0.113.7 groups={','.join(groups[:10])} seconds=1.235 "
        'reason="too large" groups_count=12'
    )


def test_a_field_that_the_projects_records_have_already_keeps_the_projects_value(caplog, records):
    records(lambda record: setattr(record, "user", "of the project"))
    audit.tell("denied", **{**NOBODY, "user": User(pk=7)}, groups=("board",), code="forbidden", status=403)
    (record,) = lines(caplog)
    assert (record.audit, record.user, record.groups) == ("denied", "of the project", ["board"])
    assert record.getMessage().startswith("denied user=7 transport=sse")


@pytest.mark.django_db
@pytest.mark.usefixtures("unloggable")
def test_a_line_that_can_not_be_logged_stops_nothing(client, caplog):
    given = []
    auditing.Client("sse", {"client": None, "headers": []}).revoke(lambda *told: given.append(told), ["board"], "x")
    assert given == [(["board"], "x")]
    client.force_login(User.objects.create_user("ann"))
    for _ in range(2):
        assert poll(client).status_code == 403
    said = [record.getMessage() for record in caplog.records if record.name == "livepush"]
    assert said == [
        "A line of livepush.audit can't be logged, since a LogRecord factory or a filter fails: ValueError: no"
    ]


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("unloggable")
async def test_a_line_that_can_not_be_logged_keeps_no_right_from_ending():
    ann = await User.objects.acreate_user("ann")
    token = await livepush.atoken(ann, ["board"])
    try:
        stream = await asking.request("/livepush/sse/", "group=board", {"Authorization": f"Bearer {token}"})
        assert (await stream.receive_output(PATIENCE))["status"] == 200
        await stream.receive_output(PATIENCE)  # its hello
        await livepush.arevoke(ann)
        while (message := await stream.receive_output(PATIENCE)).get("more_body"):
            pass
        assert message["type"] == "http.response.body"
        await stream.send_input({"type": "http.disconnect"})
        await stream.wait(PATIENCE)
    finally:
        await livepush.stop()
        await sync_to_async(connections.close_all)()


def test_a_value_can_begin_no_line_of_its_own(caplog):
    audit.tell("denied", **{**NOBODY, "user": User(username="x", pk="1\nconnected")}, groups=(), code="a", status=403)
    assert "\n" not in lines(caplog)[0].getMessage()


def test_a_flood_is_cut_short_and_its_lines_say_by_how_much(caplog, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(notes.time, "monotonic", lambda: now[0])
    for number in range(10_000):
        tell(number, "denied")
    tell(0, "revoked")
    assert len(lines(caplog)) == audit.LINES + 1
    now[0] += 1
    tell(10_000, "denied")
    assert lines(caplog)[-1].left_out == 10_000 - audit.LINES


# What a plain view tells


def poll(client=None, **more):
    return (client or Client()).get("/livepush/poll/", {"group": ["order:5000", "user:9"]}, **more)


@pytest.mark.django_db
def test_a_poll_that_is_denied_is_told_with_who_it_is(told, client):
    ann = User.objects.create_user("ann")
    client.force_login(ann)
    assert poll(client).status_code == 403
    until(told, 1)
    (name, fields), asked = told[0], ("order:5000", "user:9")
    assert (name, fields["user"], fields["groups"]) == ("denied", ann, asked)
    assert (fields["transport"], fields["address"]) == ("poll", "127.0.0.1")
    assert (fields["code"], fields["status"]) == ("forbidden", 403)


@pytest.mark.django_db
def test_only_trusted_proxies_say_where_it_comes_from(told):
    for proxies in ([], ["127.0.0.1"]):
        with override_settings(LIVEPUSH={"TRUSTED_PROXIES": proxies}):
            poll(headers={"X-Forwarded-For": "203.0.113.7"})
    until(told, 2)
    assert [fields["address"] for _, fields in told] == ["127.0.0.1", "203.0.113.7"]


@pytest.mark.django_db
def test_what_is_malformed_or_let_in_is_not_told(told):
    assert Client().get("/livepush/poll/").status_code == 400
    assert Client().post("/livepush/poll/").status_code == 405
    assert Client().get("/livepush/poll/", {"group": "board"}).status_code == 200
    poll()
    until(told, 1)


@pytest.mark.django_db(transaction=True)
def test_nothing_that_is_secret_is_told(told, caplog):
    caplog.set_level(logging.INFO, "livepush.audit")
    ann = User.objects.create_user("ann")
    token = livepush.token(ann, ["board"])
    for headers in ({"Authorization": f"Bearer {token}x"}, {"Authorization": f"Bearer {token}"}):
        poll(headers=headers)
        Client().get("/livepush/poll/", {"group": "user:9", "token": token})
    client = Client()
    client.force_login(ann)
    poll(client)
    client.post("/livepush/token/", json.dumps({"groups": ["user:9"]}), content_type="application/json")
    until(told, 6)
    session = client.session.session_key
    text = "".join(f"{record.getMessage()} {vars(record)}" for record in lines(caplog)) + str(told)
    assert len(lines(caplog)) == 6
    assert {fields["code"] for _, fields in told} == {"bad_token", "forbidden"}
    assert told[-1][1]["transport"] == "token"
    assert token[:60] not in text
    assert session not in text
    assert "?" not in text
