"""send and asend: what is refused, what is written, what a commit does."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
import uuid
from contextlib import nullcontext
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from importlib import import_module

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, connections, transaction
from django.db.models.signals import post_save, pre_save
from django.test import override_settings
from django.utils.translation import gettext_lazy
from hypothesis import given, settings
from hypothesis import strategies as st

import livepush
from livepush import exceptions, log, publish, streams, testing
from livepush.bridges import eventstream, mercure
from livepush.bridges.publishing import keys
from livepush.hints import layer
from livepush.inbox import marking
from livepush.log.dialects import base
from livepush.models import Event
from livepush.publish import pipeline
from livepush.receiving import trying
from livepush.streams.writing import AsyncStream, SyncStream
from tests.conftest import Thread, append, events_of
from tests.patience import PATIENCE
from tests.shop.models import Order


@pytest.mark.parametrize("group", ["", "a b", "a\n", "x" * 201, "é", None, 7, b"a", ["a", ""], []])
def test_a_malformed_group_is_refused_before_anything_is_written(group, db):
    with pytest.raises(exceptions.InvalidGroup):
        livepush.send(group, "t")
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", ["", "a b", "error", "open", "livepush.hello", "x" * 101, None, 7])
def test_a_malformed_or_reserved_type_is_refused(name, db):
    with pytest.raises(exceptions.InvalidType):
        livepush.send("a", name)
    assert not Event.objects.exists()


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


circular: list = []
circular.append(circular)


@pytest.mark.parametrize(
    "data",
    [
        float("nan"),
        float("inf"),
        {1, 2},
        object(),
        {(1, 2): 3},
        circular,
        nested(100_000),
        "a\0b",
        "\ud800",
        [b"x"],
    ],
    ids=["nan", "inf", "set", "object", "tuple key", "circular", "deep", "nul", "surrogate", "nested bytes"],
)
def test_data_that_json_cant_carry_is_refused(data, db):
    with pytest.raises(exceptions.InvalidData):
        livepush.send("a", "t", data)
    assert not Event.objects.exists()


def test_a_backslash_before_u0000_is_no_nul(db):
    livepush.send("a", "t", "\\u0000")
    assert json.loads(Event.objects.get().data) == "\\u0000"


@override_settings(LIVEPUSH={"MAX_EVENT_BYTES": 10})
def test_the_size_limit_counts_bytes_of_json(db):
    livepush.send("a", "t", "é" * 4)
    with pytest.raises(exceptions.EventTooLarge, match="11 bytes as JSON, over the 10"):
        livepush.send("a", "t", "x" * 9)
    assert Event.objects.count() == 1


@pytest.mark.parametrize("key", ["", 7, "x" * 201, "a\0"])
def test_a_malformed_key_is_refused(key, db):
    with pytest.raises(exceptions.InvalidKey):
        livepush.send("a", "t", key=key)


class Kind(str, Enum):  # noqa: UP042 (a StrEnum's text is its value; this one's is not)
    SHIPPED = "order.shipped"
    BOARD = "board"
    KEY = "k1"


def test_texts_of_an_enum_are_their_values(using, announced):
    livepush.send(Kind.BOARD, Kind.SHIPPED, key=Kind.KEY, using=using)
    livepush.send([Kind.BOARD], "order.shipped", key="k1", using=using)
    (event,) = events_of(using)
    assert (event.type, event.groups) == ("order.shipped", ("board",))
    assert {type(text) for batch in announced for each in batch.events for text in (each.type, *each.groups)} == {str}
    reserved = Enum("Reserved", {"RESET": "livepush.reset"}, type=str).RESET
    with pytest.raises(exceptions.InvalidType):
        livepush.send("board", reserved, using=using)


@pytest.mark.parametrize("key", ["livepush:welcome", "\ud800", "a\0b"])
def test_keys_that_are_livepushs_own_or_can_not_be_stored_are_refused(db, key):
    with pytest.raises(exceptions.InvalidKey, match="is not a key"):
        livepush.send("a", "t", key=key)


def test_an_ephemeral_event_takes_no_key(db):
    with pytest.raises(exceptions.InvalidEvent, match="drop key= or ephemeral=True"):
        livepush.send("a", "t", key="k", ephemeral=True)


def test_every_refusal_says_what_was_expected_and_is_a_value_error():
    with pytest.raises(ValueError, match=r"'a b' is not a group: expected 1 to 200 of letters, digits"):
        livepush.send("a b", "t")
    with pytest.raises(ValueError, match=r"7 is not a group: .*; for a user's primary key, livepush\.user_group\(pk\)"):
        livepush.send(7, "t")


def test_data_is_encoded_as_djangos_encoder_does(db):
    when = datetime(2026, 1, 31, 12, tzinfo=UTC)
    identity = uuid.UUID(int=7)
    livepush.send(
        "a",
        "t",
        {"d": date(2026, 1, 31), "t": when, "n": Decimal("1.50"), "u": identity, "l": gettext_lazy("x")},
    )
    assert json.loads(Event.objects.get().data) == {
        "d": "2026-01-31",
        "t": "2026-01-31T12:00:00Z",
        "n": "1.50",
        "u": str(identity),
        "l": "x",
    }


def test_a_group_may_be_an_instance_or_a_user(db):
    user = User.objects.create(username="ann")
    order = Order.objects.create()
    assert livepush.group_name(order) == f"order:{order.pk}"
    assert livepush.group_name(user) == livepush.user_group(user) == livepush.user_group(user.pk) == f"user:{user.pk}"
    with pytest.raises(exceptions.InvalidGroup, match="save it first"):
        livepush.group_name(Order())
    for nobody in (None, AnonymousUser(), User()):
        with pytest.raises(exceptions.InvalidGroup, match="no saved user"):
            livepush.user_group(nobody)


def test_a_send_to_several_groups_writes_a_row_a_group_with_one_statement(db, django_assert_num_queries):
    with django_assert_num_queries(1):
        livepush.send(["a", "b", "a"], "t")
    rows = Event.objects.all()
    assert sorted(row.group for row in rows) == ["a", "b"]
    assert len({row.send for row in rows}) == 1


@pytest.mark.parametrize("groups", ["a", ["a", "b"]], ids=["one group", "two groups"])
@pytest.mark.parametrize("block", [nullcontext, transaction.atomic], ids=["alone", "in a transaction"])
def test_a_send_fires_no_signals_of_livepushs_own_rows(using, groups, block):
    """A project may have a receiver for all models, which sends, or calls ``full_clean``."""
    heard = []

    def receive(sender, **kwargs):
        heard.append(sender)
        if len(heard) < 5:
            livepush.send(groups, "heard", using=using)

    signals = (pre_save, post_save)
    for signal in signals:
        signal.connect(receive)
    try:
        with block(using):
            livepush.send(groups, "t", key="k", using=using)
    finally:
        for signal in signals:
            signal.disconnect(receive)
    assert heard == []
    assert [event.type for event in events_of(using)] == ["t"]


@pytest.mark.parametrize("groups", ["a", ["a", "b"]], ids=["one group", "two groups"])
def test_a_transaction_does_not_go_on_without_an_event_that_could_not_be_sent(using, groups):
    def fail(execute, sql, *args):
        if sql.startswith("INSERT") and "livepush_event" in sql:
            raise OperationalError("the disk is full")
        return execute(sql, *args)

    with transaction.atomic(using=using):
        Order.objects.using(using).create()
        with connections[using].execute_wrapper(fail), pytest.raises(OperationalError, match="disk"):
            livepush.send(groups, "t", using=using)
    assert not Order.objects.using(using).exists()


def test_outside_a_transaction_an_event_is_settled_when_send_returns(using, announced):
    livepush.send("a", "t", 1, using=using)
    assert [(event.number, event.data) for event in events_of(using)] == [(1, "1")]
    assert [len(batch.events) for batch in announced] == [1]


def test_nobody_sees_an_event_before_its_commit(using, announced):
    with transaction.atomic(using=using):
        livepush.send("a", "t", using=using)
        assert log.state(using).position.number == 0
        assert announced == []
    assert [event.number for event in events_of(using)] == [1]


def test_a_rollback_sends_nothing(using, announced):
    with pytest.raises(RuntimeError), transaction.atomic(using=using):
        livepush.send("a", "t", using=using)
        livepush.send("a", "t", ephemeral=True, using=using)
        raise RuntimeError
    assert not Event.objects.using(using).exists()
    assert announced == []


def test_a_rolled_back_savepoint_sends_nothing_and_the_rest_goes_out(using, announced):
    with transaction.atomic(using=using):
        with pytest.raises(RuntimeError), transaction.atomic(using=using):
            livepush.send("a", "inner", using=using)
            raise RuntimeError
        livepush.send("a", "outer", using=using)
        with transaction.atomic(using=using):
            livepush.send("a", "nested", using=using)
    assert [event.type for event in events_of(using)] == ["outer", "nested"]


def test_a_first_send_in_a_rolled_back_savepoint_does_not_keep_the_second_from_going_out(using, announced):
    with transaction.atomic(using=using), pytest.raises(RuntimeError), transaction.atomic(using=using):
        livepush.send("a", "inner", using=using)
        raise RuntimeError
    with transaction.atomic(using=using):
        livepush.send("a", "outer", using=using)
    assert [event.type for batch in announced for event in batch.events] == ["outer"]


def test_a_commit_settles_once_for_all_its_sends(using, announced, monkeypatch):
    calls = []
    monkeypatch.setattr(pipeline, "deliver", lambda using, appended: calls.append(using))
    with transaction.atomic(using=using):
        for _ in range(50):
            livepush.send("a", "t", using=using)
    assert calls == [using]
    with transaction.atomic(using=using):
        livepush.send("a", "t", using=using)
    assert calls == [using, using]


def test_a_send_from_an_on_commit_hook_goes_out_too(using, announced):
    with transaction.atomic(using=using):
        livepush.send("a", "first", using=using)
        transaction.on_commit(lambda: livepush.send("a", "second", using=using), using=using)
        livepush.send("a", "third", using=using)
    assert sorted(event.type for event in events_of(using)) == ["first", "second", "third"]


def test_an_ephemeral_event_is_announced_on_commit_and_not_stored(using, announced):
    with transaction.atomic(using=using):
        livepush.send(["a", "b"], "typing", {"who": "ann"}, ephemeral=True, using=using)
        assert announced == []
    (event,) = announced[0].events
    assert (event.number, event.groups, event.data) == (None, ("a", "b"), '{"who":"ann"}')
    assert not Event.objects.using(using).exists()


def test_with_autocommit_off_the_event_waits_for_a_sweep(using, announced):
    with transaction.atomic(using=using):
        pass
    transaction.set_autocommit(False, using=using)
    try:
        livepush.send("a", "t", using=using)
        transaction.commit(using=using)
    finally:
        transaction.set_autocommit(True, using=using)
    assert log.state(using).waiting
    publish.deliver(using)
    assert len(announced) == 1


def test_a_failing_settle_fails_no_caller_and_loses_nothing(using, announced, monkeypatch, caplog):
    def fail(using, **more):
        raise RuntimeError("no log")

    with monkeypatch.context() as patch:
        patch.setattr(log, "settle", fail)
        with transaction.atomic(using=using):
            livepush.send("a", "t", using=using)
    assert "Could not settle the log" in caplog.text
    assert log.state(using).waiting
    livepush.send("a", "t", using=using)
    assert len(events_of(using)) == 2


def test_a_failing_layer_fails_no_caller(transactional_db, monkeypatch, caplog):
    def fail():
        raise RuntimeError("no layer")

    monkeypatch.setattr(layer, "configured", fail)
    livepush.send("a", "t")
    assert len(events_of("default")) == 1
    assert "Could not tell other processes what was sent." in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_asend_sends_from_async_code(announced):
    await livepush.asend("a", "t", 1)
    assert [event.type for batch in announced for event in batch.events] == ["t"]
    await sync_to_async(connections.close_all)()


CALLS = {
    "send": lambda order, user: livepush.send(order, "t"),
    "notify": lambda order, user: livepush.notify(user, "Hello"),
    "send_for": lambda order, user: livepush.send_for([order]),
    "join": lambda order, user: livepush.join(user, "order:7"),
    "leave": lambda order, user: livepush.leave(user, "order:7"),
    "export": lambda order, user: livepush.export(user),
    "forget": lambda order, user: livepush.forget(user),
    "recheck": lambda order, user: livepush.recheck(user),
    "revoke": lambda order, user: livepush.revoke(user),
    "token": lambda order, user: livepush.token(user),
    "members": lambda order, user: livepush.members("room:a"),
    "is_present": lambda order, user: livepush.is_present(user, "room:a"),
}


def test_each_function_with_an_async_twin_is_tried():
    assert set(CALLS) == {name for name in livepush.__all__ if f"a{name}" in livepush.__all__}


def parameters(function):
    return list(inspect.signature(function).parameters.values())


@pytest.mark.parametrize(
    "place", [livepush, streams, testing, marking, trying.Sender], ids=lambda place: place.__name__
)
def test_async_twins_take_what_their_functions_take(place):
    pairs = [(getattr(place, name), getattr(place, f"a{name}", None)) for name in dir(place)]
    twins = [(function, twin) for function, twin in pairs if inspect.iscoroutinefunction(twin)]
    assert twins
    for function, twin in twins:
        assert parameters(twin) == parameters(function), function.__name__


def test_async_streams_take_what_sync_ones_take():
    for name in ("write", "write_line", "finish", "fail"):
        function, twin = getattr(SyncStream, name), getattr(AsyncStream, name)
        assert inspect.signature(twin) == inspect.signature(function), name


@pytest.mark.django_db(transaction=True)
async def test_arecheck_says_the_reason_that_clients_hear():
    user = await User.objects.acreate(username="ann")
    await livepush.arecheck(user, reason="moved")
    event = (await sync_to_async(events_of)("default"))[-1]
    assert json.loads(event.data)["reason"] == "moved"
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", CALLS)
async def test_a_sync_function_in_async_code_names_its_twin_and_writes_nothing(name):
    order, user = Order(pk=7), User(pk=7)
    with pytest.raises(SynchronousOnlyOperation, match=rf"livepush\.{name}\(\).* await livepush\.a{name}\(\)"):
        CALLS[name](order, user)
    assert await sync_to_async(events_of)("default") == ()
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True)
async def test_a_function_of_a_module_names_its_twin_there(settings):
    settings.LIVEPUSH = {"MERCURE": {"KEY": "only for development, at least 32 bytes"}}
    calls = {
        "livepush.streams.get": lambda: streams.get("0" * 32),
        "livepush.streams.running": lambda: streams.running("a"),
        "livepush.streams.run": lambda: streams.run(["true"], "a"),
        "livepush.bridges.mercure.send_update": lambda: mercure.send_update("https://example.com/a", "x"),
        "livepush.bridges.eventstream.send_event": lambda: eventstream.send_event("a", "t", "x"),
        "livepush.bridges.publishing.keys.create_key": lambda: keys.create_key("a", groups=["a"]),
        "livepush.inbox.marking.mark": lambda: marking.mark(User(pk=7), marking.Action.READ, [1]),
    }
    for name, call in calls.items():
        home, _, function = name.rpartition(".")
        with pytest.raises(SynchronousOnlyOperation, match=rf"await {re.escape(home)}\.a{function}\(\)"):
            call()
        assert inspect.iscoroutinefunction(getattr(import_module(home), f"a{function}"))


@pytest.mark.django_db(transaction=True)
async def test_an_ephemeral_send_in_async_code_names_its_twin_too():
    with pytest.raises(SynchronousOnlyOperation, match=r"await livepush\.asend"):
        livepush.send("a", "t", ephemeral=True)


def test_where_django_allows_unsafe_code_livepush_does_too(transactional_db, monkeypatch):
    """As a notebook does, whose every cell runs in a loop."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    async def send():
        livepush.send("a", "t")
        connections.close_all()

    asyncio.run(send())
    assert [event.type for event in events_of("default")] == ["t"]


def crossing(using, key, barrier, n):
    """Send to two groups in one transaction, every other thread in the opposite order, all in between at once."""
    first, second = ("a", "b") if n % 2 else ("b", "a")
    with transaction.atomic(using=using):
        livepush.send(first, "t", n, key=key, using=using)
        barrier.wait(PATIENCE)
        livepush.send(second, "t", n, key=key, using=using)


@pytest.mark.parametrize("key", [None, "one"])
def test_forty_concurrent_transactions_neither_deadlock_nor_wait_for_each_other(concurrent, announced, key):
    """A barrier between the two sends: had one to wait for another's commit, nobody would pass."""
    barrier = threading.Barrier(40)
    for thread in [Thread(crossing, concurrent, key, barrier, n) for n in range(40)]:
        thread.join()
    publish.deliver(concurrent)
    events = events_of(concurrent)
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    assert len(events) == (80 if key is None else 2)
    assert sorted(event for batch in announced for event in batch.events) == list(events)


def test_of_concurrent_sends_with_one_key_exactly_one_is_delivered(concurrent, announced):
    barrier = threading.Barrier(16)

    def work():
        barrier.wait(PATIENCE)
        livepush.send(["a", "b"], "t", key="k", using=concurrent)

    for thread in [Thread(work) for _ in range(16)]:
        thread.join()
    publish.deliver(concurrent)
    assert [event.groups for event in events_of(concurrent)] == [("a", "b")]


def test_a_sender_does_not_wait_for_a_settle_that_is_stuck(concurrent, announced, monkeypatch):
    append(concurrent)
    plain, stuck, go = base.Dialect.plan, threading.Event(), threading.Event()

    def stick(*args):
        stuck.set()
        assert go.wait(PATIENCE)
        return plain(*args)

    monkeypatch.setattr(base.Dialect, "plan", stick)
    thread = Thread(publish.deliver, concurrent)
    assert stuck.wait(PATIENCE)
    try:
        Thread(lambda: livepush.send("a", "t", using=concurrent)).join()
    finally:
        go.set()
    thread.join()
    assert len(events_of(concurrent)) == 2


# Connections that have died


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", CALLS)
async def test_async_twins_recover_from_a_connection_that_died_though_no_request_ends(name):
    """In a consumer nothing closes a connection that has failed: the first query raises, the next one works."""

    def die():
        with connections["default"].cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(OperationalError):
        await sync_to_async(die)()
    order, user = Order(pk=7), User(pk=7)
    await {
        "send": lambda: livepush.asend(order, "t"),
        "notify": lambda: livepush.anotify(user, "Hello"),
        "send_for": lambda: livepush.asend_for([order]),
        "join": lambda: livepush.ajoin(user, "order:7"),
        "leave": lambda: livepush.aleave(user, "order:7"),
        "recheck": lambda: livepush.arecheck(user),
        "export": lambda: livepush.aexport(user),
        "forget": lambda: livepush.aforget(user),
        "revoke": lambda: livepush.arevoke(user),
        "token": lambda: livepush.atoken(user),
        "members": lambda: livepush.amembers("room:a"),
        "is_present": lambda: livepush.ais_present(user, "room:a"),
    }[name]()
    silent = ("export", "leave", "token", "members", "is_present")
    assert len(await sync_to_async(events_of)("default")) == (name not in silent)
    await sync_to_async(connections.close_all)()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "data",
    [
        b"\x00\xff", bytearray(b"\x00\xff"), memoryview(b"\x00\xff"), memoryview(b"\x00-\xff-")[::2],
        {"$bytes": "AP8="},
    ],
)  # fmt: skip
def test_bytes_are_sent_as_base64(data):
    livepush.send("a", "t", data)
    assert [event.data for event in events_of("default")] == ['{"$bytes":"AP8="}']


@pytest.mark.parametrize(
    "data",
    [
        {"$bytes": "%"}, {"$bytes": 7}, {"$bytes": "AP8=", "a": 1}, {"a": 1, "$bytes": ["AP8="]},
        {"$bytes": "AAAA="}, {"$bytes": "AAAA===="}, {"$bytes": "AP9="}, {"$bytes": "AP8=="},
    ],
)  # fmt: skip
@pytest.mark.parametrize("ephemeral", [False, True])
def test_data_that_look_like_bytes_must_be_bytes(data, ephemeral):
    with pytest.raises(exceptions.InvalidData, match="stand for bytes"):
        livepush.send("a", "t", data, ephemeral=ephemeral)


@settings(max_examples=300, deadline=None)
@given(st.text("AB/+=", max_size=9))
def test_whatever_counts_as_bytes_is_read_by_every_browser(text):
    try:
        publish.encode({"$bytes": text})
    except exceptions.InvalidData:
        return
    assert re.fullmatch(r"([A-Z/+]{4})*([A-Z/+]{2}==|[A-Z/+]{3}=)?", text)
