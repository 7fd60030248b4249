"""When the channels of Pusher's clients are written down, and when they are cleared away."""

from __future__ import annotations

import contextlib
from functools import partial
from types import SimpleNamespace

import pytest

from livepush import process
from livepush.bridges.pusher import occupying
from livepush.bridges.pusher.occupying import GROUP, Occupying
from livepush.roster import leases, table
from livepush.roster.changes import Seat
from livepush.roster.models import Presence, PresenceLease
from tests.bridges.pushers import APP

GRACE = 5.0
LEASE = 15.0


class Timer:
    def __init__(self, due, work):
        self.due, self.work, self.is_cancelled = due, work, False

    def cancel(self):
        self.is_cancelled = True


class Loop:
    """A loop whose time the test tells."""

    def __init__(self):
        self.now, self.timers = 1000.0, []

    def time(self):
        return self.now

    def call_later(self, seconds, work, *args):
        self.timers.append(Timer(self.now + seconds, partial(work, *args)))
        return self.timers[-1]

    def pass_time(self, seconds):
        self.now += seconds
        due = [timer for timer in self.timers if timer.due <= self.now]
        self.timers = [timer for timer in self.timers if timer not in due]
        for timer in due:
            if not timer.is_cancelled:
                timer.work()


@pytest.fixture
def clock(monkeypatch):
    """The clock by which a process knows how long others had time to renew their leases."""
    loop = Loop()
    monkeypatch.setattr(leases, "monotonic", loop.time)
    return loop


class Hub:
    draining = False

    def __init__(self):
        self.loop = Loop()
        self.router = SimpleNamespace(followers=[])

    def keep(self, work):
        work.close()


@pytest.fixture(autouse=True)
def app(settings, monkeypatch):
    settings.LIVEPUSH = {"PUSHER": APP, "PRESENCE_GRACE": GRACE, "PRESENCE_LEASE": LEASE}

    async def in_thread(work, level=0):
        return work()

    monkeypatch.setattr(process, "in_thread", in_thread)


@pytest.fixture
def hub():
    return Hub()


@pytest.fixture
def written(monkeypatch):
    """What is written: the channels' counts, and which are gone."""
    found = []

    def write(using, me, seats, gone):
        found.append(({seat.member[1:]: seat.connections for seat in seats}, {member[1:] for _, member in gone}))
        return True

    monkeypatch.setattr(table, "write", write)
    return found


def run(work):
    """Run what waits for nothing, outside of a loop, where the database may be used."""
    with contextlib.suppress(StopIteration):
        work.send(None)


def write(channels):
    run(channels._write())


@pytest.mark.parametrize("counts_matter", [False, True])
def test_short_absences_one_after_another_do_not_vacate_a_channel(hub, written, counts_matter):
    channels = Occupying(hub, counts_matter)
    channels.note("board", 1)
    write(channels)
    for _ in range(3):
        channels.note("board", -1)
        hub.loop.pass_time(GRACE - 1)
        write(channels)
        channels.note("board", 1)
        write(channels)
    assert written == [({"board": 1}, set())]
    channels.note("board", -1)
    hub.loop.pass_time(GRACE)
    write(channels)
    assert [gone for _, gone in written] == [set(), {"board"}]


@pytest.mark.parametrize("counts_matter", [False, True])
def test_who_comes_and_leaves_while_changes_are_gathered_vacates_nothing_early(hub, written, counts_matter):
    channels = Occupying(hub, counts_matter)
    channels.note("board", 1)
    write(channels)
    channels.note("board", 1)
    channels.note("board", -1)
    channels.note("board", -1)
    write(channels)
    assert written == [({"board": 1}, set())]
    assert not channels._changed
    hub.loop.pass_time(GRACE)
    write(channels)
    assert [gone for _, gone in written] == [set(), {"board"}]


def seat_in(process_name, group, member):
    table.write("default", table.Process(process_name, 1, False), [Seat(group, member, "{}", 1)], [])


def turn(channels):
    run(channels._renew())


def members():
    return sorted(Presence.objects.values_list("member", flat=True))


def test_a_process_that_did_not_reach_the_database_for_long_lets_the_others_renew_first(db, hub, clock, monkeypatch):
    seat_in("mine", GROUP, ":mine")
    seat_in("another", GROUP, ":theirs")
    seat_in("keeper", "room:1", "ann")
    channels = Occupying(hub, False)
    channels._name, channels._has_lease = "mine", True
    turn(channels)
    clock.pass_time(LEASE)
    with monkeypatch.context() as away, pytest.raises(OSError, match="away"):
        away.setattr(table, "renew", lambda *args: (_ for _ in ()).throw(OSError("away")))
        turn(channels)
    PresenceLease.objects.update(ends=1)
    clock.pass_time(1)
    turn(channels)
    assert members() == [":mine", ":theirs", "ann"]
    assert table.renew("default", "keeper")
    for _ in range(3):
        clock.pass_time(LEASE / 3)
        turn(channels)
    assert members() == [":mine", "ann"]


def test_a_process_that_has_just_begun_clears_nothing_before_others_could_renew(db, hub, clock):
    seat_in("another", GROUP, ":theirs")
    PresenceLease.objects.update(ends=1)
    channels = Occupying(hub, False)
    for _ in range(3):
        turn(channels)
        assert members() == [":theirs"]
        clock.pass_time(LEASE / 3)
    turn(channels)
    assert members() == []


@pytest.mark.parametrize("counts_matter", [False, True])
def test_after_a_failover_the_rows_are_those_of_the_channels_that_have_subscribers(db, hub, counts_matter):
    channels = Occupying(hub, counts_matter)
    for name in ("kept", "left"):
        channels.note(name, 1)
    write(channels)
    older = Presence.objects.get(member=":left")
    channels.note("left", -1)
    channels.note("new", 1)
    hub.loop.pass_time(GRACE)
    write(channels)
    assert members() == [":kept", ":new"]
    Presence.objects.filter(member=":new").delete()
    older.save(force_insert=True)
    for follower in hub.router.followers:
        follower.lose_track()
    write(channels)
    assert members() == [":kept", ":new"]
    assert not channels._changed


async def test_a_turn_that_fails_is_repeated_soon(hub, monkeypatch):
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 3:
            hub.draining = True

    async def fail():
        if len(waits) == 1:
            raise OSError("away")

    channels = Occupying(hub, False)
    monkeypatch.setattr(channels, "_renew", fail)
    monkeypatch.setattr(occupying.asyncio, "sleep", sleep)
    await channels._renew_on()
    assert [wait > occupying.PAUSE for wait in waits] == [True, False, True]
