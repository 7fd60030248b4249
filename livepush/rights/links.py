"""Rows between users and their groups or permissions that are a model of the project's own (``through``).

Django sends ``m2m_changed`` for what is done with ``user.groups``. For such a row it sends what it sends for any model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import FieldDoesNotExist
from django.db.models import ManyToManyField
from django.db.models.signals import post_delete, post_save


def follow_links(users: Any, name: str, follow: Callable[..., object]) -> None:
    """Call a receiver of ``m2m_changed`` also when such a row is made or deleted, as if the other side had changed.

    ``name`` is that of the user model's field. Does nothing if there is no such field, or if Django makes the rows.
    """
    try:
        field: Any = users._meta.get_field(name)
    except FieldDoesNotExist:
        return
    through: Any = field.remote_field.through if isinstance(field, ManyToManyField) else None
    if through is None or through._meta.auto_created:
        return
    user, other = map(through._meta.get_field, (field.m2m_field_name(), field.m2m_reverse_field_name()))

    def tell(link: Any, action: str, using: str | None) -> None:
        if isinstance(link, through):
            instance = other.related_model(pk=getattr(link, other.attname))
            users = {getattr(link, user.attname)}
            follow(sender=through, instance=instance, action=action, reverse=True, pk_set=users, using=using)

    def saved(sender: Any = None, instance: Any = None, created: bool = False, **kwargs: Any) -> None:
        if created:
            tell(instance, "post_add", kwargs.get("using"))

    def deleted(sender: Any = None, instance: Any = None, **kwargs: Any) -> None:
        tell(instance, "post_remove", kwargs.get("using"))

    uid = f"{follow.__module__}.{name}"
    post_save.connect(saved, sender=through, weak=False, dispatch_uid=uid)
    post_delete.connect(deleted, sender=through, weak=False, dispatch_uid=uid)
