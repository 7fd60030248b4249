"""Names in the inbox's tables: of audiences and readers, each with its tenant, if there are tenants."""

from __future__ import annotations

import logging
from typing import Any

from django.db.models import QuerySet, Value
from django.db.models.functions import Substr

from livepush import publish, tenants
from livepush.exceptions import InvalidGroup
from livepush.inbox.models import MAX_PK_LENGTH, MAX_READER_LENGTH, InboxState, Membership, Notification
from livepush.models import ChannelGroup, Event
from livepush.notes import note_once
from livepush.wire import MARK, public_name

AUTH, OF = "inbox:auth:", "inbox:of:"
"""How the names of audiences begin: of an auth group's users, and of a livepush group's members."""


def stored(name: str) -> str:
    """Return an audience or a reader of the active tenant as the tables have it."""
    return tenants.stored(name, tenants.current())


def reader_of(user: Any) -> str:
    """Return a user's name in the inbox's tables: the primary key as text, with the tenant, if there are tenants.

    Raises InvalidGroup: nobody, a user that was not saved yet or whose key can be in no name, or no tenant is active.
    """
    name = stored(_key(user))
    if len(name) > MAX_READER_LENGTH:
        raise InvalidGroup(
            f"{name!r} is too long for a reader: expected a primary key of {MAX_PK_LENGTH} characters at most."
        )
    return name


def has_inbox(user: Any) -> bool:
    """Return whether a group can be named after a user, or a primary key. The first one for whom it can't is noted."""
    limit = MAX_READER_LENGTH if tenants.hook() is None else MAX_PK_LENGTH
    try:
        if len(_key(user)) <= limit:
            return True
        problem = f"the primary key has over {limit} characters"
    except InvalidGroup as error:
        problem = str(error)
    note_once("A user has no inbox (see livepush.W025): %s", problem, level=logging.WARNING)
    return False


def group_of_reader(reader: str) -> str:
    """Return the group of the user who is called so in the tables."""
    return f"user:{public_name(reader)}"


def role(pk: Any) -> str:
    """Return an auth group's audience as its memberships have it: without a tenant where all share the users."""
    return tenants.stored(f"{AUTH}{pk}", tenants.of_users())


def reader_of_roles(user: Any) -> str:
    """Return a user, or a user's primary key, as memberships of auth groups have it."""
    return tenants.stored(_key(user), tenants.of_users())


def readers_of(user: Any, using: str) -> set[str]:
    """Return a user's names in the tables, one for each tenant that may have something of the user's."""
    own = reader_of_roles(user)
    found = {own}
    if tenants.hook() is not None and tenants.of_users() is None:
        group, reader = f"{MARK}user:{own}", f"{MARK}{own}"
        for rows, field, ending in (
            (ChannelGroup.objects, "name", group),
            (Event.objects.filter(position__isnull=True), "group", group),  # its channel group is not there yet
            (Notification.objects, "group", group),  # it is kept for longer than its channel group
            (Membership.objects, "reader", reader),
            (InboxState.objects, "reader", reader),
        ):
            names = rows.using(using).filter(**{f"{field}__endswith": ending}).values_list(field, flat=True).distinct()
            found |= {tenants.stored(own, tenants.of_stored(name)) for name in names}
    return found


def own_rows(rows: QuerySet[Any], field: str) -> QuerySet[Any]:
    """Return the rows that name the active tenant in a field; all in a project without tenants, none without one."""
    try:
        tenant = tenants.current()
    except InvalidGroup:
        return rows.none()
    if tenant is None:
        return rows
    start = tenants.stored("", tenant)  # compared exactly too: SQLite's LIKE does not tell "a" from "A"
    named = rows.filter(**{f"{field}__startswith": start})
    found: QuerySet[Any] = named.alias(livepush_tenant=Substr(field, 1, len(start))).filter(
        livepush_tenant=Value(start)
    )
    return found


def _key(user: Any) -> str:
    return publish.user_group(user).removeprefix("user:")
