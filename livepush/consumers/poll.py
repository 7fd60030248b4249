"""Polling and long polling under ASGI; ``livepush.consumers.views`` serves plain polls under WSGI."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from livepush import process
from livepush.access import tokens
from livepush.conf import get_settings
from livepush.consumers.base import Scope, Send, answer, refusing
from livepush.consumers.entering import Entry, enter
from livepush.consumers.incoming import Incoming
from livepush.hub import FAREWELL, Hub, Waiter
from livepush.wire import LogPage, Position, WireError, above, poll_answer, public_name, unavailable

LARGE = 16_384
"""The largest answer (bytes) that the system's send buffer holds whole, even if the client reads nothing."""

PACE = 1.0
"""How long (seconds) a poll is held at least while the rule of one of its groups can't be asked: its position stays, so
that the same events come again to a client that asks again at once."""


@refusing
async def poll(scope: Scope, receive: Incoming, send: Send) -> None:
    """Serve ``GET poll/?group=…&since=POSITION&wait=SECONDS``.

    Answers at once if there are events; otherwise when one arrives or the wait is over.
    """
    entry = await receive.unless_gone(enter(scope, "poll"))
    if entry is None:
        return
    try:
        body = await receive.unless_gone(held(entry))
    except asyncio.CancelledError:  # the server ends, and cancels its requests
        refused, failed = entry.admission.refused, entry.admission.told_failed
        await answer_at_the_end(scope, send, poll_answer((), entry.cursor, False, refused, failed))
        raise
    except WireError:
        raise
    except Exception as error:
        raise unavailable() from error
    if body is not None:
        await reply(scope, send, body)


async def answer_at_the_end(scope: Scope, send: Send, body: bytes) -> None:
    """Answer a held poll since the server ends, if the client takes the answer."""
    with suppress(Exception):
        async with asyncio.timeout(FAREWELL):
            await answer(scope, send, body)


async def reply(scope: Scope, send: Send, body: bytes) -> None:
    """Send the answer. If it is large, watch that the client receives it."""
    if len(body) > LARGE:
        process.expect_progress(scope, send)
    await answer(scope, send, body)


async def held(entry: Entry) -> bytes:
    """Return the answer once there is one."""
    hub, failed = entry.hub, entry.admission.told_failed
    if entry.query.since is None or entry.lost is not None:
        return poll_answer((), hub.position, entry.lost is not None, entry.admission.refused, failed)
    if failed:
        await asyncio.sleep(min(entry.query.wait, PACE))
    waiter = Waiter(entry.admission.stored, entry.admission.floors)
    hub.add(waiter)
    try:
        with entry.watched(waiter):
            return await _held(entry, waiter)
    finally:
        hub.remove(waiter)


async def _held(entry: Entry, waiter: Waiter) -> bytes:
    loop, hub, cursor = asyncio.get_running_loop(), entry.hub, entry.cursor
    failed = entry.admission.told_failed
    end = loop.time() + min(entry.query.wait, get_settings().MAX_WAIT)
    while True:
        waiter.woken = loop.create_future()
        if waiter.is_sent_away:
            raise unavailable()
        groups = tuple(waiter.groups)
        if not groups:
            raise lost_all(waiter.reason)
        page = await read(hub, groups, cursor)
        if len(waiter.groups) < len(groups):
            continue  # read again, without the groups that were taken away
        left = set(map(public_name, waiter.groups))
        refused = [group for group in entry.query.groups if group not in left]
        if page is None or waiter.lost:
            return poll_answer((), hub.position, True, refused, failed, waiter.reason)
        cursor = Position(cursor.epoch, page.upto)
        events = tuple(above(page.events, waiter.floors))
        if events or waiter.reason or hub.draining or loop.time() >= end:
            return poll_answer(events, entry.cursor if failed else cursor, False, refused, failed, waiter.reason)
        if cursor.number < hub.position.number:
            await asyncio.sleep(0)  # a page held only what is too old for this client: others go on meanwhile
            continue
        await asyncio.wait({waiter.woken}, timeout=end - loop.time())


def lost_all(reason: str, message: str = "None of the groups may be read any more") -> WireError:
    """Return the refusal of a held poll that may read nothing any more: its client may have another login by now."""
    if reason == "token":
        return tokens.refusal("token_ended", "The token has ended: get another one.")
    if reason in ("logout", "session", "user"):
        return unavailable()
    return WireError("forbidden", f"{message}: {reason}.", 403)


async def read(hub: Hub, groups: tuple[str, ...], cursor: Position) -> LogPage | None:
    """Return the events after a cursor; ``None`` if the cursor's history is lost."""
    if cursor.epoch != hub.position.epoch or cursor.number < hub.floor:
        return None
    page = await hub.page(groups, cursor.number)
    if page.state.position.epoch != cursor.epoch or page.state.floor > cursor.number:
        return None
    return page._replace(upto=max(page.upto, cursor.number))
