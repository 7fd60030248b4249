"""Audiences: who gets a notification, and which notifications a reader gets.

An audience is a group of the log, so that notifications travel as all events do::

    user:<pk>              one user
    inbox:all              every user who is logged in
    inbox:auth:<pk>        the users in a group of django.contrib.auth
    inbox:of:<group>       the members of a livepush group; see ``join``
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async
from django.core.exceptions import FieldDoesNotExist
from django.db import transaction
from django.db.models import ManyToManyField, Model, QuerySet
from django.utils import timezone
from django.utils.functional import Promise

from livepush import log, publish, tenants
from livepush.access import rules
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.inbox.models import Membership, Notification
from livepush.inbox.tenancy import AUTH, OF, group_of_reader, has_inbox, reader_of, reader_of_roles, role, stored
from livepush.models import ChannelGroup
from livepush.rights.announcing import EVERYONE, recheck
from livepush.rights.questions import REMEMBERED
from livepush.wire import Floor, public_name, timestamp

everyone = EVERYONE
"""The recipient that stands for every user. One row is written for all of them."""
OWN = "inbox:"
_ROLE = "auth.Group"

Recipient = str | Model
Recipients = Recipient | Iterable[Recipient]
MEMBERSHIP_TYPE = "inbox.membership"
"""The type of the event that tells a user's tabs that the user joined or left a group."""


class Audience(NamedTuple):
    """An audience that a reader is in, and the position after which the reader gets its notifications."""

    group: str
    """As the inbox's tables have it: with its tenant, if there are tenants."""
    since: int


def audiences_of(recipients: Recipients) -> Iterator[str]:
    """Yield the audience of each recipient: a user, an auth group, a livepush group, ``everyone``, or several.

    Raises InvalidGroup: nobody, a malformed name, or an instance that was not saved yet.
    """
    if isinstance(recipients, QuerySet):
        yield from _audiences_of_queryset(recipients)
    elif isinstance(recipients, Iterable) and not isinstance(recipients, str | Model | Promise):
        for recipient in recipients:
            yield from audiences_of(recipient)
    else:
        yield _audience_of(recipients)


def _audiences_of_queryset(found: QuerySet[Any]) -> Iterator[str]:
    # Without iterator(): on PostgreSQL that opens a server-side cursor, which fails behind a transaction pooler.
    if publish.is_user(found.model):
        chosen_by_order = found.query.is_sliced or found.query.distinct_fields
        unordered = found if chosen_by_order else found.order_by()
        key = publish.root_model(found.model)._meta.pk.name  # a child of the user model may have one of its own
        for pk in unordered.values_list(key, flat=True):
            yield f"user:{pk}"
    else:
        for instance in found.all():
            yield _audience_of(instance)


def _audience_of(recipient: Any) -> str:
    if recipient is None or getattr(recipient, "is_anonymous", False):
        raise InvalidGroup(f"{recipient!r} can't be notified: expected a saved user, a group, or livepush.everyone.")
    if isinstance(recipient, str):
        if recipient == everyone:
            return everyone
        if recipient.startswith("user:"):
            return publish.user_group(recipient.removeprefix("user:"))
        if recipient.startswith(OWN):
            raise InvalidGroup(f"{recipient!r} is an audience, not a recipient: name the user or the group itself.")
    if isinstance(recipient, ChannelGroup):
        recipient = recipient.name
    if isinstance(recipient, Model) and publish.root_model(recipient)._meta.label == _ROLE:
        return publish.group_name(f"{AUTH}{publish.key_of(recipient)}")
    name = publish.group_name(recipient)
    return name if name.startswith("user:") else audience_of_members(name)


def audience_of_members(group: publish.Group) -> str:
    """Return the audience of a livepush group's members.

    Raises InvalidGroup: a malformed or too long name.
    """
    return publish.group_name(OF + publish.group_name(group))


def audiences(user: Any, using: str | None = None) -> tuple[Audience, ...]:
    """Return a user's audiences: the user's own, everyone, the user's auth groups, and the groups joined.

    The newest memberships come first. Runs two queries. For a user who came lately it runs one more, and one for each
    auth group of which it was not noted when the user got it.
    """
    floors = _floors(user, using or get_settings().DATABASE)
    return tuple(Audience(group, floor.number) for group, floor in floors.items())


def _floors(user: Any, using: str) -> dict[str, Floor]:
    """Return where a user's part of each audience begins that the user is in, by the audience's name in the tables."""
    tenant, reader = tenants.current(), reader_of(user)
    rows = Membership.objects.using(using).filter(reader__in={reader, reader_of_roles(user)}).order_by("-id")
    joined = {group: Floor(since) for group, since in rows.values_list("group", "joined")}
    found = {stored(group_of_reader(reader)): Floor(), stored(everyone): _since_came(user, stored(everyone), using)}
    for pk in user.groups.values_list("pk", flat=True) if has_roles(user) else ():
        group, noted = stored(f"{AUTH}{pk}"), joined.get(role(pk))
        found[group] = _since_came(user, group, using) if noted is None else noted
    for group, floor in joined.items():
        if public_name(group).startswith(OF) and tenants.of_stored(group) == tenant:
            found[group] = floor
    return found


def has_roles(user: Any) -> bool:
    """Return whether a user, or a user model, has auth groups: ``groups`` may also be something else of a project's."""
    try:
        field = user._meta.get_field("groups")
    except (AttributeError, FieldDoesNotExist):
        return False
    return isinstance(field, ManyToManyField) and publish.root_model(field.remote_field.model)._meta.label == _ROLE


def _came(user: Any) -> datetime | None:
    """Return when a user came, if that is known."""
    came = getattr(user, "date_joined", None)
    return came if isinstance(came, datetime) and timezone.is_naive(came) == timezone.is_naive(timezone.now()) else None


def _since_came(user: Any, group: str, using: str) -> Floor:
    """Return where a user's part of an audience begins if the user has been in it ever since coming."""
    came = _came(user)
    if came is None:
        return Floor()
    if came < timezone.now() - timedelta(seconds=get_settings().INBOX_RETENTION):
        return Floor(0, timestamp(came))
    rows = Notification.objects.using(using).filter(group=group, created__lt=came).order_by("-position")
    return Floor(rows.values_list("position", flat=True).first() or 0, timestamp(came))


@rules.can_read("inbox:<path:name>")
def inbox(user: Any, name: str) -> Floor | bool:
    """Let a user read the audiences that the user is in, and no others; of each what the inbox shows."""
    if not getattr(user, "is_authenticated", False) or not has_inbox(user):
        return False
    known: dict[str, Floor] = getattr(user, REMEMBERED, {})
    if OWN + name not in known:  # a handshake asks for all audiences: look them up once
        known = {public_name(group): floor for group, floor in _floors(user, get_settings().DATABASE).items()}
        setattr(user, REMEMBERED, known)
    return known.get(OWN + name, False)


@publish.has_async_twin
def join(user: Any, group: publish.Group, *, using: str | None = None) -> None:
    """Make a user a member of a livepush group: the user's inbox gets its notifications from now on.

    This happens in the caller's transaction. Open pages notice it. For a user who is a member already, nothing changes.
    ``using`` is the database alias to write to, ``LIVEPUSH["DATABASE"]`` by default, which the inbox reads.

    Raises InvalidGroup: there is no such user, or the group is malformed or too long. Raises NotAtomic as ``send``.
    """
    using = publish.log_of(using)
    audience, reader = audience_of_members(group), reader_of(user)
    since = log.state(using).position
    with transaction.atomic(using=using):
        add_members(using, tenants.stored_checked(audience, tenants.current()), [reader], since.number)
        publish.send_own(group_of_reader(reader), MEMBERSHIP_TYPE, {"group": audience, "since": str(since)}, using)


@publish.has_async_twin
def leave(user: Any, group: publish.Group, *, using: str | None = None) -> None:
    """End a user's membership. The user no longer sees the group's notifications, old ones included.

    ``using`` is as in ``join``.

    Raises InvalidGroup: there is no such user, or the group is malformed. Raises NotAtomic as ``send`` does.
    """
    using = publish.log_of(using)
    audience, reader = audience_of_members(group), reader_of(user)
    with transaction.atomic(using=using):
        if Membership.objects.using(using).filter(group=stored(audience), reader=reader).delete()[0]:
            publish.send_own(group_of_reader(reader), MEMBERSHIP_TYPE, {"group": audience, "since": None}, using)
            recheck(user, using=using)


async def ajoin(user: Any, group: publish.Group, *, using: str | None = None) -> None:
    """Join from async code; see ``join``."""
    await sync_to_async(publish.on_good_connections)(join, user, group, using=using)


async def aleave(user: Any, group: publish.Group, *, using: str | None = None) -> None:
    """Leave from async code; see ``leave``."""
    await sync_to_async(publish.on_good_connections)(leave, user, group, using=using)


def add_members(using: str, audience: str, readers: Iterable[str], since: int) -> None:
    """Make readers members of an audience from a position on; those who are members already stay so."""
    Membership.objects.using(using).bulk_create(
        [Membership(group=audience, reader=reader, joined=since) for reader in readers], ignore_conflicts=True
    )
