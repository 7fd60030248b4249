"""All that is said to a database in words of its own."""

from __future__ import annotations

from django.db import connections

from livepush.log.dialects.base import Dialect
from livepush.log.dialects.mysql import MySQL
from livepush.log.dialects.postgresql import PostgreSQL
from livepush.log.dialects.sqlite import SQLite

_BY_VENDOR: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}

__all__ = ["Dialect", "dialect"]


def dialect(using: str) -> Dialect:
    """Return this thread's connection to a database, with how it is spoken to."""
    connection = connections[using]
    return _BY_VENDOR.get(connection.vendor, Dialect)(connection)
