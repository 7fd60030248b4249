"""Checks the Channels layer: sends messages through it and receives them, one by one and in a burst."""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from livepush import hints
from livepush.cancelling import end
from livepush.conf import get_settings
from livepush.doctor.check import Check, describe_error
from livepush.doctor.notify import check_notify
from livepush.doctor.problems import Problem
from livepush.doctor.units import milliseconds

ROUND_TRIPS = 20
"""The number of round trips that the median is taken from."""
BURST = 500
"""How many messages a burst has."""
LATE = 0.25
"""A longer round trip through the layer (seconds) is a warning: without a layer, events are as fast."""
QUIET = 1.0
"""A burst is over when no message has come for this long (seconds)."""


def check_layer(check: Check, limit: float) -> None:
    """Check that messages through the layer, or NOTIFY in its place, come back, one by one and in a burst."""
    hint, layer = hints.chosen(), hints.configured()
    if hint is hints.Hint.NOTIFY:
        check_notify(check, limit)
        return
    if hint is hints.Hint.NONE or layer is None:
        seconds = get_settings().TAIL_INTERVAL
        check.say(f"none that reaches other processes: their events arrive within {seconds:g} s", layer=None)
        return
    check.late = Problem.LAYER_SILENT
    name = type(layer).__name__
    check.say(name, layer=name)
    try:
        asyncio.run(_send_and_hear(check, layer, limit))
    except TimeoutError:
        check.find(check.late or Problem.LAYER_SILENT, _within(check, limit))
    except Exception as error:
        check.find(Problem.LAYER_SILENT, describe_error(error))
    check.late = None


def _within(check: Check, limit: float) -> str:
    if check.late is Problem.LAYER_SILENT:
        return f"nothing came within {limit:g} s"
    return f"messages came back, but a burst of {BURST} took longer than {limit:g} s"


async def _send_and_hear(check: Check, layer: Any, limit: float) -> None:
    async with asyncio.timeout(limit):
        trip = await _layer_round_trip(check, layer, limit / 4)
        check.say(f"round trip {milliseconds(trip)}", round_trip_ms=round(trip * 1000, 3))
        if trip > LATE:
            check.find(Problem.LAYER_LATE, f"a round trip of {milliseconds(trip)}")
            return  # a burst would tell no more
        came, took = await _burst(layer)
    check.say(f"of a burst of {BURST} {came} came back in {milliseconds(took)}", burst=BURST, burst_came=came)
    if came < BURST:
        check.find(Problem.LAYER_DROPS, f"{BURST - came} of {BURST} messages were lost")


async def _layer_round_trip(check: Check, layer: Any, span: float) -> float:
    """Return the median of the round trips that fit into a span (seconds), at least one, each to two channels.

    From the first on, the layer is known to answer.
    """
    group, channels = await _join(layer)
    times: list[float] = []
    async with _listening(layer, channels) as heard:
        while not times or (len(times) < ROUND_TRIPS and sum(times) < span):
            start = time.perf_counter()
            await layer.group_send(group, {"type": "livepush.doctor"})
            for _ in channels:
                await heard.get()
            times.append(time.perf_counter() - start)
            check.late = Problem.LAYER_LATE
    return statistics.median(times)


async def _burst(layer: Any) -> tuple[int, float]:
    """Send a burst; return how many messages reached every channel, and within how many seconds.

    Nobody listens while the messages are sent, as if the receiving process were busy.
    """
    group, channels = await _join(layer)
    start = last = time.perf_counter()
    for number in range(BURST):
        await layer.group_send(group, {"type": "livepush.doctor", "number": number, "text": "x" * 200})
    heard = dict.fromkeys(channels, 0)
    async with _listening(layer, channels) as queue:
        with suppress(TimeoutError):
            while min(heard.values()) < BURST:
                async with asyncio.timeout(QUIET):
                    heard[await queue.get()] += 1
                last = time.perf_counter()
    return min(heard.values()), last - start


async def _join(layer: Any) -> tuple[str, list[str]]:
    """Return a group of this run's own and two channels in it."""
    group = f"livepush.doctor.{secrets.token_hex(8)}"
    channels = [await layer.new_channel() for _ in range(2)]
    for channel in channels:
        await layer.group_add(group, channel)
    return group, channels


@asynccontextmanager
async def _listening(layer: Any, channels: Sequence[str]) -> AsyncIterator[asyncio.Queue[str]]:
    """Listen to channels; the queue gets a channel's name for each of its messages.

    Each channel has one task, and no timeout around its receive: a timeout would end the channel's membership.
    """
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def listen(channel: str) -> None:
        while True:
            await layer.receive(channel)
            heard.put_nowait(channel)

    tasks = [asyncio.create_task(listen(channel)) for channel in channels]
    try:
        yield heard
    finally:
        for task in tasks:
            await end(task)
