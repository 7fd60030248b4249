"""Makes a message take effect once: its key is noted in the handler's transaction, with the answer.

The note is the first statement of the transaction. A second copy of the message waits for the first one's commit, and
then gets its answer; after a rollback it is handled in its place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, connections, transaction
from django.utils import timezone

from livepush import log, publish
from livepush.conf import get_settings
from livepush.receiving.models import Receipt
from livepush.wire import WireError, dumps

RUNNING = ""
"""The reply of a receipt whose handler runs outside of a transaction."""
PRUNED_AT_ONCE = 1_000
TAKEN_OVER = 60.0
"""After how long (seconds) at the soonest a message is handled again whose handler did not end: its process died."""


class Repeated(Exception):
    """The message was taken before."""


class AfterCommit(Exception):
    """A function that the handler gave to ``on_commit`` has raised. The message took effect all the same."""

    def __init__(self, reply: str | None) -> None:
        super().__init__()
        self.reply = reply


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
            if key is not None and reply is not None:
                Receipt.objects.using(using).filter(pk=key).update(reply=reply)
            return reply
    except Repeated:
        return _reply(str(key), using)
    except Exception as error:
        if committed:
            raise AfterCommit(reply) from error
        raise


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
    late = timezone.now() - timedelta(seconds=max(TAKEN_OVER, longest))
    if found.filter(created__lt=late).update(created=timezone.now()):
        return True, None
    error = WireError("unavailable", "The message is being handled: ask again in a moment.", 503)
    error.retry = 1.0
    raise error


def end(key: str | None, reply: str | None) -> None:
    """Note the answer to a message that ``begin`` has noted."""
    if key is not None:
        Receipt.objects.using(get_settings().DATABASE).filter(pk=key).update(reply=reply)


def undo(key: str | None) -> None:
    """Forget a message that ``begin`` has noted, and whose handler has raised."""
    if key is not None:
        Receipt.objects.using(get_settings().DATABASE).filter(pk=key, reply=RUNNING).delete()


def connect() -> None:
    """Have a hub delete old receipts when it prunes."""
    log.jobs.append(prune)


def prune(using: str) -> int:
    """Delete some receipts that are older than the log's retention; return their number."""
    before = timezone.now() - timedelta(seconds=get_settings().RETENTION)
    rows = Receipt.objects.using(using)
    old = rows.filter(created__lt=before).values_list("pk", flat=True)[:PRUNED_AT_ONCE]
    return rows.filter(pk__in=list(old)).delete()[0]


def _note(key: str, reply: str | None, using: str) -> None:
    receipt = Receipt(key=key, reply=reply, created=timezone.now())
    try:
        Receipt.objects.using(using).bulk_create([receipt])  # fires no signals: a receiver might check it first
    except IntegrityError as error:
        raise Repeated from error


def _reply(key: str, using: str) -> str | None:
    receipt = Receipt.objects.using(using).filter(pk=key).first()
    return None if receipt is None or receipt.reply == RUNNING else receipt.reply
