"""Statements on behalf of other people's code: they do not count among its queries, as ``assertNumQueries`` does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connections


@contextmanager
def uncounted(using: str) -> Iterator[None]:
    """Do not count what a block asks a database, unless ``DEBUG`` has all queries logged."""
    connection = connections[using]
    counts, connection.force_debug_cursor = connection.force_debug_cursor, False
    try:
        yield
    finally:
        connection.force_debug_cursor = counts
