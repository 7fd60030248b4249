"""Names of groups: a name itself, or a model instance whose group is meant."""

from __future__ import annotations

from typing import Any

from django.conf import settings as django_settings
from django.db.models import Model

from livepush import wire
from livepush.exceptions import InvalidGroup

Group = str | Model
"""The name of a group, or an instance whose group is meant: ``order:7``; for a user ``user:7``."""


def group_name(group: Group) -> str:
    """Return a group's name: itself, or ``<model>:<pk>`` for an instance (``user:<pk>`` for a user).

    Raises InvalidGroup: malformed, or an instance that was not saved yet.
    """
    if isinstance(group, Model):
        if group.pk is None:
            raise InvalidGroup(f"{group!r} has no primary key yet, so it has no group: save it first.")
        group = f"{_kind(group)}:{group.pk}"
    if not isinstance(group, str) or not wire.GROUP.fullmatch(group):
        raise InvalidGroup(
            f"{group!r} is not a group: expected 1 to {wire.MAX_GROUP_LENGTH} of letters, digits and _-.:/@+~=, "
            f"such as 'order:7', or a saved model instance."
        )
    return group


def user_group(user: Any) -> str:
    """Return the group of one user, ``user:<pk>``, from a user or a primary key.

    Raises InvalidGroup: nobody, or a user that was not saved yet.
    """
    key = getattr(user, "pk", user)
    if key is None:
        raise InvalidGroup(f"{user!r} is no saved user, so there is no group: check for one first.")
    return group_name(f"user:{key}")


def _kind(instance: Model) -> str:
    """Return the word before the colon in an instance's group."""
    label = f"{instance._meta.app_label}.{instance._meta.object_name}"
    return "user" if label == django_settings.AUTH_USER_MODEL else str(instance._meta.model_name)
