"""A wish to stop ends its own stream alone; other exceptions pass on."""

from __future__ import annotations

import asyncio

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from livepush import streams
from livepush.exceptions import StreamStopped
from livepush.streams import here
from livepush.streams.models import Stream
from tests.patience import eventually, wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def states():
    return dict(Stream.objects.values_list("group", "state"))


async def astates():
    return await sync_to_async(publish_states)()


def publish_states():
    found = states()
    connections.close_all()
    return found


def ask_to_stop(stream):
    """Ask as a reader of this process does."""
    here.local(stream.id).stop()


def test_an_inner_stream_lets_the_outer_one_s_wish_to_stop_pass():
    done = []
    with streams.open("job:outer") as outer:
        for number in range(3):
            with streams.open("job:inner") as inner:
                inner.write("begin ")
                ask_to_stop(outer)
                outer.write("file")
            done.append(number)
    assert (done, states()) == ([], {"job:outer": "stopped", "job:inner": "failed"})


async def test_an_inner_async_stream_lets_the_outer_one_s_wish_to_stop_pass():
    done = []
    async with streams.open("job:outer") as outer:
        for number in range(3):
            async with streams.open("job:inner"):
                ask_to_stop(outer)
                await outer.write("file")
            done.append(number)
    assert (done, await astates()) == ([], {"job:outer": "stopped", "job:inner": "failed"})


async def test_a_task_group_s_wish_to_stop_ends_the_block_quietly():
    async with streams.open("job:7") as stream, asyncio.TaskGroup() as group:
        ask_to_stop(stream)
        group.create_task(stream.write("a"))
        group.create_task(stream.write("b"))
    assert await astates() == {"job:7": "stopped"}


@pytest.mark.parametrize("enter", ["with", "async with"])
async def test_what_else_a_group_of_exceptions_has_passes_on(enter, monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")

    def fail(stream):
        raise ExceptionGroup("two", [StreamStopped("stop", stream.id), ExceptionGroup("one", [KeyError("a")])])

    with pytest.raises(ExceptionGroup) as found:
        if enter == "with":
            with streams.open("job:7") as stream:
                fail(stream)
        else:
            async with streams.open("job:7") as stream:
                fail(stream)
    inner = found.value.exceptions[0]
    assert isinstance(inner, ExceptionGroup)
    assert (len(found.value.exceptions), repr(inner.exceptions)) == (1, "(KeyError('a'),)")
    assert await astates() == {"job:7": "failed"}


async def test_an_iterator_whose_other_stream_is_stopped_fails(caplog):
    async def generate(log):
        yield "a"
        ask_to_stop(log)
        await log.write("x")

    async with streams.open("job:log") as log:
        await streams.start("job:answer", generate(log))
        await eventually(lambda: failed("job:answer"))
    assert "The iterator of the stream" in caplog.text


async def failed(group):
    return (await astates())[group] == "failed"


def test_an_iterable_whose_other_stream_is_stopped_fails():
    def generate(log):
        yield "a"
        ask_to_stop(log)
        log.write("x")

    with streams.open("job:log") as log:
        streams.start_in_thread("job:answer", generate(log))
        wait_until(lambda: states()["job:answer"] == "failed")


async def test_an_iterator_that_somebody_else_cancels_is_not_finished(caplog):
    async def generate():
        yield "half an answ"
        waiting = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(waiting.cancel)
        await waiting
        yield "er"

    await streams.start("job:7", generate())
    await eventually(lambda: failed("job:7"))
    assert "CancelledError" in caplog.text
