"""A thread whose database does not answer is cut off, whatever its process writes meanwhile, or gives up connecting."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext

import pytest
from django.db import OperationalError, connections

from livepush import hints, streams
from livepush.process.connections import CONNECT_TIMEOUT, THREADS, limit_connecting
from livepush.streams import announcing, compacting, gathering, here, leases, store, watching
from livepush.streams.announcing import Live
from livepush.streams.buffer import Buffer
from livepush.streams.finding import read_all
from livepush.streams.watching import Watch
from tests.conftest import Thread
from tests.patience import PATIENCE, wait_until


class Cuts:
    """The threads that were cut."""

    def __init__(self):
        self.threads = []
        self.happened = threading.Event()

    def cut(self, thread):
        self.threads.append(thread)
        self.happened.set()


@pytest.fixture
def cuts(monkeypatch, settings):
    """The threads that are cut after half a second without an answer."""
    found = Cuts()
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 0.5}
    monkeypatch.setattr(watching, "LOOK", 0.01)
    monkeypatch.setattr(watching, "watch", Watch())
    monkeypatch.setattr(watching, "cut_connections", found.cut)
    return found


def test_the_thread_that_stores_text_is_cut_off_while_more_is_written(cuts, monkeypatch, streams_end):
    append, storing = store.append, []

    def hang(using, rows):
        storing.append(threading.get_ident())
        assert cuts.happened.wait(PATIENCE)
        append(using, rows)

    monkeypatch.setattr(store, "append", hang)
    written, until = 0, time.monotonic() + PATIENCE
    with streams.open("room:1") as stream:
        while not cuts.happened.wait(0.01):
            assert time.monotonic() < until
            stream.write("on")
            written += 1
    assert cuts.threads[0] == storing[0]
    assert read_all(stream.id) == ["on" * written]


@pytest.mark.parametrize("statement", ["beat", "begin", "append", "running", "end", "compact"])
def test_a_statement_that_hangs_is_cut_off_in_time_for_the_next_beat(
    cuts, statement, settings, monkeypatch, streams_end
):
    work = getattr(store, statement)

    def hang(*args):
        cuts.happened.wait(PATIENCE)
        return work(*args)

    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 10 * PATIENCE}
    monkeypatch.setattr(gathering, "ANSWER", 0.5)
    monkeypatch.setattr(store, statement, hang)
    with streams.open("room:1") as stream:
        stream.write("on")
        if statement not in ("end", "compact"):
            assert cuts.happened.wait(PATIENCE)
    assert cuts.happened.wait(PATIENCE)
    assert read_all(stream.id) == ["on"]


def test_after_a_failure_a_statement_may_take_as_long_as_any(cuts, settings, monkeypatch, streams_end):
    """Else a slow database would never store a long text."""
    append, limits = store.append, []

    def fail_first(using, rows):
        limits.append(watching.watch._until[threading.get_ident()] - time.monotonic())
        if len(limits) == 1:
            raise OperationalError("cut")
        append(using, rows)

    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 10 * PATIENCE}
    monkeypatch.setattr(gathering, "PAUSE", 0.0)
    monkeypatch.setattr(store, "append", fail_first)
    with streams.open("room:1") as stream:
        stream.write("on")
        wait_until(lambda: len(limits) == 2)
        wait_until(lambda: store.ends("default", [stream.id]))
        stream.write("on")
    assert [limit > gathering.ANSWER for limit in limits] == [False, True, False]


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_compaction_that_failed_may_take_as_long_as_any_unless_another_stream_goes_on(
    cuts, goes_on, settings, monkeypatch, streams_end
):
    """Others would take the process for dead, and end the other stream."""
    compact, limits = store.compact, []

    def fail_first(*args):
        limits.append(watching.watch._until[threading.get_ident()] - time.monotonic())
        if len(limits) == 1:
            raise OperationalError("cut")
        return compact(*args)

    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE_TIMEOUT": 10 * PATIENCE}
    monkeypatch.setattr(compacting, "AGAIN", 0.0)
    monkeypatch.setattr(store, "compact", fail_first)
    with streams.open("room:2") if goes_on else nullcontext():
        with streams.open("room:1") as stream:
            stream.write("on")
        wait_until(lambda: len(limits) == 2)
    assert [limit > gathering.ANSWER for limit in limits[:2]] == [False, not goes_on]


def test_what_is_cut_off_or_gives_up_connecting_beats_again_before_others_take_its_process_for_dead():
    pause = gathering.PAUSE + gathering.FLUSH
    assert gathering.BEAT + gathering.FLUSH + gathering.ANSWER + watching.LOOK + pause < leases.LEASE
    assert CONNECT_TIMEOUT + pause < leases.LEASE - leases.MAX_STEP  # once the database is back


def limit_of(using):
    """Return how long (seconds) this thread tries to connect, as the driver is told."""
    return connections[using].get_connection_params().get("connect_timeout")


def limited(using):
    """Limit it in a thread of its own; return the limit."""

    def ask():
        limit_connecting(using)
        return limit_of(using)

    return Thread(ask).join()


def test_a_project_s_own_limit_counts_and_its_settings_stay_as_they_are(concurrent, monkeypatch):
    options = connections.settings[concurrent]["OPTIONS"]
    assert (limited(concurrent), "connect_timeout" in options) == (CONNECT_TIMEOUT, False)
    monkeypatch.setitem(options, "connect_timeout", 7)
    assert limited(concurrent) == 7


def test_a_pool_that_the_project_uses_too_keeps_its_limits(concurrent, monkeypatch):
    monkeypatch.setitem(connections.settings[concurrent]["OPTIONS"], "pool", True)
    assert limited(concurrent) is None


def test_the_thread_that_stores_text_gives_up_connecting_soon(concurrent, settings, monkeypatch):
    append, limits = store.append, []

    def note(using, rows):
        limits.append(limit_of(using))
        append(using, rows)

    here.stop()
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": concurrent}
    monkeypatch.setattr(store, "append", note)
    with streams.open("room:1") as stream:
        stream.write("on")
    here.stop()
    assert limits == [CONNECT_TIMEOUT]


def test_the_thread_that_tells_readers_gives_up_connecting_soon_too(concurrent, settings, monkeypatch):
    limits = []
    settings.LIVEPUSH = {**settings.LIVEPUSH, "DATABASE": concurrent}
    monkeypatch.setattr(hints, "chosen", lambda: hints.Hint.NOTIFY)
    monkeypatch.setattr(announcing, "_announce", lambda events: limits.append(limit_of(concurrent)))
    buffer = Buffer("s", "room:1", "text", "{}")
    buffer.write("on")
    live = Live()
    live.tell(buffer)
    wait_until(lambda: limits)
    live.stop()
    assert limits == [CONNECT_TIMEOUT]


def test_the_thread_that_tells_readers_is_cut_off_too(cuts, monkeypatch):
    telling = []

    def hang(events):
        telling.append(threading.current_thread())
        assert cuts.happened.wait(PATIENCE)

    monkeypatch.setattr(hints, "chosen", lambda: hints.Hint.NOTIFY)
    monkeypatch.setattr(announcing, "_announce", hang)
    buffer = Buffer("s", "room:1", "text", "{}")
    buffer.write("on")
    live = Live()
    live.tell(buffer)
    assert cuts.happened.wait(PATIENCE)
    live.stop()
    assert cuts.threads[0] == telling[0].ident
    assert telling[0].name in THREADS  # others' connections are not noted, so they can't be cut


def test_the_watch_ends_when_it_has_nothing_to_watch_and_begins_again(monkeypatch):
    monkeypatch.setattr(watching, "LOOK", 0.01)
    watch = Watch()
    for _ in range(2):
        with watch.over():
            thread = watch._thread
            assert thread.is_alive()
        wait_until(lambda thread=thread: not thread.is_alive())


def test_a_process_that_ends_uses_its_database_unwatched(monkeypatch):
    def fail(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with Watch().over():
        pass
