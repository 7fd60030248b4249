"""Announces that rights have changed: as events of livepush's own in the log, so that every process hears of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial, wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import DEFAULT_DB_ALIAS
from django.db.models.signals import m2m_changed, post_delete, post_save

from livepush import log, publish, tenants
from livepush.conf import get_settings
from livepush.publish.model_signals import in_fixture
from livepush.rights import issuing
from livepush.rights.issuing import own_group
from livepush.rights.links import follow_links
from livepush.rights.watch import RIGHTS_TYPE
from livepush.wire import RIGHTS

logger = logging.getLogger("livepush")

EVERYONE = "inbox:all"
"""``livepush.everyone``."""
UNIMPORTANT = frozenset({"last_login"})
"""The fields of users on which no right depends."""
MAX_NAMED = 100
"""If one change concerns more users than these, one event has everybody asked about."""


@publish.has_async_twin
def revoke(
    user: Any, groups: publish.Group | Iterable[publish.Group] | None = None, *, using: str | None = None
) -> None:
    """Take groups, or all, away from a user's open streams, when the caller's transaction commits.

    ``user`` is a user, a primary key, or ``livepush.everyone``: then every client loses the groups. A stream with no
    group left ends. A client that asks again is let in if the rules still say yes, so change what they look at first.
    In a project with tenants, groups are the active tenant's, and so is everyone. All groups of a user are taken away
    in every tenant that shares the user. ``using`` is as in ``send``.

    Raises InvalidGroup: there is no such user, a group is malformed, or there are tenants and none is active. Raises
    NotAtomic as ``send`` does.
    """
    names = None if groups is None else [publish.group_name(group) for group in publish.listed(groups)]
    change = {"user": _name_of(user), "groups": names, "reason": "revoked"}
    announce(_whose(user, names), publish.log_of(using), **change)


async def arevoke(
    user: Any, groups: publish.Group | Iterable[publish.Group] | None = None, *, using: str | None = None
) -> None:
    """Revoke from async code; see ``revoke``."""
    await sync_to_async(publish.on_good_connections)(revoke, user, groups, using=using)


@publish.has_async_twin
def recheck(user: Any, reason: str = "permission", *, using: str | None = None) -> None:
    """Have the rules asked again for a user's open streams, when the caller's transaction commits.

    Livepush does this by itself when the user, the password, the permissions or the auth groups change. Call it when
    something else changes that your rules look at. ``livepush.everyone`` stands for all clients, of the active tenant
    if there are tenants. ``reason`` is what clients are told that lose groups. ``using`` is as in ``send``.

    Raises InvalidGroup: there is no such user, or there are tenants and none is active. Raises NotAtomic as ``send``
    does.
    """
    announce(_whose(user), publish.log_of(using), user=_name_of(user), reason=reason, ask=True)


async def arecheck(user: Any, reason: str = "permission", *, using: str | None = None) -> None:
    """Recheck from async code; see ``recheck``."""
    await sync_to_async(publish.on_good_connections)(recheck, user, reason, using=using)


def announce(tenant: str | None, using: str, **change: Any) -> None:
    """Send an event that says what has changed, to a log; see ``Rights``. ``None`` stands for all tenants."""
    groups = [RIGHTS]
    is_whole = "session" not in change and not change.get("ask") and change.get("groups") is None
    if is_whole and change["user"] is not None:
        groups.append(own_group(change["user"], tenant))  # the user's tokens end
    named = change if tenant is None else {**change, "tenant": tenant}
    publish.send_own(groups, RIGHTS_TYPE, named, using)


def _whose(user: Any, groups: object = None) -> str | None:
    """Return the tenant that a caller means; ``None`` if it is all of them."""
    return tenants.of_users() if user != EVERYONE and groups is None else tenants.current()


def _name_of(user: Any) -> str | None:
    return None if user == EVERYONE else publish.user_group(user).removeprefix("user:")


# What Django's signals call. It sends after the commit, so that the queries of a project's own save stay as they are.
# If the process is killed in between, ``RECHECK`` finds out.


def _soon(using: str | None, **change: Any) -> None:
    if in_fixture():  # a fixture may hold the log itself, and what it changes is found out within RECHECK
        return
    if log.dialect(using or DEFAULT_DB_ALIAS).in_testcase:  # nobody else ever sees the change
        return
    publish.on_commit(partial(announce_uncounted, tenants.of_users_or_none(), get_settings().DATABASE, **change), using)


def announce_uncounted(tenant: str | None, using: str, **change: Any) -> None:
    """Send such an event on behalf of the project's own code, whose tests may count its queries."""
    with log.uncounted(using):
        announce(tenant, using, **change)


def quietly(receive: Callable[..., None]) -> Callable[..., None]:
    """Make a receiver never raise into the code that sends the signal, whatever that left out."""

    @wraps(receive)
    def received(*args: Any, **kwargs: Any) -> None:
        try:
            receive(*args, **kwargs)
        except Exception:
            logger.exception("livepush could not announce that rights have changed; RECHECK finds out.")

    return received


@quietly
def follow_saved(
    sender: Any,
    instance: Any,
    using: str | None = None,
    created: bool = False,
    update_fields: Any = None,
    **kwargs: Any,
) -> None:
    """A user was saved: the password, ``is_active`` or whatever rules look at may have changed."""
    of_child = instance._meta.concrete_model is not publish.root_model(instance)  # one may be made of a known user
    if (of_child or not created) and not (update_fields is not None and UNIMPORTANT.issuperset(update_fields)):
        _soon(using, user=_name_of(instance), reason="user", ask=True)


@quietly
def follow_deleted(sender: Any, instance: Any, using: str | None = None, **kwargs: Any) -> None:
    """A user was deleted."""
    _soon(using, user=_name_of(instance), reason="user", ask=True)


@quietly
def follow_own(
    sender: Any, instance: Any, action: str, reverse: bool = False, pk_set: Any = None, using: str | None = None,
    **kwargs: Any,
) -> None:  # fmt: skip
    """A user's groups or permissions have changed."""
    if not action.startswith("post_"):
        return
    names: list[str | None] = [str(pk) for pk in pk_set or ()] if reverse else [_name_of(instance)]
    for name in names if 0 < len(names) <= MAX_NAMED else [None]:
        _soon(using, user=name, reason="permission", ask=True)


@quietly
def follow_role(
    sender: Any, using: str | None = None, action: str = "post_save", created: bool = False, **kwargs: Any
) -> None:
    """An auth group, its permissions or a permission has changed, or was deleted: this may concern anybody."""
    if action.startswith("post_") and not created:
        _soon(using, user=None, reason="permission", ask=True)


def connect() -> None:
    """Follow the project's users, if it has users."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Group, Permission

    issuing.connect()
    users: Any = get_user_model()
    for model in apps.get_models():
        if publish.is_user(model):  # a proxy or a child sends signals of its own
            post_save.connect(follow_saved, sender=model, dispatch_uid="livepush.rights")
        if model._meta.concrete_model is users._meta.concrete_model:  # a child is deleted with its parents
            post_delete.connect(follow_deleted, sender=model, dispatch_uid="livepush.rights")
        if issubclass(model, Group | Permission):
            post_save.connect(follow_role, sender=model, dispatch_uid="livepush.rights")
            post_delete.connect(follow_role, sender=model, dispatch_uid="livepush.rights")
    for name in ("groups", "user_permissions"):
        if hasattr(getattr(users, name, None), "through"):
            m2m_changed.connect(follow_own, sender=getattr(users, name).through, dispatch_uid="livepush.rights")
            follow_links(users, name, follow_own)
    m2m_changed.connect(follow_role, sender=Group.permissions.through, dispatch_uid="livepush.rights")
