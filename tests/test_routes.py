"""Which subscribers a round reaches, and which of its groups each of them reads."""

from __future__ import annotations

import pytest

from livepush.hub.routes import Routes


class Reader:
    """A subscriber with some groups."""

    def __init__(self, *groups):
        self.groups = dict.fromkeys(groups, 0)


@pytest.fixture
def routes():
    return Routes()


def add(routes, *groups):
    reader = Reader(*groups)
    routes.add(reader)
    return reader


def test_each_reader_is_reached_once_with_its_groups_in_its_order(routes):
    ab, ba, b, bxa = add(routes, "a", "b"), add(routes, "b", "a"), add(routes, "b"), add(routes, "b", "x", "a")
    add(routes, "x")
    assert routes.audiences(["a", "b", "nobody"]) == {("a", "b"): [ab], ("b", "a"): [ba, bxa], ("b",): [b]}


def test_one_group_reaches_its_readers(routes):
    a, ab = add(routes, "a"), add(routes, "a", "b")
    assert routes.audiences(["a"]) == {("a",): [a, ab]}
    assert routes.audiences(["nobody"]) == {("nobody",): []}


def test_groups_that_are_added_come_last_and_those_that_are_dropped_no_more(routes):
    reader = add(routes, "a", "b")
    routes.route(reader, ["c", "a"])
    assert routes.audiences(["c", "b", "a"]) == {("a", "b", "c"): [reader]}
    routes.unroute(reader, ["a", "nobody"])
    assert routes.audiences(["c", "b", "a"]) == {("b", "c"): [reader]}
    assert "a" not in routes
    routes.route(reader, ["a"])
    assert routes.audiences(["c", "b", "a"]) == {("b", "c", "a"): [reader]}


def test_a_subscriber_that_is_removed_leaves_nothing_behind_and_may_be_removed_again(routes):
    reader, other = add(routes, "a", "b"), add(routes, "b")
    routes.remove(reader)
    routes.remove(reader)
    assert routes.audiences(["a", "b"]) == {("b",): [other]}
    assert len(routes) == 1
    routes.remove(other)
    assert len(routes) == 0
    assert not routes.subscribers


def test_a_subscriber_that_was_removed_stays_so_when_groups_are_taken_away_from_it(routes):
    reader = add(routes, "a", "b")
    routes.remove(reader)
    routes.unroute(reader, ["a"])
    assert not routes.subscribers
    assert len(routes) == 0
