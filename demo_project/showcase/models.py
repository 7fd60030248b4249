"""The scenes' tables: the dashboard's readings, the checks, and the notifications that visitors send later."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone


class Reading(models.Model):
    """The dashboard's figures at one second."""

    at = models.DateTimeField(default=timezone.now)
    moves = models.PositiveIntegerField("moves in the last minute")
    on_the_way = models.PositiveIntegerField("parcels on the way")
    load = models.FloatField("load of this computer")

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.at:%H:%M:%S}"


class Check(models.Model):
    """One check of the shop, and how its last run went."""

    class State(models.TextChoices):
        """The state of a check."""

        QUEUED = "queued", "Queued"
        RUNNING = "running", "Running"
        PASSED = "passed", "Passed"
        FAILED = "failed", "Failed"

    slug = models.SlugField(primary_key=True)
    title = models.CharField(max_length=80)
    place = models.PositiveSmallIntegerField()
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    found = models.CharField(max_length=120, blank=True)
    changed = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["place"]

    def __str__(self) -> str:
        return self.title


class Letter(models.Model):
    """A notification that a visitor sends at a chosen time; the row is deleted in the transaction that notifies."""

    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="letters")
    audience = models.CharField(max_length=10)
    title = models.CharField(max_length=120)
    level = models.CharField(max_length=10)
    due = models.DateTimeField()

    class Meta:
        ordering = ["due"]

    def __str__(self) -> str:
        return self.title


class Receipt(models.Model):
    """The receipt of a customer's parcel that was cleared away: the links in the bell lead here."""

    code = models.CharField(max_length=12, unique=True)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="receipts")
    item = models.CharField(max_length=60)
    city = models.CharField(max_length=60)
    cleared = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.code
