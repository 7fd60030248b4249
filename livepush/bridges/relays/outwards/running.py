"""Sends the log's events outwards: in order, each until it is taken, from one process at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from livepush.bridges.holding import BEATS, until_one_ends
from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.looping import SHORTEST, Loop
from livepush.bridges.relays.outwards.cursor import Cursor, Superseded
from livepush.bridges.relays.outwards.reading import Known, OutboundPage, next_page
from livepush.bridges.relays.outwards.targets import Later, Rejected, Target, target_of
from livepush.notes import one_line

logger = logging.getLogger("livepush")
INTERVAL = 0.25
"""How often (seconds) the log is read while it has nothing new."""
FRESH = 1.0
"""How old (seconds) what was read from the log may be when it is sent."""


class Sender(Loop):
    """Sends one relay's events."""

    def __init__(self, relay: OutwardRelay, told: Callable[[int], None] = lambda count: None) -> None:
        super().__init__(relay.name, told)
        self._relay = relay
        self._cursor = Cursor(relay)
        self._target = target_of(relay)
        self._known: Known | None = None
        """The last event that the target may have, also while another process sends."""
        self._pause = SHORTEST

    async def _run_once(self) -> None:
        """Send while this process holds the cursor."""
        if await self._in_thread(self._cursor.take) is None:
            await self._wait(self._relay.lease / BEATS)
            return
        await until_one_ends(self._beat(), self._send_all())

    async def _beat(self) -> None:
        while True:  # also while the relay stops: what it sends then may take longer than a lease
            await self._in_thread(self._cursor.beat)
            await asyncio.sleep(self._relay.lease / BEATS)

    async def _send_all(self) -> None:
        """Send until the relay stops, over as many connections as it takes. Raises Superseded and database's errors."""
        while not self._stopping.is_set():
            try:
                try:
                    await self._unless_stopped(self._target.open())
                    await self._send_on()
                finally:
                    with suppress(Exception):
                        await self._target.close()
            except (Superseded, Error, ImproperlyConfigured):
                raise
            except Exception as error:
                self._warn(error)
                what, least = one_line(error), 0.0
                if isinstance(error, Later):
                    what, least = one_line(str(error)), error.seconds
                await self._in_thread(partial(self._cursor.note, what))
                await self._wait(max(self._pause, min(least, self._target.longest_pause)))
                self._pause = min(2 * self._pause, self._target.longest_pause)

    async def _send_on(self) -> None:
        while not self._stopping.is_set():
            page = await self._in_thread(self._read)
            if page.pruned or page.anew:
                await self._skip(page)
            elif page.messages:
                await self._send_page(page, self._target)
            elif page.upto > self._cursor.position:
                await self._move(page.upto, sent=False)
            else:
                await self._wait(INTERVAL)

    def _read(self) -> OutboundPage:
        """Return the next page. Raises Superseded, also if the log of a failover is behind this process's position."""
        page = next_page(self._relay, self._cursor.position, self._known)
        if page.messages:
            self._cursor.beat()
        return page

    def _note(self, known: Known) -> None:
        """Note an event that is given to the target, unless a later one was."""
        before = self._known
        if before is None or before.epoch != known.epoch or (before.event.number or 0) < (known.event.number or 0):
            self._known = known

    async def _send_page(self, page: OutboundPage, target: Target) -> None:
        """Send a page in parts, and move the cursor past each part that was taken.

        After a second the rest is read again: it may have been deleted meanwhile, as when a user is forgotten.
        """
        read_at = time.monotonic()
        for start in range(0, len(page.messages), target.at_once):
            part = page.messages[start : start + target.at_once]
            self._note(page.known(part[-1]))
            try:
                await target.send(part)
            except Rejected as error:
                reason = one_line(str(error))
                await self._in_thread(partial(self._cursor.bury, error.message, reason))
                logger.error("The relay %r did not send %s: %s", self.name, error.message.id, reason)
                return
            is_last = start + target.at_once >= len(page.messages)
            await self._move(page.upto if is_last else part[-1].number, sent=True)
            self._pause = SHORTEST
            self._told(len(part))
            if self._stopping.is_set() or time.monotonic() - read_at > FRESH:
                return

    async def _move(self, position: int, sent: bool) -> None:
        await self._in_thread(partial(self._cursor.move, position, sent))

    async def _skip(self, page: OutboundPage) -> None:
        """Go on after what can't be read any more, and say so."""
        await self._in_thread(partial(self._cursor.skip, page.upto, page.pruned))
        if page.anew:
            logger.error("The log was made anew: the relay %r begins with its first event.", self.name)
        else:
            what = "%d positions of the log were pruned before the relay %r could send them; they are lost to it."
            logger.error(what, page.pruned, self.name)

    def _let_go(self) -> None:
        try:
            self._cursor.release()
        except Error:
            logger.info("The cursor of the relay %r could not be released; its lease ends by itself.", self.name)
