"""The tables of streams: what each stream is, its text in chunks, and the processes that write streams."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from livepush import wire
from livepush.fields import ExactCharField, ExactTextField

MAX_ID_LENGTH = 32
MAX_FORMAT_LENGTH = 20


class State(models.TextChoices):
    """What a stream is doing, or how it ended."""

    RUNNING = "running", _("Running")
    FINISHED = "finished", _("Finished")
    FAILED = "failed", _("Failed")
    STOPPED = "stopped", _("Stopped")
    INTERRUPTED = "interrupted", _("Interrupted")


class Stream(models.Model):
    """A stream. Its id can't be guessed. ``position`` is the log's as it began, for rules that say since when."""

    id = ExactCharField(_("id"), max_length=MAX_ID_LENGTH, primary_key=True)
    group = ExactCharField(_("group"), max_length=wire.MAX_GROUP_LENGTH)
    state = models.CharField(_("state"), max_length=12, choices=State, default=State.RUNNING)
    format = models.CharField(_("format"), max_length=MAX_FORMAT_LENGTH)
    metadata = ExactTextField(_("metadata"), default="{}", help_text=_("JSON"))
    error = ExactTextField(_("error"), default="", blank=True)
    producer = ExactCharField(_("producer"), max_length=32)
    stopping = models.BooleanField(_("stop requested"), default=False)
    position = models.BigIntegerField(_("position"), default=0, editable=False)
    length = models.BigIntegerField(_("length"), null=True, editable=False)
    created = models.DateTimeField(_("created"))
    ended = models.DateTimeField(_("ended"), null=True)

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        indexes = [
            models.Index(fields=["group", "created"], name="livepush_streams_of_group"),
            models.Index(fields=["state", "producer"], name="livepush_streams_running"),
            models.Index(fields=["ended"], name="livepush_streams_ended"),
        ]

    def __str__(self) -> str:
        return f"{self.id} in {self.group}"

    @property
    def is_running(self) -> bool:
        """Whether more may come."""
        return self.state == State.RUNNING

    @property
    def details(self) -> dict[str, Any]:
        """The metadata."""
        found: dict[str, Any] = json.loads(self.metadata)
        return found


class StreamChunk(models.Model):
    """What a stream holds between two offsets: a JSON array of its pieces; see ``pieces``."""

    stream = ExactCharField(_("stream"), max_length=MAX_ID_LENGTH)
    start = models.BigIntegerField(_("start"))
    end = models.BigIntegerField(_("end"))
    body = ExactTextField(_("body"))

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "end"], name="livepush_stream_chunk")]

    def __str__(self) -> str:
        return f"{self.stream}: {self.start} to {self.end}"


class StreamProducer(models.Model):
    """A process that writes streams. It counts ``beats`` up for as long as it lives."""

    name = ExactCharField(max_length=32, primary_key=True)
    beats = models.BigIntegerField(default=0)

    def __str__(self) -> str:
        return str(self.name)
