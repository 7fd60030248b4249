"""For projects with autocommit off. Then Django commits nothing by itself, and notices no commit.

Livepush commits its own work, which it does in threads and commands of its own. Work that it does in a transaction of
the project's stays there, and the project commits it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import wraps

from django.db import DEFAULT_DB_ALIAS, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from livepush.log import dialect

logger = logging.getLogger("livepush")

BESIDE = "livepush-beside"
OWN_THREADS = (  # the first six are those of process/connections.py, which imports this package
    "livepush-hub", "livepush-auth", "livepush-streams", "livepush-live", "livepush-publish", "livepush-relay",
    "livepush-doctor", BESIDE,
)  # fmt: skip
"""The names of threads whose connections commit by themselves begin with one of these."""
_commanding: set[threading.Thread] = set()
"""The thread that runs a command of livepush's own, if this process was started for it."""


def is_unnoticed(using: str | None) -> bool:
    """Return whether Django will not notice the commit of what is done now, since autocommit is off."""
    connection = connections[using or DEFAULT_DB_ALIAS]
    if connection.in_atomic_block:
        return not getattr(connection, "commit_on_exit", True)  # the block is only a savepoint
    return not connection.get_autocommit()


def on_commit(work: Callable[[], object], using: str | None) -> None:
    """Do some work when the transaction commits; at once, in the transaction, if Django won't notice the commit.

    If it raises, that is logged.
    """
    unnoticed = is_unnoticed(using)

    def logging_errors() -> None:  # robust=True raises an AttributeError instead if work is a partial
        try:
            with transaction.atomic(using=using) if unnoticed else nullcontext():
                work()
        except Exception:
            logger.exception("Livepush could not do what it does after a commit.")

    if unnoticed:
        logging_errors()
    else:
        transaction.on_commit(logging_errors, using=using)


def beside_transactions(work: Callable[[str], None]) -> Callable[[str], None]:
    """Have some work on a database done on another connection if this thread's has autocommit off.

    Else it would be part of a transaction of the project's. If that has written, the work is left out: it might wait
    for that transaction, which would wait for it.
    """

    @wraps(work)
    def done(using: str) -> None:
        connection = connections[using]
        if connection.in_atomic_block or connection.get_autocommit():
            work(using)
        elif not dialect(using).has_written():
            with ThreadPoolExecutor(1, BESIDE) as thread:
                thread.submit(_closing, work, using).result()

    return done


@contextmanager
def committing() -> Iterator[None]:
    """Have this thread commit what it does in the block, as if autocommit was on. It begins with new connections."""
    thread = threading.current_thread()
    connections.close_all()
    _commanding.add(thread)
    try:
        yield
    finally:
        _commanding.discard(thread)
        connections.close_all()


def _closing(work: Callable[[str], None], using: str) -> None:
    try:
        work(using)
    finally:
        connections.close_all()


def _commit(sender: object, connection: BaseDatabaseWrapper, **kwargs: object) -> None:
    thread = threading.current_thread()
    if not connection.get_autocommit() and (thread in _commanding or thread.name.startswith(OWN_THREADS)):
        connection.commit()  # another receiver may have used it
        connection.set_autocommit(True)


connection_created.connect(_commit, dispatch_uid="livepush.autocommit")
