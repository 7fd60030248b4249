"""Polling and long polling under ASGI; ``livepush.views`` serves plain polls under WSGI."""

from __future__ import annotations

import asyncio

from livepush import process
from livepush.conf import get_settings
from livepush.consumers.base import (
    Entry,
    Receive,
    Scope,
    Send,
    answer,
    enter,
    refusing,
    unavailable,
    until_disconnect,
)
from livepush.hub import Waiter
from livepush.wire import LogPage, Position, poll_answer

LARGE = 16_384
"""The largest answer (bytes) that the system's send buffer holds whole, even if the client reads nothing."""


@refusing
async def poll(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``GET poll/?group=…&since=POSITION&wait=SECONDS``.

    Answers at once if there are events; otherwise when one arrives or the wait is over.
    """
    entry = await enter(scope)
    try:
        body = await held(entry, receive)
    except Exception as error:
        raise unavailable() from error
    if body is not None:
        await reply(scope, send, body)


async def reply(scope: Scope, send: Send, body: bytes) -> None:
    """Send the answer. If it is large, watch that the client receives it."""
    if len(body) > LARGE:
        process.expect_progress(scope, send)
    await answer(send, body)


async def held(entry: Entry, receive: Receive) -> bytes | None:
    """Return the answer once there is one; ``None`` if the client goes first."""
    hub, query, refused = entry.hub, entry.query, entry.admission.refused
    cursor = entry.cursor
    if query.since is None or entry.lost is not None:
        return poll_answer((), hub.position, entry.lost is not None, refused)
    loop = asyncio.get_running_loop()
    end = loop.time() + min(query.wait, get_settings().MAX_WAIT)
    gone: asyncio.Task[None] | None = None
    waiter = Waiter(entry.admission.stored)
    hub.add(waiter)
    try:
        while True:
            waiter.woken = loop.create_future()
            page = await read(entry, cursor)
            if page is None:
                return poll_answer((), hub.position, True, refused)
            cursor = Position(cursor.epoch, page.upto)
            if page.events or hub.draining or loop.time() >= end:
                return poll_answer(page.events, cursor, False, refused)
            gone = gone or loop.create_task(until_disconnect(receive))
            await asyncio.wait({waiter.woken, gone}, timeout=end - loop.time(), return_when="FIRST_COMPLETED")
            if gone.done():
                return None
    finally:
        hub.remove(waiter)
        if gone is not None and not gone.cancel():
            gone.exception()  # retrieved, so that asyncio does not report it: the client is answered or gone


async def read(entry: Entry, cursor: Position) -> LogPage | None:
    """Return the events after a cursor; ``None`` if the cursor's history is lost."""
    hub = entry.hub
    if cursor.epoch != hub.position.epoch or cursor.number < hub.floor:
        return None
    page = await hub.page(entry.admission.stored, cursor.number)
    if page.state.position.epoch != cursor.epoch or page.state.floor > cursor.number:
        return None
    return page._replace(upto=max(page.upto, cursor.number))
