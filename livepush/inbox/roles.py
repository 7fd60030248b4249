"""Auth groups: notes the position at which users get them, so that newcomers see no older notifications."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.apps import apps
from django.contrib.auth import get_user_model
from django.db import router, transaction
from django.db.models import Model
from django.db.models.signals import m2m_changed

from livepush import log, publish
from livepush.conf import get_settings
from livepush.inbox.models import Membership
from livepush.inbox.recipients import add_members, has_roles
from livepush.inbox.tenancy import has_inbox, reader_of_roles, role
from livepush.publish.model_signals import in_fixture
from livepush.rights.links import follow_links
from livepush.wire import public_name


def roles_of(user: Any) -> list[str]:
    """Return a user's auth groups, as memberships have them. One who is gone has none.

    ``user`` is a user or a primary key.
    """
    if not apps.is_installed("django.contrib.auth"):
        return []
    users: Any = get_user_model()
    if not has_roles(users):
        return []
    key = public_name(reader_of_roles(user))
    found = users._base_manager.using(router.db_for_write(users)).filter(pk=key).values_list("groups", flat=True)
    return [role(pk) for pk in found if pk is not None]


def add_roles(roles: list[str], readers: list[str], using: str | None = None, *, is_new: bool = False) -> None:
    """Note that readers got some auth groups now, if it is not noted yet that they have them.

    With ``is_new``, an earlier note does not count: they have lost the groups since, and nothing told of it.
    """
    using = using or get_settings().DATABASE
    if roles and readers and log.exists(using):  # it does not while an earlier app's migration loads users
        since = log.state(using).position.number
        for each in roles:
            add_members(using, each, readers, since)
            if is_new:
                known = Membership.objects.using(using).filter(group=each, reader__in=readers)
                known.filter(joined__lt=since).update(joined=since)


# What Django's signals call


def follow_roles(sender: Any = None, instance: Any = None, using: str | None = None, **kwargs: Any) -> None:
    """Note the position at which a user joins an auth group, so that newcomers see no older notifications.

    If the groups are in another database than the log, this is done when the change is committed there. Whoever sends
    the signal may leave out any of its arguments. An error is logged and not raised into the code that changes the
    groups, except an error of the database in an open transaction, which can't go on after it.
    """
    _quietly(partial(_follow_roles, sender, instance, using, kwargs))


def _quietly(work: Callable[[], object]) -> None:
    message = "The change of an auth group's users was not noted: they may see its older notifications."
    with log.without_raising(get_settings().DATABASE, message):
        work()


def _follow_roles(sender: Any, instance: Any, using: str | None, kwargs: dict[str, Any]) -> None:
    action, pks = kwargs.get("action"), kwargs.get("pk_set") or ()
    if not isinstance(instance, Model) or instance.pk is None or action not in ("post_add", "post_remove", "pre_clear"):
        return
    reverse = kwargs.get("reverse", not publish.is_user(instance))
    if not reverse and not publish.is_user(instance):
        return
    roles = [role(pk) for pk in ([instance.pk] if reverse else pks)]
    readers = [reader_of_roles(user) for user in (pks if reverse else [instance]) if has_inbox(user)]
    if action == "post_add":
        is_own = getattr(getattr(sender, "_meta", None), "auto_created", True) is False  # a model of the project's
        note = partial(add_roles, roles, readers, is_new=is_own and not in_fixture())
    elif action == "post_remove":
        note = partial(_end_roles, group__in=roles, reader__in=readers)
    else:
        whose = {"group__in": roles} if reverse else {"reader__in": readers}
        note = partial(_end_roles, group__startswith=role(""), **whose)
    if using in (None, get_settings().DATABASE) or publish.is_unnoticed(using):
        note()
    else:
        transaction.on_commit(partial(_quietly, note), using=using)


def _end_roles(**whose: Any) -> None:
    using = get_settings().DATABASE
    if log.exists(using):
        Membership.objects.using(using).filter(**whose).delete()


def connect() -> None:
    """Follow changes to the project's users, if it has users."""
    if not apps.is_installed("django.contrib.auth"):
        return
    users: Any = get_user_model()
    if has_roles(users):
        m2m_changed.connect(follow_roles, sender=users.groups.through, dispatch_uid="livepush.inbox")
        follow_links(users, "groups", follow_roles)
