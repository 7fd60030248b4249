"""The log's statements for each kind of database."""

from __future__ import annotations

from django.db import connections

from livepush.log.dialects.base import Dialect
from livepush.log.dialects.mysql import MySQL
from livepush.log.dialects.postgresql import PostgreSQL
from livepush.log.dialects.sqlite import SQLite

_BY_VENDOR: dict[str, type[Dialect]] = {"postgresql": PostgreSQL, "mysql": MySQL, "sqlite": SQLite}

__all__ = ["Dialect", "dialect"]


def dialect(using: str) -> Dialect:
    """Return the log's statements on this thread's connection to a database."""
    connection = connections[using]
    return _BY_VENDOR.get(connection.vendor, Dialect)(connection)
