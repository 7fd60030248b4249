"""Hints: what is sent, what is dropped, and how a hub keeps hearing, on real Valkeys."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from django.test import override_settings
from redis.exceptions import NoPermissionError

from livepush import green, notes
from livepush.cancelling import end
from livepush.hints import announce, flush, layer, listener, outbox, sender, signing
from livepush.hints.listener import listen
from livepush.wire import Announcement, Batch, Event, parse_announcement, seal
from tests.docs_blocks import ROOT
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import faults

BACKENDS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
}


NOW = "2026-01-31T12:00:00.000000Z"


def durable(*numbers, size=1):
    return Batch("e", tuple(Event(number, ("a",), "t", "1" * size, NOW) for number in numbers))


def ephemeral(data):
    return Batch("", (Event(None, ("a",), "t", data, NOW),))


@pytest.fixture(scope="module")
def redis():
    with faults.redis() as found:
        yield found


@pytest.fixture(scope="module")
def another_redis():
    with faults.redis() as found:
        yield found


@contextlib.asynccontextmanager
async def configured(kind, *hosts):
    """Use a layer; close its connections afterwards."""
    layers = {"default": {"BACKEND": BACKENDS[kind], "CONFIG": {"hosts": list(hosts)}}}
    with override_settings(CHANNEL_LAYERS=layers):
        try:
            yield
        finally:
            flush(10)
            if sender._current is not None:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(close(), sender._current.loop))
            await close()


async def close():
    """Close the connections of this event loop."""
    loops = layer.configured()._layers
    loop = asyncio.get_running_loop()
    if loop in loops:
        await loops[loop].flush()


@pytest.fixture(params=BACKENDS)
async def kind(request, redis):
    """Each of the Redis layers in turn, configured."""
    async with configured(request.param, redis.url):
        yield request.param


@contextlib.asynccontextmanager
async def another_process():
    """Yield the messages with events that another process gets."""
    messages = []
    ear = channel_layers.make_backend("default")
    channel = await ear.new_channel("other")
    await ear.group_add(signing.groups()[0], channel)

    async def hear():
        while True:
            message = await ear.receive(channel)
            batch = parse_announcement(message["body"]).batch
            if batch is not None:
                messages.append([event.number or event.data for event in batch.events])

    task = asyncio.create_task(hear())
    try:
        announce(ephemeral('"ready"'))
        await eventually(lambda: messages)
        messages.clear()
        yield messages
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await layer.closer(ear)()


class Hub:
    """What listens: it notes what comes, and what it is told about the layer."""

    def __init__(self):
        self.numbers = []
        self.works = []

    def receive(self, batch):
        self.numbers += [event.number for event in batch.events]

    @contextlib.asynccontextmanager
    async def listening(self):
        task = asyncio.create_task(listen(self.receive, self.works.append))
        try:
            await eventually(lambda: self.works)
            assert self.works == [True]
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def hears(self, number):
        """Wait until it hears an event that another process announces again and again."""
        while number not in self.numbers:
            await announce_elsewhere(durable(number))
            await asyncio.sleep(0.05)


serials = itertools.count(1)


def of_another_process(batch):
    """Return a batch as a message that another process signed."""
    return seal(Announcement("0123456789abcdef", next(serials), time.time(), batch), signing._keys()[0])


async def announce_elsewhere(batch):
    with contextlib.suppress(Exception):  # the first after an outage
        await say(of_another_process(batch))


async def say(message):
    await get_channel_layer().group_send(signing.groups()[0], message)


@contextlib.contextmanager
def frozen(redis):
    redis.freeze()
    try:
        yield
    finally:
        redis.thaw()


# Sending


async def test_another_process_hears_what_is_announced(kind):
    async with another_process() as messages:
        announce(durable(1, 2))
        announce(ephemeral('"x"'))
        await eventually(lambda: len(messages) >= 2)
        assert messages == [[1, 2], ['"x"']]


async def test_what_waited_too_long_is_dropped(kind, redis, monkeypatch):
    monkeypatch.setattr(outbox, "FRESH", 0.2)
    async with another_process() as messages:
        with frozen(redis):
            announce(durable(1))
            await eventually(lambda: not sender._current.waiting)  # it is on its way
            announce(durable(2))
            announce(ephemeral('"stale"'))
            await asyncio.sleep(0.3)
        await asyncio.to_thread(flush, 10)
        announce(durable(3))
        await eventually(lambda: [3] in messages)
        assert messages == [[1], [3]]


async def test_what_waits_goes_out_together_where_it_continues(kind, redis):
    async with another_process() as messages:
        with frozen(redis):
            announce(durable(1))
            await eventually(lambda: not sender._current.waiting)
            for batch in (durable(2, 3), durable(4), durable(6), ephemeral('"x"'), ephemeral('"y"'), durable(7)):
                announce(batch)
        await eventually(lambda: [7] in messages)
        assert messages == [[1], [2, 3, 4], [6], ['"x"', '"y"'], [7]]


async def test_what_waits_is_bounded_in_bytes(kind, redis, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_WAITING_BYTES", 100_000)
    async with another_process() as messages:
        with frozen(redis):
            announce(durable(1))
            await eventually(lambda: not sender._current.waiting)
            for number in range(2, 50):
                announce(durable(number, size=10_000))
            kept = [each.batch.events[0].number for each in sender._current.waiting]
            assert kept == list(range(50 - len(kept), 50))
            assert len(kept) == 9
            assert sender._current.size == sum(each.size for each in sender._current.waiting) <= 100_000
            announce(durable(50, size=100_001))
            assert not sender._current.waiting
            assert sender._current.size == 0
        announce(durable(51))
        await eventually(lambda: [51] in messages)
        assert messages == [[1], [51]]


@pytest.mark.parametrize("kind", BACKENDS)
async def test_a_send_that_timed_out_spoils_no_later_one(kind, redis, another_redis, monkeypatch):
    """On two shards, either of which stops for a while."""
    monkeypatch.setattr(layer, "CALL_TIMEOUT", 0.3)
    async with configured(kind, redis.url, another_redis.url), another_process() as messages:
        for number, shard in enumerate((redis, another_redis, redis, another_redis), 1):
            with frozen(shard):
                announce(durable(number * 10))
                await asyncio.to_thread(flush, 10)
            for attempt in range(1, 100):
                announce(durable(number * 100 + attempt))
                await asyncio.sleep(0.05)
                if any(event // 100 == number for message in messages for event in message):
                    break
            assert attempt < 99


async def test_announcing_costs_nothing_while_redis_is_frozen(kind, redis):
    async with another_process():
        with frozen(redis):
            times = []
            for number in range(1000):
                began = time.perf_counter()
                announce(durable(number))
                times.append(time.perf_counter() - began)
            assert flush(0.01) is False
    assert max(times) < layer.CALL_TIMEOUT / 2


# Hearing


@pytest.mark.parametrize("kind", BACKENDS)
async def test_a_hub_hears_other_processes_and_not_its_own(kind, redis):
    async with configured(kind, redis.url), Hub().listening() as hub:
        announce(durable(1))
        await announce_elsewhere(durable(2))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [2]


# What is not to be believed

FORGED = {"type": "livepush.batch", "origin": "x", "epoch": "e", "events": [[1, ["a"], "t", "1", NOW]]}


async def test_messages_that_nobody_of_the_site_signed_are_ignored_and_logged_once_in_a_while(kind, caplog):
    signed = of_another_process(durable(2))
    async with Hub().listening() as hub:
        for message in (
            {**signed, "body": signed["body"].replace("2", "3")},
            {"type": "livepush.hint"},
            *[FORGED] * 50,
        ):
            await say(message)
        await announce_elsewhere(durable(4))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [4]
        assert hub.works == [True]
    (record,) = [each for each in caplog.records if "ignored" in each.message]
    assert record.message == (
        "livepush ignored 1 messages in the channel layer. Of the last one: its signature is not made with SECRET_KEY "
        "or one of SECRET_KEY_FALLBACKS."
    )


async def test_what_is_repeated_is_taken_once(kind):
    async with Hub().listening() as hub:
        first, second, third = (of_another_process(ephemeral(data)) for data in ('"1"', '"2"', '"3"'))
        for message in (second, first, second, first, third, first):  # a layer may bring them out of order
            await say(message)
        await announce_elsewhere(durable(4))
        await eventually(lambda: 4 in hub.numbers)
        assert hub.numbers == [None, None, None, 4]


async def test_what_was_announced_before_a_hub_began_to_listen_can_not_be_repeated_to_it(kind):
    old = of_another_process(ephemeral('"old"'))
    async with Hub().listening() as hub:
        await say(old)
        await announce_elsewhere(durable(2))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [2]


def test_others_are_heard_after_the_clock_was_set_back(monkeypatch):
    clock = SimpleNamespace(now=1_000_000.0, passed=50.0)
    monkeypatch.setattr(signing, "time", SimpleNamespace(time=lambda: clock.now, monotonic=lambda: clock.passed))
    inspector = signing.Inspector()
    clock.passed += 10
    clock.now -= 3600
    found = [
        inspector.open(seal(Announcement("f" * 16, serial, clock.now - age, durable(serial)), signing._keys()[0]))
        for serial, age in [(1, 11), (2, 9)]
    ]
    assert [each and each.batch for each in found] == [None, durable(2)]  # the first was made before the hub began


@pytest.mark.parametrize("when", [-3600, 3600])
async def test_what_was_announced_at_another_time_is_ignored_and_the_log_says_why(kind, when, caplog):
    async with Hub().listening() as hub:
        made = Announcement("f" * 16, 1, time.time() + when, durable(1))
        await say(seal(made, signing._keys()[0]))
        await announce_elsewhere(durable(2))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [2]
    assert "by its host's clock, so two hosts' clocks differ, or somebody repeats it." in caplog.text


async def test_processes_with_a_new_secret_key_hear_those_that_have_the_old_one(kind, settings):
    async with Hub().listening() as old, Hub().listening() as both:
        await announce_elsewhere(durable(1))
        await eventually(lambda: old.numbers and both.numbers)
        group, message = signing.groups()[0], of_another_process(durable(2))
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "new"
    assert signing.groups()[1] == group
    assert signing.groups()[0] != group
    async with Hub().listening() as new:
        message = of_another_process(durable(3))
        await say(message)
        old_key = seal(Announcement("a" * 16, 1, time.time(), durable(4)), signing._keys()[1])
        await get_channel_layer().group_send(group, old_key)
        await eventually(lambda: {3, 4} <= set(new.numbers))


@pytest.mark.parametrize("kind", BACKENDS)
async def test_the_manuals_user_may_use_the_layer_and_no_more_of_redis(kind, redis, settings):
    page = (ROOT / "docs" / "deploying.md").read_text()
    rights = page.partition("`ACL SETUSER mysite on >PASSWORD ")[2].partition("`")[0].split()
    async with configured("core", redis.url):
        admin = layer.configured().connection(0)
        await admin.execute_command("ACL", "SETUSER", "mysite", "on", ">PASSWORD", *rights)
    async with configured(kind, redis.url.replace("//", "//mysite:PASSWORD@")), Hub().listening() as hub:
        await announce_elsewhere(durable(1))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [1]
        if kind == "core":
            with pytest.raises(NoPermissionError):
                await layer.configured().connection(0).get("django.cache:secret")
            with pytest.raises(NoPermissionError):
                await layer.configured().connection(0).flushall()


async def test_messages_may_be_encrypted_by_the_layer(redis, settings):
    config = {"hosts": [redis.url], "symmetric_encryption_keys": [settings.SECRET_KEY]}
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": BACKENDS["pubsub"], "CONFIG": config}}
    async with Hub().listening() as hub:
        await announce_elsewhere(durable(1))
        await eventually(lambda: hub.numbers)
        assert hub.numbers == [1]
    await close()


def test_what_a_hub_remembers_of_other_processes_is_bounded(monkeypatch):
    monkeypatch.setattr(signing, "MAX_ORIGINS", 10)
    inspector, key = signing.Inspector(), signing._keys()[0]
    for number in range(100):
        for serial in (1, 2**62, 5):
            message = seal(Announcement(f"{number:016x}", serial, time.time(), durable(1)), key)
            assert (inspector.open(message) is None) == (serial == 5)  # too old to be remembered
    assert len(inspector._seen) == 10
    assert all(seen < 1 << signing.REMEMBERED for _, seen in inspector._seen.values())


async def test_a_hub_whose_membership_was_forgotten_joins_again(redis, monkeypatch):
    monkeypatch.setattr(listener, "BEAT", 0.2)
    async with configured("core", redis.url), Hub().listening() as hub:
        await layer.configured().connection(0).flushall()
        await asyncio.wait_for(hub.hears(1), PATIENCE)
        assert False not in hub.works


async def test_a_hub_whose_connections_are_cut_hears_again_under_its_one_name(redis, monkeypatch):
    monkeypatch.setattr(listener, "BEAT", 0.2)
    async with configured("core", redis.url):
        connection = layer.configured().connection(0)
        await connection.flushall()  # a test whose layer was dead could not leave
        async with Hub().listening() as hub:
            for number in range(1, 4):
                await connection.client_kill_filter(_type="normal", skipme=True)
                await asyncio.wait_for(hub.hears(number), PATIENCE)
            assert await connection.zcard(f"asgi:group:{signing.groups()[0]}") == 1
        assert await connection.zcard(f"asgi:group:{signing.groups()[0]}") == 0


@pytest.mark.parametrize("kind", BACKENDS)
async def test_a_hub_whose_connections_went_dead_without_a_word_hears_again(kind, redis, monkeypatch):
    monkeypatch.setattr(listener, "BEAT", 0.2)
    monkeypatch.setattr(layer, "CALL_TIMEOUT", 0.5)
    with faults.line(redis.port) as line:
        async with configured(kind, f"redis://127.0.0.1:{line.port}"), Hub().listening() as hub:
            await asyncio.to_thread(line.abandon)
            await eventually(lambda: False in hub.works)
            await asyncio.wait_for(hub.hears(1), PATIENCE)
            assert hub.works[-1]


@pytest.mark.parametrize("kind", some(list(BACKENDS)), indirect=True)
async def test_a_hub_that_hears_nothing_of_itself_starts_anew_and_spares_the_project(kind, monkeypatch):
    """The project's own consumers are on the same layer, in the same event loop."""
    own = get_channel_layer()
    channel = await own.new_channel()
    await own.group_add("project", channel)
    async with Hub().listening() as hub:
        with monkeypatch.context() as patch:
            patch.setattr(listener, "MAX_UNHEARD", 0)
            patch.setattr(listener, "BEAT", 0.05)
            await eventually(lambda: hub.works.count(False) >= 2)
        await asyncio.wait_for(hub.hears(1), PATIENCE)
        await own.group_send("project", {"type": "still.there"})
        assert (await asyncio.wait_for(own.receive(channel), PATIENCE))["type"] == "still.there"
    await own.group_discard("project", channel)


async def test_an_idle_receive_that_times_out_is_no_failure(redis):
    async with (
        configured("core", {"address": redis.url, "socket_timeout": 0.2}),
        Hub().listening() as hub,
    ):
        await asyncio.sleep(1)
        await asyncio.wait_for(hub.hears(1), PATIENCE)
        assert hub.works == [True]


class CancelsItsOwn(InMemoryChannelLayer):
    """A layer that now and then awaits a task of its own that it has cancelled."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.calls = {"send": itertools.count(), "receive": itertools.count()}
        layers.append(self)

    async def may_cancel(self, name):
        if next(self.calls[name]) == 0:
            own = asyncio.ensure_future(asyncio.sleep(60))
            await asyncio.sleep(0)
            own.cancel()
            await own

    async def group_send(self, group, message):
        await self.may_cancel("send")
        sent.append(message)

    async def receive(self, channel):
        await self.may_cancel("receive")
        return await super().receive(channel)


layers, sent = [], []


@pytest.fixture
def cancelling(monkeypatch):
    """The site's layer cancels a task of its own at the first call."""
    sent.clear()
    layers.clear()
    monkeypatch.setattr(layer, "new_layer", CancelsItsOwn)
    found = CancelsItsOwn()
    monkeypatch.setattr(layer, "configured", lambda: found)
    monkeypatch.setattr(sender, "_current", None)


def test_what_a_layer_cancels_in_itself_ends_no_announcing(cancelling):
    for number in range(3):
        announce(durable(number))
        flush(PATIENCE)
    assert sent


async def test_what_a_layer_cancels_in_itself_ends_no_listening(cancelling, monkeypatch):
    monkeypatch.setattr(listener, "BEAT", 0.02)
    hub = Hub()
    task = asyncio.create_task(listen(hub.receive, hub.works.append))
    await eventually(lambda: len(layers) > 3 or task.done())  # each attempt has a new one, which does the same
    assert not task.done()
    assert set(hub.works) == {False}
    await end(task)


@pytest.mark.parametrize("kind", some(list(BACKENDS)), indirect=True)
async def test_a_hub_stops_at_whatever_moment_it_is_told_to(kind, monkeypatch):
    """Also in the middle of a call in which the layer's client loses the cancellation."""
    monkeypatch.setattr(listener, "BEAT", 0.02)
    monkeypatch.setattr(listener, "FIRST_PAUSE", 0.01)
    chance = random.Random(5)
    for _ in range(40):
        task = asyncio.create_task(listen(Hub().receive, lambda works: None))
        await asyncio.sleep(chance.uniform(0, 0.15))
        task.cancel()
        ended, _ = await asyncio.wait([task], timeout=PATIENCE)
        assert ended, [each.get_stack() for each in asyncio.all_tasks()]


async def test_a_hub_stops_although_redis_is_frozen(kind, redis, monkeypatch):
    monkeypatch.setattr(listener, "LEAVE_TIMEOUT", 0.1)
    monkeypatch.setattr(layer, "CALL_TIMEOUT", 60)
    monkeypatch.setattr(listener, "BEAT", 0.05)
    with contextlib.ExitStack() as stack:
        async with Hub().listening():
            stack.enter_context(frozen(redis))
            await asyncio.sleep(0.2)  # in a beat that is not answered
            began = time.monotonic()
        assert time.monotonic() - began < 30


async def test_without_a_redis_a_hub_tries_again_and_again(redis, monkeypatch):
    with faults.line(redis.port) as line:
        line.refuse()
        hub = Hub()
        async with configured("pubsub", f"redis://127.0.0.1:{line.port}"):
            task = asyncio.create_task(listen(hub.receive, hub.works.append))
            await eventually(lambda: len(hub.works) >= 3)
            assert not any(hub.works)
            line.accept()
            await asyncio.wait_for(hub.hears(1), PATIENCE)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}})
async def test_the_in_memory_layer_is_none():
    assert layer.configured() is None
    await listen(lambda batch: None, lambda works: None)


# A layer that livepush does not know


async def test_a_layer_that_can_not_be_closed_is_made_anew_after_a_failure_and_that_is_noted_once(monkeypatch, caplog):
    monkeypatch.setattr(notes, "_noted", set())
    monkeypatch.setattr(listener, "BEAT", 0.01)
    monkeypatch.setattr(listener, "FIRST_PAUSE", 0.01)
    caplog.set_level("INFO", "livepush")
    made = []

    class Mute:
        """Takes everything and never brings anything."""

        def __init__(self):
            made.append(self)

        async def new_channel(self, prefix):
            return prefix

        async def receive(self, channel):
            await asyncio.Event().wait()

        async def group_add(self, group, channel):
            pass

        async def group_send(self, group, message):
            pass

        async def flush(self):
            raise AssertionError("it would empty Redis")

    monkeypatch.setattr(layer, "configured", lambda: True)
    monkeypatch.setattr(layer, "new_layer", Mute)
    works = []
    task = asyncio.create_task(listen(lambda batch: None, works.append))
    await eventually(lambda: len(made) >= 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not any(works)
    noted = [record.message for record in caplog.records if "does not know how to close" in record.message]
    assert len(noted) == 1
    assert "Mute" in noted[0]


class Broken:
    """A layer that can't be built until it is repaired."""

    error: Exception | None = None
    built = 0

    def __init__(self):
        Broken.built += 1
        if Broken.error is not None:
            raise Broken.error


@pytest.mark.parametrize("error", [KeyError("PASSWORD"), RuntimeError("no"), ImportError("psycopg")])
def test_a_layer_that_can_not_be_built_is_logged_once_however_much_is_sent(error, caplog, monkeypatch):
    monkeypatch.setattr(Broken, "error", error)
    monkeypatch.setattr(Broken, "built", 0)
    with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_hints.Broken"}}):
        for number in range(5):
            announce(durable(number + 1))
        assert Broken.built == 1
        (record,) = caplog.records
        assert record.message.startswith("The channel layer 'default' can't be built (")
        assert type(error).__name__ in record.message
        assert record.exc_info
        monkeypatch.setattr(layer, "BUILD_AGAIN", 0)
        layer._unbuildable = None
        assert layer.configured() is None
        monkeypatch.setattr(Broken, "error", None)
        assert isinstance(layer.configured(), Broken)


def test_a_layer_that_can_not_be_built_is_tried_again_with_other_settings(monkeypatch, caplog):
    monkeypatch.setattr(Broken, "error", KeyError("PASSWORD"))
    for _ in range(2):
        with override_settings(CHANNEL_LAYERS={"default": {"BACKEND": "tests.test_hints.Broken"}}):
            assert layer.configured() is None
    assert len(caplog.records) == 2


@pytest.mark.parametrize(("module", "function"), [(each[0], each[1]) for each in green.PATCHES])
def test_the_layer_is_left_out_where_threads_are_greenlets(module, function, redis, monkeypatch, caplog):
    monkeypatch.setattr(notes, "_noted", set())
    monkeypatch.setattr(sender, "_current", None)
    monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{function: lambda name: True}))
    layers = {"default": {"BACKEND": BACKENDS["pubsub"], "CONFIG": {"hosts": [redis.url]}}}
    with override_settings(CHANNEL_LAYERS=layers):
        for number in range(3):
            announce(durable(number + 1))
    assert sender._current is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"Under {module.partition('.')[0]} livepush does not use the channel layer" in record.message


# A process that starts


@pytest.mark.long
@pytest.mark.parametrize(
    ("hint", "backend", "imported"),
    some(
        [
            ("auto", BACKENDS["pubsub"], True),
            ("channels", BACKENDS["core"], True),
            ("notify", BACKENDS["pubsub"], False),
            ("auto", "channels.layers.InMemoryChannelLayer", False),
            ("auto", "no.such.Layer", False),
            ("auto", None, False),
        ]
    ),
)
def test_a_process_imports_its_layer_before_it_sends(hint, backend, imported):
    layers = {"default": {"BACKEND": backend, "CONFIG": {"hosts": []}}} if backend else {}
    code = f"""
import sys, django
from django.conf import settings
settings.configure(
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "livepush"],
    SECRET_KEY="x", LIVEPUSH={{"HINT": {hint!r}}}, CHANNEL_LAYERS={layers!r},
)
django.setup()
print(any(name.startswith("channels_redis") for name in sys.modules))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (found.stdout.strip(), found.stderr) == (str(imported), "")
