"""A stream is a string: whatever is written, stored, lost, resumed, stopped and compacted, in whatever order."""

from __future__ import annotations

from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from livepush.streams import compacting, deleting, pieces, store
from livepush.streams.buffer import Buffer, Ending, Passage
from livepush.streams.formats import after_text
from livepush.streams.gathering import Gatherer
from livepush.streams.models import Stream, StreamChunk, StreamState
from tests.patience import PATIENCE
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
        st.tuples(st.just("flush that comes late"), st.tuples(written, st.booleans())),
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
        self.late: list = []
        """Statements that failed here, and that the database goes on with."""

    def write(self, given):
        piece = given if isinstance(given, str) else pieces.part(given[0])
        self.buffer.write(piece)
        self.units += units([piece])
        assert self.buffer.end == len(self.units)

    def flush(self, _=None):
        self.gatherer._turn()
        self.stored = len(self.units)
        assert self.buffer.unstored().pieces == []

    def fail(self, monkeypatch, after_commit=False, is_late=False):
        append = store.append

        def failing(using, rows):
            if after_commit:
                append(using, rows)
                self.stored = len(self.units)
            if is_late:
                self.late.append(rows)
            raise OperationalError("gone")

        with monkeypatch.context() as patch:
            patch.setattr(store, "append", failing)
            patch.setattr("livepush.streams.gathering.PAUSE", 0.0)
            self.gatherer._turn()

    def come_late(self, more, at_once, monkeypatch):
        """Fail, and store again with more. The first statement is committed then, or after the stream has ended."""
        self.fail(monkeypatch, is_late=True)
        self.write(more)
        self.flush()
        if at_once:
            self.commit_late()

    def commit_late(self):
        for rows in self.late:
            with suppress(IntegrityError):
                store.append(self.using, rows)
                self.stored = max(self.stored, rows[-1].end)
        self.late.clear()

    def hear_news(self, after):
        """Read on as a hub does."""
        after = min(after, self.stored)
        found = store.news(self.using, {self.buffer.id: after}).passages.get(self.buffer.id)
        if found is not None:
            assert units(found.pieces) == self.units[after : found.end]

    def compact(self):
        after = -1
        while after is not None:
            after = store.compact(self.using, self.buffer.id, after)

    def resume(self, after):
        after = min(after, self.stored)
        assert units(self.read(after)) == self.units[after : self.stored]
        self.hear_news(after)

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
            done: Future = self.gatherer.end(self.buffer, Ending(StreamState.FINISHED))
            self.gatherer._turn()
            assert done.done()
            self.stored = len(self.units)
            return
        if how == "crash":
            self.flush()
        (row,) = store.interrupt(self.using, self.gatherer.name)
        self.compact()
        if how == "crash unstored":
            store.append(self.using, store.chunks(row.id, Passage(self.stored, ["too late"], self.stored + 8)))


@pytest.mark.long_on("mariadb", "sqlite")
@pytest.mark.parametrize("crowded", [False, True], ids=["", "in small chunks"])
def test_a_stream_is_a_string(using, monkeypatch, crowded):
    monkeypatch.setattr(compacting, "SLICE", PATIENCE)  # a turn compacts all of it
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
            if name.startswith("flush that"):
                if not model.buffer.unstored().pieces:
                    continue
                if name == "flush that fails":
                    model.fail(monkeypatch, after_commit=argument)
                else:
                    model.come_late(*argument, monkeypatch)
            elif name == "compact":
                model.compact()
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
        model.commit_late()
        model.compact()
        assert units(model.read(0, row.length)) == model.units[: row.length]

    check()


def put(using, *chunks):
    for start, text in chunks:
        rows = [store.Written("s", start, start + len(text), pieces.dumps([text]))]
        store.append(using, rows)


def whole(using, id="s"):
    found, cursor = "", 0
    while (passage := store.read(using, id, cursor)).pieces:
        found, cursor = found + "".join(passage.pieces), passage.end
    return found


@pytest.mark.parametrize(
    "chunks",
    [
        [(0, "abc"), (0, "abcdef"), (6, "gh")],
        [(0, "abcd"), (0, "abc"), (3, "defgh")],
        [(0, "abcdefgh"), (3, "def")],
        [(0, "abc"), (3, "def"), (0, "abcdefgh"), (3, "defg")],
    ],
    ids=["before the next text", "cut elsewhere", "after all was made one", "in between"],
)
def test_a_chunk_that_is_committed_after_its_text_was_stored_again_changes_nothing(using, chunks):
    put(using, *chunks)
    assert store.news(using, {"s": 2}).passages["s"] == Passage(2, ["cdefgh"], 8)
    assert whole(using) == "abcdefgh"
    assert store.compact(using, "s") is None
    assert whole(using) == "abcdefgh"
    assert StreamChunk.objects.using(using).count() == 1


def test_text_after_a_gap_is_neither_told_nor_joined_to_what_is_before_it(using):
    put(using, (0, "ab"), (2, "cd"), (6, "gh"))
    assert whole(using) == "abcd"
    assert store.news(using, {"s": 1}).passages["s"] == Passage(1, ["bcd"], 4)
    store.compact(using, "s")
    assert whole(using) == "abcd"


def test_a_reader_finds_text_that_is_compacted_between_its_two_queries(using, monkeypatch):
    put(using, *((start, "ab") for start in range(0, 20, 2)))
    passage = store._passage

    def late(*args):
        monkeypatch.setattr(store, "_passage", passage)
        store.compact(using, "s")
        return passage(*args)

    monkeypatch.setattr(store, "PAGE", 20)
    monkeypatch.setattr(store, "_passage", late)
    assert store.read(using, "s", 3) == Passage(3, ["b" + "ab" * 8], 20)


def test_a_stream_that_is_deleted_while_it_is_compacted_leaves_nothing(using, monkeypatch):
    put(using, (0, "ab"), (2, "cd"))
    atomic = store.transaction.atomic

    def late(**options):
        monkeypatch.setattr(store.transaction, "atomic", atomic)
        deleting.delete(using, ["s"])
        return atomic(**options)

    monkeypatch.setattr(store.transaction, "atomic", late)
    store.compact(using, "s")
    assert not StreamChunk.objects.using(using).exists()


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
