"""All that makes the shop live: what a saved parcel sends, and who may hear it."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_save
from django.dispatch import receiver
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

import livepush
from demo_project.parcels import pace
from demo_project.parcels.models import Movement, Parcel, Status
from demo_project.parcels.shop import STAGE, STAGE_CUSTOMER
from demo_project.parcels.talking import DESK, MessageForm, ReadForm, mark_read, public, write

CATEGORIES = (gettext_noop("orders"), gettext_noop("news"))
"""What the inbox is filtered by; its list translates them."""


# scene: board orders
@livepush.register(Parcel)
class ParcelLive(livepush.ModelEvents):
    """``parcel.created``, ``parcel.updated`` and ``parcel.deleted``."""

    # scene: end

    fields = ("status", "city", "item", "eta")

    def groups(self, parcel: Parcel) -> list[str]:
        """Return the public board, the customer, whoever looks at this parcel, and the front page if it is its own."""
        stage = [STAGE] if parcel.customer.username == STAGE_CUSTOMER else []
        return ["board", livepush.user_group(parcel.customer_id), livepush.group_name(parcel), *stage]

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


@livepush.notification
class ParcelMoved(livepush.NotificationType):
    """A parcel came closer to its customer: worded when it is read, in the reader's language."""

    key = "parcel.moved"
    category = "orders"

    def title(self, ctx: Any) -> str:
        """Return what happened."""
        says = {
            Status.PACKED: _("%(item)s: packed"),
            Status.TRANSIT: _("%(item)s: on the way"),
            Status.OUT: _("%(item)s: out for delivery"),
            Status.DELIVERED: _("%(item)s: delivered"),
        }
        return str(says[ctx.data["status"]] % ctx.data)

    def body(self, ctx: Any) -> str:
        """Return which parcel it is and where it goes."""
        return str(_("%(code)s, to %(city)s") % ctx.data)


@livepush.notification
class ParcelDelivered(ParcelMoved):
    """The same, where it has arrived."""

    key = "parcel.delivered"
    level = "success"


@receiver(post_save, sender=Movement)
def tell_the_customer(sender: Any, instance: Movement, created: bool, raw: bool, **kwargs: Any) -> None:
    """Notify a parcel's customer of a step, in the transaction that takes it; one entry for each parcel."""
    parcel = instance.parcel
    if raw or not created or parcel is None or instance.status == Status.ORDERED:
        return
    if not pace.may_notify(parcel.customer_id):
        return
    livepush.notify(
        parcel.customer,
        ParcelDelivered if instance.status == Status.DELIVERED else ParcelMoved,
        target=parcel,
        collapse=parcel.code,
        data={"status": instance.status, "code": parcel.code, "item": parcel.item, "city": parcel.city},
    )


# scene: board
@livepush.can_read("board")
def anyone(user: Any) -> bool:
    """Let everyone read the board, logged in or not."""
    return True


# scene: end


@livepush.can_read("parcel:<int:pk>")
def customer_or_staff(user: Any, pk: int) -> bool:
    """Let a parcel's customer and the staff follow it."""
    return bool(user.is_staff) or (user.is_authenticated and Parcel.objects.filter(pk=pk, customer=user).exists())


@livepush.can_read(DESK)
@livepush.can_read("imports")
def staff(user: Any) -> bool:
    """Let the staff hear of every conversation, and follow imports."""
    return bool(user.is_staff)


@livepush.can_send("parcel:<int:pk>", types=("chat", "read", "typing"))
def participant(user: Any, pk: int) -> bool:
    """Let those who may follow a parcel write about it, and stop the assistant's answers."""
    return customer_or_staff(user, pk)


# scene: chat
@livepush.receive("parcel:<int:pk>", "chat", schema=MessageForm)
def take_message(user: Any, data: dict[str, str], pk: int) -> dict[str, Any]:
    """Store what somebody writes; the answer is the message, as others hear it."""
    return public(write(user, Parcel.objects.get(pk=pk), **data))


@livepush.presence("parcel:<int:pk>")
def who_is_here(user: Any, pk: int) -> dict[str, str]:
    return {"name": user.get_full_name() or user.get_username()}


# scene: end


@livepush.receive("parcel:<int:pk>", "read", schema=ReadForm)
def take_read_mark(user: Any, data: dict[str, int], pk: int) -> None:
    """Note how far somebody has read."""
    mark_read(user, Parcel.objects.get(pk=pk), data["upto"])


# scene: cursors
@livepush.can_read("together")
@livepush.can_send("together", types=("cursor",))
def anybody(user: Any) -> bool:
    """Let everyone, logged in or not, show a cursor and see those of others."""
    return True


# scene: end
