"""Watches, in one event loop, whether clients may still read what they read."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from livepush import process
from livepush.access.authenticating import Identity
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.rights.asking import ask_left
from livepush.rights.grants import Answer, Grant, Question, ask_again
from livepush.wire import RESERVED_PREFIX, Event

logger = logging.getLogger("livepush")

BATCH = 200
"""How many clients one job in a thread asks about: others' jobs run in between."""
PAUSE = 1.0
"""How long (seconds) to wait after the database failed."""
TYPE = f"{RESERVED_PREFIX}rights"
"""The type of the events that say whose rights have changed; see ``announcing``."""
on_change: list[Callable[[Hub, Grant, bool], object]] = []
"""Called in the hub's loop when a client has come, or is another one now or has other groups; and, with ``False``, when
it has gone."""


class Rights:
    """The grants of one hub's clients. It hears of changes from the log, and asks about everybody now and then.

    While the database can't be asked, clients keep what they have; a revocation that names groups needs no question.
    """

    def __init__(self, hub: Hub, interval: float) -> None:
        self.heard = 0
        """How many changes it has heard of. A client that is being let in meanwhile must be asked about again."""
        self._hub = hub
        self._loop = hub.loop
        self._interval = interval
        self._grants: dict[Grant, None] = {}
        self._by_user: defaultdict[str, dict[Grant, None]] = defaultdict(dict)
        self._by_session: defaultdict[str, dict[Grant, None]] = defaultdict(dict)
        self._due: dict[Grant, str] = {}
        """The clients to ask about, each with the reason that it gets if it loses groups."""
        self._size = BATCH
        """How many clients to ask about next: few after a rule did not answer."""
        self._wake = asyncio.Event()
        hub.router.followers.append(self)
        hub.keep(self._work())

    # The clients

    def add(self, grant: Grant, heard: int) -> None:
        """Watch a client that was let in when ``heard`` had this value."""
        self._grants[grant] = None
        self._index(grant)
        self._expect_end(grant)
        self.tell(grant)
        self.check(grant, heard)

    def check(self, grant: Grant, heard: int) -> None:
        """Ask about a client again if something has changed since ``heard`` had this value."""
        if heard != self.heard:
            self._ask([grant], "permission")

    def replace(self, grant: Grant, identity: Identity) -> None:
        """Go on with a client as somebody that it has proved to be; ask again what it may read."""
        self._forget(grant)
        grant.identity = identity
        self._index(grant)
        self._expect_end(grant)
        self.tell(grant)
        self._ask([grant], "permission")

    def remove(self, grant: Grant) -> None:
        """Stop to watch a client."""
        self._grants.pop(grant, None)
        self._forget(grant)
        if grant.timer is not None:
            grant.timer.cancel()
        self.tell(grant)
        self._due.pop(grant, None)

    def is_due(self, grant: Grant) -> bool:
        """Return whether a client is to be asked about, so that nobody knows what it may read now."""
        return grant in self._due

    def tell(self, grant: Grant) -> None:
        """Tell other rooms that a client has come, has changed or has gone."""
        for follow in on_change:
            follow(self._hub, grant, grant in self._grants)

    def _index(self, grant: Grant) -> None:
        if grant.identity.name is not None:
            self._by_user[grant.identity.name][grant] = None
        if grant.session:
            self._by_session[grant.session][grant] = None

    def _forget(self, grant: Grant) -> None:
        for index, name in ((self._by_user, grant.identity.name), (self._by_session, grant.session)):
            if name and name in index:
                index[name].pop(grant, None)
                if not index[name]:
                    del index[name]

    def _expect_end(self, grant: Grant) -> None:
        """Ask about a client when its session ends, if that is before everybody is asked about."""
        if grant.timer is not None:
            grant.timer.cancel()
        known, grant.timer = grant.identity, None
        if known.ends is not None and (wait := known.ends - time.time()) < self._interval:
            reason = "session" if known.token is None else "token"
            grant.timer = self._loop.call_later(max(0.0, wait), self._ask, [grant], reason)

    # What the hub tells

    def hear(self, event: Event) -> None:
        """Hear of a change."""
        if event.type != TYPE or event.number is None:
            return  # livepush's own are in the log
        try:
            self._heed(json.loads(event.data))
        except Exception as error:  # somebody wrote a row by hand: the routing of events must not end with it
            logger.warning("livepush does not understand a change of rights (%s): it asks about all clients.", error)
            self.lose_track()

    def lose_track(self) -> None:
        """Ask about everybody: changes may have been missed."""
        self.heard += 1
        self._ask(self._grants, "permission")

    def _heed(self, change: dict[str, Any]) -> None:
        self.heard += 1
        user, session, groups, tenant = (change.get(name) for name in ("user", "session", "groups", "tenant"))
        reason = str(change.get("reason"))
        if session is not None:
            self._end_session(self._by_session.get(session, ()), tenant, reason)
            return
        concerned: Iterable[Grant] = self._grants if user is None else self._by_user.get(user, ())
        if tenant is not None:
            concerned = [grant for grant in concerned if grant.tenant == tenant]
        if change.get("ask"):
            self._ask(concerned, reason)
            return
        for grant in list(concerned):
            grant.take(grant.groups() if groups is None else groups, reason)
            self.tell(grant)

    def _end_session(self, concerned: Iterable[Grant], tenant: str | None, reason: str) -> None:
        for grant in list(concerned):
            if tenant in (None, grant.tenant):
                self._log_out(grant, reason)
            else:
                self._ask([grant], reason)  # tenants with users of their own may still share the sessions

    def _log_out(self, grant: Grant, reason: str) -> None:
        """Forget who a client is; ask what nobody in particular may read."""
        self._forget(grant)
        grant.log_out()
        grant.session = ""
        self.tell(grant)
        self._ask([grant], reason)

    # Asking

    def _ask(self, grants: Iterable[Grant], reason: str) -> None:
        for grant in grants:
            if grant in self._grants:
                self._due[grant] = reason
        self._wake.set()

    async def _work(self) -> None:
        due = self._next_round()
        while True:
            if not self._due:
                self._wake.clear()
                try:
                    async with asyncio.timeout(due - self._loop.time()):
                        await self._wake.wait()
                except TimeoutError:
                    self._ask(self._grants, "permission")
                    due = self._next_round()
            batch = dict(islice(self._due.items(), self._size))
            for grant in batch:
                del self._due[grant]
            try:
                await self._ask_about(batch)
                self._size = min(BATCH, 2 * self._size)
            except TimeoutError:  # a rule hangs: find whose, and leave that client until the next round
                self._size = 1
                if len(batch) > 1:
                    self._due = batch | self._due
                logger.warning("A rule did not answer in time when clients were asked about again.")
            except Exception as error:
                logger.warning("Could not find out what clients may still read (%s); trying again.", error)
                self._due = {grant: reason for grant, reason in batch.items() if grant in self._grants} | self._due
                await asyncio.sleep(PAUSE)

    def _next_round(self) -> float:
        """Return when to ask about everybody: a little before the time is over, and not when all processes do."""
        return self._loop.time() + self._interval * random.uniform(0.8, 1)

    async def _ask_about(self, batch: dict[Grant, str]) -> None:
        asked = {grant: Question(grant.identity, grant.view, grant.groups(), grant.tenant) for grant in batch}
        answers = await process.in_thread(lambda: ask_again(list(asked.values()))) if asked else []
        for (grant, question), answer in zip(asked.items(), answers, strict=True):
            said = await ask_left(answer.questions, answer.answers, grant.tenant)
            if grant not in self._grants:
                continue  # it has gone
            if grant.identity is not question.identity:
                self._due.setdefault(grant, batch[grant])  # it has been logged out meanwhile
                continue
            self._settle(grant, answer)
            grant.limit_to(said.granted)
            kept = said.granted.keys() | said.failed
            grant.take([group for group in question.groups if group not in kept], batch[grant])
            self.tell(grant)
            if said.failed:
                self._loop.call_later(PAUSE, self._ask, [grant], batch[grant])

    def _settle(self, grant: Grant, answer: Answer) -> None:
        self._forget(grant)
        grant.identity = answer.identity
        self._index(grant)
        self._expect_end(grant)


def rights_of(hub: Hub) -> Rights:
    """Return what watches a hub's clients."""
    found = hub.attached.get("rights")
    if not isinstance(found, Rights):
        found = hub.attached["rights"] = Rights(hub, get_settings().RECHECK)
    return found
