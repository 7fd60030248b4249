"""Parcels, the book of their movements, and what is written about them."""

from __future__ import annotations

import random
import secrets
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.urls import reverse
from django.utils import timezone

ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def new_code() -> str:
    """Return a tracking code that nobody misreads, e.g. ``LP-7K3MX``."""
    return "LP-" + "".join(secrets.choice(ALPHABET) for _ in range(5))


def new_ref() -> str:
    """Return a reference for a message whose page made none."""
    return secrets.token_hex(8)


class Status(models.TextChoices):
    """How far a parcel is, in order."""

    ORDERED = "ordered", "Ordered"
    PACKED = "packed", "Packed"
    TRANSIT = "transit", "In transit"
    OUT = "out", "Out for delivery"
    DELIVERED = "delivered", "Delivered"

    @property
    def step(self) -> int:
        """Its place, from 0."""
        return list(Status).index(self)

    @property
    def next(self) -> Status | None:
        """What comes after it."""
        return None if self is Status.DELIVERED else list(Status)[self.step + 1]


TRAVEL = {
    Status.ORDERED: timedelta(hours=52),
    Status.PACKED: timedelta(hours=44),
    Status.TRANSIT: timedelta(hours=20),
    Status.OUT: timedelta(hours=3),
    Status.DELIVERED: timedelta(0),
}
"""How long it usually takes from each status to the door."""


def expected(status: Status) -> datetime:
    """Return when a parcel that has come this far should be at the door."""
    return timezone.now() + TRAVEL[status] * random.uniform(0.6, 1.4)


class Parcel(models.Model):
    """One order on its way to a customer."""

    code = models.CharField("tracking code", max_length=12, unique=True, default=new_code)
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="parcels")
    item = models.CharField(max_length=60)
    city = models.CharField("destination", max_length=60)
    status = models.CharField(max_length=10, choices=Status, default=Status.ORDERED)
    eta = models.DateTimeField("expected", blank=True, null=True)
    movement = models.PositiveBigIntegerField("latest movement", default=0, editable=False)
    updated = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-movement"]

    def __str__(self) -> str:
        return f"{self.code} to {self.city}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save, and write a change of status into the book in the same transaction."""
        with transaction.atomic():
            moved = self._state.adding or self._stored_status() != self.status
            if moved:
                self.movement = Movement.latest() + 1
                self.eta = expected(Status(self.status))
            super().save(*args, **kwargs)
            if moved:
                Movement.objects.create(
                    number=self.movement, parcel=self, customer_id=self.customer_id, status=self.status
                )

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("parcel", args=[self.code])

    def advance(self) -> bool:
        """Move on to the next status; return whether there was one."""
        after = Status(self.status).next
        if after is None:
            return False
        self.status = after
        self.save()
        return True

    @property
    def steps(self) -> list[dict[str, Any]]:
        """Return every status with whether it is behind, current or ahead of this parcel."""
        here = Status(self.status).step
        names = {True: "done", False: "ahead"}
        return [
            {
                "value": status.value,
                "label": status.label,
                "state": "now" if status.step == here else names[status.step < here],
            }
            for status in Status
        ]

    def _stored_status(self) -> str | None:
        return Parcel.objects.filter(pk=self.pk).values_list("status", flat=True).first()


class Movement(models.Model):
    """A line in the book: the demo compares what a page has received against it.

    Numbers have no holes: SQLite's immediate transactions take turns, so that each sees the number before its own.
    """

    number = models.PositiveBigIntegerField(primary_key=True)
    parcel = models.ForeignKey(Parcel, models.SET_NULL, null=True, related_name="movements")
    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    status = models.CharField(max_length=10, choices=Status)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"{self.number}: {Status(self.status).label}"

    @staticmethod
    def latest() -> int:
        """Return the highest number so far."""
        return Movement.objects.aggregate(latest=models.Max("number"))["latest"] or 0


class Message(models.Model):
    """A message between a customer and the staff about a parcel."""

    parcel = models.ForeignKey(Parcel, models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    text = models.TextField()
    ref = models.CharField(max_length=64, default=new_ref)
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["author", "ref"], name="message_once")]

    def __str__(self) -> str:
        return f"{self.author.get_username()} about {self.parcel.code}"

    @property
    def is_staffs(self) -> bool:
        """Whether the staff wrote it, not the parcel's customer."""
        return self.author_id != self.parcel.customer_id


class ReadMark(models.Model):
    """The last message about a parcel that a user has read."""

    parcel = models.ForeignKey(Parcel, models.CASCADE, related_name="read_marks")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    upto = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["parcel", "user"], name="one_read_mark")]

    def __str__(self) -> str:
        return f"{self.user.get_username()} read {self.parcel.code} up to {self.upto}"


class Errand(models.Model):
    """Something that the shop's worker is asked to do: to answer a question about a parcel, or to import the depots."""

    parcel = models.ForeignKey(Parcel, models.CASCADE, null=True, related_name="errands")
    text = models.CharField(max_length=120)
    stream = models.CharField(max_length=32, blank=True)
    """The stream that the worker writes to; ``-`` while it is about to begin."""

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return self.text
