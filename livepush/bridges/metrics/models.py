"""The table in which each process writes down its figures, so that whichever one is scraped can tell those of all."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush.fields import ExactCharField, ExactTextField

MAX_PROCESS_LENGTH = 100


class ProcessFigures(models.Model):
    """The figures that one server process last wrote down."""

    process = ExactCharField(max_length=MAX_PROCESS_LENGTH, primary_key=True)
    figures = ExactTextField()
    written = models.DateTimeField()

    class Meta:
        verbose_name = verbose_name_plural = _("live figures")

    def __str__(self) -> str:
        return str(self.process)
