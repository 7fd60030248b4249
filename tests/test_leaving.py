"""Clients that leave while livepush works for them: nothing waits in a queue for them, and no message is lost."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from contextlib import contextmanager, suppress
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.db import connections

import livepush
from livepush import process
from livepush.access import rules
from livepush.consumers import incoming as incoming_module
from livepush.consumers.incoming import Incoming
from livepush.wire import WireError
from tests.asgi import application
from tests.patience import PATIENCE, eventually

pytestmark = pytest.mark.django_db(transaction=True)
HEADERS = [(b"host", b"testserver"), (b"origin", b"http://testserver")]


@pytest.fixture
async def one_thread(settings, monkeypatch):
    """Let the process use one thread for rules, and rules be registered for the test alone."""
    settings.LIVEPUSH = {"DATABASE_THREADS": 1}
    monkeypatch.setattr(rules, "rules", list(rules.rules))
    await process.stop()
    yield
    await process.stop()
    await sync_to_async(connections.close_all)()


@contextmanager
def slow_rule():
    """Register a rule that holds the thread until its event is set; yield the event and the names that it was asked."""
    asked, go_on = [], threading.Event()

    @livepush.can_read("slow:<int:n>")
    def slow(user, n):
        asked.append(n)
        return go_on.wait(PATIENCE)

    try:
        yield asked, go_on
    finally:
        go_on.set()


def client(kind, number, since=""):
    query = f"group=slow:{number}&wait=30&since={since}".encode()
    scope = {
        "type": "http",
        "method": "GET",
        "http_version": "1.1",
        "path": f"/livepush/{kind}/",
        "query_string": query,
        "headers": HEADERS,
        "server": ("127.0.0.1", 1),
        "client": ("127.0.0.1", number + 2),
    }
    if kind == "ws":
        scope |= {"type": "websocket", "subprotocols": []}
        del scope["method"]
    return ApplicationCommunicator(application, scope)


async def begin(kind, number, **options):
    found = client(kind, number, **options)
    await found.send_input({"type": "websocket.connect"} if kind == "ws" else {"type": "http.request"})
    if kind == "ws":
        assert (await found.receive_output(PATIENCE))["type"] == "websocket.accept"
    return found


async def leave(found, kind):
    await found.send_input({"type": "websocket.disconnect" if kind == "ws" else "http.disconnect"})


@pytest.mark.parametrize("kind", ["sse", "ws", "poll"])
async def test_handshakes_of_clients_that_have_left_wait_for_no_thread(kind, one_thread):
    with slow_rule() as (asked, go_on):
        first = await begin(kind, 0)
        await eventually(lambda: asked)
        others = [await begin(kind, number) for number in range(1, 20)]
        for each in others:
            await leave(each, kind)
        for each in others:
            await each.wait(PATIENCE)
        last = await begin(kind, 20)
        go_on.set()
        assert (await last.receive_output(PATIENCE))["type"] in ("http.response.start", "websocket.send")
        assert asked == [0, 20]
        for each in (first, last):
            await leave(each, kind)
            await each.wait(PATIENCE)


async def test_a_subscription_of_a_client_that_has_left_waits_for_no_thread(one_thread):
    @livepush.can_read("open")
    def open(user):
        return True

    with slow_rule() as (asked, go_on):
        found = client("ws", 1)
        found.scope["query_string"] = b"group=open"
        await found.send_input({"type": "websocket.connect"})
        for _ in range(2):
            await found.receive_output(PATIENCE)  # accept, and hello
        first = await begin("sse", 0)
        await eventually(lambda: asked)
        await found.send_input({"type": "websocket.receive", "text": '{"command":"subscribe","groups":["slow:1"]}'})
        await leave(found, "ws")
        await found.wait(PATIENCE)
        go_on.set()
        await first.receive_output(PATIENCE)
        assert asked == [0]
        await leave(first, "sse")
        await first.wait(PATIENCE)


async def test_what_a_client_says_before_it_is_let_in_is_answered(one_thread):
    with slow_rule() as (asked, go_on):
        found = await begin("ws", 1)
        for ref in (1, 2):
            await found.send_input({"type": "websocket.receive", "text": f'{{"command":"ping","ref":{ref}}}'})
        await eventually(lambda: asked)
        go_on.set()
        texts = [(await found.receive_output(PATIENCE))["text"] for _ in range(3)]
        assert [text.partition(",")[0] for text in texts] == [
            '{"type":"livepush.hello"', '{"type":"livepush.reply"', '{"type":"livepush.reply"',
        ]  # fmt: skip
        assert ['"ref":1' in texts[1], '"ref":2' in texts[2]] == [True, True]
        await leave(found, "ws")
        await found.wait(PATIENCE)


async def test_a_client_that_speaks_and_leaves_is_missed_and_what_it_said_is_kept():
    messages = asyncio.Queue()
    said = [{"type": "websocket.receive", "text": text} for text in ("a", "b")]
    for each in (*said, {"type": "websocket.disconnect"}):
        messages.put_nowait(each)
    with Incoming(messages.get) as incoming:
        assert await incoming.unless_gone(asyncio.Event().wait()) is None
        assert [await incoming() for _ in range(3)] == [*said, {"type": "websocket.disconnect"}]


async def test_a_client_that_says_much_while_it_is_watched_waits_with_the_server():
    messages, done = asyncio.Queue(), asyncio.Event()
    said = [{"type": "websocket.receive", "text": f"{place}" + "x" * 10_000} for place in range(9)]
    for each in said:
        messages.put_nowait(each)
    with Incoming(messages.get) as incoming:
        task = asyncio.create_task(incoming.unless_gone(done.wait()))
        await eventually(lambda: messages.qsize() < 7)
        assert messages.qsize() >= 6
        done.set()
        assert await task
        assert [await incoming() for _ in said] == said


async def test_a_message_that_comes_as_the_watch_begins_is_read_once(monkeypatch):
    messages, said = asyncio.Queue(), [{"type": "websocket.receive", "text": text} for text in "abc"]
    monkeypatch.setattr(incoming_module, "UNWATCHED", 0.0)
    for each in said[:2]:
        messages.put_nowait(each)
    with Incoming(messages.get) as incoming:
        await incoming.unless_gone(eventually(lambda: len(incoming._held) == 2))
        assert await incoming() == said[0]
        reading = incoming._next

        async def work():
            messages.put_nowait(said[2])  # its reading ends, and is looked at, in the iteration of the timer
            while not reading.done():
                await asyncio.sleep(0)
            incoming._watch()
            await asyncio.sleep(0)

        await incoming.unless_gone(work())
        messages.put_nowait({"type": "websocket.disconnect"})
        assert [await incoming() for _ in range(3)] == [*said[1:], {"type": "websocket.disconnect"}]


async def test_nothing_is_begun_for_a_client_that_has_left(monkeypatch):
    messages, begun = asyncio.Queue(), []
    monkeypatch.setattr(incoming_module, "UNWATCHED", 0.0)

    async def work():
        begun.append(1)

    with Incoming(messages.get) as incoming:
        messages.put_nowait({"type": "http.disconnect"})
        assert await incoming.unless_gone(asyncio.Event().wait()) is None
        assert await incoming.unless_gone(work()) is None
    assert (begun, asyncio.current_task().cancelling()) == ([], 0)


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_a_server_that_cancels_the_work_of_a_client_that_leaves_is_heeded(leaves_first, monkeypatch):
    messages, ending, go_on = asyncio.Queue(), asyncio.Event(), asyncio.Event()
    monkeypatch.setattr(incoming_module, "UNWATCHED", 0.0)

    async def work():
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await go_on.wait()

    with Incoming(messages.get) as incoming:
        task = asyncio.create_task(incoming.unless_gone(work()))
        await eventually(lambda: incoming._next is not None)
        leave = partial(messages.put_nowait, {"type": "http.disconnect"})
        (leave if leaves_first else task.cancel)()
        await asyncio.wait_for(ending.wait(), PATIENCE)
        (task.cancel if leaves_first else leave)()
        await eventually(lambda: incoming._next.done())
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)


async def test_work_for_a_client_ends_with_its_caller_and_raises_what_it_raises():
    async def receive():
        await asyncio.Event().wait()

    async def fail():
        raise ZeroDivisionError

    cancelled = asyncio.Event()

    async def hang():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with Incoming(receive) as incoming:
        with pytest.raises(ZeroDivisionError):
            await incoming.unless_gone(fail())
        task = asyncio.create_task(incoming.unless_gone(hang()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert cancelled.is_set()


async def refuse():
    raise WireError("forbidden", "No.", 403)


@pytest.mark.parametrize("work", [lambda: asyncio.sleep(0), refuse])
async def test_what_watched_a_request_is_freed_without_the_garbage_collector(work):
    messages = asyncio.Queue()
    gc.collect()
    gc.disable()
    try:
        with suppress(WireError), Incoming(messages.get) as incoming:
            await incoming.unless_gone(work())
        freed = weakref.ref(incoming)
        del incoming
        for _ in range(3):
            await asyncio.sleep(0)  # the task that waited for a message ends
        assert freed() is None
    finally:
        gc.enable()
