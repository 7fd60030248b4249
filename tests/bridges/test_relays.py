"""Relays: messages of real brokers become events exactly once, whatever is killed and when."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import signal
import time
from datetime import timedelta
from io import StringIO

import pytest
import redis
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import Error, IntegrityError, connections
from django.urls import reverse
from django.utils import timezone
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

import livepush
from livepush import checks, log
from livepush.bridges.relays import brokers, forgetting, running
from livepush.bridges.relays.config import Relay, relay
from livepush.bridges.relays.mapping import Message, Outgoing, decoded
from livepush.bridges.relays.models import DeadLetter, RelayOffset
from livepush.bridges.relays.retrying import StillDead, try_again
from livepush.bridges.relays.running import Runner
from livepush.bridges.relays.sources import Source, Taker, nothing
from livepush.bridges.relays.taking import offset_of, order, retry, take
from livepush.management.commands.livepush_relay import Command
from livepush.signals import notified
from tests.conftest import ALIASES, Thread, events_of, kind
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import faults, processes, relays
from tests.servers.brokers import BROKERS

KINDS = list(BROKERS)
PLAIN = {"URL": "redis://127.0.0.1:1", "STREAM": "orders", "GROUP": "order:{id}", "TYPE": "{kind}"}


def configured(settings, using, **changed):
    given = {name: value for name, value in {**PLAIN, **changed}.items() if value is not None}
    settings.LIVEPUSH = {"DATABASE": using, "RELAYS": {"orders": given}}
    return relay("orders")


def message(number, **body):
    return Message(f"1-{number}", {"id": number, "kind": "status", **body}, "orders")


# Taking, on every database


@pytest.fixture
def orders(using, settings):
    return configured(settings, using)


def test_messages_become_events_and_the_offset_is_stored_with_them(using, orders):
    assert take([message(1), message(2)], orders) == 2
    assert [(event.groups, event.type) for event in events_of(using)] == [
        (("order:1",), "status"),
        (("order:2",), "status"),
    ]
    assert json.loads(events_of(using)[0].data) == {"id": 1, "kind": "status"}
    assert offset_of(orders) == "1-2"


def test_what_was_taken_is_left_out(using, orders):
    take([message(1), message(2)], orders)
    assert take([message(number) for number in range(1, 4)], orders) == 1
    assert take([], orders) == 0
    assert len(events_of(using)) == 3


def test_nothing_is_taken_if_the_transaction_fails(using, orders, monkeypatch):
    def fail(*args):
        raise IntegrityError

    monkeypatch.setattr("livepush.publish.send_checked", fail)
    with pytest.raises(IntegrityError):
        take([message(1)], orders)
    assert (len(events_of(using)), offset_of(orders)) == (0, "")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"kind": "a b"}, "'a b' is not a type"),
        ({"kind": None}, "'None' is not a group"),
        ({"data": "\0"}, "NUL"),
        ({"data": "x" * 70_000}, "over the 65536"),
    ],
)
def test_what_can_not_become_an_event_becomes_a_dead_letter_and_holds_up_no_other(using, orders, body, reason):
    bad = Message("1-2", "no object", "orders") if body == {"kind": None} else message(2, **body)
    reason = "no field 'id'" if body == {"kind": None} else reason
    assert take([message(1), bad, message(3)], orders) == 3
    assert [event.groups[0] for event in events_of(using)] == ["order:1", "order:3"]
    letter = DeadLetter.objects.using(using).get()
    assert (letter.relay, letter.offset, json.loads(letter.content)["body"]) == ("orders", "1-2", bad.body)
    assert reason in letter.reason


def test_a_message_that_is_too_large_for_a_dead_letter_holds_up_no_other(using, orders):
    assert take([message(1, x="\ufffd" * 3_000_000), message(2)], orders) == 2
    assert [event.groups for event in events_of(using)] == [("order:2",)]
    letter = DeadLetter.objects.using(using).get()
    assert json.loads(letter.content) == {"subject": "orders"}
    assert letter.reason.startswith("The message is too large to be kept. The data is")
    with pytest.raises(StillDead, match="too large to be kept"):
        try_again(letter)


@pytest.mark.parametrize("changed", [{"GROUP": "order:{of[n]}"}, {"TYPE": "{n}"}, {"GROUP": "order:{n!r}"}], ids=repr)
@pytest.mark.parametrize("value", [None, "", False, [], {}], ids=repr)
def test_a_field_that_holds_nothing_makes_no_group_and_no_type(using, settings, changed, value):
    orders = configured(settings, using, **changed)
    take([message(1, n=value, of={"n": value}), message(2, n=0, of={"n": 0})], orders)
    assert [json.loads(event.data)["id"] for event in events_of(using)] == [2]
    name = "of[n]" if "of[n]" in changed.get("GROUP", "") else "n"
    assert DeadLetter.objects.using(using).get().reason.startswith(f"The message's field '{name}' is {value!r}")


def test_a_dead_letter_is_kept_for_its_retention_and_the_log_says_that_it_went(using, settings, caplog):
    settings.LIVEPUSH = {"DATABASE": using, "DEAD_LETTER_RETENTION": 60}
    now = timezone.now()
    for relay_name, age in (("orders", 59), ("orders", 61), ("orders", 62), ("that is no more", 99)):
        DeadLetter.objects.using(using).create(
            relay=relay_name, offset="1", content="{}", reason="no", created=now - timedelta(seconds=age)
        )
    assert forgetting.prune in log.jobs
    assert (forgetting.prune(using), forgetting.prune(using)) == (3, 0)
    assert [(row.relay, row.created) for row in DeadLetter.objects.using(using).all()] == [
        ("orders", now - timedelta(seconds=59))
    ]
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" were")[0] for text in sorted(told)] == [
        "1 dead letters of the relay 'that is no more'", "2 dead letters of the relay 'orders'",
    ]  # fmt: skip


def test_a_host_that_is_ahead_deletes_no_dead_letter(concurrent, settings, monkeypatch):
    settings.LIVEPUSH = {"DATABASE": concurrent, "DEAD_LETTER_RETENTION": 60}
    DeadLetter.objects.using(concurrent).create(relay="orders", offset="1", content="{}", reason="no")
    ahead = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr(timezone, "now", lambda: ahead)
    assert forgetting.prune(concurrent) == 0


@pytest.mark.parametrize("text", ["NaN", '{"t": NaN}', "-Infinity", "[Infinity]", "{", "\ud7ff"])
def test_what_is_no_json_arrives_as_a_text(using, settings, text):
    orders = configured(settings, using, GROUP="order:1", TYPE="message")
    take([Message("1-1", decoded(text.encode()), "orders")], orders)
    assert [json.loads(event.data) for event in events_of(using)] == [text]


def test_a_number_that_is_too_large_makes_a_dead_letter_that_can_be_tried_again(using, settings):
    orders = configured(settings, using, GROUP="order:1", TYPE="message")
    take([Message("1-1", decoded(b"1e999"), "orders")], orders)
    letter = DeadLetter.objects.using(using).get()
    assert "Out of range float" in letter.reason
    with pytest.raises(StillDead, match="Out of range float"):
        try_again(letter)


def test_a_dead_letter_can_be_tried_again(using, settings, orders):
    take([Message("1-1", {"id": 7}, "orders")], orders)
    letter = DeadLetter.objects.using(using).get()
    retry(letter, configured(settings, using, TYPE="message"))
    assert [event.groups for event in events_of(using)] == [("order:7",)]
    assert not DeadLetter.objects.using(using).exists()


def spread(message):
    if message.body["id"] == 2:
        RelayOffset.objects.using(relay("orders").subject).create(relay="never")
        raise ValueError("no")
    return (
        [Outgoing(["a", "b"], "first"), Outgoing("c", "second", message.subject)] if message.body["id"] == 1 else None
    )


async def aspread(message):
    return Outgoing("a", "t")


def test_a_function_makes_any_number_of_events_and_what_it_wrote_is_undone_if_it_raises(using, settings):
    mapped = configured(settings, using, URL="nats://x", GROUP=None, TYPE=None, MAP=f"{__name__}.spread", SUBJECT=using)
    assert take([message(1), message(2), message(3)], mapped) == 3
    assert [(event.groups, event.type) for event in events_of(using)] == [(("a", "b"), "first"), (("c",), "second")]
    assert DeadLetter.objects.using(using).get().reason == "ValueError: no"
    assert not RelayOffset.objects.using(using).filter(pk="never").exists()


def swallowing(message):
    """Note each name once; an error of the database is swallowed without a savepoint of its own."""
    try:
        RelayOffset.objects.using(message.subject).create(relay=message.body["name"])
    except IntegrityError:
        return None if message.body.get("quiet") else Outgoing("a", "t", message.body["name"])
    return Outgoing("a", "t", message.body["name"])


def swallowing_sql(message):
    try:
        with connections[message.subject].cursor() as cursor:
            columns = 'relay, "offset", taken, waiting'
            statement = f"INSERT INTO livepush_relayoffset ({columns}) VALUES (%s, '', now(), 0)"
            cursor.execute(statement, [message.body["name"]])
    except Error:
        pass
    return Outgoing("a", "t", message.body["name"])


@pytest.mark.parametrize("quiet", [False, True], ids=["goes on", "returns nothing"])
def test_a_function_that_swallows_an_error_of_the_database_holds_up_no_other_message(using, settings, quiet):
    mapped = configured(settings, using, GROUP=None, TYPE=None, MAP=f"{__name__}.swallowing")
    bodies = [{"name": "A"}, {"name": "B"}, {"name": "A", "quiet": quiet}, {"name": "C"}]
    batch = [Message(f"1-{place}", body, using) for place, body in enumerate(bodies)]
    assert (take(batch, mapped), offset_of(mapped)) == (4, "1-3")
    assert [json.loads(event.data) for event in events_of(using)] == ["A", "B", "C"]
    letter = DeadLetter.objects.using(using).get()
    assert "transaction.atomic()" in letter.reason
    with pytest.raises(StillDead, match=r"transaction\.atomic\(\)"):
        try_again(letter)
    RelayOffset.objects.using(using).filter(pk="A").delete()
    try_again(DeadLetter.objects.using(using).get())
    assert [json.loads(event.data) for event in events_of(using)] == ["A", "B", "C", "A"]


@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "postgresql"], indirect=True)
def test_a_transaction_that_postgresql_has_ended_holds_up_no_other_message(using, settings):
    mapped = configured(settings, using, GROUP=None, TYPE=None, MAP=f"{__name__}.swallowing_sql")
    RelayOffset.objects.using(using).create(relay="A")
    batch = [Message(f"1-{place}", {"name": name}, using) for place, name in enumerate("BAC")]
    assert (take(batch, mapped), offset_of(mapped)) == (3, "1-2")
    assert [json.loads(event.data) for event in events_of(using)] == ["B", "C"]
    assert "transaction.atomic()" in DeadLetter.objects.using(using).get().reason


def hostile(message):
    raise ValueError("a NUL: \0, half a character: \ud800")


def test_an_exception_with_a_hostile_text_holds_up_nothing(using, settings):
    mapped = configured(settings, using, GROUP=None, TYPE=None, MAP=f"{__name__}.hostile")
    assert take([message(1)], mapped) == 1
    assert DeadLetter.objects.using(using).get().reason == "ValueError: a NUL: \ufffd, half a character: ?"


def test_of_two_that_take_the_same_each_message_is_taken_once(concurrent, settings):
    orders = configured(settings, concurrent)
    batches = [[message(number) for number in range(start, start + 10)] for start in range(0, 100, 10)]
    threads = [Thread(lambda: [take(batch, orders) for batch in batches]) for _ in range(4)]
    taken = [sum(thread.join()) for thread in threads]
    assert sum(taken) == 100
    assert [event.groups[0] for event in events_of(concurrent)] == [f"order:{number}" for number in range(100)]


def test_offsets_are_in_the_order_of_numbers():
    assert sorted(["10-2", "9-30", "10-10", ""], key=order) == ["", "9-30", "10-2", "10-10"]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"URL": None}, "no URL that is a text"),
        ({"URL": "pulsar://x"}, "begins with 'pulsar'"),
        ({"GROUP": None}, "either GROUP"),
        ({"MAP": f"{__name__}.spread"}, "either GROUP"),
        ({"GROUP": None, "MAP": "nowhere.f"}, "can't be imported"),
        ({"START": "last"}, "START"),
        ({"TOPIC": "x"}, "'TOPIC', which nothing reads"),
        ({"GROUP": "order:{id"}, "'GROUP'"),
        ({"GROUP": "order:{}"}, "'GROUP'"),
        ({"GROUP": "order:{0}"}, "'GROUP'"),
        ({"GROUP": ""}, "'GROUP'"),
        ({"GROUP": ["order:1"]}, "'GROUP'"),
        ({"TYPE": 7}, "'TYPE'"),
        ({"URL": "mqtt://x", "KEY": "{id}}"}, "'KEY'"),
        ({"GROUP": None, "TYPE": None, "MAP": f"{__name__}.aspread"}, "is async: expected a plain function"),
    ],
)
def test_settings_that_can_not_work_are_named_by_the_checks(settings, changed, words):
    with pytest.raises(ImproperlyConfigured, match=words):
        configured(settings, "default", **changed)
    (error,) = checks.check_settings(None)
    assert (error.id, words in error.msg) == ("livepush.E021", True)
    assert "docs/relays.md" in error.hint
    assert "docs/outwards.md" in error.hint


def test_an_address_of_valkey_is_one_that_the_client_knows(settings):
    assert configured(settings, "default", URL="valkey://h:1/0").url == "redis://h:1/0"


def test_the_command_says_which_relays_there_are(settings):
    configured(settings, "default")
    with pytest.raises(CommandError, match="has no 'nope': it has 'orders'"):
        call_command("livepush_relay", "nope", stdout=StringIO())


async def test_a_relay_that_can_not_go_on_stops_no_other_one_of_the_command(caplog):
    class Broken(Runner):
        async def run(self):
            raise ImproperlyConfigured("It has to be reset.")

    class Good(Runner):
        async def run(self):
            await eventually(lambda: "The relay 'orders' has ended: It has to be reset." in caplog.text)

    plain = Relay(name="orders", kind="redis", url="", stream="orders")
    broken, good = Broken(plain), Good(plain)
    with pytest.raises(ImproperlyConfigured, match="has to be reset"):
        await Command()._run([broken, good])
    assert not good._stopping.is_set()


@pytest.mark.django_db(transaction=True)
def test_the_admin_tries_dead_letters_again(admin_client, settings):
    take([Message("1-1", {"id": 7}, "orders"), Message("1-2", {}, "orders")], configured(settings, "default"))
    configured(settings, "default", TYPE="message")
    chosen = [letter.pk for letter in DeadLetter.objects.all()]
    data = {"action": "try_again", "_selected_action": chosen}
    answer = admin_client.post(reverse("admin:livepush_deadletter_changelist"), data, follow=True)
    assert [event.groups for event in events_of("default")] == [("order:7",)]
    assert "rders: 1-2: The message has no field" in answer.text  # the admin capitalises it
    assert admin_client.get(reverse("admin:livepush_deadletter_change", args=[chosen[1]])).status_code == 200


# Running, with real brokers


def relaying(database, broker, may_fail=False, die=(), settings=None, **changed):
    """Relay the orders of a broker in a process of its own."""
    given = {"URL": broker.url, "STREAM": "orders", "GROUP": "order:{id}", "TYPE": "message", **changed}
    return relays.relaying(database, {"orders": given}, die=die, may_fail=may_fail, settings=settings)


def numbers(elsewhere):
    return [row["data"]["n"] for row in elsewhere.rows() if row["type"] == "message"]


@pytest.mark.parametrize("kind", some(KINDS))
async def test_messages_are_relayed_in_order_as_they_come(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        BROKERS[kind]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", *({"id": n % 7, "n": str(n)} for n in range(100)))
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 100)
            await broker.publish("orders", {"id": 1, "n": "100"})
            await eventually(lambda: len(numbers(elsewhere)) == 101)
        assert [int(each) for each in numbers(elsewhere)] == list(range(101))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_who_starts_with_new_messages_gets_no_older_ones_and_misses_none(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        BROKERS[kind]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", {"id": 1, "n": "old"})
        with relaying(database, broker, START="new"):
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relayoffset"))
        await broker.publish("orders", {"id": 1, "n": "while it was down"})
        with relaying(database, broker, START="new"):
            await eventually(lambda: numbers(elsewhere) == ["while it was down"])


@pytest.mark.long
async def test_a_redis_user_who_may_not_ask_for_the_stream_s_end_relays_no_old_messages_as_new_ones(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["redis"]() as broker,
        redis.Redis.from_url(broker.url) as client,
    ):
        await broker.publish("orders", *({"id": 1, "n": "old"} for _ in range(3)))
        rights = ("on", ">secret", "~orders", "+@connection", "+xread")
        client.execute_command("ACL", "SETUSER", "reader", *rights)
        with relaying(database, broker, START="new", URL=broker.url.replace("://", "://reader:secret@")) as process:
            _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert (process.returncode, "give the user XINFO" in told) == (1, True), told
        assert database.query("SELECT count(*) FROM livepush_event") == [(0,)]


async def relay_with_kills(databases, kind, count, kills, kill_broker=False):
    """Relay while two relays are killed again and again; return the numbers that arrived."""
    with (
        databases.fresh("postgresql") as database,
        BROKERS[kind]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")
        producing = asyncio.create_task(broker.publish("orders", *({"id": n % 9, "n": str(n)} for n in range(count))))

        def arrived():
            return database.query("SELECT count(*) FROM livepush_event")[0][0]

        for number in range(kills):
            with relaying(database, broker) as one, relaying(database, broker) as other:
                wanted = min(count, count * (number + 1) // (kills + 1))
                await eventually(lambda wanted=wanted: arrived() >= wanted)
                for process in (one, other):
                    os.kill(process.pid, signal.SIGKILL)
        await producing
        with relaying(database, broker):
            await eventually(lambda: arrived() >= count)
        return [int(each) for each in numbers(elsewhere)]


@pytest.mark.long
async def test_a_relay_of_nats_notes_how_many_messages_wait(databases):
    with databases.fresh("postgresql") as database, BROKERS["nats"]() as broker:
        await broker.make("orders")
        await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(1_000)))
        with relaying(database, broker, die=["taken", "1"]) as process:
            await asyncio.to_thread(process.wait, PATIENCE)

        def offset():
            found = database.query('SELECT "offset", waiting FROM livepush_relayoffset')
            return [(int(offset), waiting) for offset, waiting in found]

        ((taken, waiting),) = offset()
        assert 0 < taken < 1_000
        assert taken + waiting == 1_000
        with relaying(database, broker):
            await eventually(lambda: offset() == [(1_000, 0)])


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_relays_that_are_killed_lose_nothing_and_repeat_nothing(databases, kind):
    assert await relay_with_kills(databases, kind, 2_000, 2) == list(range(2_000))


@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS)
async def test_relays_that_are_killed_twenty_times_lose_nothing_and_repeat_nothing(databases, kind):
    assert await relay_with_kills(databases, kind, 50_000, 20) == list(range(50_000))


@pytest.mark.long
async def test_a_nats_server_that_is_killed_holds_up_a_relay_and_loses_it_nothing(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()
        await broker.make("orders")
        with relaying(database, broker):
            for number in range(5):
                await broker.publish("orders", *({"id": 1, "n": str(number * 100 + n)} for n in range(100)))
                if number % 2:
                    broker.kill()
                    broker.start()
            await eventually(lambda: len(numbers(elsewhere)) >= 500)
        assert [int(each) for each in numbers(elsewhere)] == list(range(500))


@contextlib.asynccontextmanager
async def received(broker, settings, monkeypatch):
    """Receive one order of a NATS server in this process; yield the source, which looks at each check."""
    taken = []

    async def take(messages):
        taken.extend(messages)
        return True

    monkeypatch.setattr(brokers, "LOOK", 0.0)
    await broker.make("orders")
    taker = Taker(take, taken.append, taken.append, take)
    source = brokers._source(configured(settings, "default", URL=broker.url), taker, "")
    await source.start()
    try:
        await broker.publish("orders", {"id": 1})
        await eventually(lambda: taken)
        for _ in range(3):
            await source.check()  # all is well
        yield source
    finally:
        await source.stop()


@pytest.mark.long
async def test_a_consumer_that_nats_has_deleted_is_noticed_and_it_deletes_none_soon(settings, monkeypatch):
    with BROKERS["nats"]() as broker:
        async with received(broker, settings, monkeypatch) as source, await broker._connected() as client:
            (consumer,) = await client.jetstream().consumers_info("orders")
            assert consumer.config.inactive_threshold == brokers.UNASKED
            await client.jetstream().delete_consumer("orders", consumer.name)
            with pytest.raises(NotFoundError):
                await source.check()


@pytest.mark.long
async def test_a_last_message_that_was_lost_on_its_way_is_noticed_though_none_follows_it(settings, monkeypatch):
    asked = JetStreamContext.PullSubscription.consumer_info

    async def ahead(subscription):
        info = await asked(subscription)
        info.delivered.consumer_seq += 1
        return info

    with BROKERS["nats"]() as broker:
        async with received(broker, settings, monkeypatch) as source:
            monkeypatch.setattr(JetStreamContext.PullSubscription, "consumer_info", ahead)
            await source.check()
            with pytest.raises(brokers.Gap, match="message 2 of 'orders' was lost"):
                await source.check()


@pytest.mark.long
async def test_a_relay_goes_on_with_another_consumer_after_nats_has_deleted_its_own(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", {"id": 1, "n": "1"})
        with relaying(database, broker):
            await eventually(lambda: numbers(elsewhere) == ["1"])
            async with await broker._connected() as client:
                for consumer in await client.jetstream().consumers_info("orders"):  # of a begin that failed, too
                    await client.jetstream().delete_consumer("orders", consumer.name)
            await broker.publish("orders", {"id": 1, "n": "2"})
            await eventually(lambda: numbers(elsewhere) == ["1", "2"])


async def make_anew(broker, count):
    """Remove the orders, and make a stream of the same name whose ids begin before those that were relayed."""
    await broker.remove("orders")
    await broker.make("orders")
    await broker.publish("orders", *({"id": 1, "n": "lost"} for _ in range(count)), ids="1-*")


@pytest.mark.long
@pytest.mark.parametrize("while_it_runs", some([False, True]), ids=["away", "running"])
@pytest.mark.parametrize("kind", some(KINDS))
async def test_a_stream_that_was_made_anew_stops_the_relay_with_a_word_about_it(databases, kind, while_it_runs):
    with (
        databases.fresh("postgresql") as database,
        BROKERS[kind]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.make("orders")
        await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(3)), ids="5-*")
        with relaying(database, broker) as process:
            await eventually(lambda: len(numbers(elsewhere)) == 3)
            if while_it_runs:
                await make_anew(broker, 2)
                _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        if not while_it_runs:
            await make_anew(broker, 2)
            with relaying(database, broker) as process:
                _, told = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert (process.returncode, "was made anew" in told) == (1, True), told


@pytest.mark.long
async def test_a_redis_stream_that_is_missing_for_a_while_and_goes_on_later_is_no_fault(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["redis"]() as broker,
        redis.Redis.from_url(broker.url) as client,
        processes.publisher(database) as elsewhere,
    ):
        elsewhere.position()  # the log begins
        await broker.publish("orders", {"id": 1, "n": "1"}, ids="5-*")
        with relaying(database, broker):
            await eventually(lambda: len(numbers(elsewhere)) == 1)
        await broker.remove("orders")
        with relaying(database, broker) as process:
            await eventually(lambda: any(each["cmd"] == "xread" for each in client.client_list()))
            await broker.publish("orders", {"id": 1, "n": "2"}, ids="6-*")
            await eventually(lambda: len(numbers(elsewhere)) == 2)
        assert process.returncode == 0


@pytest.mark.long
async def test_a_database_that_is_away_for_a_while_loses_a_relay_nothing(own_postgresql):
    server, databases = own_postgresql
    with databases.fresh("own") as database, BROKERS["redis"]() as broker:
        await broker.make("orders")
        with relaying(database, broker, may_fail=True):
            await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(100)))
            await eventually(lambda: database.query("SELECT count(*) FROM livepush_event") == [(100,)])
            server.stop()
            await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(100, 200)))
            await asyncio.sleep(2)
            server.start()
            await eventually(lambda: database.query("SELECT count(*) FROM livepush_event")[0][0] >= 200)
        rows = database.query("SELECT data FROM livepush_event ORDER BY position")
        assert [int(json.loads(data)["n"]) for (data,) in rows] == list(range(200))


@pytest.mark.long
@pytest.mark.parametrize("then", some(["goes on", "ends"]))
async def test_a_database_host_that_vanishes_is_given_up_and_no_message_is_lost_or_repeated(own_postgresql, then):
    server, databases = own_postgresql
    with databases.fresh("own") as database, BROKERS["redis"]() as broker, faults.line(server.socket) as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)

        def count():
            return database.query("SELECT count(*) FROM livepush_event")[0][0]

        with relaying(through, broker, may_fail=True, settings={"DATABASE_TIMEOUT": 1.0}) as process:
            await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(100)))
            await eventually(lambda: count() == 100)
            await asyncio.to_thread(line.abandon if then == "goes on" else line.stall)
            await broker.publish("orders", *({"id": 1, "n": str(n)} for n in range(100, 200)))
            if then == "goes on":
                await eventually(lambda: count() >= 200)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, PATIENCE)
        rows = database.query("SELECT data FROM livepush_event ORDER BY position")
        assert [int(json.loads(data)["n"]) for (data,) in rows] == list(range(200 if then == "goes on" else 100))


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
async def test_a_task_that_fails_as_its_source_is_stopped_is_no_line_of_asyncios(using, settings, monkeypatch):
    loop, stopped, said = asyncio.get_running_loop(), asyncio.Event(), []
    loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
    runner = Runner(configured(settings, using))

    async def receive():
        runner.stop()
        await stopped.wait()
        raise ConnectionError("closed as it is stopped")

    async def source_for(relay, taker):
        tasks = [asyncio.create_task(receive())]

        async def stop():
            stopped.set()
            tasks.clear()

        return Source(nothing, stop, nothing, lambda: tasks)

    monkeypatch.setattr(running, "source_for", source_for)
    await runner.run()
    for _ in range(3):
        await asyncio.sleep(0)
        gc.collect()
    assert said == []


def slowly(message):
    time.sleep(0.3)
    return Outgoing("a", "t", message.body)


async def taken_of_five(mapped, settings, monkeypatch):
    """Take a batch of five messages where each step may take a second; return the numbers taken."""
    monkeypatch.setattr(running, "MAP_TIMEOUT", 1.0)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 1.0}
    runner, told = Runner(mapped), []
    runner._told = told.append

    async def once():
        await runner._take([message(number) for number in range(5)])
        runner.stop()

    runner._run_once = once
    await runner.run()
    return told


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
async def test_a_batch_may_take_longer_than_the_limit_as_long_as_it_gets_on(using, settings, monkeypatch):
    mapped = configured(settings, using, GROUP=None, TYPE=None, MAP=f"{__name__}.slowly")
    assert await taken_of_five(mapped, settings, monkeypatch) == [5]


def notifying(message):
    livepush.notify("user:1", f"number {message.body['id']}")
    return Outgoing("a", "t", message.body)


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
async def test_receivers_of_what_a_batch_notifies_take_their_time_each(using, settings, monkeypatch):
    mapped = configured(settings, using, GROUP=None, TYPE=None, MAP=f"{__name__}.notifying")
    mailed = []

    def mail(notification, **kwargs):
        time.sleep(0.3)  # an email takes its time
        mailed.append(User.objects.count())

    notified.connect(mail)
    try:
        assert await taken_of_five(mapped, settings, monkeypatch) == [5]
    finally:
        notified.disconnect(mail)
    assert mailed == [0] * 5
