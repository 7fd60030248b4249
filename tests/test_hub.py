"""The hub and its connections, on a real log: gaps, lost announcements, replay, slow readers, resets."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.utils import timezone

from livepush import log, publish
from livepush.hub import Connection, Hub, Options, Reason, State, Waiter, connection, known_position, router
from livepush.hub.fanout import Encoder
from livepush.hub.registry import hubs
from livepush.log import reading
from livepush.models import Event, LogHead
from livepush.process.connections import close_connections, cut_connections
from livepush.process.database_log import DatabaseLog
from livepush.process.threads import Threads
from livepush.wire import FORGOTTEN, RIGHTS, Batch, Floor, Format, Position, encode, split_batch, system_frames
from livepush.wire import Event as WireEvent
from tests.conftest import append
from tests.patience import PATIENCE, eventually
from tests.transports import Transport

pytestmark = pytest.mark.django_db(transaction=True)

OPTIONS = {
    "tail_interval": 0.05,
    "tail_interval_with_layer": 60.0,
    "heartbeat": 60.0,
    "write_timeout": 60.0,
    "buffer_bytes": 10_000,
    "window_events": 1000,
    "window_bytes": 1_000_000,
    "prune_interval": 0.0,
    "drain": 1.0,
}


@pytest.fixture(autouse=True, params=[False, True], ids=["send", "transport"])
def has_transport(request, monkeypatch):
    """Under uvicorn, live events are written to the client's transport."""
    monkeypatch.setattr(Reader, "has_transport", request.param)
    return request.param


class Reader:
    """A client of a hub: it notes what it gets, and takes nothing while it is held."""

    has_transport = False

    def __init__(self, hub, groups, cursor=None, held=False, format=Format.TEXT):
        self.messages = []
        self.changed = asyncio.Event()
        self.open = asyncio.Event()
        if not held:
            self.open.set()
        self.blocked = asyncio.Event()
        self.closed = asyncio.Event()
        limits = hub.limits
        self.transport = Transport(self.take, self.open.is_set) if self.has_transport else None
        self.connection = Connection(hub, groups, cursor or hub.position, format, self.write, limits, self.transport)
        self.connection.on_close = self.end
        self.hub = hub
        hub.start(self.connection, ())

    def end(self):
        """Do what an endpoint does when its connection has closed."""
        self.hub.remove(self.connection)
        self.closed.set()

    async def write(self, frames):
        if not self.open.is_set():
            self.blocked.set()
            await self.open.wait()
        for frame in frames:
            self.take(frame)

    def take(self, frame):
        found = json.loads(frame)
        self.messages += found if isinstance(found, list) else [found]
        self.changed.set()

    @property
    def numbers(self):
        return [int(message["id"].partition("-")[2]) for message in self.messages if "group" in message]

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_numbers(self, *numbers):
        await self.until(lambda: len(self.numbers) >= len(numbers))
        assert self.numbers == list(numbers)


def in_database(work, *args):
    return sync_to_async(work)(*args)


@pytest.fixture
async def make_hub():
    made = []

    async def make(listen=None, **options):
        if listen is silent:  # or it would look at the log often at first, and settle before the test does
            options.setdefault("tail_interval", 60.0)
        thread = Threads(1, "livepush-hub", 10.0, close_connections, cut_connections)
        hub = Hub(DatabaseLog("default", 7 * 86_400, thread), listen, Options(**{**OPTIONS, **options}))
        made.append(hub)
        await hub.ready
        if listen is silent:  # its first look is over
            await hub.tail.refresh()
        return hub

    make.made = made
    yield make
    for hub in made:
        await hub.stop()
    await sync_to_async(connections.close_all)()


async def silent(receive, healthy, hear_of):
    """A layer that brings nothing."""
    await asyncio.Event().wait()


def send(*groups, **kwargs):
    append("default", *groups, **kwargs)


async def settled(*groups, count=1, **kwargs):
    """Append and settle; return the batches, unannounced."""

    def work():
        for _ in range(count):
            send(*groups, **kwargs)
        return list(log.settle("default"))

    return await in_database(work)


async def test_an_event_that_nothing_announced_arrives_by_the_tail(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    await settled("a")
    await reader.until_numbers(1)


async def test_an_event_that_nobody_settled_is_settled_by_the_hub(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    await in_database(send, "a")
    await reader.until_numbers(1)


async def test_an_announced_batch_needs_no_query(make_hub, monkeypatch):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    batches = await settled("a", count=3)
    with monkeypatch.context() as patch:
        patch.setattr(hub._log, "_run", None)
        hub.router.receive(batches[0])
        await reader.until_numbers(1, 2, 3)


async def test_a_repeated_announcement_is_not_news(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    batches = await settled("a", count=3) + await settled("a")
    for batch in [*batches, *batches, batches[0], batches[1]]:
        hub.router.receive(batch)
    await reader.until_numbers(1, 2, 3, 4)
    hub.router.receive(batches[1])
    hub.router.receive((await settled("a"))[0])
    await reader.until_numbers(1, 2, 3, 4, 5)


async def test_announcements_out_of_order_are_routed_in_order(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    batches = [(await settled("a"))[0] for _ in range(4)]
    for n in (2, 1, 3, 0):
        hub.router.receive(batches[n])
        await asyncio.sleep(0)
    await reader.until_numbers(1, 2, 3, 4)


async def test_a_lost_announcement_is_read_from_the_log_when_a_later_one_comes(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    batches = [(await settled("a"))[0] for _ in range(3)]
    hub.router.receive(batches[2])
    await reader.until_numbers(1, 2, 3)


async def test_a_batch_that_came_early_and_whose_beginning_is_routed_meanwhile_is_not_forgotten(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    events = [event for batch in await settled("a", count=8) for event in batch.events]
    hub.router.receive(Batch(hub.position.epoch, tuple(events[3:])))
    await asyncio.sleep(0)  # it waits for what is missing
    hub.router.route(events[:5])
    await reader.until_numbers(*range(1, 9))


async def test_a_hub_that_is_stopped_while_it_starts_leaves_nothing_behind(make_hub, monkeypatch):
    may_sweep = threading.Event()
    plain = DatabaseLog._sweep
    monkeypatch.setattr(DatabaseLog, "_sweep", lambda log: may_sweep.wait(PATIENCE) and plain(log))
    starting = asyncio.create_task(make_hub())
    await eventually(lambda: any(thread.name == "livepush-hub" for thread in threading.enumerate()))
    (hub,) = make_hub.made
    stopping = asyncio.create_task(hub.stop())
    await asyncio.sleep(0)
    may_sweep.set()
    await asyncio.wait_for(stopping, PATIENCE)
    await asyncio.gather(starting, return_exceptions=True)
    assert starting.cancelled()
    assert hub not in hubs
    assert hub._tasks == []


async def test_an_announcement_of_another_epoch_is_ignored(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    hub.router.receive(Batch("other", (WireEvent(1, ("a",), "t", "0", "time"),)))
    hub.router.receive((await settled("a"))[0])
    await reader.until_numbers(1)
    assert reader.messages[0]["data"] == 1


async def test_a_reader_gets_its_groups_and_no_others(make_hub):
    hub = await make_hub()
    ab, c = Reader(hub, ["a", "b"]), Reader(hub, ["c"])
    for group in "abcab":
        await settled(group)
    await ab.until_numbers(1, 2, 4, 5)
    await c.until_numbers(3)


async def test_a_send_to_several_groups_reaches_a_reader_of_both_once(make_hub):
    hub = await make_hub()
    both, one = Reader(hub, ["a", "b"]), Reader(hub, ["b"])
    await settled("a", "b")
    await settled("b")
    await both.until_numbers(1, 2)
    await one.until_numbers(1, 2)


async def test_a_send_to_several_groups_names_those_of_the_reader_in_the_readers_order(make_hub):
    hub = await make_hub()
    start = hub.position
    wishes = (["a", "b"], ["b", "a"], ["c", "b", "z"], ["b"])
    live = [Reader(hub, groups, format=Format.ARRAY) for groups in wishes]
    await settled("a", "b", "c", "d")
    await live[0].until_numbers(1)
    later = [Reader(hub, groups, start, format=Format.ARRAY) for groups in wishes]
    for reader, groups in zip([*live, *later], [*wishes, *wishes], strict=True):
        await reader.until_numbers(1)
        (message,) = [message for message in reader.messages if "group" in message]
        mine = [group for group in groups if group != "z"]
        assert (message["group"], message.get("groups")) == (mine[0], mine if len(mine) > 1 else None)


async def test_a_reader_that_comes_back_is_served_from_memory(make_hub, monkeypatch):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    start = hub.position
    await settled("a", "b", count=2)
    await reader.until_numbers(1, 2)

    async def fail(*args):
        raise AssertionError("the log was read")

    monkeypatch.setattr(hub.pages, "_read", fail)
    monkeypatch.setattr(hub.pages, "_fill", fail)
    again, half = Reader(hub, ["a", "b"], start), Reader(hub, ["a", "b"], Position(hub.position.epoch, 1))
    await again.until_numbers(1, 2)
    await half.until_numbers(2)


async def test_a_reader_from_before_the_hubs_memory_is_served_from_the_log(make_hub):
    await settled("a", "b", count=5)
    hub = await make_hub()
    reader = Reader(hub, ["a", "b"], Position(hub.position.epoch, 2))
    await reader.until_numbers(3, 4, 5)
    assert reader.connection.state is State.LIVE


def test_what_is_encoded_for_a_crowd_is_kept_for_it_within_a_bound():
    time, format = "2026-01-31T12:00:00.000000Z", Format.SSE_ENVELOPE
    events = [WireEvent(number, ("a" * 90, "b"), "t", '"x"', time) for number in range(1, 101)]
    encoder = Encoder(4000)
    assert encoder.encode(events[0], "e", format) is encoder.encode(events[0], "e", format)
    for event in events:
        assert encoder.encode(event, "e", format) == encode(event, "e", format)
        assert 0 < encoder.texts.size <= 4000
    assert encoder.encode(events[0], "f", format) == encode(events[0], "f", format)


def test_no_text_of_a_deleted_event_stays_in_memory():
    encoder = Encoder(4000)
    encoder.encode(WireEvent(1, ("a",), "t", '"x"', "now"), "e", Format.SSE_ENVELOPE)
    encoder.hear(WireEvent(2, ("b",), "t", "[]", "now"))
    assert encoder.texts.size
    encoder.hear(WireEvent(3, ("b",), FORGOTTEN, '["a"]', "now"))
    assert not encoder.texts.size


async def test_a_send_that_came_before_one_of_its_groups_was_dropped_does_not_come_again(make_hub):
    hub = await make_hub(buffer_bytes=10)
    await settled("a", "b", data=json.dumps("x" * 20))  # so that each page holds one event
    await settled("b")
    await hub.tail.refresh()
    reader = Reader(hub, ["a", "b"], Position(hub.position.epoch, 0), held=True)
    await reader.blocked.wait()
    hub.unsubscribe(reader.connection, ["a"])
    reader.open.set()
    await reader.until_numbers(1, 2)


async def test_a_group_that_is_added_during_a_replay_takes_nothing_from_the_others(make_hub):
    hub = await make_hub(buffer_bytes=10)
    await settled("b", data=json.dumps("x" * 20))  # so that each page holds one event
    await settled("a", "b", data=json.dumps("x" * 20))
    await hub.tail.refresh()
    reader = Reader(hub, ["b"], Position(hub.position.epoch, 0), held=True)
    await reader.blocked.wait()
    hub.subscribe(reader.connection, ["a"])
    reader.open.set()
    await reader.until_numbers(1, 2)


async def test_a_small_window_sends_readers_to_the_log_and_misses_nothing(make_hub):
    hub = await make_hub(window_events=3)
    start = hub.position
    first = Reader(hub, ["a"])
    await settled("a", "b", count=10)
    await first.until_numbers(*range(1, 11))
    for cursor in range(11):
        reader = Reader(hub, ["a", "b"], Position(start.epoch, cursor))
        await reader.until_numbers(*range(cursor + 1, 11))


async def test_events_during_a_replay_come_after_it_once(make_hub):
    await settled("a", count=300)
    hub = await make_hub()
    reader = Reader(hub, ["a"], Position(hub.position.epoch, 0))
    reader.open.clear()
    await settled("a", count=20)
    await hub.tail.refresh()
    reader.open.set()
    await reader.until_numbers(*range(1, 321))


async def test_who_asks_for_the_same_page_at_one_time_shares_the_read(make_hub, monkeypatch):
    await settled("a", count=5)
    hub = await make_hub(silent, window_events=1)
    reads = []
    plain = hub._log.read
    monkeypatch.setattr(hub._log, "read", lambda *args: reads.append(args) or plain(*args))
    readers = [Reader(hub, ["a"], Position(hub.position.epoch, 0)) for _ in range(50)]
    for reader in readers:
        await reader.until_numbers(1, 2, 3, 4, 5)
    assert len([args for args in reads if args[0]]) == 1


async def test_nothing_is_read_for_readers_that_have_gone(make_hub, monkeypatch):
    names = [f"g:{number}" for number in range(30)]
    await settled(*names, count=5)
    hub = await make_hub(silent, window_events=1)
    reads, may_read, plain = [], threading.Event(), log.read
    monkeypatch.setattr(log, "read", lambda *args: reads.append(args[1]) or (may_read.wait(PATIENCE) and plain(*args)))
    start = Position(hub.position.epoch, 0)
    readers = [Reader(hub, [name], start) for name in names]
    await eventually(lambda: reads)  # the hub's one thread is busy
    for reader in readers[1:]:
        reader.connection.close(Reason.GONE)
        hub.remove(reader.connection)
    back = Reader(hub, names[-1:], start)
    await asyncio.sleep(0)
    may_read.set()
    await back.until_numbers(1, 2, 3, 4, 5)
    assert [each for each in reads if each is not None] == [(names[0],), (names[-1],)]
    assert hub.pages._reads == {}


@pytest.mark.long
async def test_a_crowd_from_before_the_hubs_start_is_served_by_a_few_reads(make_hub, monkeypatch):
    groups = [f"user:{number}" for number in range(300)]
    for group in groups:
        await settled(group, "all")
    hub = await make_hub(silent, buffer_bytes=262_144)
    reads = []
    plain = hub._log.read
    monkeypatch.setattr(hub._log, "read", lambda *args: reads.append(args) or plain(*args))
    readers = [Reader(hub, [group], Position(hub.position.epoch, 0)) for group in groups]
    for number, reader in enumerate(readers):
        await reader.until_numbers(1 + number)
    both = Reader(hub, ["user:7", "all"], Position(hub.position.epoch, 3))
    await both.until_numbers(*range(4, 301))
    assert [message["group"] for message in both.messages if "user:7" in message.get("groups", ())] == ["user:7"]
    assert len(reads) <= 8
    assert hub.router.window.start == 0


async def test_who_asks_just_as_the_window_has_been_filled_does_not_hold_up_the_loop(make_hub):
    """A future that is done is awaited without a pause: the loop would never come to what follows."""
    await settled("a", count=150)
    hub = await make_hub(silent, buffer_bytes=262_144)
    asked = []

    def ask(_):
        asked.append(asyncio.ensure_future(hub.page(["a"], 10)))

    filling = asyncio.ensure_future(hub.pages._fill())
    hub.pages._filling = filling
    filling.add_done_callback(ask)
    filling.add_done_callback(lambda _: asyncio.ensure_future(hub.page(["a"], 20)))
    await filling
    await asyncio.sleep(0)
    page = await asyncio.wait_for(asked[0], PATIENCE)
    assert [event.number for event in page.events] == list(range(11, 151))


async def test_who_asks_just_as_a_look_at_the_log_has_ended_gets_one_of_its_own(make_hub, monkeypatch):
    hub = await make_hub(silent)
    looks = []
    plain = hub.tail._look
    monkeypatch.setattr(hub.tail, "_look", lambda: looks.append(1) or plain())
    await hub.tail.refresh()
    tailing = hub.tail._looking
    assert tailing.done()
    await hub.tail.refresh()
    assert len(looks) == 2


async def test_a_window_that_is_filled_backwards_keeps_its_bounds(make_hub):
    await settled("a", "b", count=100)
    hub = await make_hub(silent, window_events=30)
    reader = Reader(hub, ["a", "b"], Position(hub.position.epoch, 50))
    await reader.until_numbers(*range(51, 101))
    assert len(hub.router.window._events) <= 30
    later = Reader(hub, ["a", "b"], Position(hub.position.epoch, 99))
    await later.until_numbers(100)


async def test_a_long_replay_comes_in_pages_of_a_bounded_size(make_hub, monkeypatch):
    data = json.dumps("x" * 4000)
    await settled("a", count=40, data=data)
    hub = await make_hub(silent, window_events=5)
    pages = []
    plain = hub.page

    async def page(*args):
        pages.append(await plain(*args))
        return pages[-1]

    monkeypatch.setattr(hub, "page", page)
    reader = Reader(hub, ["a"], Position(hub.position.epoch, 0))
    await reader.until_numbers(*range(1, 41))
    assert max(sum(len(event.data) for event in page.events) for page in pages) <= 10_000 + 2 * len(data)


async def test_one_event_over_every_bound_is_delivered(make_hub):
    hub = await make_hub(buffer_bytes=100, window_bytes=100)
    live = Reader(hub, ["a"])
    await settled("a", count=3, data=BIG)
    await live.until_numbers(1, 2, 3)
    again = Reader(hub, ["a"], Position(hub.position.epoch, 1))
    await again.until_numbers(2, 3)


async def test_what_is_routed_at_once_is_encoded_in_bounded_rounds(make_hub, monkeypatch):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a", "b"])
    sizes = []
    plain = hub.router.fan_out

    def fan_out(events):
        sizes.append(sum(len(event.data) for event in events))
        plain(events)

    monkeypatch.setattr(hub.router, "fan_out", fan_out)
    await routed(hub, "a", "b", count=20, data=BIG)
    await reader.until_numbers(*range(1, 21))
    assert max(sizes) <= router.ROUND_BYTES
    assert len(sizes) >= 5


async def test_a_failover_that_lost_the_tail_is_noticed_though_the_new_head_is_beyond(make_hub):
    hub = await make_hub(tail_interval=60.0)
    reader = Reader(hub, ["a"])
    await settled("a", count=5)
    await hub.tail.refresh()
    await reader.until_numbers(1, 2, 3, 4, 5)
    before = hub.position.epoch

    def fail_over():
        Event.objects.filter(position__gt=3).delete()
        LogHead.objects.update(position=3)

    await in_database(fail_over)
    await settled("a", count=4, data='"another"')
    await hub.tail.refresh()
    await reader.until(lambda: reader.messages[-1]["type"] == "livepush.reset")
    assert hub.position.epoch != before
    assert hub.position.number == 7


async def test_a_failover_just_after_the_start_is_noticed_in_what_is_announced(make_hub):
    """The hub has nothing in memory to compare the announced events with."""
    await settled("a", count=5)
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    before = hub.position.epoch

    def fail_over():
        Event.objects.filter(position__gt=3).delete()
        LogHead.objects.update(position=3)

    await in_database(fail_over)
    for _ in range(3):  # 4, 5 and 6
        for batch in await settled("a", data='"another"'):
            hub.router.receive(batch)
    await reader.until(lambda: "livepush.reset" in [message["type"] for message in reader.messages])
    assert hub.position.epoch != before
    await eventually(lambda: hub.position.number == 6)


async def test_an_announcement_that_was_on_its_way_as_the_hub_began_is_no_failover(make_hub):
    batches = await settled("a", count=3)
    hub = await make_hub(silent)
    reader, before = Reader(hub, ["a"]), hub.position
    for batch in [*batches, *await settled("a")]:
        hub.router.receive(batch)
    await reader.until_numbers(4)
    assert (hub.position.epoch, before.number) == (before.epoch, 3)


async def test_a_send_to_many_groups_that_is_pruned_as_it_is_read_is_no_failover(make_hub, monkeypatch):
    hub = await make_hub(silent)
    hub.router.receive((await settled(*(f"g:{number}" for number in range(600))))[0])
    await asyncio.sleep(0)
    before, plain = hub.position, reading._without_last

    def prune_first(rows):
        log.prune("default", timezone.now() + timedelta(hours=1))
        return plain(rows)

    monkeypatch.setattr(reading, "_without_last", prune_first)
    hub.router.doubtful = True  # it looks whether the log is the one that it has followed
    await hub.tail.refresh()
    assert (hub.position, before.number) == (before, 1)


async def test_a_hub_that_starts_knows_the_event_at_its_position(make_hub):
    await settled("a", count=5)
    hub = await make_hub(silent)
    await hub.tail.refresh()
    reader = Reader(hub, ["a"])
    await in_database(lambda: Event.objects.filter(position=5).update(data='"another"'))
    await settled("a")
    await hub.tail.refresh()
    await reader.until(lambda: reader.messages)
    assert reader.messages[0]["type"] == "livepush.reset"


async def test_a_database_that_hangs_holds_up_one_thread_and_not_the_hub(make_hub, monkeypatch):
    hub = await make_hub()
    hub._log._threads.limit = 0.2  # from now on: the hub's start needs its database, however busy the machine is
    reader = Reader(hub, ["a"])
    gone = threading.Event()
    plain = hub._log._sweep
    hung = asyncio.Event()

    def hang():
        if not hung.is_set():
            hub.loop.call_soon_threadsafe(hung.set)
            gone.wait(30)
        return plain()

    monkeypatch.setattr(hub._log, "_sweep", hang)
    await asyncio.wait_for(hung.wait(), PATIENCE)
    await settled("a")
    await reader.until_numbers(1)
    gone.set()


async def test_a_slow_reader_falls_behind_and_catches_up_without_a_gap(make_hub):
    hub = await make_hub()
    slow, other = Reader(hub, ["a"]), Reader(hub, ["a"])
    slow.open.clear()
    data = json.dumps("x" * 1000)
    for _ in range(10):
        await settled("a", count=5, data=data)
        await hub.tail.refresh()
    await other.until_numbers(*range(1, 51))
    assert slow.connection.state is State.BEHIND
    assert slow.connection.buffered == 0
    slow.open.set()
    await slow.until_numbers(*range(1, 51))
    await slow.until(lambda: slow.connection.state is State.LIVE)
    await settled("a")
    await slow.until_numbers(*range(1, 52))


class Speaker:
    """A subscriber that says something to a client of the hub as soon as it is offered an event, as a bridge may."""

    def __init__(self, hub, group, connection):
        self.groups = {group: 0}
        self._connection = connection
        hub.add(self)

    def offer(self, share):
        self._connection.say(system_frames("said", Format.TEXT))

    def fall_behind(self, *, reset=False):
        pass


async def test_a_slow_reader_misses_no_event_of_a_round_in_which_something_is_said_to_it(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    Speaker(hub, "b", reader.connection)
    await settled("a")
    await hub.tail.refresh()
    await reader.until_numbers(1)
    reader.open.clear()

    def work():
        for group in "baa":
            send(group)
        return list(log.settle("default"))

    (batch,) = await in_database(work)
    hub.router.receive(batch)
    await asyncio.wait_for(reader.blocked.wait(), PATIENCE)
    await settled("a", count=20, data=json.dumps("x" * 1000))
    await hub.tail.refresh()
    assert reader.connection.state is State.BEHIND
    reader.open.set()
    await reader.until_numbers(1, 3, 4, *range(5, 25))


async def test_what_is_said_takes_a_reader_up_to_the_hubs_position(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    await settled("b", count=3)
    await hub.tail.refresh()
    reader.connection.say(system_frames("said", Format.TEXT))
    assert reader.connection._flow.cursor == 3


def at_once(work, loop):
    """Run some work that does not wait, as an eager task of Python 3.12 does."""
    done = loop.create_future()
    try:
        work.send(None)
    except StopIteration:
        done.set_result(None)
        return done
    raise AssertionError("It waits.")


async def test_a_reply_comes_before_the_events_that_its_command_brings(make_hub, monkeypatch):
    hub = await make_hub(silent)
    await settled("a", count=2)
    await hub.tail.refresh()
    reader = Reader(hub, ["b"])
    await eventually(lambda: reader.connection.state is State.LIVE)
    monkeypatch.setattr(connection, "eager_task", at_once)
    hub.subscribe(reader.connection, ["a"], Position(hub.position.epoch, 0))
    reader.connection.say(system_frames("reply", Format.TEXT, ref=1))
    await reader.until_numbers(1, 2)
    assert [message["type"] for message in reader.messages] == ["livepush.reply", "t", "t"]


async def test_a_short_stall_is_bridged_by_the_buffer(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    reader.open.clear()
    for _ in range(5):
        await settled("a")
        await hub.tail.refresh()
    assert reader.connection.state is State.LIVE
    reader.open.set()
    await reader.until_numbers(1, 2, 3, 4, 5)


async def test_a_reader_that_makes_no_progress_is_closed(make_hub):
    hub = await make_hub(heartbeat=0.05, write_timeout=0.1)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await settled("a")
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)
    assert reader.connection.reason is Reason.SLOW
    assert not hub.subscribers
    assert not len(hub.router.routes)


async def test_a_pruned_cursor_gets_a_reset_and_goes_on_from_there(make_hub):
    await settled("a", count=5)
    await in_database(lambda: Event.objects.filter(position__lte=3).update(created=timezone.now() - timedelta(days=8)))
    await in_database(log.prune, "default", timezone.now() - timedelta(days=7))
    hub = await make_hub()
    assert await hub.admit(Position(hub.position.epoch, 2)) == (hub.position, "pruned")
    assert await hub.admit(Position(hub.position.epoch, 3)) == (Position(hub.position.epoch, 3), None)
    reader = Reader(hub, ["a"], Position(hub.position.epoch, 2))
    await reader.until(lambda: reader.messages)
    assert reader.messages[0]["type"] == "livepush.reset"
    assert reader.messages[0]["id"] == reader.messages[0]["position"] == str(hub.position)
    await settled("a")
    await reader.until_numbers(6)


async def test_a_slow_reader_that_was_overtaken_by_prune_gets_a_reset(make_hub):
    hub = await make_hub(window_events=2)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await settled("a", count=30, data=json.dumps("x" * 1000))
    await hub.tail.refresh()
    await settled("a", count=30, data=json.dumps("x" * 1000))
    await hub.tail.refresh()
    assert reader.connection.state is State.BEHIND
    await in_database(log.prune, "default", timezone.now() + timedelta(days=1))
    reader.open.set()
    await reader.until(lambda: any(message["type"] == "livepush.reset" for message in reader.messages))
    await settled("a")
    await reader.until(lambda: reader.numbers[-1:] == [61])


async def test_a_restored_database_begins_a_new_epoch_and_resets_everyone(make_hub):
    await settled("a", count=5)
    hub = await make_hub()
    before = hub.position
    reader = Reader(hub, ["a"])
    await in_database(lambda: (Event.objects.filter(position__gt=2).delete(), LogHead.objects.update(position=2)))
    await reader.until(lambda: reader.messages)
    assert reader.messages[0]["type"] == "livepush.reset"
    assert hub.position.epoch != before.epoch
    assert await hub.admit(before) == (hub.position, "epoch")
    await settled("a")
    await reader.until_numbers(3)


async def test_what_was_deleted_in_an_earlier_epoch_hides_no_event_of_this_one(make_hub):
    await settled("a", count=5)
    hub = await make_hub(silent)
    await settled(RIGHTS, type=FORGOTTEN, data='["a"]')
    await hub.tail.refresh()
    await in_database(lambda: (Event.objects.filter(position__gt=2).delete(), LogHead.objects.update(position=2)))
    await hub.tail.refresh()
    assert hub.position.number == 2
    await settled("a", "b", count=2)
    await hub.tail.refresh()
    page = await hub.page(["a"], 2)
    assert [(event.number, event.groups) for event in page.events] == [(3, ("a",)), (4, ("a",))]
    assert [event.number for event in (await hub.page(["a"], 0)).events] == [1, 2, 3, 4]  # the window reaches back


async def test_what_was_deleted_in_this_epoch_stays_so_where_a_hub_begins_anew_in_it(make_hub):
    await settled("a", count=5)
    hub = await make_hub(silent)
    await settled(RIGHTS, type=FORGOTTEN, data='["a"]')
    await hub.tail.refresh()
    hub.tail.adopt(await hub._log.state())
    stale = [WireEvent(number, ("a",), "t", "1", "2026-01-31T12:00:00.000000Z") for number in range(1, 6)]
    hub.router.window.prepend(stale, 0)  # as a read brings them that began before they were deleted
    assert (await hub.page(["a"], 0)).events == ()


def announced(epoch, number, groups=("a",), data='"forged"'):
    return Batch(epoch, (WireEvent(number, groups, "t", data, "2026-01-31T12:00:00.000000Z"),))


@pytest.mark.parametrize("ahead", [1, 10**9])
async def test_a_number_that_only_an_announcement_had_begins_no_epoch_and_resets_who_was_offered_it(make_hub, ahead):
    hub = await make_hub(silent)
    await settled("a", count=2)
    await hub.tail.refresh()
    before = hub.position
    reader, waiter = Reader(hub, ["a"]), Waiter(["a"])
    hub.add(waiter)
    hub.router.receive(announced(before.epoch, before.number + ahead))
    await asyncio.sleep(0)
    await hub.tail.refresh()
    assert hub.position == before
    assert await in_database(lambda: LogHead.objects.values_list("epoch", "position").get()) == before
    await settled("a")
    await hub.tail.refresh()
    if ahead == 1:
        assert waiter.lost
        await reader.until(lambda: len(reader.messages) == 3)
        assert [message["type"] for message in reader.messages] == ["t", "livepush.reset", "t"]
    await reader.until(lambda: reader.numbers[-1:] == [3])
    hub.remove(waiter)


async def test_an_announced_event_that_the_log_has_otherwise_begins_no_epoch_and_resets_who_was_offered_it(make_hub):
    hub = await make_hub(silent)
    reader, before = Reader(hub, ["a"]), hub.position
    hub.router.receive(announced(before.epoch, 1))
    await reader.until_numbers(1)
    (batch,) = await settled("a", count=2)
    hub.router.receive(batch)
    await reader.until(lambda: "livepush.reset" in [message["type"] for message in reader.messages])
    assert hub.position == Position(before.epoch, 2)
    assert await in_database(lambda: LogHead.objects.values_list("epoch", "position").get()) == hub.position
    await settled("a")
    await hub.tail.refresh()
    await reader.until(lambda: reader.numbers[-1:] == [3])


async def test_a_lost_event_that_the_database_had_given_to_this_process_begins_a_new_epoch(make_hub):
    hub = await make_hub(silent)
    before, reader = hub.position, Reader(hub, ["a"])
    (batch,) = await settled("a")
    hub.receive_soon(batch)
    await reader.until_numbers(1)
    await in_database(lambda: (Event.objects.all().delete(), LogHead.objects.update(position=0)))
    await hub.tail.refresh()
    assert hub.position.epoch != before.epoch


@pytest.mark.parametrize("end", [2, 5])
async def test_a_lost_event_that_the_database_had_announced_begins_a_new_epoch_though_the_hub_had_not_read_it(
    make_hub, end
):
    await settled("a", count=2)
    hub = await make_hub(silent)
    before, reader = hub.position, Reader(hub, ["a"])
    await settled("a", count=end - 2)
    hub.tail.hear_of(Position(before.epoch, 10), carried=False)  # the standby has no more than the end
    await hub.tail.refresh()
    await reader.until(lambda: "livepush.reset" in [message["type"] for message in reader.messages])
    assert hub.position.epoch != before.epoch
    assert hub.position.number == end
    assert await hub.admit(Position(before.epoch, 10)) == (hub.position, "epoch")


async def test_an_announced_number_that_the_log_has_begins_no_epoch(make_hub):
    hub = await make_hub(silent)
    before, reader = hub.position, Reader(hub, ["a"])
    await settled("a", count=3)
    hub.tail.hear_of(Position(before.epoch, 3), carried=False)
    hub.tail.hear_of(Position("another", 9), carried=False)
    await reader.until_numbers(1, 2, 3)
    await hub.tail.refresh()
    assert hub.position == Position(before.epoch, 3)


async def test_a_number_that_is_announced_while_the_log_is_read_begins_no_epoch(make_hub, monkeypatch):
    hub = await make_hub(silent)
    before, read = hub.position, log.read

    def read_before_the_commit(*args, **more):
        page = read(*args, **more)
        list(log.settle("default"))
        hub.loop.call_soon_threadsafe(hub.tail.hear_of, Position(before.epoch, 1), False)
        return page

    reader = Reader(hub, ["a"])
    with monkeypatch.context() as patch:
        patch.setattr(DatabaseLog, "sweep", DatabaseLog.state)  # which leaves the event to another process
        patch.setattr(log, "read", read_before_the_commit)
        await in_database(send, "a")
        hub.router.doubtful = True  # else nothing is read, since the log stands still
        await hub.tail.refresh()
    await reader.until_numbers(1)
    assert hub.position == Position(before.epoch, 1)


async def test_a_database_that_answers_late_begins_no_epoch(make_hub, monkeypatch):
    """Behind a pooler that reads from standbys, a read may come before the commit that was announced."""
    hub = await make_hub(silent)
    before, reader = hub.position, Reader(hub, ["a"])
    old = await in_database(log.read, "default", None, 0, 0)
    await settled("a", count=2)
    with monkeypatch.context() as patch:
        patch.setattr(log, "read", lambda *args, **more: old)
        hub.tail.hear_of(Position(before.epoch, 2), carried=False)
        await hub.tail.refresh()
    await hub.tail.refresh()
    await reader.until_numbers(1, 2)
    assert hub.position == Position(before.epoch, 2)


async def test_a_flushed_log_resets_everyone(make_hub):
    await settled("a", count=5)
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    await in_database(lambda: (Event.objects.all().delete(), LogHead.objects.all().delete()))
    await reader.until(lambda: reader.messages)
    assert reader.messages[0]["type"] == "livepush.reset"
    await settled("a")
    await reader.until_numbers(1)


async def test_a_client_ahead_of_this_hub_is_no_error(make_hub):
    hub = await make_hub(silent)
    await settled("a", count=5)
    assert hub.position.number == 0
    assert await hub.admit(Position(hub.position.epoch, 4)) == (Position(hub.position.epoch, 4), None)
    assert hub.position.number == 5
    reader = Reader(hub, ["a"], Position(hub.position.epoch, 4))
    await reader.until_numbers(5)


async def test_a_client_ahead_of_the_log_is_reset(make_hub):
    hub = await make_hub(silent)
    assert await hub.admit(Position(hub.position.epoch, 4)) == (hub.position, "ahead")


async def test_a_client_of_an_epoch_that_this_hub_has_not_heard_of_is_no_error(make_hub):
    hub = await make_hub(silent)
    await in_database(lambda: LogHead.objects.update(epoch="newer", position=9))
    assert await hub.admit(Position("newer", 9)) == (Position("newer", 9), None)


async def test_an_ephemeral_event_reaches_who_is_live_and_has_no_id(make_hub):
    hub = await make_hub()
    reader, both = Reader(hub, ["a"]), Reader(hub, ["a", "b"])
    hub.router.receive(Batch("", (WireEvent(None, ("a", "b"), "typing", "1", "time"),)))
    for each, more in ((reader, {}), (both, {"groups": ["a", "b"]})):
        await each.until(lambda each=each: each.messages)
        assert each.messages == [{"group": "a", **more, "type": "typing", "data": 1, "time": "time"}]


async def test_an_ephemeral_event_goes_out_before_what_was_announced_after_it(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    first, second = [(await settled("a"))[0] for _ in range(2)]
    for batch in (first, Batch("", (WireEvent(None, ("a",), "typing", "1", "time"),)), second):
        hub.router.receive(batch)
    await reader.until(lambda: len(reader.messages) == 3)
    assert ["id" in message for message in reader.messages] == [True, False, True]


async def test_an_event_that_was_written_at_once_does_not_come_again_from_the_log(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    await eventually(lambda: reader.connection.state is State.LIVE)
    for number in range(1, 5):
        await in_database(send, "a")
        await reader.until_numbers(*range(1, number + 1))
    reader.connection.fall_behind()
    await in_database(send, "a")
    await reader.until_numbers(1, 2, 3, 4, 5)


async def test_a_change_between_two_events_is_heeded_by_the_second(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a", "b"])
    await eventually(lambda: reader.connection.state is State.LIVE)
    for number in (1, 2):
        await in_database(send, "a")
        await reader.until_numbers(*range(1, number + 1))
    reader.connection.limit_to(["a"], {"a": Floor(3, "")})
    await in_database(send, "a")
    await in_database(send, "b")
    await reader.until_numbers(1, 2, 4)
    reader.connection.close(Reason.REVOKED)
    await reader.closed.wait()
    await in_database(send, "b")
    await eventually(lambda: hub.position.number == 5)
    assert reader.numbers == [1, 2, 4]


async def test_a_group_added_later_comes_from_its_position_on(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    await settled("b")
    await settled("a")
    await reader.until_numbers(2)
    assert hub.subscribe(reader.connection, ["b"]) == Position(hub.position.epoch, 2)
    await settled("b")
    await reader.until_numbers(2, 3)
    hub.unsubscribe(reader.connection, ["a"])
    await settled("a")
    await settled("b")
    await reader.until_numbers(2, 3, 5)


async def test_a_group_added_while_behind_brings_nothing_from_before(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await settled("a", "b", count=3)
    await hub.tail.refresh()
    hub.subscribe(reader.connection, ["b"])
    await settled("a", count=30, data=json.dumps("x" * 1000))
    await hub.tail.refresh()
    assert reader.connection.state is State.BEHIND
    await settled("b")
    reader.open.set()
    await reader.until_numbers(1, 2, 3, *range(4, 34), 34)


async def test_a_drain_tells_everyone_to_come_back_and_closes(make_hub):
    hub = await make_hub()
    readers = [Reader(hub, ["a"]) for _ in range(20)]
    hub.drain()
    for reader in readers:
        await asyncio.wait_for(reader.closed.wait(), PATIENCE)
        assert reader.connection.reason is Reason.DRAIN
    retries = [reader.messages[-1]["retry"] for reader in readers]
    assert {message["type"] for reader in readers for message in reader.messages} == {"livepush.bye"}
    assert all(0 <= retry <= 1000 for retry in retries)
    assert len(set(retries)) > 10


async def test_a_drain_lets_what_is_being_written_end(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await settled("a")
    await hub.tail.refresh()
    hub.drain()
    reader.open.set()
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)
    assert [message["type"] for message in reader.messages] == ["t", "livepush.bye"]


async def test_a_quiet_stream_hears_from_the_server(make_hub):
    hub = await make_hub(heartbeat=0.05)
    reader = Reader(hub, ["a"])
    await settled("b")
    await reader.until(lambda: reader.messages and reader.messages[-1].get("position", "").endswith("-1"))
    assert {message["type"] for message in reader.messages} == {"livepush.position"}


class RawReader(Reader):
    """A client that notes the bytes."""

    def take(self, frame):
        self.messages.append(frame)
        self.changed.set()


async def test_a_stream_that_was_written_to_just_before_a_beat_hears_of_a_later_position(make_hub):
    hub = await make_hub(silent, heartbeat=0.1)
    reader = RawReader(hub, ["a"], format=Format.SSE_ENVELOPE)
    for _ in range(6):  # wherever in the time between two beats it comes
        for group in ("a", "b"):
            hub.router.receive((await settled(group))[0])
        await asyncio.sleep(0)
        now = f"id: {hub.position}".encode()
        await reader.until(lambda now=now: any(now in frame for frame in reader.messages))


async def test_a_hub_prunes_by_itself(make_hub):
    await settled("a", count=3)
    await in_database(lambda: Event.objects.update(created=timezone.now() - timedelta(days=8)))
    hub = await make_hub(prune_interval=0.02)
    async with asyncio.timeout(PATIENCE):
        while (await in_database(log.state, "default")).floor != 3:
            await hub.tail.refresh()
    assert await in_database(Event.objects.count) == 0


async def test_rows_deleted_by_hand_leave_a_hole_and_no_standstill(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    await settled("a", count=5)
    await in_database(lambda: Event.objects.filter(position__in=[2, 5]).delete())
    await hub.tail.refresh()
    await reader.until_numbers(1, 3, 4)
    hub.router.receive((await settled("a"))[0])
    await reader.until_numbers(1, 3, 4, 6)


async def test_a_log_that_can_not_be_read_is_tried_again(make_hub, monkeypatch, caplog):
    hub = await make_hub()
    reader = Reader(hub, ["a"])
    failed = asyncio.Event()

    def fail():
        hub.loop.call_soon_threadsafe(failed.set)
        raise OSError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(hub._log, "_sweep", fail)
        await settled("a")
        await asyncio.wait_for(failed.wait(), PATIENCE)
    await reader.until_numbers(1)


async def test_a_closed_reader_is_forgotten(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a", "b"])
    reader.connection.close(Reason.GONE)
    assert not reader.closed.is_set()
    hub.remove(reader.connection)
    assert not hub.subscribers
    assert not len(hub.router.routes)


async def test_a_write_that_fails_closes_the_reader(make_hub):
    hub = await make_hub()
    reader = Reader(hub, ["a"])

    async def fail(frames):
        raise ConnectionError

    reader.connection._write = fail
    reader.open.clear()  # so that a transport takes nothing
    await settled("a")
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)
    assert reader.connection.reason is Reason.FAILED


async def test_the_process_knows_a_position_while_a_hub_runs(make_hub):
    assert known_position() is None
    hub = await make_hub()
    assert known_position() == hub.position


async def test_a_batch_announced_in_another_thread_reaches_this_hub(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])

    def work():
        send("a")
        for batch in log.settle("default"):
            publish.announce(batch)

    await in_database(work)
    await reader.until_numbers(1)


async def routed(hub, *groups, **kwargs):
    """Settle an event and have the hub route it."""
    for batch in await settled(*groups, **kwargs):
        hub.router.receive(batch)
    await asyncio.sleep(0)
    await asyncio.sleep(0)


BIG = json.dumps("x" * 20_000)


async def test_own_events_that_a_busy_loop_has_not_taken_are_bounded_and_then_read_from_the_log(make_hub, monkeypatch):
    monkeypatch.setattr(router, "MAX_QUEUED_BYTES", 5000)
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    (batch,) = await settled("a", count=100)
    for each in batch.events:
        hub.receive_soon(Batch(batch.epoch, (each,)))  # the loop has no turn meanwhile
        assert hub.router.queued <= 5000
    await reader.until_numbers(*range(1, 101))
    assert hub.router.queued == 0


async def test_a_group_added_during_a_replay_comes_from_the_hubs_position_on(make_hub):
    hub = await make_hub(silent)
    start = hub.position
    await routed(hub, "a")
    await routed(hub, "g")
    reader = Reader(hub, ["a"], start, held=True)
    assert hub.subscribe(reader.connection, ["g"]) == Position(hub.position.epoch, 2)
    await routed(hub, "g")
    reader.open.set()
    await reader.until_numbers(1, 3)


async def test_a_send_that_reaches_a_reader_by_two_groups_is_not_lost_with_the_later_one(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await routed(hub, "a")
    await routed(hub, "g", "a")
    hub.subscribe(reader.connection, ["g"])
    await routed(hub, "a", data=BIG)
    assert reader.connection.state is State.BEHIND
    reader.open.set()
    await reader.until_numbers(1, 2, 3)


async def test_a_group_dropped_during_a_replay_takes_no_other_groups_event_with_it(make_hub):
    hub = await make_hub(silent, buffer_bytes=100)
    start = hub.position
    await routed(hub, "a", data=json.dumps("y" * 200))
    await routed(hub, "g", "a")
    reader = Reader(hub, ["a", "g"], start, held=True)
    hub.unsubscribe(reader.connection, ["g"])
    reader.open.set()
    await reader.until_numbers(1, 2)


async def test_a_large_send_is_offered_once_over_the_layer(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a", "b", "c", "d", "e"])
    (batch,) = await settled("a", "b", "c", "d", "e", data=json.dumps("x" * 60_000))
    for part in split_batch(batch, 262_144):
        hub.router.receive(part)
        await asyncio.sleep(0.001)
    await routed(hub, "a")
    await reader.until_numbers(1, 2)


async def test_a_send_at_the_end_of_a_page_of_the_tail_is_offered_once(make_hub):
    hub = await make_hub(tail_interval=60.0)
    reader = Reader(hub, ["a", "b"])
    await settled("z", count=500)
    await settled("a", "b")
    await settled("a")
    await hub.tail.refresh()
    await reader.until_numbers(501, 502)


async def test_a_client_that_never_reads_can_not_fill_memory_with_replies(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    reply = system_frames("reply", Format.TEXT, ref="x" * 100, ok=True)
    for _ in range(1000):
        reader.connection.say(reply)
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)
    assert reader.connection.reason is Reason.SLOW


async def test_a_reply_outlives_the_buffer(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await routed(hub, "a")
    reader.connection.say(system_frames("reply", Format.TEXT, ref=1, ok=True))
    await routed(hub, "a", data=BIG)
    reader.open.set()
    await reader.until_numbers(1, 2)
    assert [message["ref"] for message in reader.messages if message["type"] == "livepush.reply"] == [1]


@pytest.mark.parametrize("held", [False, True], ids=["idle", "blocked"])
async def test_a_reply_larger_than_the_buffer_is_sent_if_it_is_alone(make_hub, held):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    if held:
        reader.open.clear()
        await routed(hub, "a")
    answer = "x" * (2 * hub.options.buffer_bytes)
    reader.connection.say(system_frames("reply", Format.TEXT, ref=1, ok=True, data=answer))
    await routed(hub, "a")
    reader.open.set()
    await reader.until_numbers(*range(1, 2 + held))
    assert [message["data"] for message in reader.messages if message["type"] == "livepush.reply"] == [answer]


async def test_one_write_is_bounded_however_much_comes_at_once(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    sizes = []
    plain = reader.connection._write

    async def write(frames):
        sizes.append(sum(map(len, frames)))
        await plain(frames)

    reader.connection._write = write
    await routed(hub, "a", count=100, data=json.dumps("x" * 1000))
    await reader.until_numbers(*range(1, 101))
    assert max(sizes) <= OPTIONS["buffer_bytes"] + 1200


async def test_a_drain_does_not_wait_for_a_client_that_does_not_read(make_hub, monkeypatch):
    monkeypatch.setattr(connection, "FAREWELL", 0.05)
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    await routed(hub, "a")
    hub.drain()
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)


async def test_who_comes_in_while_the_hub_says_goodbye_is_sent_away_too(make_hub):
    hub = await make_hub(silent)
    hub.drain()
    reader = Reader(hub, ["a"])
    await asyncio.wait_for(reader.closed.wait(), PATIENCE)
    assert reader.messages[-1]["type"] == "livepush.bye"


async def test_groups_that_are_added_from_a_position_bring_what_followed_it_and_the_others_nothing_twice(make_hub):
    hub = await make_hub(silent)
    for group in ("a", "b", "a", "b", "c"):
        await routed(hub, group)
    reader = Reader(hub, ["a"], Position(hub.position.epoch, 0))
    await reader.until_numbers(1, 3)
    since = Position(hub.position.epoch, 2)
    assert hub.subscribe(reader.connection, ["b", "c"], since) == since
    await routed(hub, "a", "b")
    await reader.until_numbers(1, 3, 4, 5, 6)
    assert reader.messages[-1]["groups"] == ["a", "b"]
    assert hub.subscribe(reader.connection, ["b"]) == hub.position
    await routed(hub, "b")
    await reader.until_numbers(1, 3, 4, 5, 6, 7)


async def test_a_group_that_is_asked_for_again_brings_what_followed_the_position_again(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a", "b"])
    for group in ("a", "b", "a", "b"):
        await routed(hub, group)
    await reader.until_numbers(1, 2, 3, 4)
    since = Position(hub.position.epoch, 1)
    assert hub.subscribe(reader.connection, ["b"], since) == since
    await routed(hub, "a")
    await reader.until_numbers(1, 2, 3, 4, 2, 4, 5)


async def test_groups_that_are_added_from_a_position_while_a_slow_client_is_written_to(make_hub):
    hub = await make_hub(silent)
    reader = Reader(hub, ["a"])
    reader.open.clear()
    for group in ("a", "b", "a", "b"):
        await routed(hub, group)
    hub.subscribe(reader.connection, ["b"], Position(hub.position.epoch, 1))
    await routed(hub, "b")
    reader.open.set()
    await reader.until(lambda: len(reader.numbers) == 5)
    assert sorted(reader.numbers) == [1, 2, 3, 4, 5]
