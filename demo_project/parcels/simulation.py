"""The shop's day in fast motion: orders come in, parcels move on, the oldest deliveries are cleared away."""

from __future__ import annotations

import random
from collections import Counter
from datetime import timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from demo_project.parcels import pace
from demo_project.parcels.models import Message, Movement, Parcel, Status
from demo_project.parcels.shop import STAGE_CUSTOMER, known_user, place_order

MIN_ON_THE_WAY, MAX_ON_THE_WAY = 14, 19
"""How many parcels are on the way at a time."""
FEWEST_OWN = 3
"""How many of them at least are the demo's customer's, and the front page's customer's."""
DELIVERED_KEPT = 6
TALK_KEPT = timedelta(hours=1)
"""How long after its last message a delivered parcel stays, so that nobody's conversation goes away."""
BOOK_KEPT = 5_000


@transaction.atomic
def tick() -> None:
    """Let one thing happen, now and then several in one transaction."""
    happening = random.choices((advance_one, order_one, unload_van), weights=(75, 22, 3))[0]
    if on_the_way().count() < MIN_ON_THE_WAY:
        happening = order_one
    with pace.simulated():
        happening()
    tidy()


def advance_one() -> None:
    """Advance the parcel that has waited longest where many wait."""
    waiting = Counter(on_the_way().order_by().values_list("status", flat=True))
    if waiting:
        statuses, counts = zip(*waiting.items(), strict=True)
        status = random.choices(statuses, weights=[count**3 for count in counts])[0]
        Parcel.objects.filter(status=status).earliest("movement").advance()


def order_one() -> None:
    """Take an order; if the shop is full, a parcel moves instead."""
    few = [
        name for name in ("demo", STAGE_CUSTOMER) if on_the_way().filter(customer__username=name).count() < FEWEST_OWN
    ]
    if few:
        place_order(known_user(few[0]))
    elif on_the_way().count() < MAX_ON_THE_WAY:
        place_order()
    else:
        advance_one()


def unload_van() -> None:
    """Deliver a few parcels at once: their events come together, when the transaction commits."""
    for parcel in Parcel.objects.filter(status=Status.OUT).order_by("movement")[:3]:
        parcel.advance()


def tidy() -> None:
    """Clear away the oldest deliveries and the oldest pages of the book."""
    talked_about = Message.objects.filter(at__gte=timezone.now() - TALK_KEPT).values("parcel")
    delivered = Parcel.objects.filter(status=Status.DELIVERED).exclude(pk__in=talked_about)
    for parcel in delivered.order_by("-movement")[DELIVERED_KEPT:]:
        parcel.delete()
    Movement.objects.filter(number__lte=Movement.latest() - BOOK_KEPT).delete()


def on_the_way() -> QuerySet[Parcel]:
    """Return the parcels that are not delivered yet."""
    return Parcel.objects.exclude(status=Status.DELIVERED)
