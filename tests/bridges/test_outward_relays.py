"""Outward relays: the log's events reach brokers in their order, each at least once, whatever is killed and when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import random
import signal
import threading
import time
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, transaction
from django.urls import reverse
from django.utils import timezone

import livepush
from livepush import log, publish, tenants
from livepush.bridges.relays.config import relay
from livepush.bridges.relays.models import DeadLetter, RelayCursor
from livepush.bridges.relays.outwards.cursor import Cursor, Superseded
from livepush.bridges.relays.outwards.reading import next_page
from livepush.bridges.relays.outwards.running import FRESH, Sender
from livepush.bridges.relays.outwards.targets import Rejected
from livepush.models import Event, LogHead
from livepush.wire import Position
from tests.conftest import ALIASES, Thread
from tests.patience import PATIENCE, eventually, wait_until
from tests.scale import some
from tests.servers import faults, processes
from tests.servers.brokers import BROKERS
from tests.servers.kafka import kafka_broker
from tests.servers.queues import queue_broker
from tests.servers.relays import relaying

KINDS = ["nats", "redis", "rabbit", "mqtt", "kafka"]
LEASE = 0.4
TIMEOUT, MARGIN = 1.0, 10.0
"""``DATABASE_TIMEOUT`` where a host vanishes, and how much longer (seconds) it may take until the relay goes on."""
PLAIN = {"DIRECTION": "out", "URL": "redis://127.0.0.1:1", "STREAM": "outbox"}


def configured(settings, using, **changed):
    given = {name: value for name, value in {**PLAIN, **changed}.items() if value is not None}
    settings.LIVEPUSH = {"DATABASE": using, "RELAYS": {"outbox": given}}
    return relay("outbox")


@pytest.fixture
def outbox(using, settings):
    return configured(settings, using)


def is_in_order(numbers):
    """Return whether nothing is left out and nothing comes before its turn; what was sent before may be repeated."""
    highest = 0
    for number in numbers:
        if number > highest + 1:
            return False
        highest = max(highest, number)
    return True


# Reading, on every database


def numbers_of(page):
    return [message.number for message in page.messages]


def test_what_is_read_are_events_as_clients_get_them_with_their_position_as_id(using, outbox):
    livepush.send(["order:1", "board"], "status", {"is": "new"}, using=using)
    page = next_page(outbox, 0)
    (message,) = page.messages
    epoch = log.state(using).position.epoch
    assert (message.id, message.group, message.type, page.upto) == (f"{epoch}-1", "order:1", "status", 1)
    body = json.loads(message.body)
    assert body == {
        "id": f"{epoch}-1", "group": "order:1", "groups": ["order:1", "board"], "type": "status",
        "data": {"is": "new"}, "time": body["time"],
    }  # fmt: skip


def test_a_relay_settles_what_waits_as_there_may_be_no_hub(using, outbox):
    log.make_head(using)
    log.append(log.Content(("a",), "t", "1"), None, using)
    assert numbers_of(next_page(outbox, 0)) == [1]


def test_only_groups_and_types_that_were_chosen_are_sent_and_never_livepushs_own(using, settings):
    chosen = configured(settings, using, GROUPS=["order:*", "team"], TYPES=["status*"])
    for groups, type in [
        (["order:1"], "status"), (["board", "team"], "status.new"), (["board"], "status"), (["order:2"], "chat"),
    ]:  # fmt: skip
        livepush.send(groups, type, using=using)
    everything = configured(settings, using)
    publish.send_own("livepush:rights", "livepush.rights", {}, using)
    log.append(log.Content(("inbox:user:1",), "inbox.notification", "1"), None, using)
    publish.deliver(using)
    assert [(each.number, each.group) for each in next_page(chosen, 0).messages] == [(1, "order:1"), (2, "team")]
    assert "board" not in next_page(chosen, 0).messages[1].body
    page = next_page(everything, 0)
    assert (numbers_of(page), page.upto) == ([1, 2, 3, 4], 6)


def test_a_relay_sends_the_events_of_one_tenant_without_its_name(using, settings):
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains", "DATABASE": using}
    for tenant in ("acme", "globex"):
        with tenants.active(tenant):
            livepush.send("board", "status", tenant, using=using)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "RELAYS": {"outbox": {**PLAIN, "TENANT": "globex"}}}
    (message,) = next_page(relay("outbox"), 0).messages
    assert (message.number, message.group, "globex|" in message.body) == (2, "board", False)
    settings.LIVEPUSH = {**settings.LIVEPUSH, "RELAYS": {"outbox": PLAIN}}
    with pytest.raises(ImproperlyConfigured, match="needs TENANT"):
        relay("outbox")


def test_positions_that_were_pruned_before_they_were_read_are_counted(using, outbox):
    for number in range(5):
        livepush.send("a", "t", number, using=using)
    log.prune(using, timezone.now() + timedelta(seconds=1), 3)
    page = next_page(outbox, 1)
    assert (page.messages, page.upto, page.pruned) == ([], 3, 2)
    assert numbers_of(next_page(outbox, page.upto)) == [4, 5]


def test_a_log_that_was_made_anew_is_read_from_its_beginning(using, outbox):
    livepush.send("a", "t", using=using)
    page = next_page(outbox, 10)
    assert (page.messages, page.upto, page.anew) == ([], 0, True)


# The cursor, on every database


def test_one_process_holds_the_cursor_until_it_releases_it(using, outbox):
    one, other = Cursor(outbox), Cursor(outbox)
    assert (one.take(), other.take()) == (0, None)
    one.move(7, sent=True)
    one.release()
    assert (other.take(), one.take()) == (7, None)
    with pytest.raises(Superseded):
        one.move(8, sent=True)
    assert RelayCursor.objects.using(using).get().position == 7


def test_a_cursor_is_taken_over_only_when_its_holder_shows_nothing_for_a_whole_lease(using, settings):
    outbox = configured(settings, using, LEASE=0.2)
    one, other = Cursor(outbox), Cursor(outbox)
    one.take()
    end = time.monotonic() + 0.6
    while time.monotonic() < end:
        one.beat()
        assert other.take() is None
    begun = time.monotonic()
    while other.take() is None:
        assert time.monotonic() < begun + PATIENCE
    assert time.monotonic() - begun > 0.15
    with pytest.raises(Superseded):
        one.beat()


def test_a_cursor_whose_row_is_older_than_its_last_write_is_not_moved(using, outbox):
    cursor = Cursor(outbox)
    assert cursor.take() == 0
    older = RelayCursor.objects.using(using).values("position", "beats").get()
    cursor.beat()  # as after a page was read
    RelayCursor.objects.using(using).update(**older)  # as after a failover while it is sent
    with pytest.raises(Superseded):
        cursor.move(5, sent=True)
    assert cursor.take() == 0


def test_who_starts_with_new_events_begins_at_the_end_of_the_log(using, settings):
    livepush.send("a", "t", using=using)
    assert Cursor(configured(settings, using, START="new")).take() == 1


def test_a_relay_that_begins_after_a_prune_counts_nothing_as_lost(using, outbox):
    livepush.send("a", "t", using=using)
    log.prune(using, timezone.now() + timedelta(seconds=1), 10)
    assert Cursor(outbox).take() == 1


# Sending, to a target of the test's own


class Taking:
    """A target that takes what it is given, unless it is told otherwise."""

    at_once = 3
    longest_pause = 0.01

    def __init__(self):
        self.taken, self.refuse = [], lambda number: None

    async def open(self): ...

    async def close(self): ...

    async def send(self, messages):
        for message in messages:
            error = self.refuse(message)
            if error is not None:
                raise error
            self.taken.append(message.number)


def run_until(sender, condition):
    """Run a relay in a thread until something holds."""
    loop = asyncio.new_event_loop()

    async def run():
        try:
            await sender.run()
        finally:
            await loop.shutdown_default_executor()

    thread = Thread(loop.run_until_complete, run())
    try:
        wait_until(lambda: not thread.is_alive() or condition())
    finally:
        with contextlib.suppress(RuntimeError):  # it ended by itself
            loop.call_soon_threadsafe(sender.stop)
        thread.join()
        loop.close()


def sender_with(target, outbox):
    sender = Sender(outbox)
    sender._target = target
    return sender


def send_some(using, count=10):
    with transaction.atomic(using=using):
        for number in range(count):
            livepush.send("a", "t", number, using=using)


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_what_was_not_taken_is_sent_again_before_anything_later(using, outbox):
    send_some(using)
    target, failures = Taking(), iter([None, None, None, None, OSError("away"), OSError("away")])
    target.refuse = lambda message: next(failures, None)
    run_until(sender_with(target, outbox), lambda: target.taken and target.taken[-1] == 10)
    assert target.taken == [1, 2, 3, 4, *range(4, 11)]
    row = RelayCursor.objects.using(using).get()
    assert (row.position, row.holder, row.error, row.failing_since) == (10, "", "", None)


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_while_a_target_takes_nothing_the_cursor_says_why(using, outbox):
    send_some(using, 1)
    target = Taking()
    target.refuse = lambda message: OSError("away")
    rows = RelayCursor.objects.using(using)
    noted = threading.Event()

    def note(*args):
        Cursor.note(sender._cursor, *args)
        noted.set()

    sender = sender_with(target, outbox)
    sender._cursor.note = note
    run_until(sender, noted.is_set)
    row = rows.get()
    assert (row.position, row.error, row.failing_since is None) == (0, "OSError: away", False)


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_what_is_never_taken_becomes_a_dead_letter_and_holds_up_nothing(using, outbox):
    send_some(using)
    target = Taking()
    target.refuse = lambda message: Rejected(message, "too large") if message.number == 5 else None
    run_until(sender_with(target, outbox), lambda: target.taken and target.taken[-1] == 10)
    assert target.taken == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    letter = DeadLetter.objects.using(using).get()
    assert (letter.relay, letter.reason) == ("outbox", "too large")
    assert letter.offset == str(Position(LogHead.objects.using(using).get().epoch, 5))


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_pruned_positions_are_counted_and_logged_as_errors(using, outbox, caplog):
    Cursor(outbox).take()
    RelayCursor.objects.using(using).update(holder="")
    send_some(using)
    log.prune(using, timezone.now() + timedelta(seconds=1), 4)
    target = Taking()
    with caplog.at_level(logging.ERROR):
        run_until(sender_with(target, outbox), lambda: target.taken and target.taken[-1] == 10)
    assert target.taken == [5, 6, 7, 8, 9, 10]
    assert RelayCursor.objects.using(using).get().pruned == 4
    assert "4 positions of the log were pruned before the relay 'outbox' could send them" in caplog.text


# After a failover


class Remembering(Taking):
    """A target that knows each id by the first body that had it."""

    def __init__(self):
        super().__init__()
        self.bodies, self.twice = {}, []

    async def send(self, messages):
        for message in messages:
            await super().send([message])
            if self.bodies.setdefault(message.id, message.body) != message.body:
                self.twice.append(message.id)

    def data(self):
        return [json.loads(body)["data"] for body in self.bodies.values()]


def send_numbers(using, *data):
    with transaction.atomic(using=using):
        for each in data:
            livepush.send("a", "t", each, using=using)


class FailingOver(Remembering):
    """A target in whose first ``send`` the database is replaced by a replica that lacks the last events."""

    def __init__(self, using, sender, anew, breaks):
        super().__init__()
        self.at_once = 5
        self._using, self._sender, self._anew, self._breaks = using, sender, anew, breaks
        self._done = False

    async def send(self, messages):
        await super().send(messages)
        if not self._done and messages[-1].number == 5:
            await self._sender._in_thread(self._fail_over)
            self._done = True
            if self._breaks:
                raise OperationalError("server closed the connection")

    def _fail_over(self):
        using = self._using
        Event.objects.using(using).filter(position__gt=3).delete()
        LogHead.objects.using(using).update(position=3)
        RelayCursor.objects.using(using).update(position=3)
        send_numbers(using, *self._anew)
        publish.deliver(using)


@pytest.mark.parametrize("breaks", [True, False], ids=["the connection broke", "a pooler hid it"])
@pytest.mark.parametrize("anew", [[], ["x"], ["x", "y"], ["x", "y", "z"]], ids=len)
@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_after_a_failover_no_id_is_given_twice_and_nothing_is_left_out(using, outbox, anew, breaks):
    send_numbers(using, 1, 2, 3)
    send_numbers(using, 4, 5)
    sender = sender_with(None, outbox)
    sender._target = target = FailingOver(using, sender, anew, breaks)
    later = threading.Event()

    def arrived():
        if target._done and not later.is_set():
            later.set()
            send_numbers(using, "last")
        return "last" in target.data()

    run_until(sender, arrived)
    assert target.twice == []
    found = target.data()
    assert found[:5] == [1, 2, 3, 4, 5]
    assert [each for each in found[5:] if each not in (1, 2, 3)] == [*anew, "last"]


@pytest.mark.parametrize("using", ALIASES[:1], indirect=True)
def test_a_cursor_that_is_moved_back_on_purpose_begins_no_new_epoch(using, outbox):
    send_numbers(using, 1, 2, 3)
    target = Remembering()
    epoch = log.state(using).position.epoch
    sender = sender_with(target, outbox)
    was_reset = threading.Event()

    def again():
        if target.taken[-1:] == [3] and not was_reset.is_set():
            was_reset.set()
            RelayCursor.objects.using(using).all().delete()
            send_numbers(using, 4)
        return target.taken[-1:] == [4]

    run_until(sender, again)
    assert log.state(using).position.epoch == epoch
    assert (target.taken, target.twice) == ([1, 2, 3, 1, 2, 3, 4], [])


def test_a_log_that_lost_or_replaced_what_was_sent_begins_a_new_epoch(using, outbox):
    send_numbers(using, 1, 2, 3)
    page = next_page(outbox, 0)
    known = page.known(page.messages[-1])
    assert numbers_of(next_page(outbox, 0, known)) == [1, 2, 3]
    Event.objects.using(using).filter(position=3).update(data='"another"')
    assert next_page(outbox, 2, known).messages == []
    epoch = log.state(using).position.epoch
    assert epoch != page.epoch
    assert [message.id for message in next_page(outbox, 2, known).messages] == [f"{epoch}-3"]


def test_what_was_deleted_or_pruned_since_it_was_sent_begins_no_new_epoch(using, outbox):
    send_numbers(using, 1, 2, 3)
    page = next_page(outbox, 0)
    pruned, deleted = page.known(page.messages[0]), page.known(page.messages[1])
    log.prune(using, timezone.now() + timedelta(seconds=1), 1)
    assert numbers_of(next_page(outbox, 2, pruned)) == [3]
    Event.objects.using(using).filter(position=2).delete()
    assert numbers_of(next_page(outbox, 2, deleted)) == [3]
    assert log.state(using).position.epoch == page.epoch


# Settings


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"DIRECTION": "up"}, "expected 'in' or 'out'"),
        ({"URL": "pulsar://x"}, "begins with 'pulsar'"),
        ({"STREAM": None}, "needs URL and STREAM"),
        ({"GROUP": "a"}, "'GROUP', which nothing reads"),
        ({"GROUPS": "order:*"}, "expected a list of patterns"),
        ({"GROUPS": ["order 1"]}, "is not a pattern"),
        ({"LEASE": 0}, "a number above 0"),
        ({"MAXLEN": 1e6}, "a whole number above 0"),
        ({"URL": "nats://x"}, "needs URL and STREAM and SUBJECT"),
        ({"URL": "nats://x", "SUBJECT": "a.>"}, "without wildcards"),
        ({"URL": "nats://x", "SUBJECT": "a.{name}"}, "without wildcards"),
        ({"URL": "mqtt://x", "STREAM": None, "SUBJECT": "a/#"}, "without wildcards"),
        ({"URL": "mqtt://x", "STREAM": None, "SUBJECT": "a\0"}, "without wildcards"),
        ({"URL": "nats://x", "SUBJECT": "{group}" * 11}, "2200 bytes long with the longest names"),
        ({"URL": "mqtt://x", "SUBJECT": "a"}, "'STREAM', which nothing reads"),
        ({"URL": "amqp://x"}, "needs URL and SUBJECT"),
        ({"URL": "https://x", "STREAM": None}, "needs URL and SECRET"),
        ({"URL": "https://x", "STREAM": None, "SECRET": "whsec_c2hvcnQ="}, "24 to 64 random bytes"),
        ({"URL": "https://x", "STREAM": None, "SECRET": "a" * 32}, "24 to 64 random bytes"),
        ({"URL": "http://x", "STREAM": None, "SECRET": f"whsec_{'a' * 32}"}, "expected https"),
        ({"URL": "https://me:pw@x", "STREAM": None, "SECRET": f"whsec_{'a' * 32}"}, "without a password"),
        ({"URL": "https:///x", "STREAM": None, "SECRET": f"whsec_{'a' * 32}"}, "malformed"),
    ],
)
def test_settings_that_can_not_work_are_refused_and_secrets_are_not_told(settings, changed, words):
    with pytest.raises(ImproperlyConfigured, match=words) as error:
        configured(settings, "default", **changed)
    assert "aaaa" not in str(error.value)
    assert "c2hvcnQ" not in str(error.value)


@pytest.mark.django_db(transaction=True)
def test_the_admin_shows_how_far_outward_relays_have_come(admin_client, settings):
    Cursor(configured(settings, "default")).take()
    livepush.send("a", "t")
    text = admin_client.get(reverse("admin:livepush_relaycursor_changelist")).text
    assert '<td class="field-behind">1</td>' in text


# Running, with real brokers


PLACES = {
    "redis": {"STREAM": "outbox"},
    "nats": {"STREAM": "outbox", "SUBJECT": "outbox.{type}"},
    "amqp": {"SUBJECT": "outbox"},
    "mqtt": {"SUBJECT": "outbox"},
    "kafka": {"STREAM": "outbox", "OPTIONS": {"compression.type": "zstd"}},
}


def settings_for(broker):
    return {"DIRECTION": "out", "URL": broker.url, "LEASE": LEASE, **PLACES[broker.url.partition(":")[0]]}


def broker_of(kind):
    found = {**BROKERS, "kafka": kafka_broker}
    return found[kind]() if kind in found else queue_broker(kind)


BATCHES = {"redis": 200, "kafka": 500, "rabbit": 10, "mqtt": 10}
"""How many events may come twice after a relay was killed."""


async def numbers_in(broker):
    return [int(id.partition("-")[2]) for id, _ in await broker.taken("outbox")]


def send_in(elsewhere, count):
    for start in range(0, count, 1000):
        elsewhere.do("send_many", groups=["a", "b"], type="t", count=min(1000, count - start))


@pytest.mark.parametrize("kind", some(KINDS))
async def test_events_reach_a_broker_in_their_order_with_their_positions_as_ids(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        broker_of(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        send_in(elsewhere, 500)
        with relaying(database, {"outbox": settings_for(broker)}):
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 500"))
            elsewhere.send("c", "later", {"n": 1})
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 501"))
        taken = await broker.taken("outbox")
        assert [event for _, event in taken] == elsewhere.rows()
        assert [id for id, _ in taken] == [event["id"] for _, event in taken]
        assert database.query("SELECT holder FROM livepush_relaycursor") == [("",)]


LARGE = {"text": "x" * 20_000}
NEVER_TAKEN = {
    # what the broker is like, the relay's place, the stream, and the event that the broker will never take
    "a routing key of over 255 bytes": ("rabbit", "", "{group}{type}", "outbox", ("g" * 180, "t" * 76, 1)),
    "a message of over max_message_size": ("rabbit", "max_message_size = 10000", "outbox", "outbox", ("a", "t", LARGE)),
    "a message of over max_msg_size": ("nats", 10_000, "outbox.{type}", "outbox", ("a", "t", LARGE)),
    "a packet of over max_packet_size": ("mqtt", "max_packet_size 10000", "a/{group}", "#", ("a", "t", LARGE)),
    "a message of over message_size_limit": ("mqtt", "message_size_limit 10000", "a/{group}", "#", ("a", "t", LARGE)),
    "a topic of over 200 levels": ("mqtt", "", "a/{group}", "#", ("/" * 200, "t", 1)),
}


@pytest.mark.long
@pytest.mark.parametrize("what", some(list(NEVER_TAKEN)))
async def test_what_a_broker_will_never_take_becomes_a_dead_letter(databases, what):
    kind, limit, subject, stream, refused = NEVER_TAKEN[what]
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() if kind == "nats" else queue_broker(kind, limit) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await (broker.make(stream, max_msg_size=limit) if kind == "nats" else broker.make(stream))
        elsewhere.send("out", "box", 1)
        elsewhere.send(*refused)
        elsewhere.send("out", "box", 2)
        place = {name: value for name, value in PLACES[broker.url.partition(":")[0]].items() if name == "STREAM"}
        with relaying(database, {"outbox": {**settings_for(broker), **place, "SUBJECT": subject}}):
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 3"))
        assert [event["data"] for _, event in await broker.taken(stream)] == [1, 2]
        [(offset, reason)] = database.query('SELECT "offset", reason FROM livepush_deadletter')
        assert (offset.partition("-")[2], "bytes" in reason or "size" in reason or "levels" in reason) == ("2", True)


POINTS = ["sent", "held", "read", "moved"]


DEATHS = [("nats", ["sent"]), *((kind, POINTS) for kind in KINDS)]


@pytest.mark.long
@pytest.mark.parametrize(("kind", "points"), some(DEATHS))
async def test_a_relay_that_dies_between_any_two_steps_loses_nothing_and_keeps_the_order(databases, kind, points):
    chance = random.Random(2026)
    with (
        databases.fresh("postgresql") as database,
        broker_of(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        relays = {"outbox": settings_for(broker)}
        for point in points:
            send_in(elsewhere, 250)
            count = 1 if point == "held" else chance.randint(1, 2)
            with relaying(database, relays, die=[point, str(count)]) as process:
                await asyncio.to_thread(process.wait, PATIENCE)
            assert process.returncode == -signal.SIGKILL
        total = 250 * len(points)
        with relaying(database, relays):
            await eventually(lambda: database.query(f"SELECT 1 FROM livepush_relaycursor WHERE position = {total}"))
        numbers = await numbers_in(broker)
        assert is_in_order(numbers)
        assert numbers[-1] == total
        assert kind != "nats" or len(numbers) == total  # it leaves out what it has


async def relay_with_kills(databases, kind, count, kills):
    """Send outwards while two relays are killed again and again; return the numbers that arrived."""
    with (
        databases.fresh("postgresql") as database,
        broker_of(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        relays = {"outbox": settings_for(broker)}
        sending = asyncio.create_task(asyncio.to_thread(send_in, elsewhere, count))

        def position():
            return (database.query("SELECT position FROM livepush_relaycursor") or [(0,)])[0][0]

        for number in range(kills):
            wanted = count * (number + 1) // (kills + 1)
            with relaying(database, relays) as one, relaying(database, relays) as other:
                await eventually(lambda wanted=wanted: position() >= wanted)
                for process in (one, other):
                    os.kill(process.pid, signal.SIGKILL)
        await sending
        with relaying(database, relays):
            await eventually(lambda: position() == count)
        return await numbers_in(broker)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "count"), [("nats", 50_000), ("redis", 50_000), ("kafka", 50_000), ("rabbit", 5_000), ("mqtt", 5_000)]
)
async def test_two_relays_that_are_killed_twenty_times_lose_nothing_and_keep_the_order(databases, kind, count, figures):
    numbers = await relay_with_kills(databases, kind, count, 20)
    assert is_in_order(numbers)
    assert numbers[-1] == count
    repeated = len(numbers) - count
    figures(kind=kind, repeated=repeated)
    assert repeated == 0 if kind == "nats" else repeated <= 20 * BATCHES[kind]


@pytest.mark.long
@pytest.mark.parametrize("kind", ["rabbit", "mqtt"])
async def test_a_user_who_is_forgotten_while_a_slow_broker_takes_a_page_is_sent_no_more(databases, kind):
    with (
        databases.fresh("postgresql") as database,
        broker_of(kind) as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        elsewhere.session("leaver")
        (user,) = database.query("SELECT id FROM auth_user WHERE username = 'leaver'")[0]
        elsewhere.do("send_many", groups=[f"user:{user}"], type="private", count=50)
        with relaying(database, {"outbox": settings_for(broker)}, die=["sent", "1:STOP"]) as process:
            await asyncio.to_thread(os.waitid, os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            elsewhere.do("forget", username="leaver")
            forgotten = time.monotonic()
            await eventually(lambda: time.monotonic() > forgotten + FRESH)
            process.send_signal(signal.SIGCONT)
            elsewhere.send("board", "public", 1)
            await eventually(lambda: not database.query("SELECT 1 FROM livepush_relaycursor WHERE position < 51"))
        types = [event["type"] for _, event in await broker.taken("outbox")]
        assert types == ["private"] * 10 + ["public"]


@pytest.mark.long
async def test_a_broker_that_is_away_holds_up_a_relay_and_loses_nothing(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        with relaying(database, {"outbox": settings_for(broker)}):
            for _ in range(3):
                send_in(elsewhere, 1_000)
                broker.kill()
                send_in(elsewhere, 1_000)
                broker.start()
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 6000"))
        assert await numbers_in(broker) == list(range(1, 6_001))


@pytest.mark.long
async def test_somebody_else_who_publishes_to_the_stream_holds_up_nothing(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        with relaying(database, {"outbox": settings_for(broker)}):
            for _ in range(10):
                send_in(elsewhere, 200)
                await broker.publish("outbox", *range(200))
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 2000"))
        async with await broker._connected() as client:
            assert (await client.jetstream().stream_info("outbox")).state.messages == 4_000


@pytest.mark.long
async def test_two_relays_may_send_the_same_events_to_one_nats_stream(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["nats"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        await broker.make("outbox")
        send_in(elsewhere, 10)
        relays = {name: {**settings_for(broker), "SUBJECT": f"outbox.{name}.{{type}}"} for name in ("one", "two")}
        done = "SELECT count(*) FROM livepush_relaycursor WHERE position = 10"
        with relaying(database, relays):
            await eventually(lambda: database.query(done) == [(2,)])
        assert sorted(await numbers_in(broker)) == sorted([*range(1, 11)] * 2)


@pytest.mark.long
async def test_a_database_that_is_away_holds_up_a_relay_and_loses_nothing(own_postgresql):
    server, databases = own_postgresql
    with databases.fresh("own") as database, BROKERS["redis"]() as broker:
        with relaying(database, {"outbox": settings_for(broker)}, may_fail=True):
            with processes.publisher(database) as elsewhere:
                send_in(elsewhere, 500)
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 500"))
            server.stop()
            server.start()
            with processes.publisher(database) as elsewhere:
                send_in(elsewhere, 500)
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 1000"))
        numbers = await numbers_in(broker)
        assert is_in_order(numbers)
        assert numbers[-1] == 1_000


@pytest.mark.long
@pytest.mark.parametrize("then", some(["goes on", "ends"]))
async def test_a_database_host_that_vanishes_is_given_up_and_a_relay_goes_on_or_ends(own_postgresql, then):
    server, databases = own_postgresql
    with databases.fresh("own") as database, BROKERS["redis"]() as broker, faults.line(server.socket) as line:
        through = database.through(HOST="127.0.0.1", PORT=line.port)

        def beats():
            return database.query("SELECT beats FROM livepush_relaycursor WHERE holder <> ''")

        relays = {"outbox": settings_for(broker)}
        with relaying(through, relays, settings={"DATABASE_TIMEOUT": TIMEOUT}) as process:
            await eventually(lambda: beats() and beats()[0][0] > 2)
            if then == "ends":
                await asyncio.to_thread(line.stall)
                process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(process.wait, PATIENCE)
                return
            await asyncio.to_thread(line.abandon)
            vanished, before = time.monotonic(), beats()
            await eventually(lambda: beats() != before)
            assert time.monotonic() - vanished < TIMEOUT + MARGIN
            with processes.publisher(database) as elsewhere:
                send_in(elsewhere, 100)
            await eventually(lambda: database.query("SELECT 1 FROM livepush_relaycursor WHERE position = 100"))
        assert process.returncode == 0
        assert await numbers_in(broker) == list(range(1, 101))


@pytest.mark.long
async def test_a_relay_that_was_stopped_and_goes_on_later_lets_the_other_one_send(databases):
    with (
        databases.fresh("postgresql") as database,
        BROKERS["redis"]() as broker,
        processes.publisher(database) as elsewhere,
    ):
        relays = {"outbox": settings_for(broker)}

        def holder():
            return database.query("SELECT holder, position FROM livepush_relaycursor")

        with relaying(database, relays) as one:
            await eventually(lambda: holder() and holder()[0][0])
            first = holder()[0][0]
            one.send_signal(signal.SIGSTOP)
            send_in(elsewhere, 500)
            with relaying(database, relays):
                await eventually(lambda: holder()[0][1] == 500)
                one.send_signal(signal.SIGCONT)
                send_in(elsewhere, 500)
                await eventually(lambda: holder()[0][1] == 1_000)
                assert holder()[0][0] != first
        assert is_in_order(await numbers_in(broker))


@pytest.mark.long
def test_the_command_runs_several_relays_and_stops_them_together(databases):
    with databases.fresh("postgresql") as database:
        relays = {name: {**PLAIN, "STREAM": name} for name in ("one", "two")}
        with relaying(database, relays) as process:
            rows = "SELECT count(*) FROM livepush_relaycursor WHERE holder <> ''"
            wait_until(lambda: database.query(rows) == [(2,)])
        assert process.returncode == 0
        assert database.query(rows) == [(0,)]
