"""Lets a client in: who it is, which groups it may read, and where its stream begins."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from functools import partial
from typing import NamedTuple

from django.http import HttpRequest

from livepush import process, tenants
from livepush.access import handshakes, identity, limits, origins, rules
from livepush.access.authenticating import Identity, identify_async
from livepush.conf import get_settings
from livepush.consumers.auditing import Client
from livepush.hub import Connection, Hub, Waiter
from livepush.notes import Rarely, one_line
from livepush.process.servers import Scope
from livepush.rights import Grant, Rights, ask_left, confirm, rights_of
from livepush.wire import Position, Query, WireError, parse_query, unavailable

logger = logging.getLogger("livepush")
not_let_in = Rarely(every=1.0)  # all clients come back at once, again and again

ASK_AGAIN = 30.0
"""After how long (seconds) a client comes back to whom a group was refused because its rule could not be asked."""
AT_ONCE = 10
"""How many groups' rules are asked in one go."""
PAUSE = (0.0, 0.1)
"""How long (seconds) a refusal waits if there are many, so that a flood delays others less and comes in no bursts."""
_refusals = limits.Bucket(100.0, 100.0)
"""The refusals of this process that need not wait."""


class Entry(NamedTuple):
    """A client that was admitted."""

    hub: Hub
    query: Query
    admission: identity.Admission
    cursor: Position
    """The position at which the client's stream begins."""
    lost: str | None
    """Why the client's history is lost; ``None`` if it is not."""
    view: identity.Handshake
    rights: Rights
    heard: int
    """How many changes of rights had been heard of before the client was let in."""
    seat: limits.Seat
    client: Client

    def watched(self, subscriber: Connection | Waiter) -> Watched:
        """Have groups taken away from the client when it may no longer read them, and the audit told of its stream."""
        return Watched(self, subscriber)


class Watched:
    """Watches a client in a ``with``, which gets its grant. The audit hears of streams, and not of held polls."""

    __slots__ = ("_begun", "_entry", "_grant", "_subscriber")

    def __init__(self, entry: Entry, subscriber: Connection | Waiter) -> None:
        self._entry = entry
        self._subscriber = subscriber
        self._grant = Grant(entry.admission.identity, entry.view, subscriber, self.revoke, entry.admission.tenant)

    def __enter__(self) -> Grant:
        self._begun = time.monotonic()
        self._entry.rights.add(self._grant, self._entry.heard)
        if isinstance(self._subscriber, Connection):
            self._entry.client.connected(self._entry.admission)
        return self._grant

    def __exit__(self, *raised: object) -> None:
        entry, subscriber = self._entry, self._subscriber
        try:
            if isinstance(subscriber, Connection):
                entry.client.disconnected(entry.admission, time.monotonic() - self._begun, subscriber.reason)
        finally:
            entry.rights.remove(self._grant)
            entry.seat.leave()
            del self._grant  # which holds this object

    def revoke(self, groups: Collection[str], reason: str) -> object:
        """Take groups away from the client."""
        return self._entry.client.revoke(partial(self._entry.hub.revoke, self._subscriber), groups, reason)


async def enter(scope: Scope, transport: str, needs_group: bool = True) -> Entry:
    """Check the query; find out the user, the groups that the user may read, and where the stream begins.

    Without ``needs_group`` a client may come in that asks for none yet.

    Raises WireError: a WebSocket comes from another site, the query is malformed, a check of the project's refuses, no
    group is granted, or the log can't be read now.
    """
    client = Client(transport, scope)
    try:
        return await _enter(scope, client, needs_group)
    except WireError as error:
        client.refuse(error)
        if _refusals.take():
            await asyncio.sleep(random.uniform(*PAUSE))
        raise


async def _enter(scope: Scope, client: Client, needs_group: bool) -> Entry:
    request = identity.request_of(scope)
    if scope["type"] == "websocket":
        origins.check_origin(request)
    else:
        origins.headers(request)  # a foreign page's cookies may have to be ignored
    last = request.META.get("HTTP_LAST_EVENT_ID", "")
    query = parse_query(scope.get("query_string", b""), last, max_groups=get_settings().MAX_GROUPS)
    client.groups, client.resumes = query.groups, query.since is not None
    with limits.handshake(scope, request) as level:
        try:
            await handshakes.check_async(request, partial(process.in_thread, level=level), process.queries_in_threads)
            hub, failure = await _hub()
            heard = 0 if hub is None else rights_of(hub).heard
            check = client.noted_by(check_limits(len(query.groups)))
            view = identity.handshake(request)
            admission = await admit(scope, request, view, query.groups, level=level, check=check)
            if query.groups or needs_group:
                identity.check_granted(admission)
            if hub is None:
                raise failure
            cursor, lost = await hub.admit(query.since)
            if query.groups:
                admission, heard = await confirm(rights_of(hub), admission, view, heard)
            client.identity = admission.identity
        except WireError:
            raise
        except Exception as error:
            if times := not_let_in.times():
                logger.warning("%d clients could not be let in. The last one: %s", times, one_line(error))
            raise unavailable() from error
        if hub.draining:
            raise unavailable()
        seat = limits.take_seat(scope, limits.user_key(admission.tenant, admission.identity.name))
    return Entry(hub, query, admission, cursor, lost, view, rights_of(hub), heard, seat, client)


def check_limits(groups: int) -> Callable[[Identity, str | None], None]:
    """Return what refuses a client once it is known who it is: many groups of nobody, or many streams of a user."""

    def check(found: Identity, tenant: str | None) -> None:
        limits.check_groups(found.name is not None, groups)
        limits.check_user(limits.user_key(tenant, found.name))

    return check


async def _hub() -> tuple[Hub | None, Exception]:
    """Return the hub, or why there is none: a client that is refused is told that, even then."""
    try:
        return await process.get_hub(), unavailable()
    except Exception as error:
        return None, error


async def admit(
    scope: Scope,
    request: HttpRequest,
    view: identity.Handshake,
    names: tuple[str, ...],
    right: rules.Right = rules.READ,
    level: int = 0,
    check: Callable[[Identity, str | None], object] = lambda found, tenant: None,
) -> identity.Admission:
    """Return who it is, and which of the groups that client may read (or send to).

    ``level`` is that of ``process.in_thread``, and ``check`` that of ``identity.admit_sync``.
    """
    if scope.get("user") is None and "livepush.identity" not in scope and tenants.hook() is None:
        known = await identify_async(request, partial(process.in_thread, level=level), process.queries_in_threads)
        scope = scope if known is None else {**scope, "livepush.identity": known}
    asked = await ask_in_thread(scope, request, view, names, right, level, check)
    answers = await ask_left(asked.questions, asked.answers, asked.tenant)
    return identity.admission(asked, names, answers, right)


async def ask_in_thread(
    scope: Scope,
    request: HttpRequest,
    view: identity.Handshake,
    names: tuple[str, ...],
    right: rules.Right,
    level: int,
    check: Callable[[Identity, str | None], object],
) -> identity.Asked:
    """Find out who it is, and ask the sync rules of a few groups at a time, so that others need not wait for all.

    Whoever asks for few groups goes first. If the rule of one group hangs, ask the others without it.
    """
    found: identity.Asked | None = None
    hung: list[str] = []
    level += len(names) > AT_ONCE
    for start in range(0, max(1, len(names)), AT_ONCE):
        begun: list[str] = []
        work = partial(
            identity.admit_sync,
            scope, request, view, names[start : start + AT_ONCE], right, hung, begun.append, check,
        )  # fmt: skip
        part = await _ask_in_thread(work, min(level + start // AT_ONCE, limits.LAST_LEVEL), hung, begun)
        if found is None:
            found, scope = part, {**scope, "livepush.identity": part.identity}
        elif part.tenant != found.tenant:
            raise unavailable()
        else:
            found.answers.granted.update(part.answers.granted)
            found.answers.failed.update(part.answers.failed)
            found.questions.extend(part.questions)
    assert found is not None
    return found


async def _ask_in_thread(
    work: Callable[[], identity.Asked], level: int, hung: list[str], begun: list[str]
) -> identity.Asked:
    while True:
        begun.clear()
        try:
            return await process.in_thread(work, level)
        except TimeoutError:
            if hung or not begun:  # a second one, or the session
                raise
            hung[:] = begun[-1:]
            logger.warning("The rule for the group %r did not answer in time.", hung[0])


def ask_again_later(connection: Connection, admission: identity.Admission) -> None:
    """Have a client come back in a while if the rule of one of its groups could not be asked, or after a long time."""
    if admission.failed:
        connection.leave_after(ASK_AGAIN * random.uniform(0.5, 1.5))
    elif age := get_settings().MAX_STREAM_AGE:
        connection.leave_after(age * random.uniform(0.9, 1.0))
