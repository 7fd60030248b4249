"""Statements on behalf of other people's code: they do not count among its queries, as ``assertNumQueries`` does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import DatabaseError, connections

logger = logging.getLogger("livepush")


@contextmanager
def uncounted(using: str) -> Iterator[None]:
    """Do not count what a block asks a database, unless ``DEBUG`` has all queries logged."""
    connection = connections[using]
    counts, connection.force_debug_cursor = connection.force_debug_cursor, False
    try:
        yield
    finally:
        connection.force_debug_cursor = counts


@contextmanager
def without_raising(using: str, message: str) -> Iterator[None]:
    """Do not count what a block asks a database, and log its error with a message instead of raising it.

    A DatabaseError is raised if a transaction is open on that database: the transaction can't go on after it.
    """
    try:
        with uncounted(using):
            yield
    except Exception as error:
        if isinstance(error, DatabaseError) and connections[using].in_atomic_block:
            raise
        logger.exception(message)
