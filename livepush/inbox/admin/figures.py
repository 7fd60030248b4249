"""Counts how many readers have a notification, and how many have read and archived it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import EmptyResultSet
from django.db import connections, models
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Cast, Concat

from livepush import tenants
from livepush.conf import get_settings
from livepush.inbox import kinds
from livepush.inbox.admin.audiences import USER, primary_key, recipient_of
from livepush.inbox.models import MAX_READER_LENGTH, InboxState, Membership, Notification, NotificationState
from livepush.inbox.reading import MAX_COUNTED, Entry, Inbox
from livepush.inbox.recipients import everyone, has_roles
from livepush.inbox.tenancy import AUTH, OF, own_rows, role, stored
from livepush.wire import LARGEST_NUMBER, Position, public_name

RECENT = 1_000
"""How many of the newest notifications are looked through for categories to filter by."""


def size(audience: str, sent: Notification | None = None) -> int:
    """Count the users in an audience now; with ``sent``, those who have that notification in their inbox."""
    audience = public_name(audience)
    if audience.startswith(USER):
        return int(recipient_of(audience) is not None)
    members, late = _members(audience, sent.position if sent else LARGEST_NUMBER)
    if audience.startswith(OF):
        return members.count()
    users, newcomers = _users(audience, sent), set(late.values_list("reader", flat=True))
    if not newcomers:
        return users.count()
    start = tenants.stored("", tenants.of_users())
    return sum(f"{start}{pk}" not in newcomers for pk in users.values_list("pk", flat=True))


def _members(audience: str, position: int) -> tuple[QuerySet[Membership], QuerySet[Membership]]:
    """Return the memberships from before a position, and the later ones."""
    name = role(audience.removeprefix(AUTH)) if audience.startswith(AUTH) else stored(audience)
    rows = Membership.objects.using(get_settings().DATABASE).filter(group=name)
    return rows.filter(joined__lt=position), rows.filter(joined__gte=position)


def _users(audience: str, sent: Notification | None) -> QuerySet[Any]:
    """Return the users of an auth group, or all, who can log in; with ``sent``, who had come when it was sent."""
    model = get_user_model()
    users: QuerySet[Any] = model._default_manager.all()
    fields = {field.name: field for field in model._meta.fields}
    if isinstance(fields.get("is_active"), models.BooleanField):
        users = users.filter(is_active=True)
    if audience.startswith(AUTH):
        users = users.filter(groups=audience.removeprefix(AUTH)) if has_roles(model) else users.none()
    if sent and isinstance(fields.get("date_joined"), models.DateTimeField):
        users = users.filter(date_joined__lte=sent.created)
    return users


def _readers(sent: Notification) -> Any:
    """Return the readers who have a notification in their inbox; ``None`` if the database can't tell."""
    audience = public_name(sent.group)
    if audience.startswith(USER):
        return [stored(audience.removeprefix(USER))]
    members, late = _members(audience, sent.position)
    if audience.startswith(OF):
        return members.values("reader")
    users = _users(audience, sent)
    if not _can_join(users):
        return None
    key = Cast("pk", models.CharField(max_length=MAX_READER_LENGTH))
    readers = users.annotate(
        livepush_reader=_after(stored(""), key), livepush_role=_after(tenants.stored("", tenants.of_users()), key)
    )
    return readers.exclude(livepush_role__in=late.values("reader")).order_by().values("livepush_reader")


def _after(start: str, key: Any) -> Any:
    """Return an expression for a key after some text."""
    return Concat(Value(start), key, output_field=models.CharField()) if start else key


def _can_join(users: QuerySet[Any]) -> bool:
    """Return whether users are in the inbox's database, which writes their keys as ``str()`` does."""
    using, key = get_settings().DATABASE, primary_key(users.model)
    native = isinstance(key, models.UUIDField) and connections[using].features.has_native_uuid_field
    return users.db == using and (native or isinstance(key, models.IntegerField | models.CharField))


def _marked(sent: Notification, name: str) -> QuerySet[InboxState]:
    """Return the states that say a notification is read, or archived, whoever has it. Exceptions come with marks."""
    using = get_settings().DATABASE
    own = NotificationState.objects.using(using).filter(position=sent.position).values("reader")
    passed = Q(**{f"{name}__gte": sent.position}) & ~Q(reader__in=own.filter(**{name: False}))
    return own_rows(InboxState.objects.using(using), "reader").filter(passed | Q(reader__in=own.filter(**{name: True})))


def how_many(sent: Notification, name: str) -> int | None:
    """Count the readers who ``read`` or ``archived`` a notification; ``None`` if the database can't tell."""
    readers = _readers(sent)
    return None if readers is None else _marked(sent, name).filter(reader__in=readers).count()


def reads_of(rows: Iterable[Notification]) -> dict[int, str]:
    """Return how many have read each notification, by primary key, in one query; 99+ stands for more.

    For a notification to everyone, users who came later and marked everything as read are counted too. To exclude them
    would take a query over all users.
    """
    connection = connections[get_settings().DATABASE]
    nobody: dict[int, str] = {}
    parts: list[str] = []
    params: list[Any] = []
    for row in rows:
        found = _marked(row, "read")
        if public_name(row.group) != everyone:
            readers = _readers(row)
            if readers is None:
                continue
            found = found.filter(reader__in=readers)
        try:
            query = found.order_by().values("reader")[:MAX_COUNTED].query
            sql, values = query.get_compiler(connection=connection).as_sql()
        except EmptyResultSet:  # it was sent to an auth group, and users have none
            nobody[row.pk] = "0"
            continue
        parts.append(f"SELECT {int(row.pk)}, COUNT(*) FROM ({sql}) AS e{len(parts)}")  # noqa: S608
        params += values
    if not parts:
        return nobody
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(parts), params)
        counted = {pk: str(count) if count < MAX_COUNTED else f"{MAX_COUNTED - 1}+" for pk, count in cursor.fetchall()}
    return nobody | counted


def entry_of(sent: Notification) -> Entry | None:
    """Return a single user's notification as the user has it; ``None`` if the user is gone."""
    user = recipient_of(sent.group)
    found = Inbox(user, position=Position("", sent.position)).entries([sent.position]) if user else []
    return next(iter(found), None)


def categories() -> set[str]:
    """Return the categories of the registered kinds and of what was notified lately."""
    newest = own_rows(Notification.objects.using(get_settings().DATABASE), "group").order_by("-position")[:RECENT]
    return {kind.category for kind in kinds.registry.values()} | set(newest.values_list("category", flat=True))
