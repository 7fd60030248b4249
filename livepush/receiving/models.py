"""The notes of messages that handlers have taken."""

from __future__ import annotations

from django.db import models

from livepush.fields import ExactCharField, ExactTextField


class Receipt(models.Model):
    """A message that a handler has taken, or is taking, and the answer to it: so that it takes effect once."""

    key = ExactCharField(max_length=64, primary_key=True)
    reply = ExactTextField(null=True, help_text="JSON; none while the handler runs")
    created = models.DateTimeField(db_index=True)

    class Meta:
        app_label = "livepush"

    def __str__(self) -> str:
        return str(self.key)
