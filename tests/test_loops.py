"""What livepush runs for an event loop ends with the loop: hub, threads and database connections."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.db import OperationalError, connection

import livepush
from livepush import process, publish
from livepush.hub import registry
from livepush.process import connections as own
from livepush.process import hubs, requests
from livepush.process.database_log import DatabaseLog
from livepush.publish import ephemeral, stamp
from livepush.receiving.gathering import gatherer
from livepush.testing import stop_all
from tests.patience import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)


async def use():
    """Do what a test of a page's endpoints does."""
    await process.get_hub()
    await process.in_thread(User.objects.count)


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name in (*own.THREADS, "livepush-notify")]


def sessions():
    """Return how many connections this database has, without this one."""
    if connection.vendor != "postgresql":
        return 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return cursor.fetchone()[0]


def eventually(condition):
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def close_without_a_word(work):
    """Run a loop as asyncio.run does not: nothing is cancelled, and no generator is closed."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work)
    loop.close()


@pytest.fixture(autouse=True)
def nobody_else():
    stop_all()
    eventually(lambda: own_threads() == [])  # the thread of streams ends a little after the last one


@pytest.mark.parametrize("run", [lambda: asyncio.run(use()), async_to_sync(use)], ids=["run", "async_to_sync"])
def test_threads_and_connections_have_ended_when_their_loop_has(run):
    before = sessions()
    for _ in range(3):
        run()
        assert own_threads() == []
    eventually(lambda: sessions() <= before)
    assert not registry.hubs


def test_a_loop_that_is_just_closed_takes_its_threads_along():
    before = sessions()
    close_without_a_word(use())
    assert own_threads()
    eventually(lambda: own_threads() == [] and sessions() <= before)


def test_nothing_keeps_a_loop_that_has_ended(caplog):
    seen = []

    async def note():
        await use()
        seen.append(weakref.ref(asyncio.get_running_loop()))

    for _ in range(3):
        asyncio.run(note())
        close_without_a_word(note())
    asyncio.run(use())
    eventually(lambda: own_threads() == [])
    eventually(lambda: gc.collect() is not None and [loop() for loop in seen] == [None] * 6)
    assert caplog.text == ""


def test_a_loop_that_has_gathered_ephemeral_messages_is_freed(monkeypatch):
    announced = []
    monkeypatch.setattr(publish, "announce", announced.append)
    event = ephemeral(stamp(AnonymousUser()), "room:lobby", "cursor", None)
    seen = []

    async def gather(leave_pending=False):
        seen.append(weakref.ref(asyncio.get_running_loop()))
        gatherer().offer("ann", event)
        gatherer().offer("ben", event)
        gatherer().let_go("ann", "room:lobby")
        gatherer().offer("ann", event)
        async with asyncio.timeout(PATIENCE):
            while not leave_pending and len(announced) < 2:
                await asyncio.sleep(0.01)

    asyncio.run(gather())
    asyncio.run(gather(leave_pending=True))
    close_without_a_word(gather(leave_pending=True))
    eventually(lambda: gc.collect() is not None and [loop() for loop in seen] == [None] * 3)
    assert [len(batch.events) for batch in announced] == [2, 1, 2, 2]


async def test_stop_ends_what_a_loop_has_and_the_next_use_begins_anew():
    await livepush.stop()  # nothing has begun: no harm
    await use()
    assert own_threads()
    await livepush.stop()
    assert own_threads() == []
    await use()
    await livepush.stop()
    assert own_threads() == []


def test_stop_all_ends_the_loops_of_other_threads_too():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(use(), loop).result(PATIENCE)
    closed = asyncio.new_event_loop()
    closed.run_until_complete(use())
    closed.close()
    waiting = asyncio.new_event_loop()
    waiting.run_until_complete(use())
    stop_all()
    assert own_threads() == []
    loop.call_soon_threadsafe(loop.stop)
    thread.join(PATIENCE)
    loop.close()
    waiting.close()


async def test_stop_all_in_a_running_loop_says_what_to_await():
    await use()
    with pytest.raises(RuntimeError, match=r"await livepush\.stop\(\)"):
        stop_all()


async def test_stop_all_ends_all_in_a_thread_whose_running_loop_is_not_livepushs():
    """Playwright's sync API leaves its loop running in the thread of the test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(use(), loop).result(PATIENCE)
        stop_all()
        assert own_threads() == []
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


def test_the_fixture_ends_all_of_it(pytestconfig, request):
    request.getfixturevalue("livepush_stop")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(use())
    request.addfinalizer(loop.close)


def test_loops_of_other_threads_may_begin_while_all_are_looked_at(monkeypatch):
    class Loop:
        def is_closed(self):
            hubs._ends["another"] = None
            return True

    class Open(dict):
        def __len__(self):
            requests.requests_of("another")
            return 2

    monkeypatch.setattr(hubs, "_ends", {Loop(): None})
    monkeypatch.setattr(requests, "_requests", {"one": requests.Requests(Open(), {}, set())})
    assert hubs._forget_closed() == []
    assert list(hubs._ends) == ["another"]
    assert requests.count_open() == 2


@pytest.fixture
def begun(monkeypatch):
    """The hubs with which each of two functions of ``on_start`` was called."""
    first, second = [], []
    monkeypatch.setattr(hubs, "on_start", [first.append, second.append])
    return first, second


async def test_a_hub_whose_first_client_leaves_meanwhile_is_begun_all_the_same(monkeypatch, begun):
    sweep, may_sweep = DatabaseLog.sweep, asyncio.Event()

    async def slow(self):
        await may_sweep.wait()
        return await sweep(self)

    monkeypatch.setattr(DatabaseLog, "sweep", slow)
    leaving = asyncio.create_task(process.get_hub())
    await asyncio.sleep(0)  # it waits for the sweep
    leaving.cancel()
    await asyncio.wait({leaving})
    assert begun == ([], [])
    may_sweep.set()
    hub = await process.get_hub()
    assert await process.get_hub() is hub
    assert begun == ([hub], [hub])
    await livepush.stop()


async def test_a_hub_that_could_not_start_is_not_begun_but_the_next_one_is(monkeypatch, begun):
    sweep = DatabaseLog.sweep

    async def fail(self):
        raise OperationalError("no such host")

    monkeypatch.setattr(DatabaseLog, "sweep", fail)
    with pytest.raises(OperationalError):
        await process.get_hub()
    assert begun == ([], [])
    monkeypatch.setattr(DatabaseLog, "sweep", sweep)
    hub = await process.get_hub()
    assert begun == ([hub], [hub])
    await livepush.stop()


async def test_a_failed_start_that_nobody_waited_for_is_no_later_clients_error(monkeypatch, begun):
    sweep, may_sweep = DatabaseLog.sweep, asyncio.Event()

    async def fail(self):
        await may_sweep.wait()
        raise OperationalError("no such host")

    monkeypatch.setattr(DatabaseLog, "sweep", fail)
    leaving = asyncio.create_task(process.get_hub())
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait({leaving})
    failed = hubs._hubs[asyncio.get_running_loop()]
    may_sweep.set()
    await asyncio.wait({failed.ready})
    monkeypatch.setattr(DatabaseLog, "sweep", sweep)
    hub = await process.get_hub()
    assert begun == ([hub], [hub])
    await livepush.stop()
