"""Text columns that hold any Unicode text on every database, whatever character set the database itself has."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class _UnicodeMixin:
    """Hold any Unicode text on MySQL and MariaDB too, where the collation gives a column its character set."""

    collations: tuple[str, str]
    """The collation on MariaDB, and the one on MySQL."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            mariadb, mysql = self.collations
            parameters["collation"] = mariadb if getattr(connection, "mysql_is_mariadb", False) else mysql
        return parameters


class _ExactMixin(_UnicodeMixin):
    """Compare text byte by byte on MySQL and MariaDB too, whose default collation makes ``a`` equal ``A``.

    ``utf8mb4_bin`` would make ``a`` equal ``a`` and a space.
    """

    collations = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"


class _SearchedMixin(_UnicodeMixin):
    """Find text in any case."""

    collations = "utf8mb4_unicode_ci", "utf8mb4_unicode_ci"


class ExactCharField(_ExactMixin, models.CharField):  # type: ignore[type-arg]
    """A CharField that compares byte by byte on every database."""


class ExactTextField(_ExactMixin, models.TextField):  # type: ignore[type-arg]
    """A TextField that holds any Unicode text on every database, and compares it byte by byte."""


class SearchedCharField(_SearchedMixin, models.CharField):  # type: ignore[type-arg]
    """A CharField that holds any Unicode text on every database, and whose text the admin finds in any case."""


class SearchedTextField(_SearchedMixin, models.TextField):  # type: ignore[type-arg]
    """A TextField that holds any Unicode text on every database, and whose text the admin finds in any case."""
