"""What rules' answers mean: yes, no, or since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser
from django.utils import timezone

import livepush
from livepush.access import rules
from livepush.access.answers import Answer, best, judge
from livepush.hub.flow import Flow
from livepush.wire import EVERYTHING, Event, Floor, Position, above

T = "2026-01-31T12:00:0{}.000000Z"


def event(number, *groups):
    return Event(number, groups, "t", "1", T.format(number))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (True, EVERYTHING), (1, EVERYTHING), ("ann-12", EVERYTHING), (False, Answer.NO), (None, Answer.NO),
        (datetime(2026, 1, 31, 12, tzinfo=UTC), Floor(time="2026-01-31T12:00:00.000000Z")),
        (livepush.since("k3x9-1042"), Floor(1042)), (livepush.since("k3x9-0"), EVERYTHING),
    ],
)  # fmt: skip
def test_an_answer_is_a_yes_a_no_or_a_floor(answer, expected):
    assert judge(answer) == expected


def test_a_time_to_come_is_a_no():
    assert judge(timezone.now() + timedelta(days=1)) is Answer.NO


@pytest.mark.parametrize("answer", [datetime(2026, 1, 31), datetime(2026, 1, 31).date()])
def test_a_time_that_could_mean_several_denies_and_says_what_is_expected(answer, monkeypatch, caplog):
    monkeypatch.setattr(rules, "rules", [])

    @livepush.can_read("odd")
    def odd(user):
        return answer

    answers, _ = rules.ask_sync(AnonymousUser(), ["odd"], None)
    assert not answers.granted
    assert not answers.failed
    assert "expected an aware datetime" in caplog.text


@pytest.mark.parametrize("position", ["nonsense", "", None, 7])
def test_what_is_no_position_is_an_error(position):
    with pytest.raises(ValueError, match="is no position"):
        livepush.since(position)


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
