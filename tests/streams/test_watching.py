"""A thread whose database does not answer is cut off, whatever its process writes meanwhile."""

from __future__ import annotations

import threading
import time

import pytest

from livepush import hints, streams
from livepush.process.connections import THREADS
from livepush.streams import announcing, store, watching
from livepush.streams.announcing import Live
from livepush.streams.buffer import Buffer
from livepush.streams.finding import read_all
from livepush.streams.watching import Watch
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
