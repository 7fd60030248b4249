"""The tables of relays: how far each has come, and the messages that could not become events."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from livepush.fields import ExactCharField, ExactTextField

MAX_NAME_LENGTH = 100


class RelayOffset(models.Model):
    """The offset of the last message that a relay has taken, written in the transaction that took it."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH, primary_key=True)
    offset = models.CharField(_("offset"), max_length=100)
    taken = models.DateTimeField(_("taken"), default=timezone.now)

    def __str__(self) -> str:
        return f"{self.relay}: {self.offset}"


class DeadLetter(models.Model):
    """A message that could not become events."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH)
    offset = models.CharField(_("offset"), max_length=100)
    content = ExactTextField(_("content"))
    reason = models.TextField(_("reason"))
    created = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        indexes = [models.Index(fields=["relay", "created"], name="livepush_dead_letters")]

    def __str__(self) -> str:
        return f"{self.relay}: {self.offset}"
