"""Tasks end though the clients they wait for lose a cancellation."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from livepush.bridges.holding import until_one_ends
from livepush.bridges.relays.looping import Loop
from livepush.cancelling import end


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr("livepush.cancelling.AGAIN", 0.01)


async def try_for_ever() -> None:
    """Wait like a client that takes its first cancellation for a failure, and tries again."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()


async def fail() -> None:
    raise OSError("down")


async def begun(*works):
    tasks = [asyncio.create_task(work) for work in works]
    await asyncio.sleep(0)
    return tasks


async def test_a_lost_cancellation_is_repeated():
    (task,) = await begun(try_for_ever())
    await end(task)
    assert task.cancelled()


async def test_what_has_failed_or_never_began_needs_no_end(caplog):
    (task,) = await begun(fail())
    await end(task, None)
    assert isinstance(task.exception(), OSError)


async def test_the_first_of_some_works_ends_those_that_lose_a_cancellation():
    with pytest.raises(OSError, match="down"):
        await until_one_ends(try_for_ever(), fail())


async def test_a_relay_stops_though_its_brokers_client_loses_the_cancellation():
    class Relay(Loop):
        async def _run_once(self) -> None:
            asyncio.get_running_loop().call_soon(self.stop)
            assert await self._unless_stopped(try_for_ever()) is None

    await Relay("orders").run()
