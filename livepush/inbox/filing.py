"""Filing: makes inbox entries of the log's notifications, in the log's order, each once.

One process files at a time, under a lock on a row that nobody waits for. The row holds the position up to which events
were filed, and changes in the transaction that files them. A process files after it has settled, and before it reads
the inbox: if a process dies in between, nothing is lost. Since only one process writes, collapsing needs no lock in the
transaction that notifies. The rest of a forgotten user is deleted in the same order, whatever process dies meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

from django.db import DataError, Error, IntegrityError, transaction
from django.db.models import Max, Q
from django.utils import timezone

from livepush import cancelling, log, publish, tenants
from livepush.conf import get_settings
from livepush.inbox import entries
from livepush.inbox.forgetting import delete_up_to
from livepush.inbox.models import InboxHead, Notification, NotificationState
from livepush.inbox.notifying import NOTIFICATION_TYPE
from livepush.models import Event
from livepush.notes import Rarely
from livepush.progress import got_on
from livepush.signals import notified
from livepush.wire import FORGOTTEN, RIGHTS, Batch, Position

logger = logging.getLogger("livepush")
_failures = Rarely()

BATCH = 500
"""How many notifications one transaction files."""
MAX_BATCHES = 20
STATES_AT_ONCE = 10_000
"""How many states of pruned notifications are deleted at once: a notification to everyone has one for each reader."""
MOVE_ON_AFTER = 1_000
"""After how many events of other types the filed position moves past them."""
Filed = tuple[list[Notification], int | None]
"""Entries that were filed, and the position up to which all is filed; ``None`` if there was nothing to do."""


def catch_up(using: str) -> Position:
    """File the notifications that wait; return the position up to which the inbox is complete now.

    Settles first. Writes nothing in the caller's transaction, which would hold the locks until its end, and could be
    rolled back. In a ``TestCase`` only a block that has sent something is one. If filing fails, that is logged, and the
    inbox is as it was filed before.
    """
    writes = publish.may_settle(using)
    state = log.state(using)
    if state.waiting and writes:
        publish.deliver(using)
        state = log.state(using)
    head = state.position
    filed = _unfiled(using, head.number, writes)
    if filed is not None and writes:
        with _quietly(using):
            file(using)
        filed = _unfiled(using, head.number)
    return head if filed is None else Position(head.epoch, filed)


@contextmanager
def _quietly(using: str) -> Iterator[None]:
    """Log, once in a while, what fails in a block. Pages and pruning go on, up to what was filed before."""
    try:
        yield
    except Exception:
        if times := _failures.times():
            logger.exception("Filing failed for %r (%d times): inboxes lack what waits to be filed.", using, times)


def file(using: str) -> None:
    """File the notifications that wait. Stops if another process is filing, or after some passes.

    That process files what comes meanwhile: after it has let go of the lock, it looks whether there is more.
    """
    for _ in range(MAX_BATCHES):
        filed, upto = _file_batch(using)
        for notification in filed:
            got_on()
            _tell(notification, using)
        got_on()
        if upto is None or not _events(using, upto).exists():
            return


def _tell(notification: Notification, using: str) -> None:
    """Tell the project of a new entry, for the tenant whose it is: this process may file those of all tenants."""
    try:
        with cancelling.contained(), tenants.active(tenants.of_stored(notification.group)):
            notified.send_robust(Notification, notification=notification, using=using)
    except Exception:
        logger.exception("No receiver was told of the notification at %d.", notification.position)


def filed_up_to(using: str) -> int:
    """File the notifications that wait; return the position up to which the inbox no longer needs the log's events."""
    with _quietly(using):
        file(using)
    head = log.state(using).position.number
    filed = _unfiled(using, head)
    return head if filed is None else filed


def follow(using: str, batch: Batch) -> None:
    """File after a settle, if the batch has something to file."""
    if any(event.type in (NOTIFICATION_TYPE, FORGOTTEN) for event in batch.events):
        file(using)


def prune_old(using: str) -> int:
    """Delete some notifications past their retention, and states of such; return how many rows that were."""
    return prune(using, timezone.now() - timedelta(seconds=get_settings().INBOX_RETENTION))


def prune(using: str, before: datetime, batch: int = 1000) -> int:
    """Delete notifications that were sent before a time, at most ``batch``; return how many rows were deleted.

    Their readers' states are deleted after them, at most ``STATES_AT_ONCE`` in a call. Returns 0 when nothing is left.
    """
    before -= log.dialect(using).ahead_of_database(timezone.now())
    old = Notification.objects.using(using).filter(created__lt=before)
    # Look only at the first ones: a search for old ones reads the whole table if there are none.
    first_ones = Notification.objects.using(using).order_by("position").values_list("pk", "created")[:batch]
    doomed = [pk for pk, created in first_ones if created < before]
    old.filter(pk__in=doomed).delete()
    return len(doomed) + _prune_states(using)


def _prune_states(using: str) -> int:
    """Delete some states of before the first notification; return how many."""
    head = _head(using)  # before the first one is looked for: a notification that is filed meanwhile comes after it
    first = Notification.objects.using(using).order_by("position").values_list("position", flat=True).first()
    end = head + 1 if first is None else first
    states = NotificationState.objects.using(using).filter(position__lt=end).order_by("position")
    return log.delete_by_id(using, NotificationState, list(states.values_list("pk", flat=True)[:STATES_AT_ONCE]))


def connect() -> None:
    """File after every settle of this process and before events are pruned, and prune old notifications."""
    if follow not in publish.on_settled:
        publish.on_settled.append(follow)
        log.guards.append(filed_up_to)
        log.jobs.append(prune_old)


def _head(using: str) -> int:
    return InboxHead.objects.using(using).values_list("position", flat=True).filter(pk=1).first() or 0


def _events(using: str, after: int, upto: int | None = None) -> Any:
    """Return the events that are to be filed: notifications, and those that say that users were forgotten."""
    to_file = Q(type=NOTIFICATION_TYPE) | Q(type=FORGOTTEN, group=RIGHTS)
    rows = Event.objects.using(using).filter(to_file, position__gt=after)
    return rows if upto is None else rows.filter(position__lte=upto)


def _unfiled(using: str, head: int, writes: bool = True) -> int | None:
    """Return the filed position if more is to be filed; else ``None``, and move it on if it is far back."""
    filed = _head(using)
    if filed >= head:
        return None
    if _events(using, filed, head).order_by("position").exists():
        return filed
    if writes and head - filed > MOVE_ON_AFTER:
        with _quietly(using):
            _move_on(using, filed, head)
    return None


def _move_on(using: str, filed: int, head: int) -> None:
    heads = InboxHead.objects.using(using)
    if not heads.filter(pk=1, position=filed).update(position=head):  # without the row, each look reads all the log
        heads.bulk_create([InboxHead(pk=1, position=head)], ignore_conflicts=True)


def _file_batch(using: str) -> Filed:
    """File one batch; return its entries, and up to where all is filed: ``None`` if there was nothing to do.

    Does nothing if another process is filing.
    """
    try:
        return _under_lock(using, _file_after)
    except Exception as error:
        if not _is_of_an_event(error):
            raise
    return _under_lock(using, _file_around)


def _under_lock(using: str, work: Callable[[str, int], Filed]) -> Filed:
    with log.dialect(using).transaction():
        filed = _lock_head(using)
        if filed is not None:
            return work(using, filed)
    return [], _make_head(using)


def _file_after(using: str, filed: int) -> Filed:
    waiting = _events(using, filed).order_by("position", "id")
    there = list(waiting[:BATCH])
    if not there:
        return [], None
    events = list(takewhile(lambda event: event.type == NOTIFICATION_TYPE, there))
    last = events[-1] if events else there[0]
    if len(events) == BATCH:
        events += _rest_of_send(using, last)
    found = entries.write(using, events) if events else []
    if not events:
        delete_up_to(last, using)
    InboxHead.objects.using(using).filter(pk=1).update(position=last.position)
    return found, last.position


def _rest_of_send(using: str, last: Event) -> list[Event]:
    """Return the events of a send after one of them. They say the same, which is not read again."""
    rest = list(Event.objects.using(using).filter(position=last.position, id__gt=last.pk).order_by("id").defer("data"))
    for event in rest:
        event.data = last.data
    return rest


def _is_of_an_event(error: Exception) -> bool:
    """Return whether an error comes from what an event says, so that it comes again whenever the event is filed."""
    return (
        isinstance(error, DataError | IntegrityError)
        or error.args[:1] == (1366,)  # a text that a column's character set lacks: with mysqlclient OperationalError
        or not isinstance(error, Error | OSError | MemoryError)
    )


def _file_around(using: str, filed: int) -> Filed:
    """File each send by itself, and leave out those that can't be filed, if a later one can.

    If none can be filed, it may be the code that is wrong: raises what the first one raises, and leaves nothing out.
    """
    found: list[Notification] = []
    failed: list[tuple[Event, Exception]] = []
    upto = None
    for first in _firsts_of_sends(using, filed):
        try:
            with transaction.atomic(using=using):
                found += _file_send(using, first)
        except Exception as error:
            if not _is_of_an_event(error):
                raise
            failed.append((first, error))
            continue
        upto = first.position
        for event, reason in failed:
            logger.error("What was sent at %s can't be filed, so no inbox has it.", event.position, exc_info=reason)
        failed.clear()
    if upto is None and failed:
        raise failed[0][1]
    InboxHead.objects.using(using).filter(pk=1).update(position=upto or filed)
    return found, upto


def _firsts_of_sends(using: str, filed: int) -> Iterator[Event]:
    """Yield the first event of each send that waits, of a batch at most."""
    for _ in range(BATCH):
        first = _events(using, filed).order_by("position", "id").first()
        if first is None:
            return
        yield first
        filed = first.position


def _file_send(using: str, first: Event) -> list[Notification]:
    if first.type == NOTIFICATION_TYPE:
        return entries.write(using, [first, *_rest_of_send(using, first)])
    delete_up_to(first, using)
    return []


def _lock_head(using: str) -> int | None:
    """Return the filed position under a lock; ``None`` if another process has the lock, or if the row is missing."""
    heads = log.dialect(using).locked(InboxHead.objects.using(using).filter(pk=1))
    return heads.values_list("position", flat=True).first()


def _make_head(using: str) -> int | None:
    """Make the row that is locked if it is missing, and return its position.

    Call it outside of the transaction: two of those would wait for each other.
    """
    heads = InboxHead.objects.using(using)
    if heads.filter(pk=1).exists():
        return None
    last = Notification.objects.using(using).aggregate(last=Max("position"))["last"] or 0
    heads.bulk_create([InboxHead(pk=1, position=last)], ignore_conflicts=True)
    return last
