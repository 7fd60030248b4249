"""The dashboard's figures: taken each second by the shop's worker, kept for two minutes."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

import livepush
from demo_project.parcels.models import Movement, Parcel, Status
from demo_project.showcase.models import Reading

KEPT = timedelta(minutes=2)
CHARTS = (
    ("moves", "Moves in the last minute"),
    ("on_the_way", "Parcels on the way"),
    ("load", "Load of this computer"),
)
"""The figures by name, with their titles."""


def take_reading() -> Reading:
    """Store the figures of now, and send them to the open pages."""
    last_minute = Movement.objects.filter(at__gte=timezone.now() - timedelta(minutes=1))
    on_the_way = Parcel.objects.exclude(status=Status.DELIVERED)
    Reading.objects.filter(at__lt=timezone.now() - KEPT).delete()
    # scene: metrics
    with transaction.atomic():
        reading = Reading.objects.create(moves=last_minute.count(), on_the_way=on_the_way.count(), load=load())
        livepush.send("metrics", "reading", public(reading))
    # scene: end
    return reading


def public(reading: Reading) -> dict[str, Any]:
    """Return what the page shows of a reading."""
    return {
        "id": reading.pk,
        "at": reading.at.isoformat(),
        "moves": reading.moves,
        "on_the_way": reading.on_the_way,
        "load": reading.load,
    }


def load() -> float:
    """Return how many processes want this computer's processors, on average over a minute; 0 where nobody counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0
