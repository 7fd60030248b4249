"""Checks of the shop's own data, run one after the other: true checks, slowed down for the eye."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Count, F, Max, Min
from django.utils import timezone

from demo_project.parcels.models import Movement, Parcel, Status
from demo_project.showcase.models import Check

PAUSE = 0.7
STUCK = timedelta(seconds=15)
"""After this long without a change, a run counts as dead: its process was killed."""


def no_holes() -> str:
    """Find holes in the numbers of the movements."""
    book = Movement.objects.aggregate(first=Min("number"), last=Max("number"), count=Count("number"))
    if not book["count"]:
        return ""
    holes = book["last"] - book["first"] + 1 - book["count"]
    return f"{holes} numbers are missing" if holes else ""


def statuses_known() -> str:
    """Find parcels whose status nobody knows."""
    count = Parcel.objects.exclude(status__in=Status.values).count()
    return f"{count} parcels have an unknown status" if count else ""


def latest_movement_fits() -> str:
    """Find parcels whose last movement says something else than they do."""
    count = Parcel.objects.filter(movements__number=F("movement")).exclude(movements__status=F("status")).count()
    return f"{count} parcels differ from the book" if count else ""


def delivered_in_order() -> str:
    """Find parcels that were delivered before they were ordered."""
    late = Movement.objects.filter(parcel=F("parcel"), status=Status.ORDERED, parcel__movement__lt=F("number")).count()
    return f"{late} parcels went backwards" if late else ""


def database_answers() -> str:
    """Ask the database for one row."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return "" if cursor.fetchone() == (1,) else "it gave a strange answer"


CHECKS: dict[str, tuple[str, Callable[[], str]]] = {
    "database": ("The database answers", database_answers),
    "book": ("The book of movements has no holes", no_holes),
    "statuses": ("Every parcel has a known status", statuses_known),
    "latest": ("Every parcel agrees with the book", latest_movement_fits),
    "order": ("No parcel goes backwards", delivered_in_order),
}
"""The title of each check, and the function that returns what is wrong, or nothing."""


def change(check: Check, state: str, found: str = "") -> None:
    """Save how a check is; the open pages hear of it."""
    check.state, check.found = state, found
    check.save()


def start() -> bool:
    """Start a run in a thread of its own, unless one goes on; return whether it did."""
    with transaction.atomic():
        fresh = Check.objects.filter(changed__gt=timezone.now() - STUCK)
        if fresh.filter(state=Check.State.RUNNING).exists():
            return False
        checks = prepare()
    threading.Thread(target=run, args=(checks,), daemon=True).start()
    return True


def prepare() -> list[Check]:
    """Queue all checks but the first, which runs."""
    seed()
    checks = list(Check.objects.all())
    for check in checks:
        change(check, Check.State.QUEUED if check is not checks[0] else Check.State.RUNNING)
    return checks


def run(checks: list[Check]) -> None:
    """Run checks one after the other."""
    try:
        for check in checks:
            change(check, Check.State.RUNNING)
            time.sleep(PAUSE)
            found = CHECKS[check.slug][1]()
            change(check, Check.State.FAILED if found else Check.State.PASSED, found)
    finally:
        connection.close()


def seed() -> None:
    """Make the rows of the checks."""
    for place, (slug, (title, _check)) in enumerate(CHECKS.items()):
        Check.objects.get_or_create(slug=slug, defaults={"title": title, "place": place})
