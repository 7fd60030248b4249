"""What a connection decides, with no event loop and no I/O."""

from __future__ import annotations

import pytest

from livepush.hub.fanout import Joined
from livepush.hub.flow import Flow, Next, Reason, State, Step
from livepush.wire import Event, Position


def live(*groups, at=10, limit=100):
    """Return a flow that has had everything up to a number."""
    flow = Flow(groups, Position("e", at), limit)
    assert flow.step(Position("e", at), 0) is Step.DONE
    assert flow.state is State.LIVE
    return flow


def joined(text, upto):
    return Joined((text,), 0.0, upto)


def events(*numbers, groups=("a", "b")):
    return [Event(number, groups, "t", "1", "time") for number in numbers]


def wanted(flow, *events):
    return [(event.number, event.groups) for event in flow.wanted(events)]


def test_what_is_live_is_written_now_where_nothing_is_being_written():
    flow = live("a")
    assert flow.offer(joined("x", 12), idle=True)
    assert flow.cursor == 12
    assert flow.next() is Next.WAIT


def test_what_comes_during_a_write_waits_and_goes_out_together():
    flow = live("a")
    assert not flow.offer(joined("x", 11), idle=False)
    assert not flow.offer(joined("y", 12), idle=False)
    assert flow.cursor == 10
    assert flow.next() is Next.WRITE
    assert flow.take() == ("x", "y")
    assert flow.cursor == 12


def test_over_its_limit_a_flow_falls_behind_and_reads_on_from_where_it_was():
    flow = live("a", limit=10)
    for number in (11, 12, 13):
        flow.offer(joined("xxxxx", number), idle=False)
    assert flow.state is State.BEHIND
    assert flow.next() is Next.READ
    assert flow.cursor == 10
    assert flow.step(Position("e", 13), 0) is Step.PAGE


def test_what_livepush_says_outlives_the_buffer():
    flow = live("a")
    flow.offer(joined("x", 11), idle=False)
    assert not flow.say(("reply",))
    assert flow.next() is Next.READ
    assert flow.step(Position("e", 11), 0) is Step.SAY
    assert flow.take() == ("reply",)
    assert flow.step(Position("e", 11), 0) is Step.PAGE
    assert not flow.say(("x" * 101,)), "a reply that waits alone may have any size"
    assert flow.say(("x",)), "who never reads can't fill memory with replies"


@pytest.mark.parametrize(("position", "floor", "step"), [
    (Position("f", 10), 0, Step.RESET_EPOCH),
    (Position("e", 20), 11, Step.RESET_PRUNED),
    (Position("e", 20), 10, Step.PAGE),
    (Position("e", 10), 10, Step.DONE),
])  # fmt: skip
def test_where_the_hub_stands_decides_what_is_read(position, floor, step):
    assert Flow(["a"], Position("e", 10), 100).step(position, floor) is step


def test_an_event_is_wanted_once_with_those_of_its_groups_that_are_wanted():
    flow = live("a", "b", at=2)
    flow.drop(["a"])
    assert wanted(flow, *events(1, 2, 3)) == [(3, ("b",))]
    flow.drop(["b"])
    assert wanted(flow, *events(4)) == []


def test_groups_that_are_added_from_a_number_are_read_from_there_and_the_others_not_again():
    flow = live("a", at=10)
    flow.add_from(["b"], 5)
    assert flow.next() is Next.READ
    assert flow.step(Position("e", 12), 0) is Step.PAGE
    assert flow.cursor == 5
    assert wanted(flow, *events(5, 6, 11)) == [(6, ("b",)), (11, ("a", "b"))]


def test_a_group_that_it_has_already_goes_back_when_it_is_asked_for_from_before():
    flow = live("a", "b", at=10)
    flow.add_from(["b"], 5)
    assert flow.step(Position("e", 12), 0) is Step.PAGE
    assert wanted(flow, *events(5, 6, 11)) == [(6, ("b",)), (11, ("a", "b"))]


def test_a_group_that_has_not_come_so_far_skips_nothing_when_it_is_asked_for_from_further_on():
    flow = live("a", at=10)
    flow.add_from(["b"], 5)
    flow.add_from(["b", "a"], 12)
    assert flow.step(Position("e", 14), 0) is Step.PAGE
    assert wanted(flow, *events(6, 11, 13)) == [(6, ("b",)), (11, ("a", "b")), (13, ("a", "b"))]


def test_a_group_that_is_dropped_before_its_history_was_read_has_none_when_it_is_added_again():
    flow = live("a", at=20)
    flow.add_from(["b"], 5)
    flow.drop(["b"])
    flow.add(["b"], 20)
    flow.step(Position("e", 21), 0)
    assert wanted(flow, *events(6, 20, 21)) == [(21, ("a", "b"))]


def test_a_farewell_is_written_and_then_it_ends():
    flow = live("a")
    flow.close(Reason.DRAIN, ("bye",))
    assert flow.next() is Next.WRITE
    assert flow.take() == ("bye",)
    assert flow.next() is Next.END


def test_a_write_that_takes_too_long_is_stuck_and_one_that_has_ended_is_not():
    flow = Flow(["a"], Position("e", 10), 100, write_timeout=5)
    assert not flow.is_stuck(1000)
    flow.busy_since = 100
    assert not flow.is_stuck(105)
    assert flow.is_stuck(105.1)
    flow.busy_since = None
    assert not flow.is_stuck(1000)
