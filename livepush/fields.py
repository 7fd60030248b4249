"""Text columns that compare byte by byte on every database."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper


class _ExactMixin:
    """Compare text byte by byte on MySQL and MariaDB too, whose default collation makes ``a`` equal ``A``."""

    def db_parameters(self, connection: BaseDatabaseWrapper) -> dict[str, Any]:
        parameters: dict[str, Any] = super().db_parameters(connection)  # type: ignore[misc]
        if connection.vendor == "mysql":
            parameters["collation"] = "utf8mb4_bin"
        return parameters


class ExactCharField(_ExactMixin, models.CharField):  # type: ignore[type-arg]
    """A CharField that compares byte by byte on every database."""


class ExactTextField(_ExactMixin, models.TextField):  # type: ignore[type-arg]
    """A TextField that holds any Unicode text on every database."""
