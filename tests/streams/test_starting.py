"""A stream whose producer fails before it writes, or leaves, does not run for ever."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import OperationalError, connections
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from livepush import streams
from livepush.exceptions import StreamNotStored
from livepush.streams import starting, store, writing
from livepush.streams.models import Stream
from tests.patience import PATIENCE, eventually, wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def state_of(stream):
    return Stream.objects.get(id=stream.id).state


class Failing:
    """An iterable of either kind that fails before its first value."""

    def __init__(self, error):
        self.error = error

    def __iter__(self):
        raise self.error

    def __aiter__(self):
        raise self.error


def test_an_iterable_that_fails_at_once_fails_its_stream():
    stream = streams.start_in_thread("room:1", Failing(OperationalError("the query failed")))
    wait_until(lambda: state_of(stream) == "failed")
    stream = streams.start_in_thread("room:1", None)
    wait_until(lambda: state_of(stream) == "failed")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_iterable_that_ends_its_thread_interrupts_its_stream():
    stream = streams.start_in_thread("room:1", Failing(SystemExit()))
    wait_until(lambda: state_of(stream) == "interrupted")


def test_a_thread_that_does_not_start_interrupts_its_stream(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    with streams.open("room:1"):  # livepush's own threads run
        monkeypatch.setattr(starting.threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            streams.start_in_thread("room:2", [])
        wait_until(lambda: Stream.objects.get(group="room:2").state == "interrupted")
        monkeypatch.undo()


async def test_an_async_iterable_that_fails_at_once_fails_its_stream():
    await streams.start("room:1", Failing(OperationalError("the query failed")))
    await eventually(lambda: is_now("failed"))


async def test_an_iterator_whose_task_never_ran_interrupts_its_stream():
    await streams.start("room:1", Failing(AssertionError("it ran")))
    for task in starting._running:
        task.cancel()
    await eventually(lambda: is_now("interrupted"))


async def is_now(state):
    found = [each async for each in Stream.objects.values_list("state", flat=True)]
    await sync_to_async(connections.close_all)()
    return found == [state]


async def enter():
    await streams.open("room:1").__aenter__()


async def start():
    await streams.start("room:1", Failing(AssertionError("it ran")))


@pytest.mark.parametrize("begin", [enter, start])
async def test_a_stream_whose_producer_left_before_it_was_stored_is_interrupted(begin, monkeypatch):
    stored, is_storing, may_store = store.begin, threading.Event(), threading.Event()

    def slow(using, rows):
        is_storing.set()
        assert may_store.wait(PATIENCE)
        stored(using, rows)

    monkeypatch.setattr(store, "begin", slow)
    leaving = asyncio.create_task(begin())
    await eventually(is_storing.is_set)
    leaving.cancel()
    await asyncio.wait({leaving})
    may_store.set()
    await eventually(lambda: is_now("interrupted"))


def test_a_stream_that_was_stored_too_late_is_interrupted(monkeypatch):
    stored, may_store = store.begin, threading.Event()

    def slow(using, rows):
        assert may_store.wait(PATIENCE)
        stored(using, rows)

    monkeypatch.setattr(store, "begin", slow)
    monkeypatch.setattr(writing, "PATIENCE", 0.2)
    for begin in (streams.open("room:1").__enter__, lambda: streams.start_in_thread("room:1", [])):
        with pytest.raises(StreamNotStored):
            begin()
    may_store.set()
    wait_until(lambda: [*Stream.objects.values_list("state", flat=True)] == ["interrupted"] * 2)


async def test_an_iterator_speaks_the_language_of_its_view_in_the_view_s_time_zone():
    async def generate():
        yield _("Yes")
        yield f" {timezone.get_current_timezone_name()} {word.get()} "
        yield gettext_lazy("No")

    word = ContextVar("word", default="")
    word.set("mine")
    with translation.override("fr"), timezone.override("Asia/Tokyo"):
        stream = await streams.start("room:1", generate())
    await eventually(lambda: is_now("finished"))
    assert await (await streams.aget(stream.id)).atext() == "Oui Asia/Tokyo mine Non"


def test_an_iterable_in_a_thread_speaks_the_language_of_its_view():
    def generate():
        yield _("Yes")

    with translation.override("fr"):
        stream = streams.start_in_thread("room:1", generate())
    wait_until(lambda: state_of(stream) == "finished")
    assert streams.get(stream.id).text() == "Oui"


async def test_an_iterator_s_queries_run_in_a_thread_of_its_own_after_the_request_too():
    async def generate():
        await request_is_over.wait()
        for _number in range(2):
            threads.append(await sync_to_async(threading.current_thread)())
        yield "a"

    threads, request_is_over = [], asyncio.Event()
    async with ThreadSensitiveContext():
        threads.append(await sync_to_async(threading.current_thread)())
        await streams.start("room:1", generate())
    request_is_over.set()
    await eventually(lambda: is_now("finished"))
    assert threads[1] is threads[2] is not threads[0]
