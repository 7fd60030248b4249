"""Writes down which channels have subscribers, in the tables of presence, for webhooks and counts.

An occupied channel is a member of a group of livepush's own. So a channel that is occupied in several processes joins
once, and leaves with its last subscriber anywhere. A process that dies takes its channels with it when its lease ends.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import secrets
from collections import Counter
from collections.abc import Callable
from functools import partial

from livepush import process
from livepush.bridges.pusher.config import app
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.notes import Rarely, one_line
from livepush.roster import leases, table
from livepush.roster.changes import Key, Seat
from livepush.roster.models import MAX_MEMBER_LENGTH, Presence, PresenceLease
from livepush.wire import OWN_GROUPS, Event, dumps

logger = logging.getLogger("livepush")
failures = Rarely(every=10.0)

GROUP = f"{OWN_GROUPS}pusher"
"""The group whose members are channels, and whose events tell what the webhooks say beside client events."""
SIGN = ":"
"""Stands before a channel, as a member: no user's key begins with it, so that to forget a user forgets no channel."""
GATHER = 0.3
"""How long (seconds) changes are gathered."""
UNKNOWN = -1
"""Stands for a count of which nobody knows whether it is written."""
PAUSE = 1.0
"""How long (seconds) to wait after the database failed."""
LEVEL = 1
"""The level of this work in ``process.in_thread``: who comes in goes first."""


class Occupying:
    """The channels that the clients of one hub are subscribed to. Everything runs in the hub's loop."""

    def __init__(self, hub: Hub, counts_matter: bool) -> None:
        self._hub = hub
        self._counts_matter = counts_matter
        self.on_same: Callable[[str], None] = lambda channel: None
        """Is told of a channel that has the same count as before, although subscribers have come and gone."""
        self._counts: Counter[str] = Counter()
        self._changed: set[str] = set()
        self._written: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        """Of the channels whose last subscriber has left, and counts for a while yet."""
        self._stirred = asyncio.Event()
        self._must_compare = False
        self._sight = leases.Sight()
        self._begin()
        hub.router.followers.append(self)
        hub.keep(self._write_on())
        hub.keep(self._renew_on())

    def note(self, channel: str, by: int) -> None:
        """Note that a channel has one subscriber more, or one less.

        The last one counts for a while yet, since a page that loads again comes back.
        """
        if len(channel) >= MAX_MEMBER_LENGTH:
            return
        if self._hub.draining:
            self._stirred.set()
        self._counts[channel] += by
        if timer := self._timers.pop(channel, None):
            timer.cancel()
        if self._counts[channel] > 0:
            self._mark(channel)
        else:
            self._timers[channel] = self._hub.loop.call_later(get_settings().PRESENCE_GRACE, self._leave, channel)

    def hear(self, event: Event) -> None:
        """Do nothing: livepush's own events concern no channels."""

    def lose_track(self) -> None:
        """Compare the table before the next write: a failover may have undone some."""
        self._must_compare = True
        self._stirred.set()

    def _leave(self, channel: str) -> None:
        del self._timers[channel]
        self._mark(channel)

    def _count(self, channel: str) -> int:
        """Return how many subscribers a channel has, the last one included while it counts yet."""
        return 1 if channel in self._timers else self._counts[channel]

    def _mark(self, channel: str) -> None:
        self._changed.add(channel)
        self._stirred.set()

    def _begin(self) -> None:
        """Be a new process, of which nothing is written."""
        self._name, self._turn, self._has_lease = secrets.token_hex(8), 0, False
        self._written.clear()
        self._changed.update(self._counts)

    async def _write_on(self) -> None:
        while not self._hub.draining:
            await self._stirred.wait()
            await asyncio.sleep(GATHER)
            self._stirred.clear()
            try:
                if not self._hub.draining:  # its clients come back to another process
                    await self._write()
            except Exception as error:
                complain(error)
                await asyncio.sleep(PAUSE)
                self._stirred.set()
        if self._has_lease:
            settings = get_settings()
            seconds = settings.DRAIN + settings.PRESENCE_GRACE
            await process.in_thread(partial(table.let_end, settings.DATABASE, self._name, seconds), LEVEL)

    async def _write(self) -> None:
        if self._must_compare:
            await self._compare()
        wanted = {channel: self._count(channel) for channel in self._changed}
        self._turn += 1
        gone = {name for name, count in wanted.items() if count <= 0 and name in self._written}
        news = {name: count for name, count in wanted.items() if self._is_news(name, count, name in gone)}
        seats = [self._seat(name, max(0, count)) for name, count in news.items()]
        if seats or gone:
            me = table.Process(self._name, self._turn, self._has_lease)
            work = partial(table.write, get_settings().DATABASE, me, seats, [_key(name) for name in gone])
            try:
                done = await process.in_thread(work, LEVEL)
            except BaseException:
                self._written.update(dict.fromkeys(wanted, UNKNOWN))
                raise
            if not done:
                self._lose()
                return
            self._has_lease = True
        for channel, count in wanted.items():
            self._changed.discard(channel)
            if count > 0:
                if self._written.get(channel) == count:
                    self.on_same(channel)
                self._written[channel] = count
            else:
                self._written.pop(channel, None)
                if not self._counts[channel]:
                    del self._counts[channel]
            if self._count(channel) != count:
                self._mark(channel)

    async def _compare(self) -> None:
        """Find out which channels are written, and with which counts."""
        seats = await process.in_thread(partial(table.seats_of, get_settings().DATABASE, self._name), LEVEL)
        self._must_compare = False
        self._written = {seat.member.removeprefix(SIGN): seat.connections for seat in seats}
        self._changed.update(self._written, self._counts)

    def _is_news(self, channel: str, count: int, is_gone: bool) -> bool:
        """Return whether a channel's row is to be written: where counts matter also before it goes, to tell of it."""
        written = self._written.get(channel, UNKNOWN)
        if self._counts_matter:
            return written != count and (count > 0 or is_gone)
        return written == UNKNOWN and count > 0

    def _seat(self, channel: str, count: int) -> Seat:
        """Return a channel's row. Where counts matter another count is another info, so that an event tells of it."""
        info = {"turn": f"{self._name}:{self._turn}"} if self._counts_matter else {}
        return Seat(*_key(channel), dumps(info), count)

    async def _renew_on(self) -> None:
        longest = math.inf
        while not self._hub.draining:
            await asyncio.sleep(min(longest, get_settings().PRESENCE_LEASE / 3 * random.uniform(0.9, 1.0)))
            try:
                await self._renew()
                longest = math.inf
            except Exception as error:
                complain(error)
                longest = PAUSE

    async def _renew(self) -> None:
        """Renew this process's lease, and clear away those of others that have ended."""
        using = get_settings().DATABASE
        if self._has_lease and not await process.in_thread(partial(table.renew, using, self._name), LEVEL):
            self._lose()
        await process.in_thread(partial(leases.clear_ended, using, self._name, self._sight), LEVEL)

    def _lose(self) -> None:
        """Begin anew: another process has cleared this one's channels away, since its lease was not renewed in time."""
        self._begin()
        self._stirred.set()


def of(hub: Hub) -> Occupying | None:
    """Return what writes down a hub's channels; ``None`` if nobody wants to know."""
    found = hub.attached.get("pusher")
    if not isinstance(found, Occupying) and app().writes_channels:
        found = hub.attached["pusher"] = Occupying(hub, app().writes_counts)
    return found if isinstance(found, Occupying) else None


def written() -> Counter[str]:
    """Return how many subscribers each channel has by what all processes have written down; nothing if they don't.

    The numbers are right only where counts matter; that a channel is there always is.
    """
    found: Counter[str] = Counter()
    if app().writes_channels:
        using = get_settings().DATABASE
        living = PresenceLease.objects.using(using).filter(ends__gt=table.now(using)).values("process")
        rows = Presence.objects.using(using).filter(group=GROUP, process__in=living)
        for member, count in rows.values_list("member", "connections"):
            found[member.removeprefix(SIGN)] += count
    return found


def complain(error: BaseException) -> None:
    """Log, now and then, that the database failed."""
    if times := failures.times():
        logger.warning("Writing down Pusher's channels failed %d times. The last time: %s", times, one_line(error))


def _key(channel: str) -> Key:
    return GROUP, f"{SIGN}{channel}"
