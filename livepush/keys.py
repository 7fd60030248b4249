"""Primary keys as the database gives them back: the names of groups and users are made of these."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model


def key_of(instance: Model, model: type[Model]) -> Any:
    """Return the primary key that an instance has as a row of a model, which may be a parent of its own one."""
    pk: Any = model._meta.pk
    return as_stored(pk, getattr(instance, pk.attname))


def as_stored(field: Any, value: Any) -> Any:
    """Return a key as the database gives it back.

    An instance that was not read from the database may have a text instead: ``Order(pk="7")``, or a ``UUIDField`` whose
    default is ``uuid4().hex``. A text that can't be such a key stays as it is.
    """
    if isinstance(value, str):
        with suppress(ValidationError, TypeError, ValueError):
            return field.to_python(value)
    return value
