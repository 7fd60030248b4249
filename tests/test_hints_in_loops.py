"""A loop whose hub listens announces what is small itself, in the order of all that its process announces."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import pytest
from channels.layers import get_channel_layer

from livepush.hints import announce, flush, layer, outbox, sender
from tests.patience import eventually
from tests.servers import faults
from tests.test_hints import BACKENDS, Hub, another_process, configured, durable, ephemeral, frozen

COUNT = 60
"""How many are announced, with a third as many between them: the core layer keeps 100 for a slow reader."""


@pytest.fixture(scope="module")
def redis():
    with faults.redis() as found:
        yield found


@pytest.fixture(params=BACKENDS)
async def kind(request, redis):
    async with configured(request.param, redis.url):
        yield request.param


@pytest.fixture
async def listening(kind):
    async with Hub().listening() as hub:
        await asyncio.to_thread(flush, 10)
        yield hub


@pytest.fixture
def threads(kind, monkeypatch):
    """Return a list that fills with the threads in which batches are sent."""
    found = []
    real = sender.signing.sign
    monkeypatch.setattr(
        sender, "signing", SimpleNamespace(groups=sender.signing.groups, sign=lambda batch: note() or real(batch))
    )

    def note():
        found.append(threading.current_thread().name)

    return found


async def test_a_loop_whose_hub_listens_sends_by_itself(listening, threads):
    async with another_process() as messages:
        threads.clear()
        await asyncio.to_thread(flush, 10)
        announce(ephemeral('"here"'))
        await eventually(lambda: messages)
        assert messages == [['"here"']]
        assert threads == [threading.current_thread().name]


async def test_a_loop_without_a_hub_and_a_thread_leave_it_to_the_sending_thread(kind, threads):
    async with another_process() as messages:
        threads.clear()
        announce(ephemeral('"here"'))
        await asyncio.to_thread(announce, ephemeral('"there"'))
        await eventually(lambda: sum(map(len, messages)) == 2)
        assert set(threads) == {"livepush-layer"}


async def test_all_goes_out_in_the_order_in_which_it_was_announced(listening, threads):
    async with another_process() as messages:
        for number in range(COUNT):
            announce(ephemeral(f'"{number}"'))
            if number % 3 == 0:
                await asyncio.to_thread(announce, durable(number + 1))
            if number % 7 == 0:
                await asyncio.to_thread(flush, 10)
        expected = []
        for number in range(COUNT):
            expected += [f'"{number}"', number + 1] if number % 3 == 0 else [f'"{number}"']
        await eventually(lambda: sum(map(len, messages)) >= len(expected))
        assert [each for message in messages for each in message] == expected
        assert len(set(threads)) == 2


async def test_what_is_large_is_left_to_the_thread(listening, threads):
    async with another_process() as messages:
        threads.clear()
        announce(durable(1, size=sender.SMALL_BYTES))
        await eventually(lambda: messages)
        assert threads == ["livepush-layer"]


async def test_what_a_connection_refuses_goes_out_through_the_thread(listening, threads):
    async with another_process() as messages:
        await asyncio.to_thread(flush, 10)
        found = sender._layers[asyncio.get_running_loop()]

        async def refuse(group, message):
            raise ConnectionError("cut")

        found.group_send = refuse
        threads.clear()
        announce(ephemeral('"1"'))
        announce(ephemeral('"2"'))
        await eventually(lambda: sum(map(len, messages)) == 2)
        assert messages in ([['"1"'], ['"2"']], [['"1"', '"2"']])
        assert threads[-1] == "livepush-layer"


async def test_what_may_have_gone_out_is_not_sent_again(listening, redis, monkeypatch):
    monkeypatch.setattr(layer, "CALL_TIMEOUT", 0.3)
    async with another_process() as messages:
        await asyncio.to_thread(flush, 10)
        with frozen(redis):
            announce(ephemeral('"once"'))
            assert await asyncio.to_thread(flush, 10)
        while ['"end"'] not in messages:
            announce(ephemeral('"end"'))
            await asyncio.sleep(0.05)
        assert messages.count(['"once"']) <= 1


async def test_a_loop_that_went_with_what_it_had_to_send_holds_up_no_other(kind, monkeypatch):
    monkeypatch.setattr(outbox, "LENT", 0.2)
    async with another_process() as messages:
        await asyncio.to_thread(flush, 10)
        assert sender._current.lend(ephemeral('"gone"'), 1000) is not None
        announce(durable(1))
        await asyncio.sleep(0.3)
        announce(durable(2))
        await eventually(lambda: sum(map(len, messages)) == 2)
        assert messages == [[1, 2]]
        assert await asyncio.to_thread(flush, 10)


async def test_a_loop_is_forgotten_with_its_hub(kind):
    async with Hub().listening():
        assert asyncio.get_running_loop() in sender._layers
    assert sender._layers == {}
    assert get_channel_layer() is not None
