"""A stream that the database refuses, that has much to store, or that can't be compacted, holds up no other."""

from __future__ import annotations

import json

import pytest
from django.db import OperationalError
from django.utils import timezone

from livepush import streams
from livepush.exceptions import InvalidGroup, StreamNotStored
from livepush.streams import announcing, compacting, gathering, leases, pieces, store, storing, writing
from livepush.streams.buffer import Buffer, Ending
from livepush.streams.finding import read_all
from livepush.streams.gathering import Gatherer
from livepush.streams.models import Stream, StreamChunk, StreamProducer, StreamState
from livepush.tenants import active
from tests.conftest import events_of
from tests.patience import PATIENCE

pytestmark = pytest.mark.usefixtures("streams_end")

UNSTORABLE = "\ud800"
"""Half a surrogate pair, which no driver encodes."""


def row(id):
    return Stream.objects.get(id=id)


class Producer:
    """A gatherer without a thread: each turn is a step."""

    def __init__(self, using):
        self.using = using
        self.gatherer = Gatherer(using)
        self.gatherer._work = lambda: None
        self.turn = self.gatherer._turn

    def begin(self, id, group="room:1"):
        buffer = Buffer(id, group, "text", "{}")
        given = Stream(id=id, group=group, format="text", created=timezone.now())
        return buffer, self.gatherer.begin(given, buffer)

    def row(self, id):
        return Stream.objects.using(self.using).get(id=id)


@pytest.fixture
def producer(using, monkeypatch):
    monkeypatch.setattr(compacting, "SLICE", PATIENCE)  # each turn compacts all that is due
    return Producer(using)


def test_a_message_that_quotes_nul_fails_its_stream_and_holds_up_no_other(monkeypatch):
    monkeypatch.setattr(writing, "PATIENCE", 10.0)
    with streams.open("room:1") as stream:
        stream.fail("no such file: 'a\0b\ud800'")
    with streams.open("room:1") as other:
        other.write("on")
    assert (row(stream.id).state, row(stream.id).error) == ("failed", "no such file: 'a\ufffdb\ufffd'")
    assert row(other.id).state == "finished"


def test_a_long_message_is_cut():
    with streams.open("room:1") as stream:
        stream.fail("x" * 100_000)
    assert row(stream.id).error == "x" * (pieces.MAX_MESSAGE - 1) + "…"


def test_a_group_that_becomes_too_long_with_its_tenant_is_refused_at_once(settings, monkeypatch):
    monkeypatch.setattr(writing, "PATIENCE", 10.0)
    settings.LIVEPUSH = {"TENANT": "tests.shop.subdomains.Subdomains"}
    with active("acme"):
        with pytest.raises(InvalidGroup, match="expected 195 characters at most"):
            streams.open("x" * 196).__enter__()
        with streams.open("x" * 195) as stream:
            stream.write("on")
    assert row(stream.id).state == "finished"


def test_an_ending_that_the_database_refuses_interrupts_its_stream_alone(producer, caplog):
    refused, _ = producer.begin("refused")
    other, _ = producer.begin("other")
    producer.turn()
    refused.write("this far")
    ends = [producer.gatherer.end(refused, Ending(StreamState.FAILED, UNSTORABLE))]
    ends.append(producer.gatherer.end(other, Ending(StreamState.FINISHED)))
    producer.turn()
    assert ends[1].result(0) is None
    producer.turn()
    with pytest.raises(StreamNotStored, match="refused"):
        ends[0].result(0)
    found = producer.row("refused")
    assert (found.state, found.error, found.length) == ("interrupted", "", 8)
    assert producer.row("other").state == "finished"
    assert producer.gatherer.is_idle()
    assert "The database refused the stream refused" in caplog.text


def test_text_that_the_database_refuses_interrupts_its_stream_alone(producer):
    refused, _ = producer.begin("refused")
    other, _ = producer.begin("other")
    refused.write("this far")
    producer.turn()
    refused.write(UNSTORABLE)
    other.write("on")
    producer.turn()
    assert store.ends(producer.using, ["refused", "other"]) == {"refused": 8, "other": 2}
    assert (refused.stop_requested, other.stop_requested) == (True, False)
    refused.write("too late")
    producer.turn()
    found = producer.row("refused")
    assert (found.state, found.length) == ("interrupted", 8)
    assert store.read(producer.using, "refused", 0).pieces == ["this far"]
    assert producer.row("other").state == "running"
    with pytest.raises(StreamNotStored):
        producer.gatherer.end(refused, Ending(StreamState.FINISHED)).result(0)


def test_a_beginning_that_the_database_refuses_is_its_producers_to_hear_alone(producer):
    refused, begun = producer.begin("refused", UNSTORABLE)
    _, others = producer.begin("other")
    ended = producer.gatherer.end(refused, Ending(StreamState.INTERRUPTED))
    producer.turn()
    assert others.result(0) is None
    for each in (begun, ended, producer.gatherer.end(refused, Ending(StreamState.FINISHED))):
        with pytest.raises(StreamNotStored, match="refused"):
            each.result(0)
    assert producer.gatherer.unfinished() == [producer.gatherer.buffer("other")]


def test_a_producer_whose_text_is_refused_hears_of_it():
    with pytest.raises(StreamNotStored, match="refused"), streams.open("room:1") as stream:
        stream.write("this far")
        stream._buffer.write(UNSTORABLE)
        stream.write("more")
    assert row(stream.id).state == "interrupted"
    with streams.open("room:1") as other:
        other.write("on")
    assert row(other.id).state == "finished"
    assert read_all(other.id) == ["on"]


def test_a_statement_takes_so_many_characters_and_rows():
    few = [("a", store.STATEMENT), ("b", 1), ("c", 1), ("d", store.STATEMENT)]
    assert store.in_statements(few) == [["a"], ["b", "c"], ["d"]]
    assert [len(each) for each in store.in_statements([(n, 1) for n in range(450)])] == [200, 200, 50]
    assert store.in_statements([]) == []


def test_a_stream_that_has_more_than_a_statement_takes_waits_for_the_others_in_between(producer):
    large, _ = producer.begin("large")
    small, _ = producer.begin("small")
    producer.turn()
    large.write("x" * 4 * store.STATEMENT)
    ends = []
    for _ in range(4):
        small.write("on")
        producer.turn()
        ends.append(store.ends(producer.using, ["large", "small"]))
    assert [each["large"] for each in ends] == [number * store.STATEMENT for number in (1, 2, 3, 4)]
    assert [each.get("small", 0) for each in ends] == [0, 4, 6, 8]


def test_all_streams_are_stored_in_turn_while_each_writes_as_fast_as_it_can(producer):
    buffers = [producer.begin(f"s{number}")[0] for number in range(5)]
    producer.turn()
    for _ in range(2):  # a statement takes what four of them have
        for buffer in buffers:
            buffer.write("x" * (store.STATEMENT // 4 + 1 - pieces.length(buffer.unstored().pieces)))
        producer.turn()
    assert sorted(store.ends(producer.using, [buffer.id for buffer in buffers])) == [buffer.id for buffer in buffers]


def failing(monkeypatch, times):
    """Have compacting fail so many times."""
    compact, left = store.compact, iter([True] * times)

    def fail(*args):
        if next(left, False):
            raise OperationalError("deadlock detected")
        return compact(*args)

    monkeypatch.setattr(store, "compact", fail)


def test_a_compaction_that_fails_keeps_no_producer_waiting_and_is_tried_again(producer, monkeypatch):
    failing(monkeypatch, 1)
    first, _ = producer.begin("first")
    second, _ = producer.begin("second")
    for text in "ab":
        first.write(text)
        second.write(text)
        producer.turn()
    ends = [producer.gatherer.end(buffer, Ending(StreamState.FINISHED)) for buffer in (first, second)]
    producer.turn()
    assert [each.result(0) for each in ends] == [None, None]
    chunks = StreamChunk.objects.using(producer.using)
    assert (chunks.count(), producer.gatherer.is_idle()) == (4, False)
    monkeypatch.setattr(producer.gatherer._compactor, "_tries_from", 0.0)
    producer.turn()
    assert (chunks.count(), producer.gatherer.is_idle()) == (2, True)
    assert store.read(producer.using, "first", 0).pieces == ["ab"]


def test_a_compaction_that_always_fails_is_given_up(producer, monkeypatch, caplog):
    failing(monkeypatch, 1000)
    monkeypatch.setattr(compacting, "AGAIN", 0.0)
    buffer, _ = producer.begin("one")
    producer.turn()
    producer.gatherer.end(buffer, Ending(StreamState.FINISHED))
    for _ in range(compacting.TRIES):
        producer.turn()
    assert producer.gatherer.is_idle()
    assert caplog.text.count("stays in many chunks") == compacting.TRIES


def has_chunks(producer, id, count):
    """Make a stream of so many chunks, as one has that was written for long."""
    buffer, _ = producer.begin(id)
    producer.turn()
    buffer.write("x" * count)
    buffer.is_stored(count)
    rows = [StreamChunk(stream=id, start=n, end=n + 1, body='["x"]') for n in range(count)]
    StreamChunk.objects.using(producer.using).bulk_create(rows)
    return buffer


@pytest.fixture
def a_round_each_turn(producer, monkeypatch):
    monkeypatch.setattr(compacting, "SLICE", 0.0)
    monkeypatch.setattr(compacting, "WAIT", PATIENCE)
    monkeypatch.setattr(store, "PAGE_ROWS", 50)


def test_while_a_long_log_is_compacted_its_process_beats_and_stores_the_text_of_others(
    producer, a_round_each_turn, monkeypatch
):
    monkeypatch.setattr(gathering, "BEAT", 0.0)
    long, (other, _) = has_chunks(producer, "long", 200), producer.begin("other")
    ended = producer.gatherer.end(long, Ending(StreamState.FINISHED))
    beats = [0]
    while not ended.done():
        other.write("on")
        producer.turn()
        assert store.ends(producer.using, ["other"]) == {"other": other.end}
        beats.append(StreamProducer.objects.using(producer.using).get(name=producer.gatherer.name).beats)
    assert len(beats) > 4
    assert beats == sorted(set(beats))
    assert StreamChunk.objects.using(producer.using).filter(stream="long").count() == 4
    assert store.read(producer.using, "long", 0).pieces == ["x" * 200]


def test_a_producer_does_not_wait_long_for_its_stream_to_be_compacted(producer, a_round_each_turn, monkeypatch):
    monkeypatch.setattr(compacting, "WAIT", 0.0)
    ended = producer.gatherer.end(has_chunks(producer, "long", 200), Ending(StreamState.FINISHED))
    producer.turn()
    assert (ended.done(), producer.gatherer.is_idle()) == (True, False)
    while not producer.gatherer.is_idle():
        producer.turn()
    assert StreamChunk.objects.using(producer.using).count() == 4


def test_many_streams_begin_and_end_in_several_turns(producer, monkeypatch):
    monkeypatch.setattr(gathering, "AT_ONCE", 2)
    begun = [producer.begin(f"s{number}") for number in range(5)]
    done = [future for _, future in begun]
    counts = []
    while not all(each.done() for each in done):
        producer.turn()
        counts.append(sum(each.done() for each in done))
    for buffer, _ in begun:
        producer.gatherer.end(buffer, Ending(StreamState.FINISHED))
    while producer.gatherer.unfinished():
        producer.turn()
        counts.append(Stream.objects.using(producer.using).filter(state=StreamState.FINISHED).count())
    assert counts == [2, 4, 5, 2, 4, 5]
    assert producer.gatherer.is_idle()


def test_many_streams_that_end_at_once_are_all_ended_before_any_is_compacted(producer, monkeypatch):
    """Their process may end, and have little time."""
    monkeypatch.setattr(gathering, "AT_ONCE", 2)
    done = []
    for name in ("end", "compact"):
        work = getattr(store, name)
        monkeypatch.setattr(store, name, lambda *args, name=name, work=work: (done.append(name), work(*args))[1])
    begun = [producer.begin(f"s{number}") for number in range(6)]
    while not all(future.done() for _, future in begun):
        producer.turn()
    for buffer, _ in begun:
        producer.gatherer.end(buffer, Ending(StreamState.FINISHED))
    while not producer.gatherer.is_idle():
        producer.turn()
    assert done == ["end"] * 3 + ["compact"] * 6


def test_a_stream_is_waited_for_from_the_moment_at_which_it_is_asked_for(producer, monkeypatch):
    seen = []

    def look():
        seen.append(([each.id for each in producer.gatherer.unfinished()], producer.gatherer.is_idle()))

    def begin(*args, begin=store.begin):
        look()
        begin(*args)

    monkeypatch.setattr(store, "begin", begin)
    producer.begin("one")
    look()
    producer.turn()
    look()
    assert seen == [(["one"], False)] * 3


def test_a_long_log_of_a_dead_process_is_compacted_a_part_at_each_look(producer, a_round_each_turn, monkeypatch):
    monkeypatch.setattr(leases, "_compactors", {})
    has_chunks(producer, "long", 200)
    producer.begin("short")
    producer.turn()
    ended = []
    monkeypatch.setattr(announcing, "hint_end", ended.append)
    leases.end_streams(producer.using, producer.gatherer.name)
    counts = [StreamChunk.objects.using(producer.using).count()]
    assert (sorted(ended), counts) == (["long", "short"], [200])
    while counts[-1] > 4:
        leases.end_dead(producer.using)
        counts.append(StreamChunk.objects.using(producer.using).count())
    assert len(counts) > 4


def test_the_streams_of_a_dead_process_all_end_though_one_cannot_be_compacted(producer, monkeypatch):
    failing(monkeypatch, 1)
    monkeypatch.setattr(leases, "_compactors", {})
    for id in ("first", "second"):
        producer.begin(id)
    producer.turn()
    ended = []
    monkeypatch.setattr(announcing, "hint_end", ended.append)
    leases.end_streams(producer.using, producer.gatherer.name)
    leases.end_dead(producer.using)
    assert sorted(ended) == ["first", "second"]


def test_a_producer_of_an_announcement_that_fails_does_not_wait(producer, monkeypatch):
    buffer, _ = producer.begin("one")
    producer.turn()

    def fail(*args):
        raise OSError("the layer is away")

    monkeypatch.setattr(announcing, "hint_end", fail)
    monkeypatch.setattr(gathering, "PAUSE", 0.0)
    ended = producer.gatherer.end(buffer, Ending(StreamState.FINISHED))
    producer.turn()
    assert ended.result(0) is None


def failing_once(monkeypatch, module, name):
    """Have a function do its work and then fail, at its first call."""
    work, left = getattr(module, name), iter([True])

    def fail(*args):
        found = work(*args)
        if next(left, False):
            raise OperationalError("the connection is lost")
        return found

    monkeypatch.setattr(module, name, fail)


@pytest.mark.parametrize(
    ("module", "names"),
    [(announcing, ["send_started", "send_ended"]), (storing, ["begin", "end"])],
    ids=["before the commit", "after it"],
)
def test_a_group_is_told_once_that_a_stream_began_and_ended_though_the_database_fails(
    producer, monkeypatch, module, names
):
    monkeypatch.setattr(gathering, "PAUSE", 0.0)
    for name in names:
        failing_once(monkeypatch, module, name)
    buffer, _ = producer.begin("one")
    producer.turn()
    producer.turn()
    producer.gatherer.end(buffer, Ending(StreamState.FINISHED))
    producer.turn()
    producer.turn()
    assert producer.row("one").state == "finished"
    assert [(event.groups, event.type, json.loads(event.data)["stream"]) for event in events_of(producer.using)] == [
        (("room:1",), "stream.started", "one"),
        (("room:1",), "stream.finished", "one"),
    ]
