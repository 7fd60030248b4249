"""The log's tables: events, the groups they went to, the head and the floor."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush import wire
from livepush.fields import ExactCharField, ExactTextField


class Event(models.Model):
    """One durable event in one group; without a position until it is settled.

    The rows of one send to several groups have one position, and until then one ``send``.
    """

    position = models.BigIntegerField(_("position"), null=True, editable=False)
    group = ExactCharField(_("group"), max_length=wire.MAX_GROUP_LENGTH)
    type = ExactCharField(_("type"), max_length=wire.MAX_TYPE_LENGTH)
    data = ExactTextField(_("data"), help_text=_("JSON, as it was encoded at send"))
    sender = ExactTextField(null=True, blank=True, help_text="JSON: the user whose client sent it")
    key = ExactCharField(_("key"), max_length=200, null=True, blank=True)
    send = models.BigIntegerField(_("send"), null=True, editable=False)
    created = models.DateTimeField(_("created"))

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        constraints = [
            models.UniqueConstraint(
                fields=["position", "group"], condition=models.Q(position__isnull=False), name="livepush_position"
            ),
        ]
        # MariaDB and MySQL have no partial indexes: there livepush_key and livepush_unsettled hold every row, and the
        # latter serves both ways. And there a position with its group is not unique: to check that, an UPDATE locks
        # the gap that every INSERT needs.
        indexes = [
            models.Index(fields=["group", "position"], name="livepush_group_position"),
            models.Index(fields=["key", "group"], name="livepush_key", condition=models.Q(key__isnull=False)),
            models.Index(
                fields=["position", "id"],
                name="livepush_unsettled",
                condition=models.Q(position__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} in {self.group}"

    @classmethod
    def check(cls, **kwargs: Any) -> list[checks.CheckMessage]:
        # What there is without partial indexes and constraints is said above.
        return [message for message in super().check(**kwargs) if message.id not in ("models.W036", "models.W037")]


class ChannelGroup(models.Model):
    """A group that something was sent to."""

    name = ExactCharField(_("name"), max_length=wire.MAX_GROUP_LENGTH, unique=True)
    created = models.DateTimeField(_("created"), auto_now_add=True)

    class Meta:
        verbose_name = _("channel group")
        verbose_name_plural = _("channel groups")

    def __str__(self) -> str:
        return str(self.name)


class LogHead(models.Model):
    """The one row that says which life of the log this is and which position was given last."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    epoch = models.CharField(max_length=16)
    position = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}"


class LogFloor(models.Model):
    """The one row that says up to which position events were pruned; apart from the head, so that pruning never
    holds up settle."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    position = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.position)
