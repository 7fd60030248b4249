"""NOTIFY as a hint, on a real PostgreSQL: what is told, what is believed, and how a hub keeps hearing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
import unittest
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.test import override_settings

import livepush
from livepush import hints, log, notes, publish, wire
from livepush.hints import link, notify, payloads, signing
from livepush.hints.session import session
from livepush.wire import Announcement, Batch, Event, Position
from tests.conftest import ALIASES, events_of, kind
from tests.patience import PATIENCE, eventually
from tests.servers import faults

POSTGRESQL = "default"
pytestmark = [
    pytest.mark.skipif(kind(POSTGRESQL) != "postgresql", reason="NOTIFY is PostgreSQL's"),
    pytest.mark.django_db(transaction=True),
]
NOW = "2026-01-31T12:00:00.000000Z"
ORIGIN = "0123456789abcdef"
serials = itertools.count(1)


def durable(*numbers):
    return Batch("e", tuple(Event(number, ("a",), "t", "1", NOW) for number in numbers))


def ephemeral(data, count=1):
    return Batch("", (Event(None, ("a",), "t", data, NOW),) * count)


@pytest.fixture(autouse=True)
def anew(monkeypatch):
    """Nothing was noted or muted before the test."""
    monkeypatch.setattr(notes, "_noted", set())
    monkeypatch.setattr(payloads, "_muted", {})
    monkeypatch.setattr(payloads, "too_large", 0)
    for module in (payloads, notify):
        monkeypatch.setattr(module, "_failures", notes.Rarely())


class Ear:
    """Another session, which notes the announcements that come."""

    def __init__(self, own):
        self.own = own

    def payloads(self, count, seconds=PATIENCE):
        """Return so many payloads, and none may follow them."""
        found, end = [], time.monotonic() + seconds
        while len(found) < count and time.monotonic() < end:
            found += self.own.wait(end - time.monotonic())
        self.own.run("SELECT 1")  # brings what else there is
        found += self.own.wait(0)
        assert len(found) == count, found
        return found

    def all_events(self, count):
        """Return the data of so many events, however many notifications carry them."""
        found, end = [], time.monotonic() + PATIENCE
        while len(found) < count and time.monotonic() < end:
            for payload in self.own.wait(end - time.monotonic()):
                told = wire.parse_announcement(wire.open_notice(payload, signing._keys()))
                found += [event.data for event in told.batch.events] if told.batch else []
        return found

    def announcements(self, count):
        return [wire.parse_announcement(wire.open_notice(each, signing._keys())) for each in self.payloads(count)]


@pytest.fixture
def ear():
    with session(POSTGRESQL) as own:
        own.listen(signing.groups())
        yield Ear(own)


def state():
    return log.state(POSTGRESQL)


# What is told


def test_a_send_outside_of_a_transaction_tells_the_event_itself_in_its_one_round_trip(ear, django_assert_num_queries):
    groups = ["a", "b", "user:7"]
    livepush.send(groups, "first")  # makes the rows of the groups
    with django_assert_num_queries(1):
        livepush.send(groups, "moved", {"text": 'é"\\\n😀%s'})
    found = ear.announcements(2)[1]
    assert found.batch == Batch(state().position.epoch, tuple(events_of(POSTGRESQL, after=1)))
    assert found.batch.events[0].groups == ("a", "b", "user:7")


def test_what_a_transaction_sent_is_told_together_after_its_commit(ear):
    with transaction.atomic():
        for number in range(3):
            livepush.send("a", "t", number)
        ear.payloads(0, 0.05)
    (found,) = ear.announcements(1)
    assert found.batch == Batch(state().position.epoch, tuple(events_of(POSTGRESQL)))


def test_what_is_rolled_back_is_not_told(ear):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        livepush.send("a", "t", 1)
        raise ZeroDivisionError
    livepush.send("a", "t", 2)
    (found,) = ear.announcements(1)
    assert [event.data for event in found.batch.events] == ["2"]


def test_a_session_that_has_ended_keeps_no_descriptor_open():
    with session(POSTGRESQL) as first:
        first.run("SELECT 1")  # imports what it needs
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with session(POSTGRESQL) as own:
            own.listen(["livepush-test"])
            assert own.wait(0) == []  # now it has all that it needs
    with pytest.raises(ZeroDivisionError), session(POSTGRESQL) as own:
        own.listen(["livepush-test"])
        own.cut()
        raise ZeroDivisionError
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_way_without_scripts_tells_the_same(ear, monkeypatch):
    """The way of psycopg2, and of server-side binding."""
    monkeypatch.setattr(log.dialects.postgresql.PostgreSQL, "can_run_scripts", False)
    livepush.send("a", "t", {"text": "é"})
    (found,) = ear.announcements(1)
    assert found.batch == Batch(state().position.epoch, tuple(events_of(POSTGRESQL)))


@pytest.mark.parametrize("together", [False, True], ids=["at once", "in a transaction"])
@pytest.mark.parametrize("character", ["x", "é", "😀", '"', "\\"])
def test_around_the_limit_of_8000_bytes_an_event_travels_whole_or_only_its_number_does(ear, character, together):
    state()
    size = len((character if character not in '"\\' else f"\\\\\\{character}").encode())
    sent, whole = 0, set()
    for length in range(7_650 // size, 7_960 // size, max(1, 24 // size)):
        with transaction.atomic() if together else contextlib.nullcontext():
            livepush.send("a", "t", character * length)
        sent += 1
        (payload,) = ear.payloads(1)
        assert len(payload.encode()) <= wire.MAX_NOTICE_BYTES
        found = wire.parse_announcement(wire.open_notice(payload, signing._keys()))
        position = state().position
        if found.batch is None:
            assert found.upto == position
        else:
            assert found.batch == Batch(position.epoch, tuple(events_of(POSTGRESQL, after=position.number - 1)))
        whole.add(found.batch is not None)
    assert whole == {True, False}
    assert state().position.number == sent


def test_a_long_batch_says_up_to_where_the_log_goes(ear):
    with transaction.atomic():
        for number in range(1200):
            livepush.send("a", "t", number)
    found = ear.announcements(3)  # a pass of settle takes 500
    epoch = state().position.epoch
    assert [each.upto for each in found] == [Position(epoch, number) for number in (500, 1000, 1200)]


def test_a_test_case_tells_nothing(ear):
    from django.test import TestCase

    class Case(TestCase):
        databases = {POSTGRESQL}

        def runTest(self):  # noqa: N802
            with self.captureOnCommitCallbacks(execute=True):
                livepush.send("a", "t", 1)
            assert log.state(POSTGRESQL).position.number == 1

    result = unittest.TestResult()
    unittest.TestSuite([Case()]).run(result)
    assert result.wasSuccessful(), result.errors + result.failures
    ear.payloads(0, 0.05)


@pytest.mark.parametrize("hint", ["channels", "none"])
def test_with_another_hint_nothing_is_told(ear, hint):
    with override_settings(LIVEPUSH={"HINT": hint}):
        livepush.send("a", "t", 1)
        livepush.send("a", "t", 1, ephemeral=True)
        with transaction.atomic():
            livepush.send("a", "t", 1)
    ear.payloads(0, 0.05)


def test_the_database_signs_as_python_does():
    """A template that is filled in as the database does is a notice of the same body."""
    key, told = b"k" * 32, Announcement(ORIGIN, 7, 1_769_860_800.5, None)
    name, once, parts = wire.template(told, ("a", "b"), "t", '{"é":1}', '{"id":"7"}', key)
    body = f"{parts[0]}epoch{parts[1]}12{parts[2]}{NOW}{parts[3]}"
    batch = Batch("epoch", (Event(12, ("a", "b"), "t", '{"é":1}', NOW, '{"id":"7"}'),))
    assert wire.notice(told._replace(batch=batch), key) == name + wire.notices._sign(body, once) + body


# A NOTIFY that fails


@pytest.fixture
def failing():
    """A database whose NOTIFY fails with a SQLSTATE, as it does when its queue is full."""
    with connections[POSTGRESQL].cursor() as cursor:

        def fail(sqlstate):
            cursor.execute("CREATE SCHEMA failing")
            cursor.execute(
                "CREATE FUNCTION failing.pg_notify(text, text) RETURNS void LANGUAGE plpgsql AS"
                f" $$ BEGIN RAISE 'too many notifications' USING ERRCODE = '{sqlstate}'; END $$"
            )
            cursor.execute("SET search_path = failing, public, pg_catalog")

        yield fail
        cursor.execute("SET search_path = public")
        cursor.execute("DROP SCHEMA IF EXISTS failing CASCADE")


@pytest.mark.parametrize("scripts", [True, False])
def test_a_notify_that_fails_fails_no_send_and_is_left_out_for_a_while(failing, ear, monkeypatch, caplog, scripts):
    if not scripts:
        monkeypatch.setattr(log.dialects.postgresql.PostgreSQL, "can_run_scripts", False)
    state()
    failing("54000")
    for number in range(3):
        livepush.send("a", "t", number)
        with transaction.atomic():
            livepush.send("a", "t", number)
    assert [event.data for event in events_of(POSTGRESQL)] == ["0", "0", "1", "1", "2", "2"]
    ear.payloads(0, 0.05)
    (said,) = [record.message for record in caplog.records]
    assert said.startswith("NOTIFY fails in 'default' (too many notifications")
    monkeypatch.setattr(payloads, "_muted", {})
    with connections[POSTGRESQL].cursor() as cursor:
        cursor.execute("SET search_path = public")
    livepush.send("a", "t", "again")
    ear.announcements(1)


def test_an_ephemeral_event_that_can_not_be_sent_raises_nothing(failing, caplog):
    failing("54000")
    livepush.send("a", "t", 1, ephemeral=True)
    assert "Could not send 1 ephemeral events by NOTIFY" in caplog.text
    with transaction.atomic():  # the connection is as before
        livepush.send("a", "t", 2)
    assert [event.data for event in events_of(POSTGRESQL)] == ["2"]


# Ephemeral events without a hub in the process


def sessions():
    with connections[POSTGRESQL].cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return cursor.fetchone()[0]


def test_an_ephemeral_event_goes_out_at_once_by_the_connection_there_is(ear):
    before = sessions()
    livepush.send("a", "t", "x", ephemeral=True)
    (found,) = ear.announcements(1)
    assert [(event.number, event.data) for event in found.batch.events] == [(None, '"x"')]
    assert sessions() == before
    assert not hints.notify._links


def test_in_a_transaction_an_ephemeral_event_waits_for_the_commit_and_locks_nothing(ear):
    with transaction.atomic():
        livepush.send("a", "t", "x", ephemeral=True)
        ear.payloads(0, 0.05)
        publish.pipeline.announce(ephemeral('"now"'))  # as a send to another database does
        assert [event.data for event in ear.announcements(1)[0].batch.events] == ['"now"']
        with connections[POSTGRESQL].cursor() as cursor:  # the lock that a NOTIFY takes until the commit
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND classid = 1262 AND objid = 0")
            assert cursor.fetchone() == (0,)
    assert [event.data for event in ear.announcements(1)[0].batch.events] == ['"x"']


def test_an_ephemeral_event_that_is_too_large_is_counted_and_noted_once(ear, caplog):
    for size in (7_000, 8_000, 9_000):
        livepush.send("a", "t", "x" * size, ephemeral=True)
    (found,) = ear.announcements(1)
    assert len(found.batch.events[0].data) == 7_002
    assert hints.left_out() == 2
    assert [record.message[:46] for record in caplog.records] == ["An ephemeral event is too large for NOTIFY, wh"]


@pytest.mark.parametrize("size", [10, 500, 3000, 4000])
def test_many_ephemeral_events_share_notifications_and_none_is_lost(ear, size):
    sent = payloads.ephemeral(ephemeral(f'"{"é" * size}"', 40))
    assert all(len(each.encode()) <= wire.MAX_NOTICE_BYTES for each in sent)
    ear.own.send(signing.groups()[0], sent)
    found = [len(each.batch.events) for each in ear.announcements(len(sent))]
    assert sum(found) == (40 if size < 4000 else 0)
    assert size > 500 or len(found) < 40


# What is not to be believed


def notice(batch, key=None, serial=None, when=None):
    """Return a batch as another process signs it."""
    told = Announcement(ORIGIN, serial or next(serials), when or time.time(), batch)
    return wire.notice(told, key or signing._keys()[0])


def test_what_nobody_of_the_site_signed_is_ignored_and_logged_once_in_a_while(caplog):
    inspector = signing.Inspector()
    good = notice(durable(1))
    another = wire.notices._once("f" * 32, signing._keys()[0])
    body = wire.announcements.body_of(Announcement(ORIGIN, next(serials), time.time(), durable(5)))
    for forged in (
        "",
        "hello",
        "é" * 200,
        "\0",
        good.replace('"t"', '"u"'),
        good[:96],
        notice(durable(2), key=b"x" * 32),
        notice(durable(2), when=time.time() - 3600),
        "f" * 32 + wire.notices._sign(body, another) + body,  # a key that was seen signs no other notice
    ):
        assert inspector.open_notice(forged) is None, forged
    assert inspector.open_notice(good).batch == durable(1)
    assert inspector.open_notice(good) is None  # it is news once
    (record,) = caplog.records
    assert record.message.startswith("livepush ignored 1 notifications in its database. Of the last one:")


def test_a_number_alone_is_checked_too():
    inspector = signing.Inspector()
    assert inspector.open_notice(notice(None)).upto is None
    upto = Announcement(ORIGIN, next(serials), time.time(), None, Position("e", 5))
    assert inspector.open_notice(wire.notice(upto, signing._keys()[0])).upto == Position("e", 5)
    for wrong in (Position("E", 5), Position("e", 0), Position("e", "5"), Position(["e"], 5)):
        found = wire.notice(upto._replace(serial=next(serials), upto=wrong), signing._keys()[0])
        assert inspector.open_notice(found) is None, wrong


def test_other_sites_in_the_database_have_other_channels(settings):
    here = signing.groups()
    settings.SECRET_KEY = "another"
    assert not {*here} & {*signing.groups()}
    settings.SECRET_KEY_FALLBACKS = ["tests-only"]
    assert signing.groups()[1:] == here


# Which hint


@pytest.mark.parametrize(
    ("hint", "layers", "database", "expected"),
    [
        ("auto", None, POSTGRESQL, "notify"),
        ("auto", "pubsub", POSTGRESQL, "channels"),
        ("auto", "memory", POSTGRESQL, "notify"),
        ("auto", "broken", POSTGRESQL, "none"),
        ("auto", None, "sqlite", "none"),
        ("auto", "pubsub", "sqlite", "channels"),
        ("auto", None, "nowhere", "none"),
        ("notify", "pubsub", POSTGRESQL, "notify"),
        ("notify", None, "sqlite", "none"),
        ("channels", "pubsub", POSTGRESQL, "channels"),
        ("channels", None, POSTGRESQL, "none"),
        ("none", "pubsub", POSTGRESQL, "none"),
    ],
)
@pytest.mark.skipif("sqlite" not in ALIASES, reason="one of the databases is SQLite")
def test_the_hint_is_the_first_that_the_site_can_have(hint, layers, database, expected):
    backends = {
        "pubsub": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"},
        "memory": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "broken": {"BACKEND": "tests.test_hints.Nowhere"},
    }
    configured = {"default": backends[layers]} if layers else {}
    with override_settings(CHANNEL_LAYERS=configured, LIVEPUSH={"HINT": hint, "DATABASE": database}):
        assert hints.chosen() == expected


# Hearing


class Hub:
    """What listens: it notes what comes, and what it is told about the hint."""

    def __init__(self):
        self.numbers, self.works, self.heard_of = [], [], []

    def receive(self, batch):
        self.numbers += [event.number for event in batch.events]

    def hear_of(self, position, carried):
        self.heard_of.append((str(position), carried))

    @contextlib.asynccontextmanager
    async def listening(self, heard=True):
        task = asyncio.create_task(hints.listen(self.receive, self.works.append, self.hear_of))
        try:
            if heard:
                await eventually(lambda: self.works)
                assert self.works == [True]
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert not notify._links
            await sync_to_async(connections.close_all)()

    async def hears(self, number):
        """Wait until it hears an event that another process announces again and again."""
        async with asyncio.timeout(PATIENCE):
            while number not in self.numbers:
                await say(notice(durable(number)))
                await asyncio.sleep(0.05)


def _say(*told):
    with session(POSTGRESQL) as own:
        own.send(signing.groups()[0], told)


async def say(*told):
    await asyncio.to_thread(_say, *told)


def terminate():
    """End the sessions that listen."""
    with session(POSTGRESQL) as own:
        own.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND query ~ 'LISTEN|pg_notify|pg_listening|pg_backend_pid'"
        )


async def test_a_hub_hears_other_processes_and_not_its_own():
    async with Hub().listening() as hub:
        await sync_to_async(livepush.send)("a", "t", "own")
        await say(notice(durable(7)), notice(durable(8, 9)))
        await eventually(lambda: len(hub.numbers) == 3)
        assert hub.numbers == [7, 8, 9]
        assert hub.heard_of == [("e-7", True), ("e-9", True)]


async def test_a_hub_is_told_to_read_what_was_too_long():
    async with Hub().listening() as hub:
        upto = Announcement(ORIGIN, next(serials), time.time(), None, Position("e", 5))
        await say(wire.notice(upto, signing._keys()[0]))
        await eventually(lambda: hub.heard_of)
        assert hub.heard_of == [("e-5", False)]


async def test_where_a_hub_runs_its_session_sends_what_is_ephemeral_and_its_threads_wait_for_nothing(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # for the other session
    with session(POSTGRESQL) as own:
        own.listen(signing.groups())
        ear = Ear(own)
        async with Hub().listening():
            before = len(ear.announcements(1))  # the hub's proof
            hints.announce(ephemeral('"x"'))  # no thread of the ORM's: this is an event loop
            assert await asyncio.to_thread(hints.flush, PATIENCE)
            found = await asyncio.to_thread(ear.announcements, before)
    assert [event.data for event in found[0].batch.events] == ['"x"']


async def test_what_is_ephemeral_and_was_sent_right_before_a_hub_ends_goes_out(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # for the other session
    with session(POSTGRESQL) as own:
        own.listen(signing.groups())
        async with Hub().listening():
            for number in range(20):
                hints.announce(ephemeral(f'"{number}"'))
        found = await asyncio.to_thread(Ear(own).all_events, 20)
    assert found == [f'"{number}"' for number in range(20)]


async def test_a_hub_whose_session_is_ended_by_the_server_hears_again():
    async with Hub().listening() as hub:
        for number in range(1, 4):
            await asyncio.to_thread(terminate)
            await eventually(lambda number=number: hub.works.count(False) >= number)
            await hub.hears(number)
        assert hub.works[-1]


async def test_a_hub_whose_connection_went_dead_without_a_word_hears_again(monkeypatch):
    monkeypatch.setattr(link, "BEAT", 0.2)
    monkeypatch.setattr(link, "CALL_TIMEOUT", 0.5)
    monkeypatch.setattr(notify, "WATCH", 0.1)
    settings_dict = connections[POSTGRESQL].settings_dict
    with faults.line(f"{settings_dict['HOST']}/.s.PGSQL.5432") as line:
        plain = {"HOST": settings_dict["HOST"], "PORT": settings_dict["PORT"]}
        async with contextlib.AsyncExitStack() as stack:
            settings_dict.update(HOST="127.0.0.1", PORT=str(line.port))
            stack.callback(settings_dict.update, plain)
            hub = await stack.enter_async_context(Hub().listening())
            await asyncio.to_thread(line.abandon)
            await eventually(lambda: False in hub.works)
            await hub.hears(1)
            assert hub.works[-1]


async def test_a_hub_tries_again_and_again_while_the_database_is_away():
    settings_dict = connections[POSTGRESQL].settings_dict
    plain = settings_dict["HOST"]
    settings_dict["HOST"] = "/nowhere"
    try:
        async with Hub().listening(heard=False) as hub:
            await eventually(lambda: len(hub.works) >= 3)
            assert not any(hub.works)
            settings_dict["HOST"] = plain
            await hub.hears(1)
            assert hub.works[-1]
    finally:
        settings_dict["HOST"] = plain


async def test_a_hub_notices_that_its_session_listens_no_more(monkeypatch):
    monkeypatch.setattr(link, "BEAT", 0.05)
    async with Hub().listening() as hub:
        monkeypatch.setattr(link, "NOTIFIED", "UNLISTEN *")
        await eventually(lambda: False in hub.works)
        monkeypatch.setattr(link, "NOTIFIED", "SELECT 1 FROM pg_listening_channels()")
        await hub.hears(1)


async def test_the_server_does_not_end_a_session_for_being_idle(monkeypatch):
    monkeypatch.setattr(link, "BEAT", 2.0)
    options = connections[POSTGRESQL].settings_dict["OPTIONS"]
    options["options"] = "-c idle_session_timeout=200"
    try:
        async with Hub().listening() as hub:
            await asyncio.sleep(1)
            assert hub.works == [True]
    finally:
        del options["options"]


async def test_a_session_that_hears_nothing_says_so_once_and_the_hub_is_reminded(monkeypatch, caplog):
    caplog.set_level(logging.INFO, "livepush")
    monkeypatch.setattr(link, "PROOF_TIMEOUT", 0.1)
    monkeypatch.setattr(link, "DEAF_PAUSE", 0.1)
    monkeypatch.setattr(link.Session, "listen", lambda self, channels: None)
    async with Hub().listening(heard=False) as hub:
        await eventually(lambda: len(hub.works) >= 3)
        assert not any(hub.works)
        assert caplog.text.count("as behind a pooler that gives out a session") == 1
        await sync_to_async(publish.pipeline.announce)(ephemeral('"x"'))  # by a connection of its own thread
        assert hints.flush(0)


def test_a_forked_child_has_no_link_of_its_parents(monkeypatch):
    monkeypatch.setattr(notify, "_links", {object()})
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, str(len(notify._links)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"0"
    os.close(read)
    os.close(write)
