"""How far the webhooks have come, for all processes."""

from __future__ import annotations

from django.db import models

from livepush.fields import ExactCharField


class PusherCursor(models.Model):
    """The position up to which an app's webhooks were sent, and the process that sends them."""

    app = ExactCharField(max_length=100, primary_key=True)
    position = models.BigIntegerField()
    holder = models.CharField(max_length=32, blank=True)
    beats = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.app}: {self.position}"
