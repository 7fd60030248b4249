"""Kafka: messages become events exactly once, and events go out in order, whatever is killed and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import IntegrityError
from django.urls import reverse

from livepush.bridges.relays.config import relay
from livepush.bridges.relays.mapping import Message
from livepush.bridges.relays.models import DeadLetter, RelayPartition
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Later, Rejected, target_of
from livepush.bridges.relays.partitions import Bounds, RelayReset, begin_at, note_ends, places
from livepush.bridges.relays.retrying import try_again
from livepush.bridges.relays.taking import retry, take
from tests.conftest import ALIASES, Thread, events_of
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import processes, relays
from tests.servers.fresh import ROOT
from tests.servers.kafka import QUICK, kafka_broker

PLAIN = {"URL": "kafka://127.0.0.1:1", "STREAM": "orders", "GROUP": "order:{key}"}
OUTBOX = {"DIRECTION": "out", "URL": "kafka://127.0.0.1:1", "STREAM": "outbox"}


@contextlib.contextmanager
def stage(databases):
    """Yield a fresh database, a broker, and another process that reads and writes the log."""
    with (
        databases.fresh("postgresql") as database,
        kafka_broker() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        yield database, broker, elsewhere


def configured(settings, using, given=PLAIN, **changed):
    found = {name: value for name, value in {**given, **changed}.items() if value is not None}
    settings.LIVEPUSH = {"DATABASE": using, "RELAYS": {"orders": found}}
    return relay("orders")


def message(partition, offset, body=None):
    return Message(f"{partition}-{offset}", {"at": [partition, offset]} if body is None else body, "orders", key="7")


def offsets(using):
    rows = RelayPartition.objects.using(using).order_by("partition")
    return dict(rows.values_list("partition", "offset"))


# Taking, on every database


@pytest.fixture
def orders(using, settings):
    found = configured(settings, using)
    begin_at(found, "id", {0: 0, 1: 100})
    return found


def test_messages_become_events_and_each_partitions_offset_is_stored_with_them(using, orders):
    assert take([message(0, 0), message(1, 100), message(0, 3)], orders) == 3
    assert [json.loads(event.data)["at"] for event in events_of(using)] == [[0, 0], [1, 100], [0, 3]]
    assert [event.groups for event in events_of(using)] == [("order:7",)] * 3
    assert offsets(using) == {0: 4, 1: 101}


def test_what_was_taken_is_left_out_in_each_partition_by_itself(using, orders):
    take([message(0, 0), message(1, 100)], orders)
    assert take([message(1, 100), message(0, 1), message(0, 0), message(1, 101), message(0, 1)], orders) == 2
    assert offsets(using) == {0: 2, 1: 102}


def test_nothing_is_taken_if_the_transaction_fails(using, orders, monkeypatch):
    def fail(*args):
        raise IntegrityError

    monkeypatch.setattr("livepush.publish.send_checked", fail)
    with pytest.raises(IntegrityError):
        take([message(0, 0)], orders)
    assert (len(events_of(using)), offsets(using)) == (0, {0: 0, 1: 100})


def test_nothing_is_taken_of_a_partition_whose_relay_was_reset_meanwhile(using, orders):
    RelayPartition.objects.using(using).filter(partition=0).delete()
    with pytest.raises(RelayReset, match="was reset while it ran"):
        take([message(1, 100), message(0, 0)], orders)
    assert (len(events_of(using)), offsets(using)) == (0, {1: 100})


def test_a_message_without_a_key_is_dead_and_goes_out_again_with_what_it_has(using, orders, settings):
    assert take([Message("0-0", "poison", "orders"), message(0, 1)], orders) == 2
    letter = DeadLetter.objects.using(using).get()
    assert letter.offset == "0-0"
    assert "no field 'key'" in letter.reason
    retry(letter, configured(settings, using, GROUP="all"))
    assert [event.groups[0] for event in events_of(using)] == ["order:7", "all"]


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_no_field_of_a_message_stands_for_its_key(using, orders):
    take([message(0, 0, {"key": "8"}), Message("0-1", {"key": "8"}, "orders")], orders)
    assert [event.groups for event in events_of(using)] == [("order:7",)]
    assert "no field 'key'" in DeadLetter.objects.using(using).get().reason


def test_a_dead_letter_keeps_its_key(using, orders, settings):
    bad = configured(settings, using, TYPE="{kind}")
    take([message(0, 0)], bad)
    retry(DeadLetter.objects.using(using).get(), configured(settings, using))
    assert [event.groups[0] for event in events_of(using)] == ["order:7"]


def test_of_two_that_take_the_same_partitions_each_message_is_taken_once(concurrent, settings):
    orders = configured(settings, concurrent)
    begin_at(orders, "id", {0: 0, 1: 0})
    batches = [
        [message(partition, offset) for offset in range(start, start + 5) for partition in order]
        for start, order in zip(range(0, 50, 5), [(0, 1), (1, 0)] * 5, strict=True)
    ]
    threads = [Thread(lambda: [take(batch, orders) for batch in batches]) for _ in range(4)]
    assert sum(sum(thread.join()) for thread in threads) == 100
    found = [json.loads(event.data)["at"] for event in events_of(concurrent)]
    for partition in (0, 1):
        assert [offset for number, offset in found if number == partition] == list(range(50))


# Where a partition goes on


def test_partitions_go_on_where_they_were_taken_up_to_and_new_ones_begin_with_their_first_message(using, orders):
    take([message(0, 0)], orders)
    bounds = {0: Bounds(0, 9), 1: Bounds(50, 100), 2: Bounds(3, 9)}
    assert places(orders, "id", bounds) == {0: 1, 1: 100, 2: 3}
    assert set(RelayPartition.objects.using(using).values_list("missed", flat=True)) == {0}


def test_messages_that_were_deleted_before_they_were_taken_are_counted_and_logged_as_errors(using, orders, caplog):
    with caplog.at_level(logging.ERROR):
        assert places(orders, "id", {0: Bounds(30, 40)}) == {0: 30}
        assert places(orders, "id", {0: Bounds(35, 40)}) == {0: 35}
    assert RelayPartition.objects.using(using).get(partition=0).missed == 35
    assert [record.getMessage() for record in caplog.records] == [
        f"Kafka deleted {count} messages of the partition 0 of 'orders' before the relay 'orders' took them: "
        "they are lost to it."
        for count in (30, 5)
    ]
    assert take([message(0, 35)], orders) == 1


@pytest.mark.parametrize(
    ("topic_id", "bounds", "words"),
    [
        ("another", Bounds(0, 100), "was deleted, and made anew"),
        ("id", Bounds(0, 99), "ends at 99, before the relay's"),
    ],
)
@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_a_topic_that_was_made_anew_is_refused(using, orders, topic_id, bounds, words):
    with pytest.raises(ImproperlyConfigured, match=words) as error:
        places(orders, topic_id, {1: bounds})
    assert "--reset" in str(error.value)


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_a_broker_that_gives_topics_no_ids_may_begin_to_give_them(using, orders):
    RelayPartition.objects.using(using).update(topic_id="")
    assert places(orders, "", {0: Bounds(0, 1)}) == {0: 0}
    assert places(orders, "id", {0: Bounds(0, 1)}) == {0: 0}
    with pytest.raises(ImproperlyConfigured, match="made anew"):
        places(orders, "another", {0: Bounds(0, 1)})


# Settings


@pytest.mark.parametrize(
    ("given", "changed", "words"),
    [
        (PLAIN, {"URL": "kafka://h"}, "expected kafka://host:port"),
        (PLAIN, {"URL": "kafka://me:secret@h:1"}, "belong in OPTIONS"),
        (PLAIN, {"STREAM": "^orders.*"}, "expected the name of a topic"),
        (PLAIN, {"KEY": "{id}"}, "'KEY', which nothing reads"),
        (PLAIN, {"OPTIONS": "SSL"}, "expected a dict of librdkafka's properties"),
        (PLAIN, {"OPTIONS": {"enable.auto.commit": False}}, "livepush sets that itself"),
        (OUTBOX, {"KEY": "{id}"}, "expected a template such as '{group}'"),
        (OUTBOX, {"KEY": 7}, "expected a template such as '{group}'"),
        (OUTBOX, {"STREAM": None}, "needs URL and STREAM"),
        (OUTBOX, {"SUBJECT": "x"}, "'SUBJECT', which nothing reads"),
        (OUTBOX, {"OPTIONS": {"acks": 0}}, "livepush sets that itself"),
    ],
)
def test_settings_that_can_not_work_are_refused_and_secrets_are_not_told(settings, given, changed, words):
    with pytest.raises(ImproperlyConfigured) as error:
        configured(settings, "default", given, **changed)
    assert words in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("given", [PLAIN, OUTBOX])
@pytest.mark.django_db(transaction=True)
def test_an_option_that_the_client_does_not_know_stops_the_command(settings, given):
    configured(settings, "default", given, OPTIONS={"sasl.passwort": "secret"})
    with pytest.raises(CommandError, match=r'No such configuration property: "sasl\.passwort"'):
        call_command("livepush_relay", "orders", verbosity=0)


@pytest.mark.parametrize(
    ("given", "module", "words"),
    [
        (PLAIN, "kafka", r'pip install "django-livepush\[kafka\]"'),
        (OUTBOX, "outwards.kafka", "pip install confluent-kafka"),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_a_client_that_is_not_installed_is_named(settings, monkeypatch, given, module, words):
    configured(settings, "default", given)
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    monkeypatch.delitem(sys.modules, f"livepush.bridges.relays.{module}", raising=False)
    with pytest.raises(CommandError, match=words):
        call_command("livepush_relay", "orders", verbosity=0)


@pytest.mark.long
def test_kafka_needs_no_faststream_and_nothing_needs_kafka_before_a_relay_of_it_runs():
    code = """
import sys
sys.modules["faststream"] = None
import django
django.setup()
import livepush.management.commands.livepush_relay
assert "confluent_kafka" not in sys.modules
import livepush.bridges.relays.kafka
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.django_db(transaction=True)
def test_the_admin_shows_how_far_partitions_have_come(admin_client, settings):
    orders = configured(settings, "default")
    begin_at(orders, "id", {0: 5})
    note_ends(orders, {0: Bounds(0, 12)})
    text = admin_client.get(reverse("admin:livepush_relaypartition_changelist")).text
    assert '<td class="field-offset">5</td><td class="field-behind">7</td>' in text


# Running inwards


PRODUCE, FETCH, COORDINATOR, JOIN, HEARTBEAT, SYNC, PRODUCER_ID = 0, 1, 10, 11, 12, 14, 22
"""Kinds of requests by their keys."""
ERRORS = {
    PRODUCE: (
        6,
        7,
        14,
        19,
        20,
    ),  # no leader, timed out, coordinator loads, too few replicas, before and after appending
    FETCH: (5, 6, 9, 74),  # no leader, another leader, no replica, an old epoch
    COORDINATOR: (15, 16),
    JOIN: (14, 16, 25, 27),
    HEARTBEAT: (16, 22, 25, 27),  # another coordinator, another generation, unknown, a rebalance goes on
    SYNC: (22, 25, 27),
    PRODUCER_ID: (14, 15),
}
"""Errors that Kafka answers to requests while leaders and coordinators change."""


async def trouble(broker, topic, partitions, kinds):
    """Have requests fail and leaders change for some seconds, from a fixed seed."""
    chance = random.Random(2026)
    for _ in range(100):
        kind = chance.choice(kinds)
        broker.do("refuse", kind, chance.choice(ERRORS[kind]), 1)
        broker.do("lead", topic, chance.randrange(partitions), chance.choice(broker.brokers))
        await asyncio.sleep(0.1)
    for kind in kinds:
        broker.do("allow", kind)


def relaying(database, broker, may_fail=False, die=(), **changed):
    """Relay the orders of a broker in a process of its own."""
    given = {"URL": broker.url, "STREAM": "orders", "GROUP": "order:{key}", "OPTIONS": QUICK, **changed}
    return relays.relaying(database, {"orders": given}, die=die, may_fail=may_fail)


def numbers(elsewhere):
    return [int(row["data"]["n"]) for row in elsewhere.rows() if row["type"] == "message"]


def arrived(database):
    return database.query("SELECT count(*) FROM livepush_event")[0][0]


def bodies(*given):
    return [{"id": n % 7, "n": str(n)} for n in range(*given)]


def assert_exactly_once(elsewhere, count):
    """Assert that all numbers have come once, those of each key in their order."""
    found = numbers(elsewhere)
    for key in range(7):
        assert [n for n in found if n % 7 == key] == list(range(key, count, 7))


async def test_messages_are_relayed_in_order_as_they_come(databases):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", *bodies(100))
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 100)
            await broker.publish("orders", *bodies(100, 101))
            await eventually(lambda: len(numbers(elsewhere)) == 101)
        assert numbers(elsewhere) == list(range(101))
        assert elsewhere.rows()[1]["group"] == "order:1"


@pytest.mark.long
async def test_strange_messages_hold_up_nothing(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders")
        broker.do("publish_strangely", "orders")
        await broker.publish("orders", "no object", None, {"id": "x" * 300, "n": "1"}, {"id": 1, "n": "2"})
        with relaying(database, broker, GROUP="order:{id}"):
            await eventually(lambda: numbers(elsewhere) == [0, 2])
        letters = database.query('SELECT "offset" FROM livepush_deadletter ORDER BY id')
        assert letters == [("0-1",), ("0-2",), ("0-3",)]


@pytest.mark.long
async def test_who_starts_with_new_messages_gets_no_older_ones_and_misses_none(databases):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders", 3)
        await broker.publish("orders", *bodies(50))
        with relaying(database, broker, START="new"):
            await eventually(lambda: database.query("SELECT count(*) FROM livepush_relaypartition") == [(3,)])
        await broker.publish("orders", *bodies(50, 60))
        database.query("DELETE FROM livepush_relaypartition WHERE partition = 2 RETURNING 1")  # as if it were new
        with relaying(database, broker, START="new"):
            await eventually(lambda: set(range(50, 60)) <= set(numbers(elsewhere)))


@pytest.mark.long
@pytest.mark.parametrize("point", ["assigned", "received", "taken", "told"])
async def test_a_relay_that_dies_between_any_two_steps_loses_nothing_and_repeats_nothing(databases, point):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders", 3)
        await broker.publish("orders", *bodies(1_000))
        with relaying(database, broker, die=[point, "1" if point == "assigned" else "2"]) as process:
            await asyncio.to_thread(process.wait, PATIENCE)
        assert process.returncode == -signal.SIGKILL
        with relaying(database, broker):
            await eventually(lambda: arrived(database) >= 1_000)
        assert_exactly_once(elsewhere, 1_000)


async def relay_with_kills(databases, count, kills):
    """Relay four partitions while two relays are killed again and again."""
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders", 4)
        producing = asyncio.create_task(broker.publish("orders", *bodies(count)))
        for number in range(kills):
            with relaying(database, broker) as one, relaying(database, broker) as other:
                wanted = count * (number + 1) // (kills + 1)
                await eventually(lambda wanted=wanted: arrived(database) >= wanted)
                for process in (one, other):
                    os.kill(process.pid, signal.SIGKILL)
        await producing
        with relaying(database, broker):
            await eventually(lambda: arrived(database) >= count)
        assert_exactly_once(elsewhere, count)


@pytest.mark.long
@pytest.mark.parametrize(("count", "kills"), [(2_000, 2), (50_000, 20)])
async def test_two_relays_of_a_group_that_are_killed_lose_nothing_and_repeat_nothing(databases, count, kills):
    await relay_with_kills(databases, count, kills)


@pytest.mark.long
async def test_relays_that_come_and_go_share_the_partitions_and_repeat_nothing(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders", 4)
        producing = asyncio.create_task(broker.publish("orders", *bodies(20_000)))
        with relaying(database, broker):
            await eventually(lambda: arrived(database) >= 1_000)
            for wanted in (3_000, 6_000, 9_000, 12_000):
                with relaying(database, broker):
                    await eventually(lambda wanted=wanted: arrived(database) >= wanted)
            await producing
            await eventually(lambda: arrived(database) >= 20_000)
        assert_exactly_once(elsewhere, 20_000)


@pytest.mark.long
async def test_a_relay_whose_partitions_were_given_away_while_it_slept_repeats_nothing(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders", 2)
        await broker.publish("orders", *bodies(5_000))
        with relaying(database, broker, die=["received", "3:STOP"]) as one:  # it has a batch in its hands
            await asyncio.to_thread(os.waitid, os.P_PID, one.pid, os.WSTOPPED | os.WNOWAIT)
            with relaying(database, broker):
                await eventually(lambda: arrived(database) >= 5_000)
                one.send_signal(signal.SIGCONT)
                await broker.publish("orders", *bodies(5_000, 6_000))
                await eventually(lambda: arrived(database) >= 6_000)
        assert_exactly_once(elsewhere, 6_000)


@pytest.mark.long
@pytest.mark.parametrize("brokers", [1, 3])
async def test_brokers_that_are_away_for_a_while_lose_a_relay_nothing(databases, brokers):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker(brokers) as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders", 3)
        with relaying(database, broker):
            for start in range(0, 1_500, 500):
                await broker.publish("orders", *bodies(start, start + 500))
                broker.down()
                await asyncio.sleep(1)
                broker.up()
            await eventually(lambda: arrived(database) >= 1_500)
        assert_exactly_once(elsewhere, 1_500)


@pytest.mark.long
async def test_requests_that_fail_and_leaders_that_change_lose_nothing_and_repeat_nothing(databases):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker(3) as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders", 4)
        await broker.publish("orders", *bodies(10_000))
        troubling = asyncio.create_task(trouble(broker, "orders", 4, (FETCH, COORDINATOR, JOIN, HEARTBEAT, SYNC)))
        with relaying(database, broker), relaying(database, broker):
            await eventually(lambda: arrived(database) >= 5_000)
            await broker.publish("orders", *bodies(10_000, 12_000))
            await troubling
            await eventually(lambda: arrived(database) >= 12_000)
        stored = [int(json.loads(each.value())["n"]) for each in await broker.messages("orders")]
        found = numbers(elsewhere)
        assert sorted(found) == list(range(12_000))
        for key in range(7):  # a producer, too, may have met a leader that changed: so as they are stored
            assert [n for n in found if n % 7 == key] == [n for n in stored if n % 7 == key]


@pytest.mark.long
async def test_a_topic_that_was_made_anew_stops_the_relay_with_a_word_about_it_until_it_is_reset(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders")
        await broker.publish("orders", *bodies(10))
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 10)
        await broker.remove("orders")
        await broker.make("orders")
        await broker.publish("orders", *bodies(10, 40))  # it has more messages than the one before it had
        with relaying(database, broker) as process:
            _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert (process.returncode, "was deleted, and made anew" in told) == (1, True), told
        assert database.query("SELECT count(*) FROM livepush_event") == [(10,)]
        options = {"URL": broker.url, "STREAM": "orders", "GROUP": "order:{key}", "OPTIONS": QUICK}
        with relays.relaying(database, {"orders": options}, more=["--reset"]):
            await eventually(lambda: len(numbers(elsewhere)) == 40)
        assert numbers(elsewhere) == list(range(40))


@pytest.mark.long
async def test_a_topic_that_is_made_anew_while_it_is_relayed_stops_the_relay_with_a_word_about_it(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders")
        await broker.publish("orders", *bodies(10))
        with relaying(database, broker) as process:
            await eventually(lambda: len(numbers(elsewhere)) == 10)
            await broker.remove("orders")
            await broker.make("orders")
            _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert (process.returncode, "was deleted, and made anew" in told) == (1, True), told


@pytest.mark.long
async def test_messages_that_kafka_deletes_before_they_are_relayed_are_counted(databases):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders")
        await broker.publish("orders", *bodies(100))
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 100)
        await broker.publish("orders", *bodies(100, 200))
        broker.do("delete_records", "orders", 0, 130)
        with relaying(database, broker) as process:
            await eventually(lambda: len(numbers(elsewhere)) == 170)
            process.send_signal(signal.SIGTERM)
            _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert "Kafka deleted 30 messages of the partition 0" in told
        assert numbers(elsewhere) == [*range(100), *range(130, 200)]
        assert database.query("SELECT missed FROM livepush_relaypartition") == [(30,)]


@pytest.mark.long
@pytest.mark.parametrize("given", [{**PLAIN, "OPTIONS": QUICK}, {**OUTBOX, "STREAM": "orders"}])
async def test_a_relay_stops_while_its_brokers_are_away(databases, given):
    with stage(databases) as (database, broker, elsewhere):
        await broker.make("orders")
        with relays.relaying(database, {"orders": {**given, "URL": broker.url}}) as process:
            begun = "SELECT 1 FROM livepush_relaypartition UNION SELECT 1 FROM livepush_relaycursor"
            await eventually(lambda: database.query(begun))
            broker.down()
            elsewhere.send("a", "t")
            await asyncio.sleep(1)
        assert process.returncode == 0


@pytest.mark.long
async def test_a_relay_waits_for_a_topic_that_is_not_there_yet(databases):
    with stage(databases) as (database, broker, elsewhere), relaying(database, broker) as process:
        line = await asyncio.to_thread(process.stderr.readline)
        assert "Unknown topic" in line
        await broker.make("orders")
        await broker.publish("orders", *bodies(10))
        await eventually(lambda: len(numbers(elsewhere)) == 10)


@pytest.mark.long
async def test_a_database_that_is_away_for_a_while_loses_a_relay_nothing(own_postgresql):
    server, databases = own_postgresql
    with databases.fresh("own") as database, kafka_broker() as broker:
        await broker.make("orders", 3)
        with relaying(database, broker, may_fail=True, OPTIONS={**QUICK, "max.poll.interval.ms": 1_500}):
            await broker.publish("orders", *bodies(100))
            await eventually(lambda: arrived(database) == 100)
            server.stop()
            await broker.publish("orders", *bodies(100, 200))
            await asyncio.sleep(2)
            server.start()
            await eventually(lambda: arrived(database) >= 200)
        rows = database.query("SELECT data FROM livepush_event ORDER BY position")
        assert sorted(int(json.loads(data)["n"]) for (data,) in rows) == list(range(200))


# Outwards


def outbound(number, size=10):
    return Outbound(
        number, f"epoch-{number}", f"order:{number % 3}", "t", "2026-01-01T00:00:00Z", json.dumps("x" * size)
    )


def is_in_order(found, count):
    """Return whether nothing is left out, and nothing comes before its turn."""
    highest = 0
    for id in found:
        number = int(id.partition("-")[2])
        if number > highest + 1:
            return False
        highest = max(highest, number)
    return highest == count


async def ids(broker):
    return [dict(each.headers())["id"].decode() for each in await broker.messages("outbox")]


@pytest.fixture
def broker():
    with kafka_broker() as found:
        yield found


async def test_events_of_a_group_reach_one_partition_in_order_with_their_positions(broker, settings):
    await broker.make("outbox", 3)
    target = target_of(configured(settings, "default", OUTBOX, URL=broker.url))
    await target.open()
    await target.send([outbound(number) for number in range(1, 31)])
    await target.close()
    found = await broker.messages("outbox")
    assert {each.key().decode() for each in found} == {"order:0", "order:1", "order:2"}
    for group in range(3):
        mine = [each for each in found if each.key().decode() == f"order:{group}"]
        assert len({each.partition() for each in mine}) == 1
        assert [dict(each.headers())["id"].decode() for each in mine] == [
            f"epoch-{number}" for number in range(1, 31) if number % 3 == group
        ]
    assert dict(found[0].headers())["type"] == b"t"


@pytest.mark.long
async def test_a_message_that_is_too_large_is_rejected_after_those_before_it_were_taken(broker, settings):
    await broker.make("outbox")
    small = {"message.max.bytes": 2_000}
    target = target_of(configured(settings, "default", OUTBOX, URL=broker.url, OPTIONS=small))
    await target.open()
    with pytest.raises(Rejected, match=r"It has 5002 bytes: .*too large") as error:
        await target.send([outbound(1), outbound(2, 5_000), outbound(3)])
    await target.close()
    assert (error.value.message.number, await ids(broker)) == (2, ["epoch-1"])


@pytest.mark.django_db(transaction=True)
def test_an_event_that_was_refused_can_be_sent_again(broker, settings):
    configured(settings, "default", OUTBOX, URL=broker.url)
    broker.do("create", "outbox", 1, 1)
    letter = DeadLetter.objects.create(relay="orders", offset="epoch-1", content=outbound(1).as_text(), reason="")
    try_again(letter)
    assert asyncio.run(ids(broker)) == ["epoch-1"]
    assert not DeadLetter.objects.exists()


TOO_LARGE = 10


@pytest.mark.long
async def test_messages_that_are_too_large_together_are_sent_one_by_one(broker, settings):
    await broker.make("outbox")
    target = target_of(configured(settings, "default", OUTBOX, URL=broker.url))
    await target.open()
    broker.do("refuse", PRODUCE, TOO_LARGE, 1)
    messages = [outbound(number) for number in range(1, 6)]
    with pytest.raises(Later, match="did not take messages together with epoch-1"):
        await target.send(messages)
    await target.close()
    await target.open()
    broker.do("refuse", PRODUCE, TOO_LARGE, 1)
    with pytest.raises(Rejected) as error:
        await target.send(messages)
    assert error.value.message.number == 1
    await target.close()
    await target.open()
    await target.send(messages[1:])
    await target.close()
    assert await ids(broker) == [f"epoch-{number}" for number in range(2, 6)]


@pytest.mark.long
async def test_a_topic_that_is_not_there_and_a_broker_that_is_away_are_told(broker, settings, monkeypatch):
    monkeypatch.setattr("livepush.bridges.relays.outwards.kafka.TIMEOUT", 0.5)
    target = target_of(configured(settings, "default", OUTBOX, URL=broker.url))
    broker.do("error", "outbox", 3)
    with pytest.raises(Later, match=r"does not give the topic 'outbox': .*Unknown topic"):
        await target.open()
    await target.close()
    broker.do("error", "outbox", 0)
    await target.open()
    broker.down()
    with pytest.raises(Later, match=r"did not confirm messages within 0\.5 s"):
        await target.send([outbound(1)])
    await target.close()
    with pytest.raises(Later, match="transport failure"):
        await target.open()
    await target.close()
    broker.up()
    monkeypatch.setattr("livepush.bridges.relays.outwards.kafka.TIMEOUT", PATIENCE)
    await target.open()
    await target.send([outbound(1)])
    await target.close()
    assert await ids(broker) == ["epoch-1"]


@pytest.mark.long
@pytest.mark.parametrize("brokers", some([1, 3]))
async def test_brokers_that_are_away_hold_up_a_relay_and_lose_nothing(databases, brokers):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker(brokers) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        given = {**OUTBOX, "URL": broker.url, "LEASE": 1}
        with relays.relaying(database, {"outbox": given}):
            for _ in range(3):
                elsewhere.do("send_many", groups=["a"], type="t", count=500)
                broker.down()
                elsewhere.do("send_many", groups=["a"], type="t", count=500)
                await asyncio.sleep(1)
                broker.up()
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 3000"))
        assert is_in_order(await ids(broker), 3_000)


@pytest.mark.long
async def test_requests_that_fail_and_leaders_that_change_keep_the_order_and_lose_nothing(databases, figures):
    with (
        databases.fresh("postgresql") as database,
        kafka_broker(3) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        troubling = asyncio.create_task(trouble(broker, "outbox", 1, (PRODUCE, PRODUCE, PRODUCER_ID)))
        with relays.relaying(database, {"outbox": {**OUTBOX, "URL": broker.url, "LEASE": 1}}):
            for _ in range(20):
                await asyncio.to_thread(elsewhere.do, "send_many", groups=["a"], type="t", count=500)
            await troubling
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 10000"))
        found = await ids(broker)
        figures(repeated=len(found) - 10_000)
        assert is_in_order(found, 10_000)
