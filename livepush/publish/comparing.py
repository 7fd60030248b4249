"""Compares the rows of a model before and after a save."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field, Model


def differ(field: Field[Any, Any], before: Model, now: Model) -> bool:
    """Return whether two instances have different values in a field, as the database would give them back."""
    try:
        return bool(_value(field, before) != _value(field, now))
    except Exception:  # arrays, such as those of vectors, compare their elements and have no truth
        return field.value_to_string(before) != field.value_to_string(now)


def _value(field: Field[Any, Any], instance: Model) -> Any:
    """Return a field's value as the database would give it back: ``"5"`` in an integer field is 5."""
    value = getattr(instance, field.attname)
    try:
        return field.to_python(value)
    except ValidationError:
        return value


def generated(field: Field[Any, Any]) -> bool:
    """Return whether the database computes a field from others, as for a ``GeneratedField``."""
    return bool(getattr(field, "generated", False))


def is_expression(value: Any) -> bool:
    """Return whether a value is computed by the database when it is saved."""
    return hasattr(value, "resolve_expression")
