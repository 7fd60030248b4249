"""Who gets a notification, and whose notifications a reader gets: audiences.

An audience is a group of the log's, so that what is notified travels as every event does::

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
from django.apps import apps
from django.db import transaction
from django.db.models import Model, QuerySet
from django.db.models.signals import m2m_changed, post_delete
from django.utils import timezone

from livepush import log, publish
from livepush.access import rules
from livepush.conf import get_settings
from livepush.exceptions import InvalidGroup
from livepush.inbox.models import InboxState, Membership, Notification, NotificationState
from livepush.models import ChannelGroup

everyone = "inbox:all"
"""The recipient that is every user. One row is written for all of them."""
OWN = "inbox:"
_AUTH, _OF = "inbox:auth:", "inbox:of:"

Recipient = str | Model
Recipients = Recipient | Iterable[Recipient]
TYPE = "inbox.membership"
"""The type of the event that tells a user's tabs of a group joined, or left."""


class Audience(NamedTuple):
    """An audience that a reader is in, and the position behind which its notifications are the reader's."""

    group: str
    since: int


def audiences_of(recipients: Recipients) -> Iterator[str]:
    """Yield the audience of each recipient: a user, an auth group, a livepush group, ``everyone``, or several.

    Raises InvalidGroup: nobody, a malformed name, or an instance that was not saved yet.
    """
    if isinstance(recipients, QuerySet):
        yield from _audiences_of_queryset(recipients)
    elif isinstance(recipients, Iterable) and not isinstance(recipients, str | Model):
        for recipient in recipients:
            yield from audiences_of(recipient)
    else:
        yield _audience_of(recipients)


def _audiences_of_queryset(found: QuerySet[Any]) -> Iterator[str]:
    if publish.is_user(found.model):
        unordered = found if found.query.is_sliced else found.order_by()
        key = publish.root_model(found.model)._meta.pk.name  # a child of the user model may have one of its own
        for pk in unordered.values_list(key, flat=True).iterator():
            yield f"user:{pk}"
    else:
        for instance in found.iterator():
            yield _audience_of(instance)


def _audience_of(recipient: Any) -> str:
    if recipient is None or getattr(recipient, "is_anonymous", False):
        raise InvalidGroup(f"{recipient!r} can't be notified: expected a saved user, a group, or livepush.everyone.")
    if isinstance(recipient, str):
        if recipient == everyone or recipient.startswith("user:"):
            return publish.group_name(recipient)
        if recipient.startswith(OWN):
            raise InvalidGroup(f"{recipient!r} is an audience, not a recipient: name the user or the group itself.")
    if isinstance(recipient, ChannelGroup):
        recipient = recipient.name
    if isinstance(recipient, Model) and publish.root_model(recipient)._meta.label == "auth.Group":
        return publish.group_name(f"{_AUTH}{publish.key_of(recipient)}")
    name = publish.group_name(recipient)
    return name if name.startswith("user:") else audience_of_members(name)


def audience_of_members(group: publish.Group) -> str:
    """Return the audience of a livepush group's members.

    Raises InvalidGroup: a malformed or too long name.
    """
    return publish.group_name(_OF + publish.group_name(group))


def reader_of(user: Any) -> str:
    """Return a user's name in the inbox's tables: the primary key, as text.

    Raises InvalidGroup: nobody, or a user that was not saved yet.
    """
    return publish.user_group(user).removeprefix("user:")


def audiences(user: Any, using: str | None = None) -> tuple[Audience, ...]:
    """Return the audiences that a user is in: the user, everyone, the user's auth groups, what the user has joined.

    Two queries, and a third for who has come lately; the newest memberships come first.
    """
    using = using or get_settings().DATABASE
    reader = reader_of(user)
    joined = dict(Membership.objects.using(using).filter(reader=reader).order_by("-id").values_list("group", "joined"))
    roles = getattr(user, "groups", None)
    names = [f"{_AUTH}{pk}" for pk in roles.values_list("pk", flat=True)] if roles is not None else []
    found = [Audience(f"user:{reader}", 0), Audience(everyone, _before_came(user, using))]
    found += [Audience(name, joined.get(name, 0)) for name in names]
    found += [Audience(group, since) for group, since in joined.items() if group.startswith(_OF)]
    return tuple(found)


def _before_came(user: Any, using: str) -> int:
    """Return the position of the last that was notified to everyone before a user came; 0 where that is long ago."""
    came = getattr(user, "date_joined", None)
    if not isinstance(came, datetime) or timezone.is_naive(came) != timezone.is_naive(timezone.now()):
        return 0
    if came < timezone.now() - timedelta(seconds=get_settings().INBOX_RETENTION):
        return 0
    rows = Notification.objects.using(using).filter(group=everyone, created__lt=came).order_by("-position")
    return rows.values_list("position", flat=True).first() or 0


@rules.can_read("inbox:<path:name>")
def inbox(user: Any, name: str) -> bool:
    """Let those, and nobody else, read an audience who are in it."""
    if not getattr(user, "is_authenticated", False):
        return False
    known: set[str] = getattr(user, "_livepush_audiences", set())
    if OWN + name not in known:  # a handshake asks for all of them: they are looked up once
        known = {audience.group for audience in audiences(user)}
        user._livepush_audiences = known
    return OWN + name in known


def join(user: Any, group: publish.Group) -> None:
    """Make a user a member of a livepush group: what is notified to it from now on comes into the user's inbox.

    In the caller's transaction. A page that is open takes it up. Who is a member stays one, since the first time.

    Raises InvalidGroup: nobody, or not a group.
    """
    using = get_settings().DATABASE
    audience, reader = audience_of_members(group), reader_of(user)
    since = log.state(using).position
    with transaction.atomic(using=using):
        _add_members(using, audience, [reader], since.number)
        publish.send_own(f"user:{reader}", TYPE, {"group": audience, "since": str(since)}, using)


def leave(user: Any, group: publish.Group) -> None:
    """End a user's membership: what was notified to the group leaves the user's inbox.

    Raises InvalidGroup: nobody, or not a group.
    """
    using = get_settings().DATABASE
    audience, reader = audience_of_members(group), reader_of(user)
    with transaction.atomic(using=using):
        if Membership.objects.using(using).filter(group=audience, reader=reader).delete()[0]:
            publish.send_own(f"user:{reader}", TYPE, {"group": audience, "since": None}, using)


async def ajoin(user: Any, group: publish.Group) -> None:
    """Join from async code; see ``join``."""
    await sync_to_async(join)(user, group)


async def aleave(user: Any, group: publish.Group) -> None:
    """Leave from async code; see ``leave``."""
    await sync_to_async(leave)(user, group)


def _add_members(using: str, audience: str, readers: Iterable[str], since: int) -> None:
    Membership.objects.using(using).bulk_create(
        [Membership(group=audience, reader=reader, joined=since) for reader in readers], ignore_conflicts=True
    )


# What Django's signals call


def follow_roles(
    sender: Any, instance: Model, action: str, reverse: bool, pk_set: set[Any] | None, **kwargs: Any
) -> None:
    """Note from when on somebody is in an auth group, so that newcomers see nothing older."""
    if action not in ("post_add", "post_remove", "pre_clear"):
        return
    using = get_settings().DATABASE
    pairs = [(instance.pk, pk) if reverse else (pk, reader_of(instance)) for pk in pk_set or ()]
    rows = Membership.objects.using(using)
    if action == "pre_clear":
        whose = {"group": f"{_AUTH}{instance.pk}"} if reverse else {"reader": reader_of(instance)}
        rows.filter(group__startswith=_AUTH, **whose).delete()
    elif action == "post_remove":
        for role, user in pairs:
            rows.filter(group=f"{_AUTH}{role}", reader=str(user)).delete()
    else:
        since = log.state(using).position.number
        for role, user in pairs:
            _add_members(using, f"{_AUTH}{role}", [str(user)], since)


def forget_user(sender: Any, instance: Model, **kwargs: Any) -> None:
    """Delete the inbox of a user who is deleted."""
    using, reader = get_settings().DATABASE, reader_of(instance)
    Notification.objects.using(using).filter(group=f"user:{reader}").delete()
    for model in (Membership, NotificationState, InboxState):
        model._default_manager.using(using).filter(reader=reader).delete()


def connect() -> None:
    """Follow the project's users, where it has any."""
    if not apps.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth import get_user_model

    users: Any = get_user_model()
    for model in apps.get_models():
        if model._meta.concrete_model is users._meta.concrete_model:  # who is deleted as a proxy is told as one
            post_delete.connect(forget_user, sender=model, dispatch_uid="livepush.inbox")
    if hasattr(users, "groups"):
        m2m_changed.connect(follow_roles, sender=users.groups.through, dispatch_uid="livepush.inbox")
