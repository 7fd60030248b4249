"""The rows of presence and the events that tell of them: whatever happens, they agree."""

from __future__ import annotations

import json
from collections import defaultdict
from unittest.mock import patch

import pytest
from django.db import connections
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import livepush
from livepush import log
from livepush.models import Event
from livepush.roster import leases, reading, table
from livepush.roster.changes import Seat
from livepush.roster.models import Presence, PresenceLease, PresenceLock
from tests.conftest import Thread, events_of, kind, settle
from tests.scale import EXAMPLES

PROCESSES, MEMBERS, GROUPS = ("p1", "p2", "p3"), ("ann", "bob", "~x"), ("lobby:a", "lobby:b")
LEASE = 15_000


@pytest.fixture(autouse=True)
def no_server():
    """No hub of another test's hears of these events."""


def seat(group="lobby:a", member="ann", name="Ann", connections=1):
    return Seat(group, member, json.dumps({"name": name}), connections)


def replay(events, known=None):
    """Return the members after some events, as a client has them."""
    known = defaultdict(dict) if known is None else known
    for event in events:
        if event.type.startswith("presence."):
            for member in json.loads(event.data)["members"]:
                for group in event.groups:
                    if event.type == "presence.leave":
                        known[group].pop(member["id"], None)
                    else:
                        known[group][member["id"]] = member
    return known


class Machine(RuleBasedStateMachine):
    """Several processes, a clock, and a model: who is connected where, and whose lease is still running."""

    using = "default"

    def __init__(self):
        super().__init__()
        self.now = 1_000_000_000_000
        self.turns = dict.fromkeys(PROCESSES, 0)
        self.lives = dict.fromkeys(PROCESSES, 0)
        self.has_lease = dict.fromkeys(PROCESSES, False)
        self.seats = {process: {} for process in PROCESSES}
        self.ends = {}
        self.states = {}
        self.snapshots = []
        self.patches = [
            patch.object(table, "now", lambda using: self.now),
            patch.object(leases, "monotonic", lambda: self.now / 1000),
            patch.object(reading, "known_ended", leases.Ended()),
        ]
        for each in self.patches:
            each.start()

    def teardown(self):
        for each in self.patches:
            each.stop()

    @initialize()
    def empty(self):
        for model in (Presence, PresenceLease, PresenceLock):
            model.objects.using(self.using).all().delete()
        self.start = log.state(self.using).position.number

    def name(self, process):
        return f"{process}-{self.lives[process]}"

    def write(self, process, seats, gone):
        """Write as the keeper does: if the lease was lost, write everything again under another name."""
        self.turns[process] += 1
        me = table.Process(self.name(process), self.turns[process], self.has_lease[process])
        if table.write(self.using, me, seats, gone):
            self.has_lease[process] = True
            self.ends[self.name(process)] = self.now + LEASE
            return
        assert self.name(process) not in self.ends, "a lease that runs was lost"
        self.begin_anew(process)
        self.write(process, list(self.seats[process].values()), [])

    def begin_anew(self, process):
        self.lives[process] += 1
        self.turns[process], self.has_lease[process] = 0, False

    def forget_states(self):
        there = self.there()
        self.states = {key: state for key, state in self.states.items() if key in there}

    @rule(
        process=st.sampled_from(PROCESSES),
        joins=st.lists(st.tuples(st.sampled_from(GROUPS), st.sampled_from(MEMBERS), st.sampled_from("AB")), max_size=4),
        leaves=st.lists(st.tuples(st.sampled_from(GROUPS), st.sampled_from(MEMBERS)), max_size=3),
    )
    def change(self, process, joins, leaves):
        """Some come and some go, in one batch."""
        before = self.seats[process]
        fresh = {(group, member): seat(group, member, name) for group, member, name in joins}
        gone = [key for key in leaves if key not in fresh and key in before]
        self.seats[process] = {key: each for key, each in {**before, **fresh}.items() if key not in gone}
        self.write(process, list(fresh.values()), gone)
        for other in self.seats.values():
            for key in fresh:
                if key in other:
                    other[key] = fresh[key]  # all rows of a member say what was said last
        self.forget_states()

    @rule(process=st.sampled_from(PROCESSES))
    def crash(self, process):
        """A process is killed: it writes nothing any more; another one takes its place."""
        self.begin_anew(process)
        self.seats[process] = {}
        self.forget_states()

    @rule(process=st.sampled_from(PROCESSES))
    def renew(self, process):
        if self.has_lease[process]:
            held = table.renew(self.using, self.name(process))
            assert held == (self.name(process) in self.ends)
            if held:
                self.ends[self.name(process)] = self.now + LEASE

    @rule(seconds=st.sampled_from([1, 5, 16]))
    def time_passes(self, seconds):
        self.now += 1000 * seconds

    @rule()
    def clear(self):
        table.clear(self.using)
        self.ends = {name: end for name, end in self.ends.items() if end > self.now}
        self.forget_states()

    @rule(group=st.sampled_from(GROUPS), member=st.sampled_from(MEMBERS), away=st.booleans())
    def say(self, group, member, away):
        key = group, member
        state = json.dumps({"away": away}, separators=(",", ":"))
        assert table.change_state(self.using, key, state) == (key in self.there())
        if key in self.there():
            self.states[key] = {"away": away}

    @rule(group=st.sampled_from(GROUPS))
    def snapshot(self, group):
        found = reading.snapshot(group)
        self.ends = {
            name: end
            for name, end in self.ends.items()
            if PresenceLease.objects.using(self.using).filter(process=name).exists()
        }
        self.forget_states()
        self.snapshots.append((found.position.number, group, {each.id: each._asdict() for each in found.members}))

    def rows(self):
        return Presence.objects.using(self.using)

    def there(self):
        """Return who is there by the table, whose rows' processes nobody has cleared away yet."""
        return set(self.rows().values_list("group", "member"))

    @invariant()
    def the_rows_are_those_of_the_model(self):
        if not hasattr(self, "start"):
            return
        for process in PROCESSES:
            if self.has_lease[process] and self.name(process) in self.ends:
                mine = set(self.rows().filter(process=self.name(process)).values_list("group", "member"))
                assert mine == set(self.seats[process])
        held = {(row.group, row.member) for row in self.rows()}
        leases = set(PresenceLease.objects.using(self.using).values_list("process", flat=True))
        assert {row.process for row in self.rows()} <= leases
        assert held == self.there()

    @invariant()
    def the_events_and_any_snapshot_with_those_after_it_say_the_same(self):
        if not hasattr(self, "start"):
            return
        events = events_of(self.using, after=self.start)
        truth = {
            group: {member.id: member._asdict() for member in members}
            for group in GROUPS
            if (members := self.now_in(group))
        }
        told = {group: members for group, members in replay(events).items() if members}
        assert without_counts(told) == without_counts(truth)
        for number, group, members in self.snapshots:
            later = [event for event in events if event.number > number]
            after = replay(later, defaultdict(dict, {group: dict(members)}))[group]
            assert without_counts({group: after}) == without_counts({group: truth.get(group, {})})
        for key, state in self.states.items():
            assert truth[key[0]][key[1]]["state"] == state

    def now_in(self, group):
        from livepush.roster import changes

        rows = [changes.Row(*values) for values in self.rows().filter(group=group).values_list(*table.COLUMNS)]
        return [reading.Member(**json.loads(changes.shown(each))) for each in changes.by_key(rows).values()]

    @invariant()
    def each_join_and_leave_is_told_once(self):
        if not hasattr(self, "start"):
            return
        present = set()
        for event in events_of(self.using, after=self.start):
            for member in json.loads(event.data)["members"]:
                key = event.groups[0], member["id"]
                assert (event.type == "presence.join") == (key not in present), (event, key)
                if event.type == "presence.leave":
                    present.discard(key)
                else:
                    present.add(key)


def without_counts(groups):
    """The number of connections is as of the snapshot, and told with what else changes."""
    return {
        group: {name: {**member, "connections": 0} for name, member in members.items()}
        for group, members in groups.items()
    }


@pytest.mark.django_db(transaction=True)
def test_whatever_happens_rows_events_and_snapshots_agree():
    Event.objects.all().delete()
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=8 * EXAMPLES, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def write(using, process, *seats, gone=(), turn=1, has_lease=False):
    return table.write(using, table.Process(process, turn, has_lease), seats, gone)


def members_in(event):
    return json.loads(event.data)["members"]


def told(using):
    return [
        (
            event.type.removeprefix("presence."),
            event.groups[0],
            [each["id"] for each in json.loads(event.data)["members"]],
        )
        for event in events_of(using)
    ]


def test_many_members_are_a_few_statements(using, django_assert_max_num_queries):
    seats = [seat(member=str(number)) for number in range(300)]
    with django_assert_max_num_queries(50, connection=connections[using]):
        assert write(using, "p", *seats)
    assert sum(len(members) for _, _, members in told(using)) == 300


def test_two_that_clear_at_the_same_time_tell_it_once(concurrent):
    write(concurrent, "dead", seat(), seat(member="bob"))
    PresenceLease.objects.using(concurrent).update(ends=0)
    threads = [Thread(table.clear, concurrent) for _ in range(4)]
    assert sorted(thread.join() for thread in threads) == [0, 0, 0, 2]
    assert [kind for kind, *_ in told(concurrent)] == ["join", "leave"]


def test_processes_that_write_the_same_member_at_once_tell_it_once(concurrent):
    def churn(process):
        for turn in range(1, 11):
            if turn % 2:
                assert write(concurrent, process, seat(), turn=turn, has_lease=turn > 1)
            else:
                assert write(concurrent, process, gone=[("lobby:a", "ann")], turn=turn, has_lease=True)

    threads = [Thread(churn, f"p{number}") for number in range(3)]
    for thread in threads:
        thread.join()
    settle(concurrent)
    kinds = [kind for kind, *_ in told(concurrent)]
    assert kinds
    assert kinds[::2] == ["join"] * (len(kinds) // 2)
    assert kinds[1::2] == ["leave"] * (len(kinds) // 2)
    assert not Presence.objects.using(concurrent).exists()


def test_a_write_that_comes_late_counts_no_more(using):
    assert write(using, "p", seat(), turn=2)
    assert not write(using, "p", gone=[("lobby:a", "ann")], turn=1, has_lease=True)
    assert Presence.objects.using(using).count() == 1


def test_the_databases_clock_decides(using):
    write(using, "p", seat())
    assert 14 < table.next_end(using) <= 15
    with patch("time.time", lambda: 0.0):
        assert table.clear(using) == 0 or kind(using) == "sqlite"


def test_a_large_event_is_several(using):
    info = json.dumps({"name": "x" * 1900})
    write(using, "p", *(Seat("lobby:a", str(number), info, 1) for number in range(40)))
    sizes = [len(event.data) for event in events_of(using)]
    assert len(sizes) == 3
    assert max(sizes) < 33_000


def test_a_group_of_another_case_is_another_group(using):
    write(using, "p", seat("lobby:a"), seat("lobby:A"), seat("lobby:a", "ANN"))
    assert len(table.rows_of(using, [("lobby:a", "ann")])) == 1


@pytest.mark.django_db(transaction=True)
def test_who_asks_in_a_transaction_writes_nothing():
    from django.db import transaction

    write("default", "p", seat())
    PresenceLease.objects.update(ends=0)
    with transaction.atomic():
        assert livepush.members("lobby:a") == []
        assert not livepush.is_present(7, "lobby:a")
    assert Presence.objects.count() == 1
