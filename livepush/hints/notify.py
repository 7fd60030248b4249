"""PostgreSQL's NOTIFY as a hint: a hub's link hears the others, and ephemeral events go out by a link if there is one.

Durable events are no concern of this module: settle sends their notifications in its own transaction.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from django.db import connections

from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.hints import signing
from livepush.hints.layer import origin
from livepush.hints.link import Link
from livepush.hints.payloads import ephemeral
from livepush.hints.session import sending, session
from livepush.notes import Rarely, one_line
from livepush.wire import Announcement, Batch, Position

T = TypeVar("T")
WATCH = 1.0
"""How often (seconds) a hub looks whether its link is stuck."""
REMIND = 10.0
"""How often (seconds) a hub is told that its link does not work."""
LEAVE_TIMEOUT = 1.0
"""How long (seconds) a link has to end before its session is cut."""

logger = logging.getLogger("livepush")

_links: set[Link] = renewed(globals(), "_links", set)
"""The links of this process's hubs. Their threads do not run in a forked child."""
_failures = Rarely()


def alias() -> str:
    """Return the alias of the database by which this site listens and sends ephemeral events."""
    return get_settings().NOTIFY_DATABASE or get_settings().DATABASE


# Hearing


async def listen(
    receive: Callable[[Batch], None], healthy: Callable[[bool], None], hear_of: Callable[[Position, bool], None]
) -> None:
    """Call ``receive`` with each batch that another process announces, for ever.

    ``hear_of`` is called with each position that is announced, and whether the events came along: they may be too long.
    The position is the database's own, since the notification came with its commit.
    ``healthy`` is called with whether notifications arrive, again and again while they don't.
    """
    loop = asyncio.get_running_loop()
    inspector = signing.Inspector()

    def pass_on(announcements: Sequence[Announcement]) -> None:
        for each in announcements:
            if each.upto is not None:
                hear_of(each.upto, False)
            elif each.batch is not None:
                if (number := each.batch.events[-1].number) is not None:
                    hear_of(Position(each.batch.epoch, number), True)
                receive(each.batch)

    def take(payloads: Sequence[str]) -> None:
        found = [each for each in map(inspector.open_notice, payloads) if each and each.origin != origin()]
        if found:
            _in_loop(loop, pass_on, found)

    link = Link(alias(), take, lambda works: _in_loop(loop, healthy, works), loop.is_closed)
    _links.add(link)
    link.ended.add_done_callback(lambda ended: _links.discard(link))
    link.start()
    try:
        await _watch(link, healthy)
    except asyncio.CancelledError:
        link.end()
        await _ended(link)
        raise
    finally:
        _links.discard(link)
        link.end()


def _in_loop(loop: asyncio.AbstractEventLoop, work: Callable[[T], None], value: T) -> None:
    with suppress(RuntimeError):  # the loop was closed
        loop.call_soon_threadsafe(work, value)


async def _watch(link: Link, healthy: Callable[[bool], None]) -> None:
    """Cut a link's session whenever it is stuck; say again and again that the link does not work."""
    loop = asyncio.get_running_loop()
    remind = loop.time() + REMIND
    while True:
        await asyncio.sleep(WATCH)
        link.cut_if_stuck()
        if loop.time() >= remind:
            remind = loop.time() + REMIND
            if not link.works:
                healthy(False)


async def _ended(link: Link) -> None:
    """Wait until a link that was told to end has ended; cut its session if that takes long."""
    ended = asyncio.wrap_future(link.ended)
    await asyncio.wait((ended,), timeout=LEAVE_TIMEOUT)
    if not ended.done():
        link.cut()
        await asyncio.wait((ended,), timeout=LEAVE_TIMEOUT)
    if ended.done():
        link.join()  # it has nothing left to do


def end_all() -> None:
    """End what is left of links whose loops were closed before they ended; for tests, whose database is dropped."""
    for link in list(_links):
        _links.discard(link)
        link.end()
        link.join(2 * LEAVE_TIMEOUT)


# Sending


def announce(batch: Batch) -> None:
    """Send ephemeral events to the other processes. Settle has sent what is durable. Raises nothing.

    With a hub in this process, its link sends them soon. Without one, this thread's own connection sends them at once;
    in a transaction of the caller's, a connection that is made for it does.
    """
    if batch.events[0].number is not None:
        return
    link = next((each for each in list(_links) if not each.deaf), None)
    if link is not None:
        link.outbox.put(batch)
        link.wake()
        return
    try:
        _send(ephemeral(batch))
    except Exception as error:
        if times := _failures.times():
            said = "Could not send %d ephemeral events by NOTIFY (%s): they reached this process only."
            logger.warning(said, times, one_line(error))


def _send(payloads: Sequence[str]) -> None:
    if not payloads:
        return
    channel, connection = signing.groups()[0], connections[alias()]
    if connection.in_atomic_block or not connection.get_autocommit():
        with session(alias()) as own:
            own.send(channel, payloads)
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(*sending(channel, payloads))
    except Exception:
        if not connection.is_usable():
            connection.close()
        raise


def flush(timeout: float) -> bool:
    """Wait until the links have sent what waits; return whether that came within ``timeout`` seconds."""
    return all(link.outbox.flush(timeout) for link in list(_links))
