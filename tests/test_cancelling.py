"""Tasks end though the clients they wait for lose a cancellation, and go on though others' code raises one."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
from asgiref.sync import sync_to_async
from django.test import RequestFactory

import livepush
from livepush.access import authenticating, handshakes, rules
from livepush.bridges.holding import until_one_ends
from livepush.bridges.relays.looping import Loop
from livepush.bridges.relays.mapping import Message, Unmappable, events_of
from livepush.cancelling import contained, end, within
from livepush.inbox import filing
from livepush.inbox.models import Notification
from livepush.publish import senders
from livepush.roster import rules as presence
from livepush.signals import notified
from livepush.tenants import Tenants, of_request
from livepush.wire import WireError
from tests.conftest import Thread
from tests.patience import PATIENCE


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


# Somebody else's code, which raises CancelledError of a task that it awaits


def cancelled(*args, **kwargs):
    raise asyncio.CancelledError


async def acancelled(*args, **kwargs):
    somebodys = asyncio.get_running_loop().create_future()
    somebodys.cancel()
    await somebodys


either = pytest.mark.parametrize("code", [cancelled, acancelled])


async def test_what_somebodys_code_raises_is_told_from_this_tasks_end():
    async def work(wait):
        with contained():
            await wait()

    with pytest.raises(RuntimeError, match="CancelledError"):
        await work(acancelled)
    (task,) = await begun(work(asyncio.Event().wait))
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    with pytest.raises(RuntimeError, match="CancelledError"):
        await within(PATIENCE, acancelled())
    with pytest.raises(TimeoutError):
        await within(0.01, asyncio.Event().wait())


async def test_a_thread_in_which_somebodys_code_raises_stop_iteration_is_not_awaited_for_ever():
    def work():
        with contained():
            next(iter([]))

    with pytest.raises(RuntimeError, match="StopIteration"):
        await asyncio.wait_for(sync_to_async(work)(), PATIENCE)


def yes(user):
    return True


@either
async def test_a_rule_denies_and_others_are_asked(monkeypatch, caplog, code):
    monkeypatch.setattr(rules, "rules", [])
    for group, function in {"bad": code, "good": yes}.items():
        livepush.can_read(group)(function)
    answers, questions = rules.ask_sync(None, ["bad", "good"], None)
    answers = await rules.ask_async(questions, answers, PATIENCE)
    assert (list(answers.granted), answers.failed) == (["good"], set())
    assert "The rule for 'bad' raised, so it denies." in caplog.text


@either
def test_a_presence_rule_hides_its_member_alone(monkeypatch, caplog, code):
    monkeypatch.setattr(presence, "registry", [])
    livepush.presence("bad")(code)
    livepush.presence("good")(lambda user: {"name": "Ann"})
    questions = [presence.Question(group, None, None, None) for group in ("bad", "good")]
    assert Thread(presence.ask, questions).join() == [None, '{"name":"Ann"}']
    assert "The presence rule for 'bad' raised, so its member is invisible." in caplog.text


@either
def test_an_authenticator_raises_an_error(code):
    each = authenticating.Authenticator("code", code, code is acancelled)
    with pytest.raises(RuntimeError, match="CancelledError"):
        each.ask(RequestFactory().get("/"))


@either
def test_a_handshakes_check_refuses(settings, caplog, code):
    settings.LIVEPUSH = {"HANDSHAKE": [code]}
    with pytest.raises(WireError, match="does not let this client in"):
        handshakes.check_sync(RequestFactory().get("/"))
    assert "cancelled raised, so it refuses." in caplog.text


class Site(Tenants):
    of_request = cancelled


def test_a_tenant_that_is_not_found_out_refuses(settings, caplog):
    settings.LIVEPUSH = {"TENANT": "tests.test_cancelling.Site"}
    with pytest.raises(WireError, match="no site"):
        of_request(RequestFactory().get("/"))
    assert "could not be found out" in caplog.text


def test_a_relays_function_makes_a_dead_letter():
    with pytest.raises(Unmappable, match="CancelledError"):
        events_of(Message("1", None, "orders"), SimpleNamespace(map=cancelled))


async def test_a_relay_whose_client_raises_it_goes_on(caplog):
    class Relay(Loop):
        tried = 0

        async def _run_once(self) -> None:
            self.tried += 1
            if self.tried == 2:
                self.stop()
            await self._unless_stopped(acancelled())

    relay = Relay("orders")
    await asyncio.wait_for(relay.run(), PATIENCE)
    assert relay.tried == 2
    assert "The relay 'orders' failed 1 times and goes on." in caplog.text


def test_public_user_raises_an_error(monkeypatch):
    monkeypatch.setattr(senders, "_load", lambda path: cancelled)
    with pytest.raises(RuntimeError, match="CancelledError"):
        senders.stamp(SimpleNamespace(is_authenticated=True))


def test_a_receiver_keeps_no_other_notification_from_being_told(caplog):
    notified.connect(cancelled)
    try:
        filing._tell(Notification(group="user:1", position=7), "default")
    finally:
        notified.disconnect(cancelled)
    assert "No receiver was told of the notification at 7." in caplog.text
