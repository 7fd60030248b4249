"""The tables of streams: what each stream is, its text in chunks, and the processes that write streams."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from livepush import wire
from livepush.fields import ExactCharField, ExactTextField

MAX_ID_LENGTH = 32
MAX_FORMAT_LENGTH = 20


class StreamState(models.TextChoices):
    """The state of a stream."""

    RUNNING = "running", "Running"
    FINISHED = "finished", "Finished"
    FAILED = "failed", "Failed"
    STOPPED = "stopped", "Stopped"
    INTERRUPTED = "interrupted", "Interrupted"


class Stream(models.Model):
    """A stream. Its id can't be guessed. ``position`` is the log's as it began, for rules that say since when."""

    id = ExactCharField(max_length=MAX_ID_LENGTH, primary_key=True)
    group = ExactCharField(max_length=wire.MAX_GROUP_LENGTH)
    state = models.CharField(max_length=12, choices=StreamState, default=StreamState.RUNNING)
    format = ExactCharField(max_length=MAX_FORMAT_LENGTH)
    metadata = ExactTextField(default="{}", help_text="JSON")
    error = ExactTextField(default="", blank=True)
    producer = ExactCharField(max_length=32)
    stopping = models.BooleanField(default=False)
    position = models.BigIntegerField(default=0, editable=False)
    length = models.BigIntegerField(null=True, editable=False)
    created = models.DateTimeField()
    ended = models.DateTimeField(null=True)

    class Meta:
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
        return self.state == StreamState.RUNNING

    @property
    def details(self) -> dict[str, Any]:
        """The metadata."""
        found: dict[str, Any] = json.loads(self.metadata)
        return found


class StreamChunk(models.Model):
    """The content of a stream between two offsets: a JSON array of its pieces; see ``pieces``."""

    stream = ExactCharField(max_length=MAX_ID_LENGTH)
    start = models.BigIntegerField()
    end = models.BigIntegerField()
    body = ExactTextField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["stream", "end"], name="livepush_stream_chunk")]

    def __str__(self) -> str:
        return f"{self.stream}: {self.start} to {self.end}"


class StreamProducer(models.Model):
    """A process that writes streams. It counts ``beats`` up for as long as it lives."""

    name = ExactCharField(max_length=32, primary_key=True)
    beats = models.BigIntegerField(default=0)
    silent = models.BigIntegerField(default=0, help_text="For how many milliseconds others saw it silent")
    looked = models.BigIntegerField(default=0, help_text="Milliseconds since 1970, by the database's clock")

    def __str__(self) -> str:
        return str(self.name)
