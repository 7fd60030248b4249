"""The tables of relays: how far each has come, and the messages that could not be relayed."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from livepush.fields import ExactCharField, ExactTextField, SearchedTextField

MAX_NAME_LENGTH = 100
MAX_TOPIC_LENGTH = 249
"""Kafka's own limit."""
KEY_LENGTH = 64
"""Keys are stored as SHA-256 in hexadecimal digits."""


class RelayOffset(models.Model):
    """The offset of the last message that a relay has taken, written in the transaction that took it."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH, primary_key=True)
    offset = ExactCharField(_("offset"), max_length=100)
    taken = models.DateTimeField(_("taken"), default=timezone.now)
    waiting = models.BigIntegerField(null=True)
    """How many messages came after it when it was taken, if the broker tells."""

    def __str__(self) -> str:
        return f"{self.relay}: {self.offset}"


class RelayPartition(models.Model):
    """How far a relay has taken a partition of a Kafka topic, written in the transaction that took its messages."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH)
    topic = ExactCharField(_("topic"), max_length=MAX_TOPIC_LENGTH)
    partition = models.IntegerField(_("partition"))
    topic_id = ExactCharField(max_length=32, blank=True, editable=False)
    """Kafka's own id of the topic: another one of the same name has another. Brokers before Kafka 2.8 tell none."""
    offset = models.BigIntegerField(_("offset"))
    """The offset of the next message to take."""
    end = models.BigIntegerField(default=0)
    """Where the partition ended when the relay last knew."""
    taken = models.DateTimeField(_("taken"), default=timezone.now)
    missed = models.BigIntegerField(_("deleted before they were taken"), default=0)

    class Meta:
        verbose_name = _("Kafka partition")
        verbose_name_plural = _("Kafka partitions")
        constraints = [models.UniqueConstraint(fields=["relay", "topic", "partition"], name="livepush_relay_partition")]

    def __str__(self) -> str:
        return f"{self.relay}: {self.topic} {self.partition}"


class RelayReceipt(models.Model):
    """A message that was taken from a broker without offsets, known by its key."""

    relay = ExactCharField(max_length=MAX_NAME_LENGTH)
    key = ExactCharField(max_length=KEY_LENGTH)
    taken = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["relay", "key"], name="livepush_relayed_once")]
        indexes = [models.Index(fields=["relay", "taken"], name="livepush_relayed_taken")]

    def __str__(self) -> str:
        return f"{self.relay}: {self.key}"


class RelayCursor(models.Model):
    """The position up to which a relay has sent the log's events outwards, and the process that sends them."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH, primary_key=True)
    position = models.BigIntegerField(_("position"))
    sent = models.DateTimeField(_("last sent"), null=True)
    pruned = models.BigIntegerField(_("pruned before they were sent"), default=0)
    error = ExactTextField(_("error"), blank=True)
    failing_since = models.DateTimeField(_("failing since"), null=True)
    holder = models.CharField(max_length=32, blank=True, editable=False)
    beats = models.BigIntegerField(default=0, editable=False)

    class Meta:
        verbose_name = _("outward relay")
        verbose_name_plural = _("outward relays")

    def __str__(self) -> str:
        return f"{self.relay}: {self.position}"


class DeadLetter(models.Model):
    """A message that could not become events, or an event that its target did not take."""

    relay = ExactCharField(_("relay"), max_length=MAX_NAME_LENGTH)
    offset = ExactCharField(_("offset"), max_length=100)
    content = ExactTextField(_("content"))
    reason = SearchedTextField(_("reason"))
    created = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("dead letter")
        verbose_name_plural = _("dead letters")
        indexes = [models.Index(fields=["relay", "created"], name="livepush_dead_letters")]

    def __str__(self) -> str:
        return f"{self.relay}: {self.offset}"
