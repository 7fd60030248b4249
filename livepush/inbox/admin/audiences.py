"""The names of audiences, and the recipients that they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import models
from django.utils.translation import gettext

from livepush.inbox.recipients import everyone
from livepush.inbox.tenancy import AUTH, OF
from livepush.wire import public_name

USER = "user:"
AT_ONCE = 500
"""The largest number of usernames in one statement."""


def names_of(audiences: Iterable[str]) -> dict[str, str]:
    """Return what each audience is called, in the given order, with a tenant or without.

    Runs at most two queries, and more for some thousand names.
    """
    wanted = {audience: public_name(audience) for audience in audiences}
    rows = _rows_of(wanted.values())
    return {audience: _name(name, rows.get(name)) for audience, name in wanted.items()}


def _name(audience: str, row: Any) -> str:
    if audience == everyone:
        return gettext("Everyone")
    if audience.startswith(USER):
        gone = gettext("User %s, who is gone") % audience.removeprefix(USER)
        return gettext("User %s") % row.get_username() if row else gone
    if audience.startswith(AUTH):
        gone = gettext("Auth group %s, which is gone") % audience.removeprefix(AUTH)
        return gettext("Users in %s") % row if row else gone
    return gettext("Members of %s") % audience.removeprefix(OF)


def recipient_of(audience: str) -> Any:
    """Return the recipient that an audience stands for; ``None`` if the user or the auth group is gone."""
    audience = public_name(audience)
    if audience.startswith((USER, AUTH)):
        return _rows_of([audience]).get(audience)
    return audience.removeprefix(OF)


def _rows_of(audiences: Iterable[str]) -> dict[str, Any]:
    """Return the users and the auth groups that audiences stand for; those that are gone are left out."""
    found: dict[str, Any] = {}
    models: list[tuple[str, Any]] = [(USER, get_user_model()), (AUTH, Group)]
    for prefix, model in models:
        keys = (_key(model, each.removeprefix(prefix)) for each in audiences if each.startswith(prefix))
        rows = model._default_manager.in_bulk([key for key in keys if key is not None])
        found |= {f"{prefix}{pk}": row for pk, row in rows.items()}
    return found


def _key(model: type[models.Model], text: str) -> Any:
    """Return the primary key that a text stands for; ``None`` if it can't be one."""
    try:
        value = primary_key(model).clean(text, None)
    except (ValidationError, ValueError):
        return None
    return value if str(value) == text else None


def primary_key(model: type[models.Model]) -> Any:
    """Return the field that says of which type a model's primary key is."""
    field: Any = model._meta.pk
    return getattr(field, "target_field", field)


def users_called(names: Iterable[str]) -> dict[str, str]:
    """Return the users with these usernames as audiences, by username."""
    model: Any = get_user_model()
    field = model._meta.get_field(model.USERNAME_FIELD)
    values = [value for name in names if (value := _value(field, name)) is not None]
    found: dict[str, str] = {}
    for start in range(0, len(values), AT_ONCE):
        rows = model._default_manager.filter(**{f"{field.name}__in": values[start : start + AT_ONCE]})
        found |= {str(name): f"{USER}{pk}" for name, pk in rows.values_list(field.name, "pk")}
    return found


def _value(field: Any, text: str) -> Any:
    """Return the value of a field that a text stands for; ``None`` if it can't be one: a username may be a number."""
    try:
        return field.to_python(text)
    except (ValidationError, ValueError):
        return None


def user_called(name: str) -> str:
    """Return the audience of the user with a username; empty if there is no such user."""
    return next(iter(users_called([name]).values()), "")
