"""Watches, in one event loop, whether clients may still read what they read."""

from __future__ import annotations

import logging
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from itertools import islice

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router

from livepush.access.authenticating import Identity
from livepush.access.identity import Handshake
from livepush.conf import get_settings
from livepush.hub import Hub
from livepush.rights.changes import Change, parse_change
from livepush.rights.grants import ALL_SESSIONS, Grant, session_of
from livepush.rights.questions import Answer
from livepush.rights.rechecks import PERMISSION, Rechecks
from livepush.wire import RESERVED_PREFIX, Event

logger = logging.getLogger("livepush")

MAX_CHANGES = 1000
"""How many changes are remembered. A client that is being let in while there are more is asked about again."""
RIGHTS_TYPE = f"{RESERVED_PREFIX}rights"
"""The type of the events that say whose rights have changed; see ``announcing``."""
LAG = 3.0
"""After how long (seconds) those whom a change concerns are asked about once more if users are read from a replica."""
on_change: list[Callable[[Hub, Grant, bool], object]] = []
"""Called in the hub's loop when a client has come, or is another one now or has other groups; and, with ``False``, when
it has gone."""


class Rights:
    """The grants of one hub's clients. It hears of changes from the log, and asks about everybody now and then.

    A revocation that names groups needs no question; see ``Rechecks`` for the others.
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
        self._changes: deque[Change] = deque(maxlen=MAX_CHANGES)
        self._rechecks = Rechecks(hub, interval, self._grants, self._settle, self.tell)
        hub.router.followers.append(self)

    # The clients

    def add(self, grant: Grant, heard: int) -> None:
        """Watch a client that was let in when ``heard`` had this value."""
        self._grants[grant] = None
        self._index(grant)
        self._expect_end(grant)
        self.tell(grant)
        self.check(grant, heard)

    def check(self, grant: Grant, heard: int) -> None:
        """Ask about a client again if something that concerns it has changed since ``heard`` had this value."""
        if self.has_changed(grant.identity, grant.view, grant.tenant, heard):
            self._rechecks.soon.put([grant], PERMISSION)

    def heard_for(self, grant: Grant) -> int:
        """Return ``heard``, for whoever is about to ask what else a client may read.

        While it is to be found out what the client may read now, this is a value from before all changes: the instance
        of its user may remember what was true then, so ``confirm`` has to ask again.
        """
        return -1 if self._rechecks.is_due(grant) else self.heard

    def has_changed(self, identity: Identity, view: Handshake, tenant: str | None, heard: int) -> bool:
        """Return whether something that concerns a client has changed since ``heard`` had this value."""
        missed = self.heard - heard
        if not missed:
            return False
        if missed > len(self._changes):
            return True
        session = session_of(identity, view)
        return any(each.concerns(identity.name, session, tenant) for each in islice(reversed(self._changes), missed))

    def has_ended(self, session: str) -> bool:
        """Return whether it has heard lately that a session has ended; see ``Grant.session``.

        The name of all sessions of a user does not tell: the user may have logged in since.
        """
        if not session or session.startswith(ALL_SESSIONS):
            return False
        return any(each.session == session for each in self._changes)

    def replace(self, grant: Grant, identity: Identity, session: str = "") -> None:
        """Go on with a client as somebody that it has proved to be; ask again what it may read.

        ``session`` is that of another request by which it has proved that, if there was one; see ``Grant.session``.
        """
        self._forget(grant)
        grant.become(identity)
        grant.session = session or grant.session
        self._index(grant)
        self._expect_end(grant)
        self.tell(grant)
        self._rechecks.soon.put([grant], PERMISSION)

    def remove(self, grant: Grant) -> None:
        """Stop to watch a client."""
        self._grants.pop(grant, None)
        self._forget(grant)
        if grant.timer is not None:
            grant.timer.cancel()
        self.tell(grant)
        self._rechecks.drop(grant)

    def tell(self, grant: Grant) -> None:
        """Tell other packages that a client has come, has changed or has gone."""
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
            grant.timer = self._loop.call_later(max(0.0, wait), self._rechecks.soon.put, [grant], reason)

    # What the hub tells

    def hear(self, event: Event) -> None:
        """Hear of a change."""
        if event.type != RIGHTS_TYPE or event.number is None:
            return  # livepush's own are in the log
        try:
            self._heed(parse_change(event.data))
        except Exception as error:  # somebody wrote a row by hand: the routing of events must not end with it
            logger.warning("livepush does not understand a change of rights (%s): it asks about all clients.", error)
            self.lose_track()

    def lose_track(self) -> None:
        """Ask about everybody: changes may have been missed."""
        self._note(Change())
        self._rechecks.later.put(self._grants, PERMISSION)

    def _note(self, change: Change) -> None:
        self.heard += 1
        self._changes.append(change)

    def _heed(self, change: Change) -> None:
        self._note(change)
        if reads_replica():
            self._loop.call_later(LAG, self._ask_about, change)
        if change.session is not None:
            self._end_session(self._by_session.get(change.session, ()), change)
            return
        if change.ask:
            self._ask_about(change)
            return
        for grant in list(self._concerned(change)):
            grant.take(grant.groups() if change.groups is None else change.groups, change.reason)
            self.tell(grant)

    def _concerned(self, change: Change) -> Iterable[Grant]:
        if change.session is not None:
            return self._by_session.get(change.session, ())
        concerned: Iterable[Grant] = self._grants if change.user is None else self._by_user.get(change.user, ())
        if change.tenant is None:
            return concerned
        return [grant for grant in concerned if grant.tenant == change.tenant]

    def _ask_about(self, change: Change) -> None:
        """Ask what those may read whom a change concerns."""
        is_of_all = change.user is None and change.session is None
        queue = self._rechecks.later if is_of_all else self._rechecks.soon
        queue.put(self._concerned(change), change.reason)

    def _end_session(self, concerned: Iterable[Grant], change: Change) -> None:
        for grant in list(concerned):
            if change.tenant in (None, grant.tenant):
                self._log_out(grant, change.reason)
            else:  # tenants with users of their own may still share the sessions
                self._rechecks.soon.put([grant], change.reason)

    def _log_out(self, grant: Grant, reason: str) -> None:
        """Forget who a client is; ask what nobody in particular may read."""
        self._forget(grant)
        grant.log_out()
        grant.session = ""
        self.tell(grant)
        self._rechecks.soon.put([grant], reason)

    def _settle(self, grant: Grant, answer: Answer, is_whole: bool) -> None:
        self._forget(grant)
        grant.become(answer.identity, is_whole)
        self._index(grant)
        self._expect_end(grant)


def reads_replica() -> bool:
    """Return whether users are read from another database than they are written to, which may lag behind."""
    if not apps.is_installed("django.contrib.auth"):
        return False
    users = get_user_model()
    return router.db_for_read(users) != router.db_for_write(users)


def rights_of(hub: Hub) -> Rights:
    """Return what watches a hub's clients."""
    found = hub.attached.get("rights")
    if not isinstance(found, Rights):
        found = hub.attached["rights"] = Rights(hub, get_settings().RECHECK)
    return found
