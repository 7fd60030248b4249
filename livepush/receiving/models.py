"""The notes of messages that handlers have taken."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush.fields import ExactCharField, ExactTextField


class Receipt(models.Model):
    """A message that a handler has taken, or is taking, and the answer to it: so that it takes effect once."""

    key = ExactCharField(_("key"), max_length=64, primary_key=True)
    reply = ExactTextField(_("reply"), null=True, help_text=_("JSON; none while the handler runs"))
    created = models.DateTimeField(_("created"), db_index=True)

    class Meta:
        app_label = "livepush"
        verbose_name = _("receipt")
        verbose_name_plural = _("receipts")

    def __str__(self) -> str:
        return str(self.key)
