"""The tables of presence: the members that each process has, the processes' leases, and the one lock."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush import wire
from livepush.fields import ExactCharField, ExactTextField

MAX_MEMBER_LENGTH = 200


class Presence(models.Model):
    """One member of a group in one process. The rows of a member in several processes say the same."""

    group = ExactCharField(_("group"), max_length=wire.MAX_GROUP_LENGTH)
    member = ExactCharField(_("member"), max_length=MAX_MEMBER_LENGTH)
    process = ExactCharField(max_length=32)
    info = ExactTextField(_("what others see"))
    state = ExactTextField(_("state"), default="{}")
    connections = models.PositiveIntegerField(_("connections"), default=1)
    since = models.BigIntegerField(help_text="Milliseconds since 1970, by the database's clock")

    class Meta:
        verbose_name = _("member who is there")
        verbose_name_plural = _("members who are there")
        constraints = [models.UniqueConstraint(fields=["group", "member", "process"], name="livepush_present")]
        indexes = [
            models.Index(fields=["process"], name="livepush_present_in"),
            models.Index(fields=["member"], name="livepush_present_who"),
        ]

    def __str__(self) -> str:
        return f"{self.member} in {self.group}"


class PresenceLease(models.Model):
    """Until when the members of one process count, unless the process renews it."""

    process = ExactCharField(max_length=32, primary_key=True)
    ends = models.BigIntegerField(help_text="Milliseconds since 1970, by the database's clock")
    turn = models.BigIntegerField(default=0)
    """The number of the process's last write: an earlier one that comes late counts no more."""

    def __str__(self) -> str:
        return str(self.process)


class PresenceLock(models.Model):
    """The one row that every change of presence updates first, so that changes come one after another."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    turn = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.turn)
