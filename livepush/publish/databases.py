"""Which database's log an event goes to, and whether that is the caller's transaction's."""

from __future__ import annotations

from django.db import connections, router
from django.db.models import Model

from livepush.conf import get_settings
from livepush.exceptions import NotAtomic
from livepush.notes import note_once
from livepush.publish.autocommit import is_unnoticed


def log_of(using: str | None) -> str:
    """Return the alias of the log to write to: the one that is named, else ``LIVEPUSH["DATABASE"]``.

    Raises NotAtomic: none is named, and the transaction that is open is another database's.
    """
    if using is not None:
        return using
    alias = get_settings().DATABASE
    if len(connections.settings) > 1 and not _in_block(alias):
        for connection in connections.all(initialized_only=True):
            if _in_block(connection.alias):
                raise NotAtomic(
                    f"A transaction of the database {connection.alias!r} is open, and the event would go to the log of "
                    f"{alias!r}, even if that transaction is rolled back: send it in a transaction of {alias!r}, or "
                    f"add using={alias!r} if it shall go out in any case."
                )
    return alias


def in_real_transaction(using: str) -> bool:
    """Return whether a transaction is open that is not a ``TestCase``'s; any is one where Django does not tell.

    With autocommit off one is always open, or is about to be.
    """
    return is_unnoticed(using) or _in_block(using)


def _in_block(using: str) -> bool:
    connection = connections[using]
    if not connection.in_atomic_block:
        return False
    blocks = getattr(connection, "atomic_blocks", None)
    if blocks is None:
        note_once("This Django does not tell a TestCase's transactions from others: they file no notifications.")
        return True
    return not all(getattr(block, "_from_testcase", False) for block in blocks)


def routed(model: type[Model], instance: Model | None = None) -> str | None:
    """Return the alias that ``DATABASE_ROUTERS`` write a model to, or one instance of it; ``None`` if none says.

    Django's own ``router`` says the alias that an instance was read from then, which may be a replica's.
    """
    hints = {} if instance is None else {"instance": instance}
    for each in router.routers:
        found: str | None = each.db_for_write(model, **hints) if hasattr(each, "db_for_write") else None
        if found:
            return found
    return None
