"""A process that died is noticed by whoever looks; one that lives is not taken for dead."""

from __future__ import annotations

import asyncio
import json
import threading
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.db import OperationalError, connections, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from livepush import streams
from livepush.log.dialects.base import Dialect
from livepush.publish import pipeline
from livepush.streams import announcing, gathering, leases, store
from livepush.streams.buffer import Ending
from livepush.streams.gathering import Gatherer
from livepush.streams.leases import LATE, LEASE, LOOK, LOOK_FOR_ANY, MAX_STEP
from livepush.streams.models import Stream, StreamProducer, StreamState
from livepush.streams.showing import shown
from tests.conftest import ALIASES, Thread, events_of, kind
from tests.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("streams_end")


class Clock:
    """The database's clock."""

    def __init__(self):
        self.now = 1_000_000

    def tick(self, seconds):
        """Let time pass; this process may look again."""
        self.now += round(1000 * seconds)
        leases._from.clear()


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(Dialect, "milliseconds", lambda self: found.now)
    monkeypatch.setattr(leases, "_from", {})
    return found


def begun(using="default"):
    """Begin a stream of another process."""
    store.enter(using, "other")
    Stream.objects.using(using).create(
        id="far", group="room:1", format="text", producer="other", created=timezone.now()
    )


def state(using="default"):
    return Stream.objects.using(using).get(id="far").state


def poll(client, rf):
    return client.get("/livepush/streams/far/?wait=0").json()["state"]


def page(client, rf):
    return shown("far", rf.get("/")).state


def admin_list(client, rf):
    client.get("/admin/livepush/stream/")
    return state()


def run(client, rf):
    return "interrupted" if streams.running("room:1") is None else "running"


WAYS = [poll, page, admin_list, run, lambda client, rf: streams.get("far").state]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("look", WAYS, ids=["poll", "page", "admin", "running", "get"])
@pytest.mark.parametrize("every", [1.0, 4.0, 5.0])
def test_a_killed_producer_s_stream_ends_within_ten_seconds_whoever_looks(look, every, clock, admin_client, rf):
    begun()
    age = 0.0
    while look(admin_client, rf) == "running":
        age += every
        clock.tick(every)
    assert LEASE <= age <= 10
    assert (state(), store.producers("default")) == ("interrupted", {})


def test_a_producer_that_is_killed_where_there_was_none_is_noticed_within_ten_seconds(using, clock):
    begun(using)  # right after a look
    age, pause = 0.0, LOOK_FOR_ANY
    while state(using) == "running":
        age += pause
        clock.tick(pause)
        pause = LOOK if leases.end_dead(using) else LOOK_FOR_ANY
    assert LEASE <= age <= 10


def test_a_killed_producer_is_noticed_within_ten_seconds_after_the_clock_was_set_back(using, clock):
    begun(using)
    clock.tick(-3600)
    age = 0.0
    while state(using) == "running":
        leases.end_dead(using)
        clock.tick(LOOK)
        age += LOOK
        assert age <= 10


def test_a_look_where_there_are_no_producers_is_one_query(using, clock):
    with CaptureQueriesContext(connections[using]) as queries:
        assert not leases.end_dead(using)
    assert len(queries) == 1
    begun(using)
    assert leases.end_dead(using)


async def test_a_hub_looks_rarely_while_there_are_no_producers(monkeypatch):
    pauses, answers = [], [True, False, OperationalError("away"), True]

    async def sleep(seconds):
        pauses.append(seconds)

    async def in_thread(work, level):
        if not answers:
            raise asyncio.CancelledError
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(leases, "asyncio", SimpleNamespace(sleep=sleep))
    monkeypatch.setattr(leases.process, "in_thread", in_thread)
    with pytest.raises(asyncio.CancelledError):
        await leases._watch("default")
    assert pauses == [LOOK, LOOK, LOOK_FOR_ANY, LOOK_FOR_ANY, LOOK]


def test_what_is_left_to_compact_is_looked_at_soon(using, clock, monkeypatch):
    monkeypatch.setattr(leases, "_compactors", {})
    monkeypatch.setattr(leases.Compactor, "is_idle", lambda self: False)
    monkeypatch.setattr(leases.Compactor, "work", lambda self: None)
    begun(using)
    leases.end_streams(using, "other")
    assert not store.producers(using)
    assert leases.end_dead(using)


@pytest.mark.django_db(transaction=True)
def test_pruning_ends_the_streams_of_a_dead_producer_too(clock):
    begun()
    for _ in range(2):
        clock.tick(3600)
        call_command("livepush_prune", verbosity=0)
    assert state() == "interrupted"


def test_a_producer_that_beats_is_not_dead_however_many_look(using, clock):
    begun(using)
    for _ in range(20):
        clock.tick(LOOK)
        leases.end_dead(using)
        clock.tick(LATE)
        leases.end_dead(using)
        assert store.beat(using, "other")
    assert state(using) == "running"


def test_nobody_dies_while_the_database_is_away(using, clock):
    begun(using)
    clock.tick(3600)
    for _ in range(3):
        leases.end_dead(using)
    (row,) = StreamProducer.objects.using(using).all()
    assert (row.silent, state(using)) == (1000 * MAX_STEP, "running")
    assert store.beat(using, "other")
    clock.tick(MAX_STEP)
    leases.end_dead(using)
    assert state(using) == "running"


def test_a_beat_just_before_the_verdict_counts(using, clock):
    begun(using)
    (seen,) = store.producers(using).values()
    assert store.beat(using, "other")
    assert store.count_silence(using, seen, 99_000, clock.now, 6000) == []
    assert state(using) == "running"


def test_a_dead_producer_s_stream_ends_together_with_the_event_that_tells_of_it(using, monkeypatch):
    def fail(*args):
        raise OperationalError("the connection is lost")

    begun(using)
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(announcing, "send_ended", fail)
        leases.end_streams(using, "other")
    assert state(using) == "running"
    leases.end_streams(using, "other")
    (event,) = events_of(using)
    assert (event.groups, event.type) == (("room:1",), "stream.finished")
    assert json.loads(event.data) == {"stream": "far", "state": "interrupted", "metadata": {}}
    assert state(using) == "interrupted"


def busy_timeout(using):
    with connections[using].cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        return cursor.fetchone()


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "sqlite"])
def test_what_follows_a_dead_producer_s_end_on_sqlite_may_wait_for_writers(using, clock, monkeypatch):
    timeouts = []
    begun(using)
    monkeypatch.setattr(pipeline, "on_settled", [lambda alias, batch: timeouts.append(busy_timeout(alias))])
    while state(using) == "running":
        clock.tick(MAX_STEP)
        leases.end_dead(using)
    assert timeouts == [busy_timeout(using)]


@pytest.mark.django_db(transaction=True, databases=ALIASES)
@pytest.mark.parametrize("using", [alias for alias in ALIASES if kind(alias) == "sqlite"])
def test_a_writer_s_lock_on_sqlite_is_nobody_s_silence(using, clock):
    begun(using)
    clock.tick(LEASE)
    is_locked, may_end = threading.Event(), threading.Event()

    def write():
        with transaction.atomic(using=using):
            Stream.objects.using(using).update(error="")
            is_locked.set()
            assert may_end.wait(PATIENCE)
        connections.close_all()

    writing = threading.Thread(target=write)
    writing.start()
    assert is_locked.wait(PATIENCE)
    for _ in range(5):
        leases.end_dead(using)  # it does not wait for the lock
        clock.tick(LATE)
    may_end.set()
    writing.join(PATIENCE)
    (row,) = StreamProducer.objects.using(using).all()
    assert (row.silent, state(using)) == (0, "running")
    with connections[using].cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchall() == [(20_000,)]


@pytest.mark.django_db(transaction=True)
def test_what_looks_in_a_transaction_writes_nothing_there(clock):
    begun()
    clock.tick(LEASE)
    with transaction.atomic():
        assert streams.get("far").state == "running"
    assert StreamProducer.objects.get().silent == 0


def test_an_end_that_others_have_come_before_is_lost_and_one_that_is_repeated_is_not(transactional_db):
    """A producer that stalls while it stores may be taken for dead before it marks the end."""
    ids = ("taken", "kept", "deleted")
    rows = [Stream(id=id, group="room:1", producer="stalled", created=timezone.now()) for id in ids[:2]]
    store.begin("default", rows)
    Stream.objects.filter(id="taken").update(state=StreamState.INTERRUPTED, length=2)
    endings = {id: (Ending(StreamState.FINISHED), 4) for id in ids}
    for _ in range(2):
        assert store.end("default", "stalled", endings) == {"taken", "deleted"}
    assert list(Stream.objects.order_by("id").values_list("id", "state", "length")) == [
        ("kept", "finished", 4),
        ("taken", "interrupted", 2),
    ]


def test_a_thread_that_leaves_takes_no_row_away_that_the_next_one_has_entered(using, monkeypatch):
    found = Gatherer(using)
    may_end = found._may_end

    def late():
        """The next thread begins after this one has left, and before it has ended."""
        assert may_end()
        found._thread, found._entered = threading.Thread(), True
        store.enter(using, found.name)
        return True

    monkeypatch.setattr(gathering, "LINGER", 0.0)
    monkeypatch.setattr(found, "_may_end", late)
    Thread(found._run).join()
    assert list(store.producers(using)) == [found.name]
