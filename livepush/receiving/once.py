"""Makes a message take effect once: its key is noted in the handler's transaction, with the answer.

The note is the first statement of the transaction. A second copy of the message waits for the first one's commit, and
then gets its answer; after a rollback it is handled in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from django.db import Error, IntegrityError, OperationalError, connections, transaction
from django.db.models import QuerySet

from livepush import log, publish
from livepush.conf import get_settings
from livepush.receiving.models import Receipt
from livepush.wire import WireError, dumps

RUNNING = ""
"""The reply of a receipt whose handler runs outside of a transaction."""
PRUNED_AT_ONCE = 1_000
TAKEN_OVER = 60.0
"""After how long (seconds) at the soonest a message is handled again whose handler did not end: its process died."""
IN_ERROR = 3
"""The status of a transaction of PostgreSQL in which a statement has failed (libpq, ``PQTRANS_INERROR``)."""
InThread = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs work that uses the database in a thread."""


class Repeated(Exception):
    """The message was taken before."""


class TookEffect(Exception):
    """The message took effect, and something failed after that."""

    def __init__(self, reply: str | None) -> None:
        super().__init__()
        self.reply = reply


class AfterCommit(TookEffect):
    """A function that the handler gave to ``on_commit`` has raised."""


class NotNoted(TookEffect):
    """The database was away when the answer of a handler outside of a transaction was to be noted."""


def receipt_key(*parts: str | None) -> str:
    """Return the key under which a message is noted: of its sender, group, type and own key."""
    return hashlib.sha256(dumps(parts).encode()).hexdigest()


def encode(reply: Any) -> str | None:
    """Return a handler's answer as JSON, ``None`` for none. Raises InvalidData: it is no JSON."""
    return None if reply is None else publish.as_json(reply)


def in_transaction(key: str | None, work: Callable[[], Any]) -> str | None:
    """Do work in a transaction, once for each key; return its answer, or the first copy's.

    Raises what the work raises, and AfterCommit, from what the work's ``on_commit`` raises.
    """
    using, reply, committed = get_settings().DATABASE, None, []
    is_outermost = not connections[using].in_atomic_block
    try:
        with transaction.atomic(using):
            if is_outermost:
                transaction.on_commit(lambda: committed.append(True), using)  # before any of the work's
            if key is not None:
                _note(key, None, using)
            reply = encode(work())
            _check_unbroken(using)
            if key is not None and reply is not None:
                Receipt.objects.using(using).filter(pk=key).update(reply=reply)
            return reply
    except Repeated:
        return _reply(str(key), using)
    except Exception as error:
        if committed:
            raise AfterCommit(reply) from error
        raise


def _check_unbroken(using: str) -> None:
    """Check that the open transaction can be committed: the work may have caught an error of the database.

    Django, and PostgreSQL too, would roll back without a word. Raises TransactionManagementError: it can't be.
    """
    connection = connections[using]
    connection.validate_no_broken_transaction()
    info = getattr(connection.connection, "info", None)
    if getattr(info, "transaction_status", None) == IN_ERROR:
        raise transaction.TransactionManagementError("A statement has failed, so nothing can be committed.")


async def outside_of_transaction(
    key: str | None, work: Callable[[], Awaitable[Any]], in_thread: InThread
) -> str | None:
    """Do work outside of a transaction, once for each key; return its answer, or the first copy's.

    Raises what the work raises; WireError: it is being done; OperationalError: the database was away before it; and
    NotNoted: it was away after it.
    """
    reply: str | None
    is_new, reply = await noted(in_thread, partial(begin, key))
    if not is_new:
        return reply
    try:
        reply = encode(await work())
    except BaseException:
        with suppress(Error):  # a copy waits then
            await noted(in_thread, partial(undo, key))
        raise
    try:
        await noted(in_thread, partial(end, key, reply))
    except Error as error:
        raise NotNoted(reply) from error
    return reply


async def noted(in_thread: InThread, work: Callable[[], Any]) -> Any:
    """Do work in a thread. Raises OperationalError: there was no thread for it, or it took too long."""
    try:
        return await in_thread(work)
    except (TimeoutError, RuntimeError) as error:
        raise OperationalError(str(error)) from error


def begin(key: str | None) -> tuple[bool, str | None]:
    """Note a message whose handler runs outside of a transaction.

    Return whether it must be handled, and else the first copy's answer.

    Raises WireError: it is being handled.
    """
    using = get_settings().DATABASE
    if key is None:
        return True, None
    try:
        with transaction.atomic(using):
            _note(key, RUNNING, using)
        return True, None
    except Repeated:
        pass
    found = Receipt.objects.using(using).filter(pk=key)
    receipt = found.first()
    if receipt is None:
        return begin(key)
    if receipt.reply != RUNNING:
        return False, receipt.reply
    longest = 2 * get_settings().DATABASE_TIMEOUT  # one for a schema's check, and less than one for an async handler
    clock = log.dialect(using)  # processes on several hosts compare these times
    if found.filter(created__lt=clock.ago(max(TAKEN_OVER, longest))).update(created=clock.now()):
        return True, None
    error = WireError("unavailable", "The message is being handled: ask again in a moment.", 503)
    error.retry = 1.0
    raise error


def end(key: str | None, reply: str | None) -> None:
    """Note the answer to a message that ``begin`` has noted."""
    if key is not None:
        _on_good_connection(lambda rows: rows.filter(pk=key).update(reply=reply))


def undo(key: str | None) -> None:
    """Forget a message that ``begin`` has noted, and whose handler has raised."""
    if key is not None:
        _on_good_connection(lambda rows: rows.filter(pk=key, reply=RUNNING).delete())


def _on_good_connection(change: Callable[[QuerySet[Receipt]], object]) -> None:
    """Change receipts. If that fails, do it again on a new connection: one that idled during a handler may be dead."""
    using = get_settings().DATABASE
    try:
        change(Receipt.objects.using(using))
    except Error:
        if connections[using].in_atomic_block:
            raise
        connections[using].close()
        change(Receipt.objects.using(using))


def connect() -> None:
    """Have a hub delete old receipts when it prunes."""
    log.jobs.append(prune)


def prune(using: str) -> int:
    """Delete some receipts that are older than the log's retention; return their number."""
    before = log.dialect(using).ago(get_settings().RETENTION)
    rows = Receipt.objects.using(using)
    old = rows.filter(created__lt=before).values_list("pk", flat=True)[:PRUNED_AT_ONCE]
    return rows.filter(pk__in=list(old)).delete()[0]


def _note(key: str, reply: str | None, using: str) -> None:
    receipt = Receipt(key=key, reply=reply, created=log.dialect(using).now())
    try:
        Receipt.objects.using(using).bulk_create([receipt])  # fires no signals: a receiver might check it first
    except IntegrityError as error:
        raise Repeated from error


def _reply(key: str, using: str) -> str | None:
    receipt = Receipt.objects.using(using).filter(pk=key).first()
    return None if receipt is None or receipt.reply == RUNNING else receipt.reply
