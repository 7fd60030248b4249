"""Deletes or exports the data that livepush keeps about a user.

These are the events of the user's own group, the notifications to the user, the memberships, the state of the inbox,
and what other packages keep. The notifications of other users stay, even if they name the user.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.apps import apps
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import post_delete

from livepush import log, publish, tenants, wire
from livepush.conf import get_settings
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.inbox.roles import add_roles, roles_of
from livepush.inbox.tenancy import group_of_reader, reader_of_roles, readers_of
from livepush.models import ChannelGroup, Event
from livepush.rights.announcing import recheck

logger = logging.getLogger("livepush")

AT_ONCE = 500
"""How many rows are deleted by one statement."""
KINDS = {
    Event: "events",
    ChannelGroup: "channel groups",
    Notification: "notifications",
    Membership: "memberships",
    NotificationState: "states of notifications",
    InboxState: "states of the inbox",
}
"""The models with rows about a user, and the names of these rows in answers."""


class Kept(NamedTuple):
    """The data about users that another package keeps."""

    name: str
    """The name of the rows in answers."""
    rows: Callable[[set[str], str], QuerySet[Any]]
    """Returns the rows of a user, given by the names in the tables, in a database."""
    delete: Callable[[QuerySet[Any]], int]
    """Deletes such rows, and returns how many there were."""
    exported: Callable[[Any], dict[str, Any]] | None = None
    """Returns what an export has of a row; without it, an export has the row's fields."""


kept: list[Kept] = []
"""The data of packages that this one does not import."""


@publish.has_async_twin
def forget(user: Any, *, using: str | None = None) -> dict[str, int]:
    """Delete what is kept about a user, who may be gone already; return how many rows of each kind there were.

    ``user`` is a user or a primary key. It happens in the caller's transaction; after it, no process tells any of it.
    Events of the user's that other transactions have not committed yet are not found. When a user is deleted, livepush
    does this by itself. A user who stays is in no group that the user has joined, and gets the notifications to the
    user's auth groups from now on. ``using`` is the database alias to delete from, ``LIVEPUSH["DATABASE"]`` by default.

    Raises InvalidGroup: there is no such user, or each tenant has its own users and none is active. Raises NotAtomic as
    ``send`` does.
    """
    using = publish.log_of(using)
    with transaction.atomic(using=using):
        roles = roles_of(user)
        counts = _forget(user, using)
        add_roles(roles, [reader_of_roles(user)], using)
        if roles or counts[KINDS[Membership]]:
            recheck(user, using=using)
    return counts


async def aforget(user: Any, *, using: str | None = None) -> dict[str, int]:
    """Delete what is kept about a user from async code; see ``forget``."""
    return await sync_to_async(publish.on_good_connections)(forget, user, using=using)


@publish.has_async_twin
def export(user: Any) -> dict[str, list[dict[str, Any]]]:
    """Return what is kept about a user, who may be gone already: the rows of each kind, with their fields.

    The kinds are ``events``, ``channel groups``, ``notifications``, ``memberships``, ``states of notifications``,
    ``states of the inbox``, ``presence``, ``streams`` with their text, and ``dead letters``. It lacks what was sent to
    everyone, to auth groups or to members.

    Raises InvalidGroup: there is no such user, or each tenant has its own users and none is active.
    """
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS.values()}
    for rows in _rows(user, get_settings().DATABASE, settled=False):
        found[KINDS[rows.model]] += [_fields(row) for row in rows]
    for each in kept:
        using = get_settings().DATABASE
        found[each.name] = [(each.exported or _fields)(row) for row in each.rows(readers_of(user, using), using)]
    return found


async def aexport(user: Any) -> dict[str, list[dict[str, Any]]]:
    """Return what is kept about a user, in async code; see ``export``."""
    return await sync_to_async(publish.on_good_connections)(export, user)


def _forget(user: Any, using: str) -> dict[str, int]:
    """Delete what is kept about a user, in a transaction; return how many rows of each kind there were."""
    groups, counts = _groups(user, using), dict.fromkeys(KINDS.values(), 0)
    must_tell = not log.dialect(using).in_testcase or _may_be_told(groups, using)
    for rows in _rows(user, using):
        counts[KINDS[rows.model]] += _delete(rows)
    for each in kept:
        counts[each.name] = each.delete(each.rows(readers_of(user, using), using))
    if must_tell:
        publish.send_own(wire.RIGHTS, wire.FORGOTTEN, groups, using)
    return counts


def _fields(row: Model) -> dict[str, Any]:
    """Return a row's fields; times as text, and JSON as what it holds."""
    found = {}
    for field in row._meta.concrete_fields:
        value = getattr(row, field.attname)
        if field.name in ("data", "actors", "context", "undo", "info", "state") and value:
            value = json.loads(value)
        found[field.name] = value.isoformat() if hasattr(value, "isoformat") else value
    return found


def _groups(user: Any, using: str) -> list[str]:
    """Return the user's own groups as the tables have them: one, or one for each tenant."""
    return [
        tenants.stored(group_of_reader(reader), tenants.of_stored(reader)) for reader in sorted(readers_of(user, using))
    ]


def _rows(user: Any, using: str, settled: bool = True) -> Iterable[QuerySet[Any]]:
    """Yield the user's rows of each kind. To delete events that wait for a position would make those of others wait.

    The inbox's state comes first: whoever marks something locks it first too, so neither waits for the other for ever.
    """
    groups, readers = _groups(user, using), readers_of(user, using)
    yield InboxState.objects.using(using).filter(reader__in=readers)
    events = Event.objects.using(using).filter(group__in=groups)
    yield events.filter(position__isnull=False) if settled else events
    yield ChannelGroup.objects.using(using).filter(name__in=groups)
    yield Notification.objects.using(using).filter(group__in=groups)
    for model in (Membership, NotificationState):
        yield model._default_manager.using(using).filter(reader__in=readers)


def _may_be_told(groups: list[str], using: str) -> bool:
    """Return whether there is anything of the user's groups, with or without a position, that this process can see."""
    return any(model._default_manager.using(using).filter(group__in=groups).exists() for model in (Event, Notification))


def _delete(rows: QuerySet[Any]) -> int:
    """Delete rows by their keys, a part at a time: a range would lock the gaps in which others insert, on MariaDB."""
    keys = list(rows.values_list("pk", flat=True))
    for start in range(0, len(keys), AT_ONCE):
        rows.model._default_manager.using(rows.db).filter(pk__in=keys[start : start + AT_ONCE]).delete()
    return len(keys)


def delete_up_to(event: Event, using: str) -> None:
    """Delete the rows that had no position yet, or were not filed yet, when the users were forgotten.

    Rows after ``event`` stay: they belong to the user who has the primary key now.
    """
    groups = wire.parse_forgotten(event.data)
    for model in (Event, Notification):
        rows: QuerySet[Any] = model._default_manager.using(using).filter(group__in=groups)
        _delete(rows.filter(position__lte=event.position))


def follow_deleted(sender: Any = None, instance: Any = None, using: str | None = None, **kwargs: Any) -> None:
    """A user is deleted: forget the user, in the same transaction if the log is in the same database."""
    if not isinstance(instance, Model) or not publish.is_user(instance) or instance.pk is None:
        return
    if using in (None, get_settings().DATABASE):
        _forget_quietly(instance.pk)
    else:
        publish.on_commit(partial(_forget_quietly, instance.pk), using)


def _forget_quietly(pk: Any) -> None:
    """Forget a user, and never raise into the code that deletes the user."""
    using = get_settings().DATABASE
    try:
        with log.uncounted(using), transaction.atomic(using=using):
            _forget(pk, using)
    except Exception:
        logger.exception("livepush could not delete what is kept about the user %s: run manage.py livepush_forget.", pk)


def connect() -> None:
    """Follow the project's users, if it has users."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user_model

    users: Any = get_user_model()
    for model in apps.get_models():
        if model._meta.concrete_model is users._meta.concrete_model:  # deleting a proxy sends the proxy's signal
            post_delete.connect(follow_deleted, sender=model, dispatch_uid="livepush.inbox")
