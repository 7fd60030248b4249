"""Compares the rows of a model before and after a save, and tells their values."""

from __future__ import annotations

import json
from typing import Any

from django.core.exceptions import ValidationError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Field, Model


def differ(field: Field[Any, Any], before: Model, now: Model) -> bool:
    """Return whether two instances have different values in a field, as the database would give them back."""
    try:
        return bool(_value(field, before) != _value(field, now)) or _differ_raw(field, before, now)
    except Exception:  # arrays, such as those of vectors, compare their elements and have no truth
        return field.value_to_string(before) != field.value_to_string(now)


def _value(field: Field[Any, Any], instance: Model) -> Any:
    """Return a field's value as the database would give it back: ``"5"`` in an integer field is 5."""
    value = getattr(instance, field.attname)
    try:
        return field.to_python(value)
    except ValidationError:
        return value


def _differ_raw(field: Field[Any, Any], before: Model, now: Model) -> bool:
    """Return whether two values differ in what ``to_python`` drops, such as a price's currency."""
    old, new = getattr(before, field.attname), getattr(now, field.attname)
    return type(old) is type(new) and type(_value(field, now)) is not type(new) and bool(old != new)


def as_data(field: Field[Any, Any], instance: Model) -> Any:
    """Return a field's value as an event carries it: as Django's serializers write it, where it is no JSON."""
    value = field.value_from_object(instance)
    try:
        json.dumps(value, cls=DjangoJSONEncoder)
    except TypeError:  # for example a file
        return field.value_to_string(instance)
    except (ValueError, RecursionError):  # sending says why
        pass
    return value


def generated(field: Field[Any, Any]) -> bool:
    """Return whether the database computes a field from others, as for a ``GeneratedField``."""
    return bool(getattr(field, "generated", False))


def is_expression(value: Any) -> bool:
    """Return whether a value is computed by the database when it is saved."""
    return hasattr(value, "resolve_expression")
