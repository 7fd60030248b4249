"""A hub's copy of a stream holds its newest text, cheaply, and says truly what it does not hold."""

from __future__ import annotations

import pytest
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from livepush.streams import feed, pieces
from livepush.streams.buffer import Passage
from livepush.streams.feed import BLOCK, NEWEST, WINDOW, Feed
from livepush.streams.models import Stream
from tests.scale import EXAMPLES
from tests.streams.test_properties import texts, units, values


def empty() -> Feed:
    row = Stream(id="s", group="room:1", format="text", created=timezone.now())
    return Feed(row, 0, False, lambda: None, lambda: 0)


def held(found: Feed) -> int:
    return len(found._blocks) + len(found._window)


written = st.one_of(texts, values.map(lambda value: pieces.Data(pieces.part(value).json)))


@settings(max_examples=50 * EXAMPLES, derandomize=True, database=None, deadline=None)
@given(st.lists(written, max_size=60), st.integers(0, 300))
def test_a_feed_is_the_end_of_a_string(given, after):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("NEWEST", 3), ("BLOCK", 10), ("WINDOW", 80)):
            patch.setattr(feed, name, value)
        found, end = empty(), 0
        for piece in given:
            start, end = end, end + pieces.length([piece])
            found.take(Passage(start, [piece], end))
        whole, cursor = units(given), min(after, end)
        first, sizes = found.portion(cursor), [each.size for each in (*found._blocks, *found._window)]
        assert sum(sizes) <= 80 or len(sizes) == 1
        while (portion := found.portion(cursor)) is not None:
            assert portion.passage.start == cursor
            assert portion.after_text == (cursor > 0 and isinstance(whole[cursor - 1], str))
            assert units(portion.passage.pieces) == whole[cursor : portion.passage.end]
            cursor = portion.passage.end
        assert first is None or cursor == end
        largest = max((pieces.size([piece]) for piece in given), default=0)
        kept = 80 - (10 + 3 * largest)  # what goes at once is a block at most
        assert first is not None or pieces.size(pieces.skip(given, after)) > kept or min(after, end) == end


def test_the_tokens_of_a_long_answer_are_held_in_few_objects():
    found = empty()
    for start in range(0, 200_000, 4):
        found.take(Passage(start, ["word"], start + 4))
    assert held(found) <= 2 * NEWEST + WINDOW // BLOCK + 1
    assert found.portion(200_000 - WINDOW + BLOCK) is not None
    assert found.portion(0) is None  # the database has it


def test_parts_of_json_count_with_their_size():
    found, part = empty(), pieces.part("x" * 2000)
    for start in range(500):
        found.take(Passage(start, [part], start + 1))
    size = len(part.json)
    assert WINDOW - BLOCK - NEWEST * size <= sum(each.size for each in (*found._blocks, *found._window)) <= WINDOW
    assert max(each.size for each in found._blocks) < BLOCK + NEWEST * size
    assert found.portion(499) is not None
    assert found.portion(0) is None  # the database has it


def test_readers_that_are_a_little_late_share_the_bytes():
    found = empty()
    for start in range(0, 40, 4):
        found.take(Passage(start, ["word"], start + 4))
    assert found.portion(12) is found.portion(12)
