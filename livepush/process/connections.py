"""Database connections of livepush's own threads: replaced when they are dead, given back, cut when they hang."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any, TypeVar

from django.db import InterfaceError, OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from livepush.borrowing import borrowed
from livepush.notes import note_once

T = TypeVar("T")
HUB_THREAD, AUTH_THREAD, STREAM_THREAD, LIVE_THREAD, PUBLISH_THREAD, RELAY_THREAD = THREADS = (
    "livepush-hub", "livepush-auth", "livepush-streams", "livepush-live", "livepush-publish", "livepush-relay",
)  # fmt: skip
CONNECT_TIMEOUT = 2
"""How long (seconds) connecting may take in a thread that nobody replaces, unless the project's ``OPTIONS`` say
otherwise. libpq takes no less."""


def with_database(work: Callable[[], T]) -> T:
    """Do work in a long-lived thread. If its connection turns out dead, do it again on a new one."""
    try:
        try:
            return work()
        except (OperationalError, InterfaceError):
            connections.close_all()
            return work()
    finally:
        give_back()


_opened: dict[tuple[int, str], BaseDatabaseWrapper] = {}
"""The database connections of livepush's own threads, by thread and alias."""


def _note_connection(sender: object, connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if threading.current_thread().name in THREADS:
        _opened[threading.get_ident(), connection.alias] = connection


connection_created.connect(_note_connection, dispatch_uid="livepush.connections")


def limit_connecting(using: str) -> None:
    """Have this thread give up soon where a new connection is not answered: drivers may wait for minutes.

    Pools connect in threads of their own.
    """
    connection = connections[using]
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor != "sqlite" and not options.get("pool"):
        connection.settings_dict = copy(connection.settings_dict)  # which all threads share
        connection.settings_dict["OPTIONS"] = {"connect_timeout": CONNECT_TIMEOUT, **options}


def close_connections() -> None:
    """Close this thread's connections."""
    connections.close_all()
    for thread, alias in list(_opened):
        if thread == threading.get_ident():
            del _opened[thread, alias]


def cut_connections(thread: int) -> None:
    """End another thread's wait for a database host that has vanished; the system would let it wait for minutes.

    If the driver does not expose its socket, the wait lasts until the system gives up.
    """
    for (owner, _), connection in list(_opened.items()):
        if owner == thread and connection.vendor != "sqlite":
            with suppress(Exception):  # the driver has closed it meanwhile
                fileno = _fileno_of(connection.connection)
                if fileno is not None:
                    with borrowed(fileno()) as end:
                        end.shutdown(socket.SHUT_RDWR)


def _fileno_of(driver: Any) -> Callable[[], int] | None:
    """Return what tells the descriptor of a driver's connection; PyMySQL's has no such method, but its socket has.

    While a thread connects, there is no connection yet.
    """
    fileno: Callable[[], int] | None = getattr(driver, "fileno", None) or getattr(
        getattr(driver, "_sock", None), "fileno", None
    )
    if fileno is None and driver is not None and not hasattr(driver, "_sock"):  # PyMySQL's is None where it is closed
        note_once(
            "livepush can't cut a connection of %s: a thread whose database vanishes waits until the system gives up.",
            type(driver).__module__,
        )
    return fileno


def tidy(is_alone: bool) -> None:
    """Close this thread's dead connections, in a thread that livepush shares with a project's async code.

    If nobody else uses the thread now, close those that are too old as well, and give back pooled ones.
    """
    for connection in connections.all(initialized_only=True):
        if is_alone or connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
    if is_alone:
        give_back()


def give_back() -> None:
    """Return pooled connections to their pool, since others wait for them. Without a pool a thread keeps its own.

    Dead ones are closed, also if the project's code took care of the error itself. What Django noted of queries is
    forgotten.
    """
    for connection in connections.all(initialized_only=True):
        connection.queries_log.clear()  # with DEBUG it holds 9,000 queries: only a request's end clears it
        if connection.errors_occurred:
            connection.close_if_unusable_or_obsolete()
        if connection.settings_dict["OPTIONS"].get("pool"):
            connection.close()
