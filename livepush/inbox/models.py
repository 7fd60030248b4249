"""The inbox's tables: notifications, the state of each reader, and the members of groups.

A reader is a user's primary key as text, so that neither the type of a project's user model nor the database that it
is in matters here.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush import wire
from livepush.fields import ExactCharField, ExactTextField, SearchedTextField
from livepush.inbox.links import is_safe

MAX_PK_LENGTH = 64
"""The length that a user's primary key may have as text."""
MAX_READER_LENGTH = 128
"""A tenant's name of 63 characters, the mark, and a primary key."""


class Level(models.TextChoices):
    """How much a notification wants attention."""

    INFO = "info", _("Info")
    SUCCESS = "success", _("Success")
    WARNING = "warning", _("Warning")
    ERROR = "error", _("Error")


class Notification(models.Model):
    """One entry of the inbox of everyone in an audience.

    Its position is that of its event; if several were collapsed into it, that of the last one. The entries that one
    ``notify`` made for several audiences share a position, so a reader in two of them gets one entry.
    """

    position = models.BigIntegerField(_("position"), editable=False)
    group = ExactCharField(_("audience"), max_length=wire.MAX_GROUP_LENGTH)
    key = ExactCharField(_("kind"), max_length=wire.MAX_TYPE_LENGTH, blank=True)
    category = ExactCharField(_("category"), max_length=50, blank=True)
    level = ExactCharField(_("level"), max_length=10, choices=Level, default=Level.INFO)
    title = SearchedTextField(_("title"))
    body = SearchedTextField(_("text"), blank=True)
    url = ExactTextField(_("address"), blank=True)
    icon = ExactTextField(_("icon"), blank=True)
    collapse = ExactCharField(_("collapse key"), max_length=100, null=True, blank=True)
    count = models.PositiveIntegerField(_("count"), default=1)
    actors = ExactTextField(_("actors"), default="[]")
    context = ExactTextField(_("context"), default="{}")
    first = models.DateTimeField(_("first sent"))
    created = models.DateTimeField(_("sent"))

    class Meta:
        verbose_name = _("notification")
        verbose_name_plural = _("notifications")
        constraints = [models.UniqueConstraint(fields=["position", "group"], name="livepush_notified")]
        indexes = [
            models.Index(fields=["group", "position"], name="livepush_audience"),
            models.Index(fields=["group", "category", "position"], name="livepush_category"),
            models.Index(fields=["group", "collapse"], name="livepush_collapse"),
        ]

    def __str__(self) -> str:
        return str(self.title)

    @property
    def people(self) -> list[dict[str, Any]]:
        """The actors, the last one first: ``{"id", "name"}``, each once, a hundred at most."""
        return [_snapshot(actor) for actor in json.loads(self.actors)]

    @property
    def details(self) -> dict[str, Any]:
        """What was sent along: ``data``, ``target`` and ``lang``, where there are any."""
        found: dict[str, Any] = json.loads(self.context)
        return found | {name: _snapshot(found[name]) for name in ("target",) if name in found}


def _snapshot(stored: dict[str, Any]) -> dict[str, Any]:
    """Return an actor or a target with a name, and without an address that would run in the page."""
    return {"name": "", **{name: value for name, value in stored.items() if name != "url" or is_safe(value)}}


class NotificationState(models.Model):
    """Where one reader's state of one entry differs from what the reader's marks say.

    A state belongs to a position, not to an entry: when an event is collapsed into an entry, the entry moves to a new
    position. So it is unread again for everyone without another write.
    """

    reader = ExactCharField(_("reader"), max_length=MAX_READER_LENGTH)
    position = models.BigIntegerField(_("position"))
    read = models.BooleanField(_("read"), null=True)
    archived = models.BooleanField(_("archived"), null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["reader", "position"], name="livepush_reader_position")]
        indexes = [
            models.Index(fields=["reader", "position"], name="livepush_unread", condition=models.Q(read=False)),
            models.Index(
                fields=["reader", "position"], name="livepush_archived", condition=models.Q(archived__isnull=False)
            ),
            models.Index(fields=["position", "reader"], name="livepush_state_position"),
        ]

    def __str__(self) -> str:
        return f"{self.reader}: {self.position}"

    @classmethod
    def check(cls, **kwargs: Any) -> list[Any]:
        # Where there are no partial indexes (W037) these are the unique one's twins: a little slower to write.
        return [message for message in super().check(**kwargs) if message.id != "models.W037"]


class InboxState(models.Model):
    """One reader's marks. A reader who never marked anything has no row, and all marks count as 0."""

    reader = ExactCharField(_("reader"), max_length=MAX_READER_LENGTH, primary_key=True)
    seen = models.BigIntegerField(_("seen up to"), default=0)
    read = models.BigIntegerField(_("read up to"), default=0)
    archived = models.BigIntegerField(_("archived up to"), default=0)
    version = models.BigIntegerField(_("version"), default=0)
    undo = ExactTextField(default="", blank=True)

    def __str__(self) -> str:
        return f"{self.reader}: {self.version}"


class Membership(models.Model):
    """A reader's membership of a group. The reader sees no notifications from before the position ``joined``."""

    group = ExactCharField(_("group"), max_length=wire.MAX_GROUP_LENGTH)
    reader = ExactCharField(_("reader"), max_length=MAX_READER_LENGTH)
    joined = models.BigIntegerField(_("joined at"))
    created = models.DateTimeField(_("joined"), auto_now_add=True)

    class Meta:
        verbose_name = _("membership")
        verbose_name_plural = _("memberships")
        constraints = [models.UniqueConstraint(fields=["reader", "group"], name="livepush_member")]
        indexes = [models.Index(fields=["group"], name="livepush_members")]

    def __str__(self) -> str:
        return f"{self.reader} in {self.group}"


class InboxHead(models.Model):
    """The one row that says up to which position events were filed."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    position = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.position)
