"""Makes room for a fixture's rows as ``loaddata`` saves them: a fixture of a whole site holds livepush's rows too.

livepush may have made the same rows meanwhile, under other primary keys: a user who gets an auth group becomes a member
of it. Then the fixture's rows count.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.db.models.signals import pre_save

from livepush.inbox.models import InboxHead, Membership, Notification, NotificationState
from livepush.models import ChannelGroup, Event, LogFloor, LogHead

UNIQUE: dict[type[Model], tuple[str, ...]] = {
    Event: ("position", "group"),
    ChannelGroup: ("name",),
    Notification: ("position", "group"),
    NotificationState: ("reader", "position"),
    Membership: ("reader", "group"),
}
"""The fields whose values may be there once, besides the primary key."""
HEADS: tuple[type[Model], ...] = (LogHead, InboxHead, LogFloor)
"""Rows with a position that never goes back: positions that were given meanwhile are not to be given again, and clients
are not to pass over what was pruned meanwhile."""


def connect() -> None:
    """Make room for fixtures from now on."""
    for model in (*UNIQUE, *HEADS):
        pre_save.connect(make_room, sender=model, dispatch_uid="livepush.inbox.loading")


def make_room(sender: type[Model], instance: Any = None, using: str | None = None, **kwargs: Any) -> None:
    """Delete the row that a fixture's row would collide with; keep a head from going back.

    Events up to the floor are deleted: nobody reads them, and pruning does not look for them there.
    """
    if instance is None or not kwargs.get("raw"):
        return
    rows = sender._base_manager.using(using)
    if sender in HEADS:
        stored = rows.filter(pk=instance.pk).values_list("position", flat=True).first()
        instance.position = max(instance.position, stored or 0)
        if sender is LogFloor:
            Event._base_manager.using(using).filter(position__lte=instance.position).delete()
        return
    values = {name: getattr(instance, name) for name in UNIQUE[sender]}
    if None not in values.values():
        rows.filter(**values).exclude(pk=instance.pk).delete()
