"""``send`` and ``asend``: check, append, and after commit settle and announce."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from livepush import log, tenants, wire
from livepush.exceptions import (
    InvalidEvent,
    InvalidGroup,
    InvalidKey,
    InvalidType,
)
from livepush.publish import pipeline
from livepush.publish.autocommit import is_unnoticed
from livepush.publish.data import encode
from livepush.publish.databases import in_real_transaction, log_of
from livepush.publish.names import Group, group_name, listed, plain
from livepush.publish.senders import stamp
from livepush.publish.twins import has_async_twin

T = TypeVar("T")
MAX_KEY_LENGTH = 200
OWN_KEYS = "livepush:"
"""The prefix of the keys of livepush's own events."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""NUL and lone surrogates, which databases can't store in text."""


class Sent(NamedTuple):
    """One event as it was sent, before it has a position."""

    groups: tuple[str, ...]
    type: str
    data: str
    """The JSON that goes out."""
    key: str | None
    ephemeral: bool
    stored: tuple[str, ...]
    """The groups as the log has them: with the tenant whose code sent the event."""
    sender: str | None = None
    """The public data of the user who sent it, as JSON."""

    @property
    def payload(self) -> Any:
        """The data as a client gets it."""
        return json.loads(self.data)


@has_async_twin
def send(
    groups: Group | Iterable[Group],
    type: str,
    data: Any = None,
    *,
    key: str | None = None,
    ephemeral: bool = False,
    sender: Any = None,
    using: str | None = None,
) -> None:
    """Send an event to one group or several, when the caller's transaction commits (at once outside of one).

    ``data`` is anything that Django's JSON encoder accepts, or bytes (a ``Uint8Array`` in a page). If several sends to
    a group have the same ``key``, only the first is delivered, as long as the log retains it. An ``ephemeral`` event is
    not stored; it reaches, at most once, the clients that are connected now. ``sender`` is a user in whose name it is
    sent: receivers see in the event's ``from`` what ``LIVEPUSH["PUBLIC_USER"]`` tells of that user. ``using`` is the
    database alias to write to, ``LIVEPUSH["DATABASE"]`` by default. Choose the database of the transaction that the
    event belongs to.

    Raises InvalidEvent before anything is written: the group, type or key is malformed, the data can't be JSON or is
    larger than ``MAX_EVENT_BYTES``, the sender is no user, or the open transaction is another database's and ``using``
    is not given (NotAtomic). Raises the database's own errors. A failing layer raises nothing.
    """
    sent = checked(groups, type, data, key, ephemeral)
    if sender is not None and not hasattr(sender, "is_authenticated"):
        raise InvalidEvent(f"sender is {sender!r}: expected a user, such as request.user.")
    _send(sent if sender is None else sent._replace(sender=stamp(sender)), log_of(using))


def checked(
    groups: Group | Iterable[Group], type: str, data: Any = None, key: str | None = None, ephemeral: bool = False
) -> Sent:
    """Return an event as ``send_checked`` sends it. Raises InvalidEvent, as ``send`` does; writes nothing."""
    _check_type(type)
    if isinstance(key, str) and key.startswith(OWN_KEYS):
        raise InvalidKey(f"{key!r} is not a key of yours: those that begin with {OWN_KEYS!r} are livepush's own.")
    return _checked(groups, type, data, key, ephemeral)


def _check_type(type: object) -> None:
    """Refuse a type that is malformed or livepush's own. Raises InvalidType."""
    problem = wire.type_problem(type)
    if problem is not None:
        raise InvalidType(f"{type!r} is not a type: {problem}.")


def send_checked(sent: Sent, using: str, own_key: str | None = None) -> log.Appended | None:
    """Send an event that ``checked`` has returned; return the outcome of the append, ``None`` if it is ephemeral.

    ``own_key`` is a key of livepush's own, in place of the event's, by which the event can be found again.
    """
    return _send(sent, using, None if own_key is None else own_key_of(own_key))


def send_as(stamp: str, group: Group, type: str, data: Any, *, key: str | None, ephemeral: bool) -> None:
    """Send an event for a client, with its user's stamp; see ``send``. Its keys are separate from those of ``send``."""
    _check_type(type)
    sent = _checked(group, type, data, key, ephemeral)._replace(sender=stamp)
    _send(sent, log_of(None), None if key is None else own_key_of(f"message:{key}"))


def ephemeral(stamp: str, group: Group, type: str, data: Any) -> wire.Event:
    """Return a client's ephemeral event, which ``announce`` sends. Uses no database. Raises InvalidEvent."""
    _check_type(type)
    sent = _checked(group, type, data, None, True)
    return wire.Event(None, sent.stored, sent.type, sent.data, wire.timestamp(timezone.now()), stamp)


def another(event: wire.Event, data: Any) -> wire.Event:
    """Return an ephemeral event like a given one, of now and with other data: only these are checked.

    Raises InvalidEvent.
    """
    now = wire.timestamp(timezone.now())
    return wire.Event(None, event.groups, event.type, encode(data), now, event.sender)


def send_own(groups: Group | Iterable[Group], type: str, data: Any, using: str, key: str | None = None) -> None:
    """Send an event of a type that only livepush may use; see ``send``.

    Its keys are separate from those of ``send``: if the keys are equal, both events are delivered.
    """
    sent = _checked(groups, type, data, key, False)
    _send(sent, using, None if key is None else key_of_own(key))


def key_of_own(key: str) -> str:
    """Return the key as the log stores it for ``send_own``. No other key of livepush's has this form."""
    return own_key_of(f"own:{key}")


def own_key_of(key: str) -> str:
    """Return the form in which the log stores livepush's own key, to keep it apart from the keys of ``send``."""
    own = f"{OWN_KEYS}{key}"
    return own if len(own) <= MAX_KEY_LENGTH else f"{OWN_KEYS}{hashlib.sha256(key.encode()).hexdigest()}"


def _send(sent: Sent, using: str, own_key: str | None = None) -> log.Appended | None:
    with tracers[0](sent) if tracers else UNTRACED as traced:
        appended = None
        if not sent.ephemeral:
            content = log.Content(sent.stored, sent.type, sent.data, sent.sender)
            appended = log.append_settled(content, own_key or sent.key or traced, using)
        after_commit(Delivery(sent, using, appended))
    return appended


async def asend(
    groups: Group | Iterable[Group],
    type: str,
    data: Any = None,
    *,
    key: str | None = None,
    ephemeral: bool = False,
    sender: Any = None,
    using: str | None = None,
) -> None:
    """Send from async code; see ``send``."""
    options = {"key": key, "ephemeral": ephemeral, "sender": sender, "using": using}
    await sync_to_async(on_good_connections)(send, groups, type, data, **options)


def on_good_connections(work: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Close connections that have failed, as Django does at the start and end of a request, then do work.

    A consumer has no requests, so its thread would keep a dead connection for ever.
    """
    for connection in connections.all(initialized_only=True):
        if getattr(connection, "errors_occurred", True) and not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
    return work(*args, **kwargs)


class Delivery:
    """Delivers a send after commit: settles and announces, once for all sends of the transaction."""

    __slots__ = ("appended", "has_run", "number", "sent", "using")

    _numbers = itertools.count(1)
    _delivered: WeakKeyDictionary[BaseDatabaseWrapper, int] = WeakKeyDictionary()

    def __init__(self, sent: Sent, using: str, appended: log.Appended | None = None) -> None:
        self.sent = sent
        self.using = using
        self.appended = appended
        """The outcome of the append, for a send outside of any transaction."""
        self.number = next(self._numbers)
        self.has_run = False
        """Whether the transaction was committed, or a test ran its callbacks as if it had been."""

    def __call__(self) -> None:
        self.has_run = True
        if connections[self.using].in_atomic_block and not log.dialect(self.using).in_testcase:
            return  # a test runs the callbacks before the commit, which will run them again
        if self.sent.ephemeral:
            self.announce_ephemeral()
        elif self.number > self._delivered.get(connections[self.using], 0):
            # Everything that this connection sent so far is committed by now, or rolled back.
            self._delivered[connections[self.using]] = next(self._numbers)
            is_own = self.sent.groups[0].startswith(wire.OWN_GROUPS)  # as when the project deletes a user
            with log.uncounted(self.using) if is_own else nullcontext():
                pipeline.deliver(self.using, self.appended)

    def announce_ephemeral(self) -> None:
        """Announce an ephemeral event, whatever becomes of the transaction."""
        sent, time = self.sent, wire.timestamp(timezone.now())
        pipeline.announce(wire.Batch("", (wire.Event(None, sent.stored, sent.type, sent.data, time, sent.sender),)))


UNTRACED: AbstractContextManager[str | None] = nullcontext()
tracers: list[Callable[[Sent], AbstractContextManager[str | None]]] = []
"""The first one is entered around each send; it yields the key of an event that has no other, or ``None``."""
watchers: list[Callable[[Delivery, BaseDatabaseWrapper], None]] = []
"""Called with each delivery that waits for a commit, and its connection; for ``livepush.testing``."""


def after_commit(delivery: Delivery) -> None:
    """Run a delivery when the transaction commits; at once if there is no transaction.

    With autocommit off Django does not notice the commit. Then the next settle or sweep delivers the event; one that is
    ephemeral goes out at once.
    """
    if not is_unnoticed(delivery.using):
        for watch in watchers:
            watch(delivery, connections[delivery.using])
        transaction.on_commit(delivery, using=delivery.using)
    elif delivery.sent.ephemeral:
        delivery.announce_ephemeral()


def may_settle(using: str) -> bool:
    """Return whether code may settle here: in no transaction but a ``TestCase``'s, or in a block that has sent nothing.

    In a ``TestCase``, what was sent before the open block would be committed by now. Outside of one, a block is real.
    """
    if not in_real_transaction(using):
        return True
    connection: Any = connections[using]
    if not log.dialect(using).in_testcase:
        return False
    inner = sum(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)
    begun = getattr(connection, "savepoint_ids", [])[-inner:] if inner else []
    return bool(begun and begun[0]) and not any(
        begun[0] in savepoints and isinstance(work, Delivery) for savepoints, work, *_ in connection.run_on_commit
    )


def _checked(groups: Group | Iterable[Group], type: object, data: Any, key: object, ephemeral: bool) -> Sent:
    if key is not None and not (
        isinstance(key, str) and 0 < len(key) <= MAX_KEY_LENGTH and not _UNSTORABLE.search(key)
    ):
        raise InvalidKey(f"{key!r} is not a key: expected a string of 1 to {MAX_KEY_LENGTH} characters.")
    if key is not None and ephemeral:
        raise InvalidEvent("An ephemeral event is not stored, so a key can't be kept: drop key= or ephemeral=True.")
    names = tuple(dict.fromkeys(map(group_name, listed(groups))))
    if not names:
        raise InvalidGroup("There is no group to send to: expected one name or a list with at least one.")
    key = plain(key) if isinstance(key, str) else None
    return Sent(names, plain(type), encode(data), key, ephemeral, _stored(names))


def _stored(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the groups as the log has them. Raises InvalidGroup: no tenant is active, or a name becomes too long."""
    if tenants.hook() is None or all(name.startswith(wire.OWN_GROUPS) for name in names):
        return names
    tenant = tenants.current()
    return tuple(tenants.stored_checked(name, tenant) for name in names)
