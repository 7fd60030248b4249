"""What rules' answers mean: yes, no, or since when."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

import livepush
from livepush.access import rules
from livepush.access.answers import Answer, best, judge
from livepush.access.authenticating import Identity, nobody
from livepush.access.identity import Admission, Handshake
from livepush.hub.fanout import Joined, Round, Share
from livepush.hub.flow import Flow, State, Step
from livepush.rights import Grant
from livepush.wire import EVERYTHING, Event, Floor, Format, Position, above, highest

EAST = timezone.get_fixed_timezone(120)
T = "2026-01-31T12:00:0{}.000000Z"


def event(number, *groups):
    return Event(number, groups, "t", "1", T.format(number))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (True, EVERYTHING), (1, EVERYTHING), (False, Answer.NO), (None, Answer.NO), ("", Answer.NO),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), Floor(time="2026-01-31T12:00:00.000000Z")),
        (datetime(300, 1, 31, 14, tzinfo=EAST), Floor(time="0300-01-31T12:00:00.000000Z")),
        (datetime(3000, 1, 31, 14, tzinfo=EAST), Floor(time="3000-01-31T12:00:00.000000Z")),
        ("k3x9-1042", Floor(1042)), ("k3x9-0", EVERYTHING), (Position("k3x9", 1042), Floor(1042)),
    ],
)  # fmt: skip
def test_an_answer_is_a_yes_a_no_or_a_floor(answer, expected):
    assert judge(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (datetime(2026, 1, 31), "expected an aware datetime"),
        (datetime(2026, 1, 31).date(), "expected an aware datetime"),
        ("ann", "text must be a position"),
        ("k3x9-", "text must be a position"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_that_could_mean_anything_denies_and_says_what_is_expected(
    answer, expected, is_async, monkeypatch, caplog
):
    monkeypatch.setattr(rules, "rules", [])

    async def later(user):
        return answer

    livepush.can_read("odd")(later if is_async else lambda user: answer)
    answers, questions = rules.ask_sync(AnonymousUser(), ["odd"], None)
    answers = async_to_sync(rules.ask_async)(questions, answers, 10)
    assert not answers.granted
    assert not answers.failed
    assert expected in caplog.text


def test_a_time_of_a_project_without_time_zones_denies(settings, monkeypatch, caplog):
    settings.USE_TZ = False
    monkeypatch.setattr(rules, "rules", [])
    livepush.can_read("naive")(lambda user: timezone.now())
    livepush.can_read("aware")(lambda user: timezone.make_aware(timezone.now(), UTC))
    answers, _ = rules.ask_sync(AnonymousUser(), ["naive", "aware"], None)
    assert list(answers.granted) == ["aware"]
    assert "make_aware" in caplog.text


def test_who_may_read_from_a_time_to_come_may_not_send_before_it(monkeypatch):
    monkeypatch.setattr(rules, "rules", [])
    hour = timedelta(hours=1)
    for name, answer in {"past": timezone.now() - hour, "future": timezone.now() + hour, "after": "e-7"}.items():
        livepush.can_send(name)(lambda user, answer=answer: answer)
    answers, _ = rules.ask_sync(AnonymousUser(), ["past", "future", "after"], None, rules.SEND)
    assert answers.granted == {"past": EVERYTHING, "after": EVERYTHING}


def test_of_several_rules_the_most_favourable_counts(monkeypatch):
    monkeypatch.setattr(rules, "rules", [])
    said = {"a": Floor(7), "b": Floor(3), "c": False}

    for name in said:
        livepush.can_read(f"<str:{name}>:x")(eval(f"lambda user, {name}: said['{name}']", {"said": said}))

    @livepush.can_read("<slug:z>:x")
    async def last(user, z):
        return said.get("z", False)

    def granted():
        answers, questions = rules.ask_sync(AnonymousUser(), ["n:x"], None)
        return async_to_sync(rules.ask_async)(questions, answers, 10).granted["n:x"]

    assert granted() == Floor(3)
    said["z"] = Floor(2)
    assert granted() == Floor(2)
    said["z"] = True
    assert granted() == EVERYTHING


def test_a_yes_is_better_than_a_failure_and_that_better_than_a_no():
    assert best(Answer.NO, Answer.FAILED) is best(Answer.FAILED, Answer.NO) is Answer.FAILED
    assert best(Answer.FAILED, Floor(3)) == best(Floor(3), Answer.NO) == Floor(3)


def test_an_event_keeps_the_groups_in_which_it_is_not_too_old():
    floors = {"a": Floor(2), "b": Floor(time=T.format(4))}
    found = list(above([event(number, "a", "b", "c") for number in range(1, 6)], floors))
    assert [each.groups for each in found] == [("c",), ("c",), ("a", "c"), ("a", "b", "c"), ("a", "b", "c")]
    assert list(above([event(1, "a"), event(3, "b")], floors)) == []


def test_a_flow_never_goes_below_a_groups_floor():
    flow = Flow(["a", "c"], Position("e", 0), 1000)
    flow.limit_to(["a"], {"a": Floor(2)})
    events = [event(number, "a", "c") for number in range(1, 5)]
    assert [each.groups for each in flow.wanted(events)] == [("c",), ("c",), ("a", "c"), ("a", "c")]
    flow.cursor = 4
    flow.add_from(["a"], 0)
    flow.step(Position("e", 4), 0)
    assert [each.number for each in flow.wanted(events)] == [3, 4]
    flow.limit_to(["a"], {})
    assert [each.number for each in flow.wanted([event(1, "a")])] == [1]
    flow.limit_to(["a"], {"a": Floor(100, T.format(1))})
    flow.reset(Position("f", 7))
    assert flow.floors == {"a": Floor(7, T.format(1))}


def shared(floors, *events):
    """Return what a live reader of the groups a and b gets of a round: each event's number and groups."""
    share = Share(Round("e", events, {"a", "b"}, 0.0, 9), ("a", "b"))
    found = share.above(floors, highest(floors), Format.TEXT)
    return None if found is None else [
        (each["data"], each.get("groups", [each["group"]])) for each in map(json.loads, found.frames)
    ]  # fmt: skip


def test_a_live_event_that_is_too_old_for_a_reader_is_left_out():
    events = [Event(number, ("a", "b"), "t", str(number), T.format(number)) for number in (3, 4)]
    both = [(number, ["a", "b"]) for number in (3, 4)]
    assert shared({"a": Floor(2), "b": Floor(time=T.format(3))}, *events) == both
    assert shared({"a": Floor(3)}, *events) == [(3, ["b"]), (4, ["a", "b"])]
    assert shared({"a": Floor(time=T.format(4)), "b": Floor(3)}, *events) == [(4, ["a", "b"])]
    assert shared({"a": Floor(4), "b": Floor(time=T.format(5))}, *events) is None


def test_of_an_ephemeral_event_only_the_time_counts():
    event = Event(None, ("a", "b"), "t", "1", T.format(3))
    assert shared({"a": Floor(7)}, event) == [(1, ["a", "b"])]
    assert shared({"a": Floor(time=T.format(4))}, event) == [(1, ["b"])]


def test_a_floor_that_rises_holds_for_what_waits_too():
    flow = Flow(["a", "c"], Position("e", 0), 1000)
    flow.step(Position("e", 0), 0)
    flow.offer(Joined(("1 and 2",), 0.0, 2), idle=False)
    flow.limit_to(["a", "c"], {})
    assert flow.state is State.LIVE, "nothing has changed"
    flow.limit_to(["a", "c"], {"a": Floor(1)})
    assert flow.state is State.BEHIND
    assert flow.step(Position("e", 2), 0) is Step.PAGE
    assert [each.groups for each in flow.wanted([event(1, "a", "c"), event(2, "a", "c")])] == [("c",), ("a", "c")]


def test_the_groups_of_a_tenant_begin_where_its_rules_say():
    admission = Admission(Identity(nobody()), ("a", "b"), (), frozenset(), "acme", {"b": Floor(3)})
    assert admission.floors == {"acme|b": Floor(3)}
    flow = Flow(admission.stored, Position("e", 0), 1000)
    flow.limit_to((), admission.floors)
    grant = Grant(Identity(nobody()), Handshake({}, "", None, ""), flow, None, "acme")
    grant.limit_to({"a": Floor(4)})
    assert flow.floors == {"acme|a": Floor(4), "acme|b": Floor(3)}
    grant.limit_to({"a": EVERYTHING, "b": Floor(5), "c": Floor(6)})
    assert flow.floors == {"acme|b": Floor(5)}
