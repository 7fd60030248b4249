"""The checks of ``register``: a model and a ``ModelEvents`` class are given, and each signal is heard once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import Field, Model

from livepush.exceptions import InvalidRule
from livepush.publish.names import root_model

METHODS = ("groups", "data", "type", "send")


def check_models(models: Iterable[Any], base: type) -> None:
    """Check what is given to ``register`` itself. Raises InvalidRule: that is no model, or nothing."""
    for model in (models := tuple(models)):
        if isinstance(model, type) and issubclass(model, Model):
            continue
        if isinstance(model, type) and (issubclass(model, base) or len(models) == 1):  # without its parentheses
            raise InvalidRule(
                f"{model.__name__} is registered for no model: write @livepush.register(Order) above the class, "
                "with the model's class."
            )
        raise InvalidRule(f"{model!r} is no model: expected the model's class itself, such as Order.")
    if not models:
        raise InvalidRule("There is no model to register: write @livepush.register(Order), with the model's class.")


def check_handler(handler: Any, base: type) -> None:
    """Check a class that is to send for models. Raises InvalidRule: it is none, or an attribute is of a wrong type."""
    if not (isinstance(handler, type) and issubclass(handler, base)):
        name = getattr(handler, "__name__", repr(handler))
        raise InvalidRule(f"{name} is no ModelEvents class: write class {name}(livepush.ModelEvents).")
    for name in ("fields", "m2m"):
        value: Any = getattr(handler, name)
        if isinstance(value, str):
            raise InvalidRule(f"{handler.__name__}.{name} is {value!r}: expected a tuple such as ({value!r},).")
        if not (isinstance(value, Iterable) and all(isinstance(each, str) for each in value)):
            raise InvalidRule(f"{handler.__name__}.{name} is {value!r}: expected a tuple with the names of fields.")
    for name in METHODS:
        if not callable(getattr(handler, name)):
            raise InvalidRule(f"{handler.__name__}.{name} is {getattr(handler, name)!r}: expected a method.")


def check_fields(model: type[Model], handler: Any) -> None:
    """Check the names of fields. Raises InvalidRule: the model has no such field, or it is none of that kind."""
    for name in (*handler.fields, *handler.m2m):
        try:
            field: Any = model._meta.get_field(name)
        except FieldDoesNotExist as error:
            raise InvalidRule(f"{handler.__name__} names a field that is not there: {error}.") from error
        is_m2m = bool(field.many_to_many) and hasattr(field.remote_field, "through")
        if name in handler.m2m and not is_m2m:
            raise InvalidRule(f"{handler.__name__}.m2m names {name!r}, which is no many-to-many field of the model's.")
        if name in handler.fields and is_m2m:
            raise InvalidRule(f"{handler.__name__}.fields names the many-to-many field {name!r}: put it into m2m.")
        if name in handler.fields and not isinstance(field, Field):
            raise InvalidRule(
                f"{handler.__name__}.fields names {name!r}, which {model.__name__} does not store itself: name fields "
                "of its own, such as the foreign key."
            )


def check_model(
    model: type[Model], handler: type, registry: Mapping[type[Model], object], names_no_groups: bool
) -> None:
    """Raise InvalidRule for a model that would never be heard, or of which ``handler`` would hear twice."""
    name = model.__name__
    if model._meta.abstract:
        raise InvalidRule(f"{name} is abstract, so it has no instances: register its children.")
    if model._meta.swapped:
        raise InvalidRule(f"{name} is swapped for {model._meta.swapped!r}: register that one.")
    if model._meta.auto_created:
        raise InvalidRule(f"{name} is made by Django for a many-to-many field, which fires other signals: use m2m.")
    if root_model(model)._meta.is_composite_pk and names_no_groups:
        raise InvalidRule(f"{name} has a key of several fields and names no group: give {handler.__name__} groups().")
    for other, known in registry.items():
        if other is not model and origin(type(known)) == origin(handler):
            child, parent = (model, other) if issubclass(model, other) else (other, model)
            if issubclass(child, parent):
                raise InvalidRule(
                    f"{handler.__name__} hears of {child.__name__} twice, since it is registered for "
                    f"{parent.__name__} too: register it for {parent.__name__} alone, or write another class."
                )


def origin(handler: type) -> tuple[str, str]:
    """Return where a class comes from: equal for two that are one, loaded twice."""
    return handler.__module__, handler.__qualname__
