"""The scenes' rules and events."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import pre_delete
from django.dispatch import receiver

import livepush
from demo_project.parcels.models import Parcel
from demo_project.parcels.shop import STAGE
from demo_project.showcase.models import Check, Receipt

ACCOUNTS = ("demo", "admin")
"""The users whom visitors log in as, and who so read notifications."""


# scene: checks
@livepush.register(Check)
class CheckLive(livepush.ModelEvents):
    fields = ("title", "state", "found")

    def groups(self, check: Check) -> list[str]:
        return ["checks"]


# scene: end


# scene: publish
@livepush.can_read("scans:<int:pk>")
def own_scans(user: Any, pk: int) -> bool:
    return bool(user.pk == pk)


# scene: end


# scene: online
@livepush.can_read("online")
def anyone_may_look(user: Any) -> bool:
    return True


@livepush.presence("online")
def who_is_there(user: Any) -> dict[str, str]:
    return {"name": user.get_full_name() if user.is_authenticated else "Visitor"}


# scene: end


@livepush.can_read("webhooks")
def anyone_reads_webhooks(user: Any) -> bool:
    """Let everyone see what the partner gets."""
    return True


@livepush.can_read("metrics")
def anyone_reads_metrics(user: Any) -> bool:
    """Let everyone see the dashboard."""
    return True


@livepush.can_read("checks")
def anyone_reads_checks(user: Any) -> bool:
    """Let everyone see the checks."""
    return True


@livepush.can_read(STAGE)
def anyone_reads_the_stage(user: Any) -> bool:
    """Let everyone see the front page's two windows."""
    return True


@receiver(pre_delete, sender=Parcel)
def keep_a_receipt(sender: Any, instance: Parcel, **kwargs: Any) -> None:
    """Keep what the customer's notifications about a parcel lead to."""
    if instance.customer.username in ACCOUNTS:
        Receipt.objects.get_or_create(
            code=instance.code,
            defaults={"customer": instance.customer, "item": instance.item, "city": instance.city},
        )
