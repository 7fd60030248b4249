"""What producers write is stored, exactly, whatever happens on the way."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, connections, transaction
from django.utils import translation
from django.utils.translation import gettext_lazy

import livepush
from livepush import streams
from livepush.exceptions import EventTooLarge, InvalidData, InvalidGroup, StreamEnded, StreamLost, StreamStopped
from livepush.models import Event
from livepush.streams import deleting, here, store
from livepush.streams.finding import read_all
from livepush.streams.models import Stream, StreamChunk, StreamProducer, StreamState
from livepush.streams.pieces import Data
from tests.patience import PATIENCE, eventually, wait_until

pytestmark = [pytest.mark.usefixtures("streams_end"), pytest.mark.django_db(transaction=True)]


def row(id):
    return Stream.objects.get(id=id)


async def is_in(id, state):
    return await Stream.objects.filter(id=id, state=state).aexists()


def text(id):
    return "".join(piece for piece in read_all(id) if isinstance(piece, str))


def test_text_and_parts_are_stored_in_their_order_and_the_block_ends_the_stream():
    with streams.open("room:1", metadata={"model": "lark"}) as stream:
        stream.write("Hello, ")
        stream.write("wörld 🐦\n")
        stream.write(data={"n": 1}, progress=0.5)
        stream.write("\0 and on")
    found = row(stream.id)
    assert (found.state, found.group, found.format, found.details) == ("finished", "room:1", "text", {"model": "lark"})
    assert [piece if isinstance(piece, str) else piece.value for piece in read_all(stream.id)] == [
        "Hello, wörld 🐦\n",
        {"n": 1},
        {"progress": 0.5},
        "\0 and on",
    ]
    assert found.length == stream.offset == 15 + 2 + 8
    assert len(stream.id) == 22


def test_what_is_written_is_stored_while_the_stream_runs():
    with streams.open("room:1") as stream:
        stream.write("half")
        wait_until(lambda: store.ends("default", [stream.id]) == {stream.id: 4})
        assert row(stream.id).state == "running"
        assert streams.running("room:1").id == stream.id
        stream.write(" way")
    assert text(stream.id) == "half way"
    assert streams.running("room:1") is None
    assert streams.get(stream.id).text() == "half way"
    assert streams.get("unknown") is None


def test_the_group_is_told_of_the_beginning_and_the_end():
    with streams.open("room:1", metadata={"a": 1}) as stream:
        pass
    found = list(Event.objects.filter(group="room:1").order_by("id").values_list("type", "data"))
    assert found == [
        ("stream.started", f'{{"stream":"{stream.id}","format":"text","metadata":{{"a":1}}}}'),
        ("stream.finished", f'{{"stream":"{stream.id}","state":"finished","metadata":{{"a":1}}}}'),
    ]


def test_a_stream_outlives_the_rollback_of_the_transaction_that_wrote_it():
    with pytest.raises(KeyError), transaction.atomic():  # noqa: SIM117
        with streams.open("room:1") as stream:
            stream.write("this far")
            raise KeyError
    assert (text(stream.id), row(stream.id).state, row(stream.id).error) == (
        "this far",
        "failed",
        "The stream failed.",
    )


def test_a_stream_can_be_ended_by_hand_once():
    with streams.open("room:1") as stream:
        stream.fail("No model answers.", {"tries": 3})
        with pytest.raises(StreamEnded):
            stream.write("more")
        stream.finish()
    found = row(stream.id)
    assert (found.state, found.error, found.details) == ("failed", "No model answers.", {"tries": 3})


async def test_async_code_writes_with_the_same_names():
    async with streams.open("room:1", format="openai") as stream:
        await stream.write("a")
        await stream.write_line("b", progress=1)
        await stream.finish({"tokens": 2})
    found = await Stream.objects.aget(id=stream.id)
    assert (found.state, found.length, found.details) == ("finished", 4, {"tokens": 2})
    assert (await streams.aget(stream.id)).state == "finished"
    assert await streams.arunning("room:1") is None
    await sync_to_async(connections.close_all)()


async def test_a_plain_with_in_async_code_names_the_right_one():
    with pytest.raises(SynchronousOnlyOperation, match="async with"), streams.open("room:1"):
        pass


async def test_a_plain_with_is_taken_where_the_project_allows_sync_code_beside_a_loop(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    with streams.open("room:1") as stream:
        stream.write("Hi")
    assert text(stream.id) == "Hi"
    connections.close_all()


def test_what_cannot_be_written_says_why_and_loses_nothing():
    with pytest.raises(InvalidGroup):
        streams.open("no such group").__enter__()
    with pytest.raises(InvalidData, match="'text', 'livepush', 'openai', 'ai-sdk'"):
        streams.open("room:1", format="json").__enter__()
    with pytest.raises(InvalidData, match="'keep' or 'strip'"):
        streams.open("room:1", ansi="no").__enter__()
    with streams.open("room:1") as stream:
        stream.write("kept")
        with pytest.raises(InvalidData, match="is not text"):
            stream.write(7)
        with pytest.raises(InvalidData, match="as JSON"):
            stream.write("lost?", data={"x": object()})
        with pytest.raises(InvalidData, match="from 0 to 1"):
            stream.write(progress=40)
        with pytest.raises(EventTooLarge):
            stream.write(data="x" * 65_536)
        stream.write("\ud83d, half a pair")
    assert text(stream.id) == "kept\ufffd, half a pair"


@pytest.mark.parametrize("cut", [("\ud83d", "\udc26!"), ("a\ud83d", "", "\udc26!"), ("\ud83d\udc26!",)])
def test_a_character_that_is_cut_in_two_arrives_whole(cut):
    with streams.open("room:1") as stream:
        for text in cut:
            stream.write(text)
    assert streams.get(stream.id).text().endswith("🐦!")


def test_half_a_character_that_nothing_follows_is_replaced():
    with streams.open("room:1") as stream:
        stream.write("a\ud83d", data=1)
        stream.write("\udc26b\ud83d")
        stream.write("c\ud83d")
    assert read_all(stream.id) == ["a\ufffd", Data("1"), "\ufffdb\ufffdc\ufffd"]


def test_a_request_to_stop_raises_in_write_and_ends_the_block_quietly():
    with streams.open("room:1") as stream:
        stream.write("a")
        assert not stream.stop_requested
        assert store.stop("default", stream.id)
        wait_until(lambda: stream.stop_requested)
        stream.write("b")
        raise AssertionError("it was written")
    assert (text(stream.id), row(stream.id).state) == ("a", "stopped")
    assert not store.stop("default", stream.id)


async def test_an_iterator_runs_apart_and_is_cancelled_where_it_waits():
    seen = []

    async def generate():
        try:
            yield "one "
            yield {"type": "data-x", "data": 1}
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    stream = await streams.start("room:1", generate())
    await eventually(lambda: stream.offset == 5)
    assert await sync_to_async(store.stop)("default", stream.id)
    await eventually(lambda: is_in(stream.id, "stopped"))
    await sync_to_async(connections.close_all)()
    assert seen == ["cancelled"]


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError])
async def test_an_iterator_that_raises_fails_its_stream_and_tells_readers_no_detail(caplog, error):
    async def generate():
        yield "one"
        raise error("a secret")

    stream = await streams.start("room:1", generate())
    await eventually(lambda: is_in(stream.id, "failed"))
    found = await Stream.objects.aget(id=stream.id)
    assert (found.error, found.length) == ("The stream failed.", 3)
    assert "a secret" in caplog.text
    await sync_to_async(connections.close_all)()


def test_an_iterable_runs_in_a_thread():
    stream = streams.start_in_thread("room:1", iter(["a", "b", {"n": 1}]))
    wait_until(lambda: row(stream.id).state == "finished")
    assert text(stream.id) == "ab"


def test_many_streams_are_stored_in_one_statement(django_assert_max_num_queries):
    with streams.open("room:1") as first, streams.open("room:2") as second:
        rows = [*store.chunks(first.id, first._buffer.unstored()), *store.chunks(second.id, second._buffer.unstored())]
        assert rows == []
        many = [store.Written(f"s{n}", 0, 1, '["a"]') for n in range(200)]
        with django_assert_max_num_queries(1):
            store.append("default", many)
    assert StreamChunk.objects.count() == 200


@pytest.mark.long
def test_a_hundred_thousand_lines_are_stored_and_compacted():
    lines = [f"line {number}: all is well\n" for number in range(100_000)]
    with streams.open("room:1") as stream:
        for line in lines:
            stream.write(line)
    assert text(stream.id) == "".join(lines)
    wait_until(lambda: StreamChunk.objects.filter(stream=stream.id).count() <= 2 * stream.offset / store.CHUNK + 2)


@pytest.mark.parametrize("after", [False, True], ids=["before the statement", "after it was committed"])
def test_a_database_that_fails_costs_time_and_no_text(monkeypatch, after):
    stored, failures = store.append, iter([True] * 3)

    def failing(using, rows):
        if after:
            stored(using, rows)
        if next(failures, False):
            raise OperationalError("gone")
        if not after:
            stored(using, rows)

    monkeypatch.setattr(store, "append", failing)
    with streams.open("room:1") as stream:
        for number in range(100):
            stream.write(f"{number} ")
    assert text(stream.id) == "".join(f"{number} " for number in range(100))


def test_a_process_that_others_took_for_dead_learns_of_it():
    with pytest.raises(StreamLost, match="took this process for dead"), streams.open("room:1") as stream:
        stream.write("a")
        wait_until(lambda: store.ends("default", [stream.id]))
        (producer,) = StreamProducer.objects.values_list("name", flat=True)
        (ended,) = store.interrupt("default", producer)
        assert (ended.id, ended.state, ended.length) == (stream.id, StreamState.INTERRUPTED, 1)
        wait_until(lambda: stream.stop_requested)
        stream.write("b")
    assert (text(stream.id), row(stream.id).state) == ("a", "interrupted")
    with pytest.raises(KeyError), streams.open("room:1") as stream:
        deleting.delete("default", [stream.id])
        raise KeyError  # it says more than that the stream is lost
    with streams.open("room:1") as stream:
        stream.write("on")
    assert row(stream.id).state == "finished"


def test_the_block_of_a_process_that_ends_does_not_end_quietly():
    with pytest.raises(StreamLost, match="its process ends"), streams.open("room:1") as stream:
        stream.write("a")
        here.interrupt_all()
        stream.write("b")
    assert (text(stream.id), row(stream.id).state) == ("a", "interrupted")


def test_the_end_of_a_process_waits_for_streams_that_have_finished_until_they_are_stored(monkeypatch):
    append, may_store = store.append, threading.Event()

    def wait(using, rows):
        assert may_store.wait(PATIENCE)
        append(using, rows)

    monkeypatch.setattr(store, "append", wait)
    stream = streams.start_in_thread("room:1", ["a", "b"])
    wait_until(lambda: stream._buffer.ending is not None)
    assert here.writing() == 1
    began = time.monotonic()
    here.interrupt_all(0.2)
    assert time.monotonic() - began >= 0.2
    may_store.set()
    here.interrupt_all(PATIENCE)
    assert (text(stream.id), row(stream.id).state, here.writing()) == ("ab", "finished", 0)


async def test_async_code_learns_that_its_stream_is_lost():
    with pytest.raises(StreamLost):
        async with streams.open("room:1") as stream:
            await sync_to_async(deleting.delete)("default", [stream.id])
    await sync_to_async(connections.close_all)()


def test_metadata_that_are_taken_are_announced_too():
    with pytest.raises(EventTooLarge):
        streams.open("room:1", metadata={"x": "y" * 65_500}).__enter__()
    with streams.open("room:1", metadata={"x": "y" * (65_536 - 100 - len('{"x":""}'))}):
        pass
    assert Event.objects.filter(group="room:1").count() == 2


def test_a_lazy_text_is_written_in_the_language_of_the_writer():
    with streams.open("room:1") as stream, translation.override("fr"):
        stream.write(gettext_lazy("Yes"))
    assert text(stream.id) == "Oui"


def test_a_stream_that_was_not_entered_says_so():
    with pytest.raises(AttributeError, match="'write': this is no stream"):
        streams.open("room:1").write("x")


def test_streams_of_many_threads_do_not_mix():
    def write(number):
        with streams.open(f"room:{number}") as stream:
            for _ in range(50):
                stream.write(f"{number} ")
        ids[number] = stream.id

    ids: dict[int, str] = {}
    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)
    assert {number: text(id) for number, id in ids.items()} == {n: f"{n} " * 50 for n in range(8)}


def test_stopped_is_what_livepush_raises():
    assert issubclass(StreamStopped, livepush.exceptions.LivepushError)


def test_no_module_hides_a_public_name() -> None:
    modules = {path.stem for path in Path(streams.__path__[0]).glob("*.py")}
    assert modules & set(streams.__all__) == set()
