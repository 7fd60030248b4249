"""A stream is a string: whatever is written, stored, lost, resumed, stopped and compacted, in whatever order."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path

import pytest
from django.db import OperationalError
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from livepush.streams import pieces, store
from livepush.streams.buffer import Buffer, Ending, Passage
from livepush.streams.formats import after_text
from livepush.streams.gathering import Gatherer
from livepush.streams.models import State, Stream, StreamChunk
from tests.scale import EXAMPLES

set_hypothesis_home_dir(Path(__file__).parents[2] / ".cache" / "hypothesis")

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
values = st.one_of(st.none(), st.integers(), texts, st.dictionaries(texts, st.integers(), max_size=2))
written = st.one_of(texts, values.map(lambda value: [value]))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), written),
        st.tuples(st.just("flush"), st.just(None)),
        st.tuples(st.just("flush that fails"), st.booleans()),
        st.tuples(st.just("resume"), st.integers(0, 200)),
        st.tuples(st.just("compact"), st.just(None)),
        st.tuples(st.just("stop"), st.just(None)),
    ),
    max_size=25,
)
endings = st.sampled_from(["finish", "crash", "crash unstored"])


def units(found):
    """Return pieces as a list in which an offset is an index."""
    return [unit for piece in found for unit in (piece if isinstance(piece, str) else [[piece.value]])]


class Model:
    """A stream in the database beside the list that it should be."""

    def __init__(self, using):
        self.using = using
        self.gatherer = Gatherer(using)
        self.gatherer._work = lambda: None  # no thread: each turn is a step
        self.buffer = Buffer(f"s{timezone.now().timestamp()}".replace(".", ""), "room:1", "text", "{}")
        row = Stream(id=self.buffer.id, group="room:1", format="text", created=timezone.now())
        self.gatherer.begin(row, self.buffer)
        self.gatherer._turn()
        self.units: list = []
        self.stored = 0
        self.stopping = False

    def write(self, given):
        piece = given if isinstance(given, str) else pieces.part(given[0])
        self.buffer.write(piece)
        self.units += units([piece])
        assert self.buffer.end == len(self.units)

    def flush(self, _=None):
        self.gatherer._turn()
        self.stored = len(self.units)
        assert self.buffer.unstored().pieces == []

    def fail(self, after_commit, monkeypatch):
        append = store.append

        def failing(using, rows):
            if after_commit:
                append(using, rows)
                self.stored = len(self.units)
            raise OperationalError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", failing)
            patch.setattr("livepush.streams.gathering.PAUSE", 0.0)
            self.gatherer._turn()

    def resume(self, after):
        after = min(after, self.stored)
        assert units(self.read(after)) == self.units[after : self.stored]

    def read(self, after, upto=None):
        found: list = []
        cursor = after
        while (passage := store.read(self.using, self.buffer.id, cursor, upto)).pieces:
            assert passage.start == cursor
            assert passage.end == cursor + pieces.length(passage.pieces)
            found += passage.pieces
            cursor = passage.end
        return found

    def end(self, how):
        if how == "finish":
            done: Future = self.gatherer.end(self.buffer, Ending(State.FINISHED))
            self.gatherer._turn()
            assert done.done()
            self.stored = len(self.units)
            return
        if how == "crash":
            self.flush()
        (row,) = store.interrupt(self.using, self.gatherer.name)
        store.compact(self.using, row.id)
        if how == "crash unstored":
            store.append(self.using, store.chunks(row.id, Passage(self.stored, ["too late"], self.stored + 8)))


@pytest.mark.long_on("mariadb", "sqlite")
@pytest.mark.parametrize("crowded", [False, True], ids=["", "in small chunks"])
def test_a_stream_is_a_string(using, monkeypatch, crowded):
    if crowded:
        monkeypatch.setattr(store, "CHUNK", 7)
        monkeypatch.setattr(store, "PAGE", 20)
        monkeypatch.setattr(store, "PAGE_ROWS", 3)

    @settings(
        max_examples=20 * EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(steps, endings)
    def check(given, ending):
        model = Model(using)
        for name, argument in given:
            if name == "flush that fails":
                if model.buffer.unstored().pieces:
                    model.fail(argument, monkeypatch)
            elif name == "compact":
                store.compact(using, model.buffer.id)
            elif name == "stop":
                model.stopping = store.stop(using, model.buffer.id)
            else:
                getattr(model, name)(argument)
        assert store.running(using, model.gatherer.name) == {model.buffer.id: model.stopping}
        model.end(ending)
        row = Stream.objects.using(using).get(id=model.buffer.id)
        assert row.state == ("finished" if ending == "finish" else "interrupted")
        assert row.length == model.stored
        assert units(model.read(0, row.length)) == model.units[: model.stored]

    check()


@settings(derandomize=True, database=None, deadline=None)
@given(st.lists(written), st.integers(0, 50))
def test_an_offset_cuts_pieces_at_one_place(given, offset):
    found = [each if isinstance(each, str) else pieces.part(each[0]) for each in given]
    whole, head, rest = units(found), pieces.head(found, offset), pieces.skip(found, offset)
    assert (units(head), units(rest)) == (whole[:offset], whole[offset:])
    assert units(pieces.join(found)) == whole
    assert units(pieces.loads(pieces.dumps(found))) == whole
    assert [units(run) for run in pieces.split(found, 5)] == [units(run) for run in pieces.split(found, 5) if run]
    assert units([piece for run in pieces.split(found, 5) for piece in run]) == whole
    assert after_text(pieces.join(found)) == bool(whole and isinstance(whole[-1], str))


def test_chunks_of_other_streams_are_never_mixed_in(using):
    for id, body in (("Ab", '["one"]'), ("aB", '["two"]')):
        StreamChunk.objects.using(using).create(stream=id, start=0, end=3, body=body)
    assert store.read(using, "aB", 0).pieces == ["two"]
    assert store.ends(using, ["aB"]) == {"aB": 3}
