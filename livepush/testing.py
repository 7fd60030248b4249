"""Helpers for a project's own tests: they show which events were sent, or would be sent on commit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, overload

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, Q, QuerySet

from livepush import publish, wire
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.inbox import notifying, recipients, tenancy
from livepush.inbox.kinds import NotificationType
from livepush.models import Event
from livepush.process import stop_all
from livepush.publish import Delivery, Sent
from livepush.publish.silencing import silenced
from livepush.publish.twins import in_async_code
from livepush.receiving.trying import (
    SendRefused,
    assert_may_not_read,
    assert_may_not_send,
    assert_may_read,
    assert_may_send,
    client,
)

__all__ = [
    "Captured",
    "Recording",
    "SendRefused",
    "Sent",
    "aassert_nothing_sent",
    "aassert_notified",
    "assert_may_not_read",
    "assert_may_not_send",
    "assert_may_read",
    "assert_may_send",
    "assert_nothing_sent",
    "assert_notified",
    "capture_events",
    "client",
    "silenced",
    "stop_all",
]

MAX_LISTED = 20


class _Events(Iterable[Sent]):
    """Questions about events that were sent."""

    def to(self, group: publish.Group) -> list[Sent]:
        """Return the events sent to one group."""
        name = publish.group_name(group)
        return [sent for sent in self if name in sent.groups]

    def types(self) -> list[str]:
        """Return the events' types."""
        return [sent.type for sent in self]


class Captured(list[Sent], _Events):
    """The events sent in a block, in order. The list is filled when the block ends, and can't be read before."""

    _is_open = False

    def _check(self) -> None:
        if self._is_open:
            remedy = "read it after the block, or use livepush.testing.Recording, which can be read in it"
            raise RuntimeError(f"The list of capture_events is filled when its block ends: {remedy}.")

    def __getitem__(self, index: Any) -> Any:
        self._check()
        return super().__getitem__(index)

    def __len__(self) -> int:
        self._check()
        return super().__len__()

    def __iter__(self) -> Iterator[Sent]:
        self._check()
        return super().__iter__()

    def __contains__(self, sent: object) -> bool:
        self._check()
        return super().__contains__(sent)

    def __eq__(self, other: object) -> bool:
        self._check()
        return super().__eq__(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __repr__(self) -> str:
        return "<the events of a block that has not ended>" if self._is_open else super().__repr__()


class Recording(Sequence[Sent], _Events):
    """The events sent in a block so far, in order. The fixture ``livepush_events`` is one.

    It has the events that were committed, and those that would be sent on commit. It has none of a transaction or
    savepoint that was rolled back.
    """

    def __init__(self) -> None:
        self._deliveries: list[tuple[Delivery, BaseDatabaseWrapper]] = []

    def __enter__(self) -> Recording:
        publish.watchers.append(self._watch)
        return self

    def __exit__(self, *error: object) -> None:
        publish.watchers.remove(self._watch)

    def _watch(self, delivery: Delivery, connection: BaseDatabaseWrapper) -> None:
        if not delivery.sent.groups[0].startswith(wire.OWN_GROUPS):  # what livepush tells itself, as of a deleted user
            self._deliveries.append((delivery, connection))

    def _sent(self) -> list[Sent]:
        """Return what was committed or waits for its commit, on whichever thread's connection."""
        connections = {id(connection): connection for _, connection in self._deliveries}
        waiting = {id(delivery) for connection in connections.values() for delivery in _pending(connection)}
        kept = [delivery for delivery, _ in self._deliveries if delivery.has_run or id(delivery) in waiting]
        return [delivery.sent for delivery in sorted(kept, key=lambda delivery: delivery.number)]

    @overload
    def __getitem__(self, index: int) -> Sent: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sent]: ...
    def __getitem__(self, index: int | slice) -> Sent | list[Sent]:
        return self._sent()[index]

    def __len__(self) -> int:
        return len(self._sent())

    def __iter__(self) -> Iterator[Sent]:
        return iter(self._sent())

    def __eq__(self, other: object) -> bool:
        return self._sent() == list(other) if isinstance(other, list | Recording) else NotImplemented

    def __repr__(self) -> str:
        return repr(self._sent())


@contextmanager
def capture_events() -> Iterator[Captured]:
    """Capture the events sent in a block: those committed in it and, in a ``TestCase``, those to be sent on commit.

    Events of a transaction or savepoint that was rolled back are left out. In the block, the list can't be read::

        with capture_events() as events:
            order.ship()
        self.assertEqual([(sent.type, sent.payload) for sent in events], [("status", {"status": "shipped"})])
    """
    captured = Captured()
    with Recording() as recording:
        captured._is_open = True
        try:
            yield captured
        finally:
            captured._is_open = False
            captured += recording


def assert_notified(user: Any, key: str | type[NotificationType], count: int = 1) -> list[dict[str, Any]]:
    """Fail unless a user got ``count`` notifications of one kind, or with one plain title, in this test.

    The user may have got them directly or in an audience: everyone, an auth group, the members of a group.
    Notifications in an open transaction count, so this works in a ``TestCase``; so do those of ``setUpTestData``.
    Notifications that were rolled back do not count. ``key`` is the kind, its key, or the title of notifications
    without a kind. If several have the same ``collapse`` key, each counts. Looks into ``LIVEPUSH["DATABASE"]``.

    Returns the data of their events, in order: ``title``, ``body``, ``url``, ``data`` and so on, without what is empty.
    Raises AssertionError, which lists what was sent instead, and to whom; InvalidGroup, if there is no such user.
    """
    __tracebackhide__ = True
    _not_in_loop("aassert_notified")
    name = key if isinstance(key, str) else key.key
    notifications = Event.objects.using(get_settings().DATABASE).filter(type=notifying.NOTIFICATION_TYPE)
    read = {row.send or row.pk: row for row in _read_by(user, notifications)}  # once, whatever the number of audiences
    found = [content for row in read.values() if _name(content := json.loads(row.data)) == name]
    if len(found) != count:
        sent = [f"{_name(json.loads(row.data))!r} to {row.group}" for row in notifications.order_by("pk")]
        raise AssertionError(
            f"{publish.user_group(user)} was notified of {name!r} {len(found)} times, not {count}. "
            f"Notifications in this test:{_listed(sent)}"
        )
    return found


def assert_nothing_sent(to: recipients.Recipient | None = None) -> None:
    """Fail if an event was sent in this test, a notification or any other; with ``to``, to a group or a user.

    What was sent in a transaction that is open still counts, so that it works in a ``TestCase``; what was rolled back
    does not; what ``setUpTestData`` sent does, and livepush's own, as a ``join`` sends one: for a part of a test
    there is ``capture_events``. To a user is everything to the user's own group, and what comes into the user's inbox.
    To a group is also what its members were notified of. Looks into ``LIVEPUSH["DATABASE"]``. Ephemeral events count
    up to the commit, which a ``TestCase`` never sees, since they are not stored.

    Raises AssertionError, which lists what was sent; InvalidGroup, if ``to`` is no group.
    """
    __tracebackhide__ = True
    _not_in_loop("aassert_nothing_sent")
    using = get_settings().DATABASE
    names = None if to is None else _names(to)
    rows = Event.objects.using(using).exclude(group__startswith=wire.OWN_GROUPS)
    if names is not None:
        in_inbox = _read_by(to, rows).values("pk") if _is_user(to) else []
        rows = rows.filter(Q(group__in=map(tenancy.stored, names)) | Q(pk__in=in_inbox))
    sent = [_line(row.type, row.group, row.data) for row in rows.order_by("pk")]
    for ephemeral in (delivery.sent for delivery in _pending(connections[using]) if delivery.sent.ephemeral):
        groups = [group for group in ephemeral.groups if names is None or group in names]
        sent += [_line(ephemeral.type, group, ephemeral.data) for group in groups]
    if sent:
        whom = f" to {to if isinstance(to, str) else min(names, key=len)}" if names and to is not None else ""
        raise AssertionError(f"Expected that nothing was sent{whom} in this test:{_listed(sent)}")


async def aassert_notified(user: Any, key: str | type[NotificationType], count: int = 1) -> list[dict[str, Any]]:
    """Assert in an async test; see ``assert_notified``."""
    __tracebackhide__ = True
    return await sync_to_async(assert_notified)(user, key, count)


async def aassert_nothing_sent(to: recipients.Recipient | None = None) -> None:
    """Assert in an async test; see ``assert_nothing_sent``."""
    __tracebackhide__ = True
    await sync_to_async(assert_nothing_sent)(to)


def _pending(connection: Any) -> list[Delivery]:
    return [hook[1] for hook in list(connection.run_on_commit) if isinstance(hook[1], Delivery)]


def _not_in_loop(twin: str) -> None:
    if in_async_code():
        raise SynchronousOnlyOperation(
            f"An event loop is running here, as in an async test: await {twin}(...) instead. If it is Playwright's, "
            "set DJANGO_ALLOW_ASYNC_UNSAFE."
        )


def _read_by(user: Any, events: QuerySet[Event]) -> QuerySet[Event]:
    """Return the events that go to an audience of the user, in the order of sending."""
    mine = Q()
    for group, since in recipients.audiences(user, events.db):
        mine |= Q(group=group) & (Q(position=None) | Q(position__gt=since))
    return events.filter(mine).order_by("pk")


def _is_user(thing: Any) -> bool:
    return isinstance(thing, Model) and publish.is_user(thing)


def _names(to: recipients.Recipient) -> set[str]:
    """Return the groups that an event, or a notification, to this recipient goes to."""
    audiences = set(recipients.audiences_of(to))
    with suppress(InvalidGroup):  # nothing can be sent to an instance that names no group; it may be notified
        audiences.add(publish.group_name(to))
    return audiences


def _name(content: dict[str, Any]) -> str:
    return str(content.get("key") or content["title"])


def _line(type: str, group: str, data: str) -> str:
    return f"{type!r} to {group}: {data if len(data) <= 200 else data[:200] + '…'}"


def _listed(lines: list[str]) -> str:
    if not lines:
        return " none."
    shown = lines[:MAX_LISTED] + ([f"… and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else [])
    return "".join(f"\n  {line}" for line in shown)
