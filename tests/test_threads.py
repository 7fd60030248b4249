"""The threads for work that blocks: they do it, bound it, and leave behind what hangs."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
import weakref
from contextvars import ContextVar
from functools import partial
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.core.cache import caches
from django.db import DatabaseError, connection, connections
from django.test import override_settings
from django.utils import timezone, translation

from livepush import process
from livepush.hints.session import Session
from livepush.process import connections as own
from livepush.process import drain, hubs, threads
from livepush.process.threads import Threads
from livepush.progress import Progress
from tests.patience import PATIENCE


@pytest.fixture
async def make():
    made = []

    def make(max_threads=2, limit=10.0, finish=lambda: None):
        made.append(Threads(max_threads, "test", limit, finish))
        return made[-1]

    yield make
    for each in made:
        await each.stop()


async def test_work_is_done_in_another_thread_and_its_result_or_error_comes_back(make):
    pool = make()
    assert await pool.run(threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 // 0)
    assert await pool.run(lambda: "goes on") == "goes on"


async def test_no_more_threads_than_asked_for(make):
    pool = make(max_threads=3)
    names = await asyncio.gather(*(pool.run(threading.get_ident) for _ in range(100)))
    assert len(set(names)) <= 3


async def test_work_that_waits_for_a_thread_is_not_overdue(make):
    pool = make(max_threads=1, limit=0.5)
    assert await asyncio.gather(*(pool.run(lambda: time.sleep(0.1)) for _ in range(10))) == [None] * 10


async def test_work_that_hangs_is_left_behind_and_others_go_on(make):
    finished = []
    pool = make(max_threads=1, limit=0.1, finish=lambda: finished.append(threading.get_ident()))
    hung = threading.Event()
    hanging = asyncio.create_task(pool.run(lambda: hung.wait(PATIENCE)))
    waiting = asyncio.create_task(pool.run(threading.get_ident))
    with pytest.raises(threads.Overdue, match=r"did not answer within 0\.1 s"):
        await hanging
    other = await waiting
    hung.set()
    async with asyncio.timeout(PATIENCE):
        while not finished:
            await asyncio.sleep(0.01)
    assert other not in finished
    assert await pool.run(threading.get_ident) == other


async def test_a_timeout_of_the_projects_own_is_not_taken_for_the_databases():
    def read():
        raise TimeoutError("the mail server is slow")

    try:
        with process.queries_in_threads(), pytest.raises(TimeoutError, match="the mail server is slow"):
            await sync_to_async(read)()
    finally:
        await process.stop()


async def test_all_of_the_threads_may_hang_and_be_replaced_again_and_again(make):
    pool = make(max_threads=2, limit=0.1)
    hung = threading.Event()
    for _ in range(3):
        results = await asyncio.gather(
            *(pool.run(lambda: hung.wait(PATIENCE)) for _ in range(4)), return_exceptions=True
        )
        assert [type(each) for each in results] == [threads.Overdue] * 4
    assert await pool.run(lambda: 1) == 1
    hung.set()


async def test_work_of_lower_levels_goes_first_and_work_for_those_who_left_is_not_done(make):
    pool, done = make(max_threads=1), []
    begun, go = threading.Event(), threading.Event()
    first = asyncio.create_task(pool.run(lambda: begun.set() or go.wait(PATIENCE)))
    await asyncio.to_thread(begun.wait, PATIENCE)
    names = [(f"{level}{turn}", level) for turn in "ab" for level in (2, 0, 1)]
    tasks = [asyncio.create_task(pool.run(partial(done.append, name), level)) for name, level in names]
    leaves = asyncio.create_task(pool.run(partial(done.append, "leaves")))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(first, *tasks)
    assert done == ["0a", "0b", "1a", "1b", "2a", "2b"]


async def test_work_of_higher_levels_leaves_half_of_the_threads_free(make):
    pool, running, most = make(max_threads=4), [], []
    enough, go = threading.Semaphore(0), threading.Event()

    def work():
        running.append(1)
        most.append(len(running))
        enough.release()
        go.wait(PATIENCE)
        running.pop()

    tasks = [asyncio.create_task(pool.run(work, 1)) for _ in range(6)]
    for _ in range(2):
        await asyncio.to_thread(enough.acquire, timeout=PATIENCE)
    assert await pool.run(lambda: "at once") == "at once"
    tasks += [asyncio.create_task(pool.run(work)) for _ in range(2)]
    for _ in range(2):
        await asyncio.to_thread(enough.acquire, timeout=PATIENCE)
    assert most == [1, 2, 3, 4]
    go.set()
    await asyncio.gather(*tasks)


async def test_a_thread_that_was_taken_for_who_left_meanwhile_is_given_back(make):
    pool = make(max_threads=1)
    for _ in range(20):
        borrowed = threads.BorrowedThread(pool)
        waiting = asyncio.create_task(borrowed.run(lambda: 1))
        await asyncio.sleep(0)
        waiting.cancel()
        borrowed.end(lambda: None)
    assert await asyncio.wait_for(pool.run(lambda: "goes on"), PATIENCE) == "goes on"


async def test_many_jobs_are_done_by_few_threads_each_once_whatever_their_levels(make):
    pool, done = make(max_threads=3), []
    jobs = [pool.run(partial(done.append, number), number % 4) for number in range(2000)]
    await asyncio.wait_for(asyncio.gather(*jobs), PATIENCE)
    assert sorted(done) == list(range(2000))


async def test_a_caller_that_goes_away_leaves_the_thread_to_others(make):
    pool = make(max_threads=1)
    begun, go = threading.Event(), threading.Event()
    caller = asyncio.create_task(pool.run(lambda: (begun.set(), go.wait(PATIENCE))))
    await asyncio.to_thread(begun.wait, PATIENCE)
    caller.cancel()
    go.set()
    assert await pool.run(lambda: 2) == 2


async def test_stop_ends_the_threads_and_finishes_each(make):
    finished = []
    pool = make(max_threads=3, finish=lambda: finished.append(threading.get_ident()))
    used = set(await asyncio.gather(*(pool.run(threading.get_ident) for _ in range(20))))
    await pool.stop()
    assert set(finished) >= used


async def test_stop_does_not_wait_for_what_hangs(make, monkeypatch):
    monkeypatch.setattr(threads, "STOP_TIMEOUT", 0.1)
    pool = make()
    hung, begun = threading.Event(), threading.Event()
    hanging = asyncio.create_task(pool.run(lambda: (begun.set(), hung.wait(PATIENCE))))
    await asyncio.to_thread(begun.wait, PATIENCE)
    await pool.stop()
    hung.set()
    await hanging


async def test_a_finish_that_fails_is_no_harm(make):
    pool = make(finish=lambda: 1 // 0)
    assert await pool.run(lambda: 1) == 1
    await pool.stop()


async def test_a_thread_that_can_not_be_started_is_an_error_and_the_next_work_is_done(make, monkeypatch):
    pool = make(max_threads=1)

    def refuse(worker):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threads.Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await pool.run(threading.get_ident)
    assert await asyncio.wait_for(pool.run(lambda: "goes on"), PATIENCE) == "goes on"


async def test_a_job_ends_though_no_thread_can_be_started_for_the_next_one(make, monkeypatch):
    pool = make(max_threads=2, limit=0.2)
    begun, go = threading.Event(), threading.Event()
    hanging = asyncio.create_task(pool.run(lambda: begun.set() or go.wait(PATIENCE)))
    await asyncio.to_thread(begun.wait, PATIENCE)
    progress, working = Progress(PATIENCE), threading.Event()
    long = asyncio.create_task(pool.run(lambda: working.set() or go.wait(PATIENCE), progress=progress))
    await asyncio.to_thread(working.wait, PATIENCE)

    def refuse(worker):
        raise RuntimeError("can't start new thread")

    waiting = [asyncio.create_task(pool.run(lambda: "done", progress=progress)) for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(threads.Worker, "start", refuse)
        with pytest.raises(threads.Overdue):
            await hanging
        go.set()
        assert await asyncio.wait_for(long, PATIENCE)
        assert await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE) == ["done"] * 3


async def test_what_a_client_that_left_wanted_done_is_let_go_while_it_waits(make):
    pool, go = make(max_threads=1), threading.Event()
    first = asyncio.create_task(pool.run(lambda: go.wait(PATIENCE)))
    wanted = Wanted()
    left = asyncio.create_task(pool.run(wanted.do))
    await asyncio.sleep(0)
    left.cancel()
    await asyncio.wait({left})
    freed = weakref.ref(wanted)
    del wanted, left
    assert freed() is None
    go.set()
    await first


class Wanted:
    """Some work, of which it can be seen whether it is still kept."""

    def do(self):
        pass


async def test_a_thread_that_was_taken_does_all_that_it_was_given_before_it_is_stopped(make):
    pool = make(max_threads=1)
    borrowed = threads.BorrowedThread(pool)
    begun, go = threading.Event(), threading.Event()
    jobs = [asyncio.create_task(borrowed.run(lambda: begun.set() or go.wait(PATIENCE))) for _ in range(2)]
    await asyncio.to_thread(begun.wait, PATIENCE)
    await asyncio.sleep(0)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.wait_for(asyncio.gather(*jobs), PATIENCE) == [True, True]
    await stopping


async def test_a_thread_is_not_taken_for_what_has_ended(make):
    pool = make(max_threads=1)
    borrowed = threads.BorrowedThread(pool)
    borrowed.end(lambda: None)
    with pytest.raises(RuntimeError, match="has ended"):
        await borrowed.run(lambda: 1)
    assert await asyncio.wait_for(pool.run(lambda: "goes on"), PATIENCE) == "goes on"


async def test_a_job_that_returns_its_thread_is_a_job_like_others(make):
    pool = make(max_threads=1)
    borrowed = threads.BorrowedThread(pool)
    assert await borrowed.run(threading.current_thread) is await borrowed.run(threading.current_thread)
    borrowed.end(lambda: None)
    assert isinstance(await asyncio.wait_for(pool.run(threading.current_thread), PATIENCE), threading.Thread)


@pytest.mark.parametrize("error", [StopIteration, asyncio.CancelledError, SystemExit])
async def test_work_that_raises_what_is_no_ordinary_error_ends_neither_its_caller_nor_the_loop(make, error):
    def work():
        raise error

    pool = make(max_threads=1)
    with pytest.raises(RuntimeError, match=f"raised {error.__name__}"):
        await asyncio.wait_for(pool.run(work), PATIENCE)
    assert await pool.run(lambda: "goes on") == "goes on"


async def test_a_server_interrupts_its_producers_though_the_project_s_code_has_all_threads(
    busy_executor, monkeypatch, settings
):
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DRAIN_STREAMS": 0.0}
    running = ["a stream"]
    monkeypatch.setattr(drain, "producers", [drain.Producers(lambda: len(running), running.clear)])
    async with asyncio.timeout(PATIENCE):
        await drain._see_out_producers()
    assert running == []


async def test_a_signal_and_the_server_s_own_end_after_it_share_the_time_of_the_producers(monkeypatch):
    ends = []
    monkeypatch.setattr(drain, "_until", None)
    monkeypatch.setattr(drain, "_producers_end", lambda: ends.append(1) or time.monotonic())
    monkeypatch.setattr(drain, "producers", [drain.Producers(lambda: 1, lambda: None)])
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    handle = drain._drain_then(lambda number, frame: ended.set(), {loop: None})
    async with asyncio.timeout(PATIENCE):
        handle(signal.SIGTERM, None)
        await ended.wait()
        await drain.drain(loop, {})
    assert ends == [1]


async def test_work_in_a_thread_of_its_own_gives_its_result_or_error_back():
    word = ContextVar("word", default="")
    word.set("mine")
    found = await process.in_own_thread(lambda: (threading.current_thread().name, word.get()), "apart")
    assert found == ("apart", "mine")
    with pytest.raises(ZeroDivisionError):
        await process.in_own_thread(lambda: 1 // 0, "apart")


async def test_work_in_a_thread_of_its_own_is_done_though_nobody_waits_for_it_any_more():
    go_on, done = threading.Event(), threading.Event()
    waiting = process.in_own_thread(lambda: go_on.wait() and done.set(), "apart")
    waiting.cancel()
    go_on.set()
    async with asyncio.timeout(PATIENCE):
        while not done.is_set():
            await asyncio.sleep(0.01)
    assert waiting.cancelled()


async def test_who_waits_for_a_thread_as_all_are_stopped_is_told_so(make):
    pool = make(max_threads=1)
    begun, may_end = threading.Event(), threading.Event()

    def work():
        begun.set()
        return may_end.wait(PATIENCE)

    running, *waiting = [asyncio.create_task(pool.run(work)) for _ in range(4)]
    await asyncio.to_thread(begun.wait, PATIENCE)
    stopping = asyncio.create_task(pool.stop())
    await asyncio.sleep(0)
    may_end.set()
    assert await asyncio.wait_for(running, PATIENCE)
    found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
    assert [str(each) for each in found] == ["livepush's threads have been stopped, as at the server's end."] * 3
    await stopping
    with pytest.raises(RuntimeError, match="have been stopped"):
        await pool.run(work)


async def test_who_waits_for_a_thread_that_is_stuck_as_all_are_stopped_is_told_so(make, monkeypatch):
    monkeypatch.setattr(threads, "STOP_TIMEOUT", 0.05)
    pool = make(max_threads=1)
    begun, may_end = threading.Event(), threading.Event()
    stuck = asyncio.create_task(pool.run(lambda: begun.set() or may_end.wait(PATIENCE)))
    waiting = asyncio.create_task(pool.run(threading.get_ident))
    await asyncio.to_thread(begun.wait, PATIENCE)
    await pool.stop()
    with pytest.raises(RuntimeError, match="have been stopped"):
        await asyncio.wait_for(waiting, PATIENCE)
    may_end.set()
    assert await stuck


# What one job leaves to the next


@pytest.fixture
async def one_thread(settings):
    """Let the process use one thread for rules."""
    settings.LIVEPUSH = {"DATABASE_THREADS": 1}
    await process.stop()
    yield
    await process.stop()


async def test_no_job_finds_what_another_has_set_in_its_context(make):
    pool, user = make(max_threads=1), ContextVar("user", default=None)

    def job():
        found = user.get(), translation.get_language(), timezone.get_current_timezone_name()
        user.set("ann")
        translation.activate("de")
        timezone.activate("Asia/Tokyo")
        return (*found, threading.get_ident())

    borrowed = threads.BorrowedThread(pool)
    first, second, third = await pool.run(job), await pool.run(job), await borrowed.run(job)
    borrowed.end(lambda: None)
    assert first == second == third
    assert first[:3] == (None, "en-us", timezone.get_default_timezone_name())


async def test_a_job_that_fails_leaves_nothing_in_the_context_either(make):
    pool, user = make(max_threads=1), ContextVar("user", default=None)

    def fail():
        user.set("ann")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.run(fail)
    assert await pool.run(user.get) is None


CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
    "other": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
    "wrong": {"BACKEND": "nowhere.Cache"},
}


@override_settings(CACHES=CACHES)
async def test_the_jobs_of_a_thread_share_its_caches_and_open_none_that_they_do_not_use(make):
    pool = make(max_threads=1)
    first = await pool.run(lambda: caches["default"])
    assert await pool.run(lambda: [each is first for each in caches.all(initialized_only=True)]) == [True]
    second = await pool.run(lambda: caches["other"])
    assert await pool.run(lambda: caches.all(initialized_only=True)) == [first, second]


@pytest.mark.django_db(transaction=True)
async def test_the_jobs_of_a_thread_share_its_database_connection(one_thread):
    def job():
        connection.ensure_connection()
        return connection.connection

    assert await hubs.in_thread(job) is await hubs.in_thread(job)


KILL = {"postgresql": "SELECT pg_terminate_backend(pg_backend_pid())", "mysql": "KILL CONNECTION_ID()"}


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_dead_connection_whose_error_the_project_handles_is_replaced(concurrent, one_thread, is_async):
    def allowed(sql):
        try:
            with connections[concurrent].cursor() as cursor:
                cursor.execute(sql)
                cursor.execute("SELECT 1")
                return cursor.fetchone() == (1,)
        except DatabaseError:
            return False

    kill = KILL[connections[concurrent].vendor]
    if is_async:
        with process.queries_in_threads():
            assert await sync_to_async(allowed)(kill) is False
    else:
        assert await hubs.in_thread(lambda: allowed(kill)) is False
    assert await hubs.in_thread(lambda: allowed("SELECT 1")) is True


def test_a_connection_that_hangs_is_cut_where_no_descriptor_is_left(monkeypatch, no_descriptors):
    ours, theirs = socket.socketpair()
    hanging = SimpleNamespace(vendor="postgresql", connection=ours)
    monkeypatch.setitem(own._opened, (7, "default"), hanging)
    with ours, theirs:
        theirs.settimeout(PATIENCE)
        with no_descriptors():
            own.cut_connections(7)
            assert theirs.recv(1) == b""
        assert ours.fileno() >= 0


def test_a_session_is_cut_where_no_descriptor_is_left(no_descriptors):
    ours, theirs = socket.socketpair()
    session = Session("default")
    session._driver = ours
    with ours, theirs:
        theirs.settimeout(PATIENCE)
        with no_descriptors():
            session.cut()
            assert theirs.recv(1) == b""
