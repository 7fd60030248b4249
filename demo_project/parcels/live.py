"""All that makes the shop live: what a saved parcel sends, and who may hear it."""

from __future__ import annotations

from typing import Any

import livepush
from demo_project.parcels.models import Parcel


@livepush.register(Parcel)
class ParcelLive(livepush.ModelEvents):
    """``parcel.created``, ``parcel.updated`` and ``parcel.deleted``."""

    fields = ("status", "city", "item", "eta")

    def groups(self, parcel: Parcel) -> list[str]:
        """Return the public board, the customer, and whoever looks at this parcel."""
        return ["board", livepush.user_group(parcel.customer_id), livepush.group_name(parcel)]

    def data(self, parcel: Parcel, action: str) -> dict[str, Any]:
        """Return what a page shows of a parcel; the customer's name is not for the board."""
        return {
            "code": parcel.code,
            "item": parcel.item,
            "city": parcel.city,
            "status": parcel.status,
            "eta": parcel.eta,
            "movement": parcel.movement,
        }


@livepush.group("board")
def anyone(user: Any) -> bool:
    """Let everyone read the board, logged in or not."""
    return True


@livepush.group("parcel:<int:pk>")
def customer_or_staff(user: Any, pk: int) -> bool:
    """Let a parcel's customer and the staff follow it."""
    return bool(user.is_staff) or (user.is_authenticated and Parcel.objects.filter(pk=pk, customer=user).exists())
