"""The front page's stage: a customer whose parcels every visitor may see and move, without a login."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet

from demo_project.parcels.models import Parcel, Status
from demo_project.parcels.shop import STAGE_CUSTOMER, known_user, place_order

SHOWN = 3
"""How many parcels the two windows show, the newest first."""


def parcels() -> QuerySet[Parcel]:
    """Return all parcels of the stage, the newest first."""
    return Parcel.objects.filter(customer__username=STAGE_CUSTOMER).order_by("-pk")


@transaction.atomic
def move(code: str = "") -> Parcel:
    """Move a parcel of the stage on, or the one that has waited longest. If too few are on the way, order one.

    Raises Parcel.DoesNotExist: the stage has no such parcel.
    """
    waiting = parcels().exclude(status=Status.DELIVERED).order_by("movement")
    if code:
        found = parcels().get(code=code)
    elif waiting.count() < SHOWN:
        return place_order(known_user(STAGE_CUSTOMER))
    else:
        found = waiting[0]
    found.advance()
    return found
