"""Relays from brokers without offsets, RabbitMQ and MQTT: each message takes effect once, by its key."""

from __future__ import annotations

import asyncio
import os
import signal
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

from livepush.bridges.relays.mapping import Message, key_of
from livepush.bridges.relays.models import DeadLetter, RelayReceipt
from livepush.bridges.relays.taking import forget_old, take
from tests.bridges.test_relays import configured, numbers, relaying
from tests.conftest import Thread, events_of
from tests.patience import PATIENCE, eventually
from tests.servers import processes
from tests.servers.queues import queue_broker

KINDS = ["mqtt", "rabbit"]


@pytest.fixture
def orders(using, settings):
    return configured(settings, using, URL="amqp://127.0.0.1:1", KEY="{id}", TYPE="status")


def message(number, key=None, **body):
    return Message(f"{number}" if key is None else key, {"id": number, **body}, "orders")


def groups_of(using):
    return [event.groups[0] for event in events_of(using)]


# Taking, on every database


def test_a_message_that_comes_again_is_left_out(using, orders):
    assert take([message(1), message(2)], orders) == 2
    assert take([message(2), message(3), message(3)], orders) == 1
    assert groups_of(using) == ["order:1", "order:2", "order:3"]


def test_a_message_without_a_key_is_always_taken(using, orders):
    assert take([message(1, ""), message(1, "")], orders) == 2
    assert take([message(1, "")], orders) == 1
    assert not RelayReceipt.objects.using(using).exists()


def test_keys_are_compared_exactly_and_may_be_long(using, orders):
    keys = ["a", "A", "á", "a ", "x" * 5_000, "x" * 5_001, "\0"]
    assert take([message(1, key) for key in keys], orders) == len(keys)


def test_a_dead_letter_is_made_once(using, orders):
    bad = Message("key" * 100, "no object", "orders")
    for _ in range(2):
        take([bad], orders)
    assert DeadLetter.objects.using(using).get().offset == ("key" * 100)[:100]


@pytest.mark.parametrize("key", ["\0", "\ud800", "x" * 5_000])
def test_a_hostile_key_holds_up_nothing(using, orders, key):
    assert take([Message(key, "no object", "orders"), message(1)], orders) == 2
    assert DeadLetter.objects.using(using).get().relay == "orders"
    assert groups_of(using) == ["order:1"]


def test_of_two_that_take_the_same_each_message_is_taken_once(concurrent, settings):
    orders = configured(settings, concurrent, URL="mqtt://127.0.0.1:1", KEY="{id}", TYPE="status")
    batches = [[message(number) for number in range(start, start + 10)] for start in range(0, 100, 10)]
    threads = [Thread(lambda: [take(batch, orders) for batch in batches]) for _ in range(4)]
    assert sum(sum(thread.join()) for thread in threads) == 100
    assert groups_of(concurrent) == [f"order:{number}" for number in range(100)]


def test_receipts_are_forgotten_when_they_are_older_than_events_may_be(using, orders):
    take([message(1), message(2)], orders)
    rows = RelayReceipt.objects.using(using)
    rows.filter(pk=rows.earliest("pk").pk).update(taken=timezone.now() - timedelta(days=8))
    assert (forget_old(orders), rows.count(), forget_old(orders)) == (1, 1, 0)


@pytest.mark.parametrize(("noted", "asked"), [(0, 8), (-8, 0)], ids=["one is ahead", "one is behind"])
def test_receipts_are_as_old_as_the_databases_clock_says(concurrent, settings, noted, asked, monkeypatch):
    """Two hosts, one of which has the wrong time (in days)."""
    orders = configured(settings, concurrent, URL="amqp://127.0.0.1:1", KEY="{id}", TYPE="status")
    now = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=noted))
    assert take([message(1)], orders) == 1
    monkeypatch.setattr(timezone, "now", lambda: now + timedelta(days=asked))
    assert (forget_old(orders), take([message(1)], orders)) == (0, 0)


def test_a_key_is_made_of_the_messages_fields(settings):
    orders = configured(settings, "default", URL="mqtt://x", KEY="{subject}-{id}")
    assert key_of({"id": 7}, "orders/new", orders) == "orders/new-7"
    assert key_of({"number": 7}, "orders/new", orders) == ""
    assert key_of("text", "orders/new", orders) == ""


@pytest.mark.parametrize("value", [None, "", False, [], {}], ids=repr)
def test_a_field_that_holds_nothing_makes_no_key(settings, value):
    """Else all messages without a value would count as one message that comes again."""
    orders = configured(settings, "default", URL="mqtt://x", KEY="{event}-{of[id]}")
    assert key_of({"event": 0, "of": {"id": 7}}, "orders/new", orders) == "0-7"
    assert key_of({"event": value, "of": {"id": 7}}, "orders/new", orders) == ""
    assert key_of({"event": 0, "of": {"id": value}}, "orders/new", orders) == ""


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"URL": "amqp://x", "START": "new"}, "'START', which nothing reads"),
        ({"URL": "mqtt://x", "SUBJECT": "a"}, "'SUBJECT', which nothing reads"),
        ({"URL": "nats://x", "KEY": "{id}"}, "'KEY', which nothing reads"),
    ],
)
def test_settings_of_another_broker_are_refused(settings, changed, words):
    with pytest.raises(ImproperlyConfigured, match=words):
        configured(settings, "default", **changed)


# Running, with real brokers


KEYED = {"KEY": "{n}"}


async def ready(database, broker, elsewhere):
    """Wait until a relay has subscribed: an MQTT broker keeps messages for those alone that it knows."""

    async def has_begun():
        await broker.publish("orders", {"id": 1, "n": "first"})
        return database.query("SELECT 1 FROM livepush_relayoffset")

    await eventually(has_begun)
    await eventually(lambda: "first" in numbers(elsewhere))


def relayed(elsewhere):
    return [int(each) for each in numbers(elsewhere) if each != "first"]


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_messages_are_relayed_in_order_also_those_that_came_while_the_relay_was_away(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        queue_broker(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        with relaying(database, broker, **KEYED):
            await ready(database, broker, elsewhere)
            await broker.publish("orders", *({"id": n % 7, "n": str(n)} for n in range(100)))
            await eventually(lambda: len(relayed(elsewhere)) >= 100)
        await broker.publish("orders", *({"id": n % 7, "n": str(n)} for n in range(100, 200)))
        with relaying(database, broker, **KEYED):
            await eventually(lambda: len(relayed(elsewhere)) >= 200)
        assert relayed(elsewhere) == list(range(200))


async def relay_with_kills(databases, kind, count, kills, kill_broker=False):
    """Relay while the relay, or its broker, is killed again and again; return the numbers that arrived."""
    with (
        databases.fresh("postgresql") as database,
        queue_broker(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")

        def arrived():
            return database.query("SELECT count(*) FROM livepush_event")[0][0]

        with relaying(database, broker, **KEYED):
            await ready(database, broker, elsewhere)
        first = arrived()
        producing = None
        if not kill_broker:
            bodies = ({"id": n % 9, "n": str(n)} for n in range(count))
            producing = asyncio.create_task(broker.publish("orders", *bodies))
        for number in range(kills):
            with relaying(database, broker, **KEYED) as process:
                if kill_broker:
                    part = range(count * number // kills, count * (number + 1) // kills)
                    await broker.publish("orders", *({"id": n % 9, "n": str(n)} for n in part))
                    await asyncio.to_thread(broker.kill)
                    await asyncio.to_thread(broker.start)
                else:
                    wanted = first + min(count, count * (number + 1) // (kills + 1))
                    await eventually(lambda wanted=wanted: arrived() >= wanted)
                    os.kill(process.pid, signal.SIGKILL)
        if producing is not None:
            await producing
        with relaying(database, broker, **KEYED):
            await eventually(lambda: arrived() >= first + count)
        return relayed(elsewhere)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_relays_that_are_killed_lose_nothing_and_repeat_nothing(databases, kind):
    assert await relay_with_kills(databases, kind, 2_000, 3) == list(range(2_000))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_relays_that_are_killed_twenty_times_lose_nothing_and_repeat_nothing(databases, kind):
    found = await relay_with_kills(databases, kind, 50_000, 20)
    assert sorted(found) == list(range(50_000))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_a_relay_that_dies_between_its_commit_and_its_confirmation_repeats_nothing(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        queue_broker(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")
        with relaying(database, broker, **KEYED):
            await ready(database, broker, elsewhere)
        await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(100)))
        while not relayed(elsewhere):  # it may have died with the message of ``ready``, which came once more
            with relaying(database, broker, die=["taken", "1"], **KEYED) as process:
                await asyncio.to_thread(process.wait, PATIENCE)
        assert len(relayed(elsewhere)) <= 100
        await broker.publish("orders", {"id": 1, "n": "100"})
        with relaying(database, broker, **KEYED):
            await eventually(lambda: 100 in relayed(elsewhere))
        assert relayed(elsewhere) == list(range(101))


@pytest.mark.long
async def test_a_rabbitmq_server_that_is_killed_holds_up_a_relay_and_loses_it_nothing(databases):
    found = await relay_with_kills(databases, "rabbit", 600, 3, kill_broker=True)
    assert sorted(found) == list(range(600))


@pytest.mark.long
async def test_rabbitmqs_message_id_is_the_key_unless_there_is_a_template(databases):
    with (
        databases.fresh("postgresql") as database,
        queue_broker("rabbit") as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")
        with relaying(database, broker):
            await broker.publish("orders", {"id": 1, "n": "1"}, {"id": 1, "n": "1"}, {"id": 1, "n": "2"}, ids=True)
            await eventually(lambda: len(numbers(elsewhere)) >= 2)
            await broker.publish("orders", {"id": 1, "n": "3"}, {"id": 1, "n": "3"})
            await eventually(lambda: len(numbers(elsewhere)) >= 4)
            assert numbers(elsewhere) == ["1", "2", "3", "3"]
        assert await broker.left("orders") == 0


@pytest.mark.long
async def test_of_two_relays_of_a_queue_with_a_single_active_consumer_one_keeps_the_order(databases):
    with (
        databases.fresh("postgresql") as database,
        queue_broker("rabbit") as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders", **{"x-single-active-consumer": True})
        await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(2_000)))
        with relaying(database, broker, **KEYED) as one:
            await eventually(lambda: len(numbers(elsewhere)) > 0)
            with relaying(database, broker, **KEYED):
                os.kill(one.pid, signal.SIGKILL)
                await eventually(lambda: len(numbers(elsewhere)) >= 2_000)
        assert relayed(elsewhere) == list(range(2_000))


@pytest.mark.long
async def test_a_queue_that_was_made_anew_is_relayed_too(databases):
    with (
        databases.fresh("postgresql") as database,
        queue_broker("rabbit") as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")
        with relaying(database, broker, **KEYED):
            await broker.publish("orders", {"id": 1, "n": "1"})
            await eventually(lambda: numbers(elsewhere) == ["1"])
            await broker.remove("orders")
            await broker.make("orders")
            await broker.publish("orders", {"id": 1, "n": "2"})
            await eventually(lambda: numbers(elsewhere) == ["1", "2"])


@pytest.mark.long
async def test_what_an_mqtt_broker_has_retained_is_left_out(databases):
    with (
        databases.fresh("postgresql") as database,
        queue_broker("mqtt") as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.publish("orders", {"id": 1, "n": "old"}, retain=True)
        with relaying(database, broker, **KEYED):
            await ready(database, broker, elsewhere)
            await broker.publish("orders", {"id": 1, "n": "new"}, retain=True)
            await eventually(lambda: "new" in numbers(elsewhere))
        assert "old" not in numbers(elsewhere)


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_a_database_that_is_away_for_a_while_loses_a_relay_nothing(own_postgresql, kind):
    server, databases = own_postgresql
    with databases.fresh("own") as database, queue_broker(kind) as broker:
        await broker.make("orders")
        with relaying(database, broker, may_fail=True, **KEYED):
            with processes.publisher(database) as elsewhere:
                elsewhere.position()
                await ready(database, broker, elsewhere)
                first = len(numbers(elsewhere))
            server.stop()
            await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(500)))
            server.start()
            await eventually(lambda: database.query("SELECT count(*) FROM livepush_event") == [(first + 500,)])
