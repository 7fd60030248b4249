"""Keeps the members of one hub's clients in the table: in batches, off the event loop, under the process's lease."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Sequence
from functools import partial

from django.db import DataError

from livepush import process
from livepush.conf import get_settings
from livepush.hub import Hub, Waiter
from livepush.notes import Rarely, one_line
from livepush.rights import Grant, on_change, rights_of
from livepush.roster import leases, rules, table
from livepush.roster.book import Book, MemberEntry
from livepush.roster.changes import Key, Seat
from livepush.roster.who import keys_of
from livepush.wire import FORGOTTEN, Event, parse_forgotten, public_name

logger = logging.getLogger("livepush")
failures = Rarely(every=10.0)

GATHER = 0.4
"""How long (seconds) joins and leaves are gathered. A presence that ends with a right is written at once."""
PAUSE = 1.0
"""How long (seconds) to wait after the database failed."""
AGAIN = 30.0
"""When (seconds) to ask a rule again that did not answer."""
AT_ONCE = 1_000
"""How many members one transaction writes."""
QUESTIONS = 100
"""Of how many members one job in a thread asks: others' jobs run in between."""
LEVEL = 1
"""The level of presence's work in ``process.in_thread``: who comes in goes first."""


class Keeper:
    """The members of one hub. Everything but ``_look`` runs in the hub's loop."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._using = get_settings().DATABASE
        self._name = secrets.token_hex(8)
        self._turn = 0
        self._has_lease = self._must_compare = False
        self._sight = leases.Sight()
        self._book = Book()
        self._ghosts: dict[Grant, tuple[Key, asyncio.TimerHandle]] = {}
        self._wake, self._hurry, self._occupied = asyncio.Event(), asyncio.Event(), asyncio.Event()
        hub.router.followers.append(self)
        hub.keep(self._write_on())
        hub.keep(self._watch())

    # The clients

    def follow(self, grant: Grant, is_there: bool) -> None:
        """Take note of a client that has come, has changed or has gone."""
        if self._hub.draining:
            self._stir(at_once=True)  # the rows stay for a while: the clients come back to another process
        elif grant in self._ghosts:
            if keys_of(grant) != {self._ghosts[grant][0]}:
                self._bury(grant, at_once=True)
        elif is_there:
            self._seat(grant)
        elif places := self._book.places(grant):
            for key in places:
                self._raise_ghost(grant, key)
            self._book.move(grant, frozenset())
            self._stir()

    def _seat(self, grant: Grant) -> None:
        keys = keys_of(grant)
        ended = self._book.move(grant, keys)
        for key in keys:
            ghost = self._book.entries[key].ghost
            if ghost is not None:
                self._bury(ghost)
        if keys or ended:
            self._stir(at_once=bool(ended))

    def _raise_ghost(self, grant: Grant, key: Key) -> None:
        """Keep a member present for a while after its last client has gone. Its rights can still end meanwhile."""
        entry = self._book.entries[key]
        invisible = entry.info is None and not entry.must_ask
        if list(entry.holders) != [grant] or invisible or len(self._ghosts) >= get_settings().MAX_CONNECTIONS:
            return
        waiter = Waiter([key[0]])
        ghost = Grant(grant.identity, grant.view, waiter, waiter.revoke, grant.tenant)
        timer = self._hub.loop.call_later(get_settings().PRESENCE_GRACE, self._bury, ghost)
        self._ghosts[ghost] = key, timer
        entry.ghost = ghost
        rights = rights_of(self._hub)
        rights.add(ghost, rights.heard_for(grant))

    def _bury(self, ghost: Grant, at_once: bool = False) -> None:
        if ghost not in self._ghosts:
            return
        key, timer = self._ghosts.pop(ghost)
        timer.cancel()
        self._book.entries[key].ghost = None
        rights_of(self._hub).remove(ghost)
        self._book.mark([key])
        self._stir(at_once=at_once)

    def _stir(self, at_once: bool = False) -> None:
        self._occupied.set()
        self._wake.set()
        if at_once:
            self._hurry.set()

    # What the hub tells

    def hear(self, event: Event) -> None:
        """Write the rows of a user again who was forgotten, if the user is still there."""
        if event.type == FORGOTTEN:
            names = {public_name(group).removeprefix("user:") for group in parse_forgotten(event.data)}
            self._book.doubt([key for key, entry in self._book.entries.items() if key[1] in names and entry.written])
            self._stir()

    def lose_track(self) -> None:
        """Compare the table before the next write: a failover may have undone some."""
        self._must_compare = True
        self._stir()

    # Writing

    async def _write_on(self) -> None:
        while not self._hub.draining:
            await self._wake.wait()
            self._wake.clear()
            try:
                async with asyncio.timeout(GATHER):
                    await self._hurry.wait()
            except TimeoutError:
                pass
            self._hurry.clear()
            try:
                await self._write()
            except Exception as error:
                self._complain(error)
                await asyncio.sleep(PAUSE)
                self._wake.set()
        if self._has_lease:
            settings = get_settings()
            seconds = settings.DRAIN + settings.PRESENCE_GRACE
            await process.in_thread(partial(table.let_end, self._using, self._name, seconds), LEVEL)

    async def _write(self) -> None:
        if self._must_compare:
            self._book.note_all(await process.in_thread(partial(table.seats_of, self._using, self._name), LEVEL))
            self._must_compare = False
        keys = self._book.take(AT_ONCE)
        try:
            await self._ask(keys)
        except BaseException:
            self._book.mark(keys)
            raise
        seats, gone = self._book.due(keys)
        try:
            done = await self._put(seats, gone)
        except BaseException:
            self._book.doubt([*(seat.key for seat in seats), *gone])
            raise
        if not done:
            self._lose()
            return
        self._book.forget_absent(keys)
        if not self._book.entries:
            self._occupied.clear()
        if self._book.is_changed:
            self._wake.set()

    async def _put(self, seats: list[Seat], gone: list[Key]) -> bool:
        """Write; return whether the process still has its lease. A seat that the database refuses holds up no other."""
        if not seats and not gone:
            return True
        self._turn += 1
        me = table.Process(self._name, self._turn, self._has_lease)
        try:
            done = await process.in_thread(partial(table.write, self._using, me, seats, gone), LEVEL)
        except DataError as error:
            if len(seats) + len(gone) > 1:
                half = len(seats) // 2
                return await self._put(seats[:half], gone) and await self._put(seats[half:], [])
            if not seats:
                raise
            self._complain(error)
            self._again(seats[0].key, AGAIN)
            return True
        if done:
            self._has_lease = True
            self._book.note(seats, gone)
        return done

    def _lose(self) -> None:
        """Begin anew: somebody has cleared this process's members away, since it did not renew its lease in time."""
        self._name, self._turn, self._has_lease = secrets.token_hex(8), 0, False
        self._book.note_all(())
        self._wake.set()

    # Asking the rules

    async def _ask(self, keys: Sequence[Key]) -> None:
        asked = [(key, entry) for key in keys if (entry := self._book.entries[key]).must_ask]
        for start in range(0, len(asked), QUESTIONS):
            part = asked[start : start + QUESTIONS]
            try:
                await self._ask_about(part)
            except TimeoutError:
                for one in part:
                    await self._ask_alone(one)

    async def _ask_alone(self, one: tuple[Key, MemberEntry]) -> None:
        try:
            await self._ask_about([one])
        except TimeoutError:
            logger.warning("The presence rule for %r did not answer in time for the member %s.", *one[0])
            self._again(one[0], AGAIN)

    async def _ask_about(self, asked: Sequence[tuple[Key, MemberEntry]]) -> None:
        voices = [voice for _, entry in asked if (voice := entry.voice) is not None]
        if len(voices) < len(asked):
            asked = [one for one in asked if one[1].voice is not None]
        questions = [
            rules.Question(key[0], voice.identity.user, voice.view, voice.tenant)
            for (key, _), voice in zip(asked, voices, strict=True)
        ]
        identities = [voice.identity for voice in voices]
        answers = await process.in_thread(partial(rules.ask, questions), LEVEL)
        for (key, entry), identity, said in zip(asked, identities, answers, strict=True):
            if isinstance(said, rules.Failed):
                self._complain(said)
                self._again(key, PAUSE)
            else:
                entry.asked, entry.info = identity, said

    def _again(self, key: Key, seconds: float) -> None:
        self._hub.loop.call_later(seconds, self._mark, key)

    def _mark(self, key: Key) -> None:
        self._book.mark([key])
        self._stir()

    # The leases

    async def _watch(self) -> None:
        """Renew this process's lease, and clear away those of others that have ended."""
        while not self._hub.draining:
            lease = get_settings().PRESENCE_LEASE
            wait = lease / 3 * random.uniform(0.9, 1.0)
            try:
                held, soonest = await process.in_thread(self._look, LEVEL)
                if not held:
                    self._lose()
                if soonest is not None:
                    wait = min(wait, soonest + 0.05)
            except Exception as error:
                self._complain(error)
                wait = PAUSE
            await asyncio.sleep(max(0.05, wait))
            await self._occupied.wait()

    def _look(self) -> tuple[bool, float | None]:
        """Return whether this process still has its lease, and in how many seconds to look at those of others."""
        held = not self._has_lease or table.renew(self._using, self._name)
        return held, leases.clear_ended(self._using, self._name, self._sight)

    def _complain(self, error: BaseException) -> None:
        if times := failures.times():
            logger.warning("Presence failed %d times and tries again. The last time: %s", times, one_line(error))


def follow(hub: Hub, grant: Grant, is_there: bool) -> None:
    """Follow the clients of a hub. Without rules, or without a client that they concern, there is nothing to do."""
    if not rules.registry:
        return
    keeper = hub.attached.get("presence")
    if not isinstance(keeper, Keeper):
        if not is_there or not keys_of(grant):
            return
        keeper = hub.attached["presence"] = Keeper(hub)
    keeper.follow(grant, is_there)


def connect() -> None:
    """Follow the clients of all hubs."""
    if follow not in on_change:
        on_change.append(follow)
