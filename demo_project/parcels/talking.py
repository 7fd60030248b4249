"""The conversation about a parcel: what is written, and how far it was read."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Count, F, Max, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext_lazy as _

import livepush
from demo_project.parcels.models import Message, Parcel, ReadMark, Status

MAX_LENGTH = 2000
SHOWN = 100
"""How many of a conversation's messages a page shows."""
DESK = "desk"
"""The group of the staff's list of conversations."""


class MessageForm(forms.Form):
    """A message that a page sends: over livepush, or as a plain form."""

    text = forms.CharField(
        max_length=MAX_LENGTH,
        error_messages={
            "required": _("Write something first."),
            "max_length": _("A message has at most %(limit_value)d characters. Yours has %(show_value)d."),
        },
    )
    ref = forms.CharField(max_length=64, required=False)


class ReadForm(forms.Form):
    """How far a page's reader has read."""

    upto = forms.IntegerField(min_value=1, max_value=2**53)


@transaction.atomic
def write(author: User, parcel: Parcel, text: str, ref: str = "") -> Message:
    """Store a message and send it to all who follow the conversation; one that comes again (by ``ref``) is only found.

    Whoever writes has read what was written before.
    """
    message, is_new = Message.objects.get_or_create(
        author=author, ref=ref or Message().ref, defaults={"parcel": parcel, "text": text}
    )
    if is_new:
        livepush.send(audience(parcel), "chat.message", public(message), sender=author)
        mark_read(author, parcel, message.pk)
    return message


@transaction.atomic
def mark_read(user: User, parcel: Parcel, upto: int) -> None:
    """Note how far somebody has read, and tell those who wrote. A mark never goes back."""
    last = parcel.messages.filter(pk__lte=upto).aggregate(last=Max("pk"))["last"] or 0
    mark, _is_new = ReadMark.objects.get_or_create(parcel=parcel, user=user)
    if ReadMark.objects.filter(pk=mark.pk, upto__lt=last).update(upto=last):
        data = {"upto": last, "staff": user.pk != parcel.customer_id}
        livepush.send(audience(parcel), "chat.read", data, sender=user)


def audience(parcel: Parcel) -> list[str]:
    """Return the groups of the conversation's page, and of the customer's and the staff's list of conversations."""
    return [livepush.group_name(parcel), livepush.user_group(parcel.customer_id), DESK]


def public(message: Message) -> dict[str, Any]:
    """Return what a page shows of a message; who wrote it stands in the event's ``from``."""
    return {
        "id": message.pk,
        "ref": message.ref,
        "text": message.text,
        "at": message.at.isoformat(),
        "staff": message.is_staffs,
        "code": message.parcel.code,
    }


def latest_messages(parcel: Parcel) -> list[Message]:
    """Return the last messages about a parcel, the oldest first."""
    return list(parcel.messages.select_related("author", "parcel").order_by("-pk")[:SHOWN])[::-1]


def read_by_others(parcel: Parcel, user: User) -> int:
    """Return how far the other side has read: the staff for the customer, and the customer for the staff."""
    if user.pk == parcel.customer_id:
        marks = parcel.read_marks.exclude(user=user)
    else:
        marks = parcel.read_marks.filter(user=parcel.customer_id)
    return marks.aggregate(upto=Max("upto"))["upto"] or 0


def conversations(user: User) -> QuerySet[Parcel]:
    """Return the parcels that a user may write about, with the last message and the count of those not read."""
    own = Q(customer=user)
    shown = Q(messages__isnull=False) | Q(customer__username="demo") | own if user.is_staff else own
    last = Message.objects.filter(parcel=OuterRef("pk")).order_by("-pk")
    mark = ReadMark.objects.filter(parcel=OuterRef("pk"), user=user)
    found = Parcel.objects.filter(shown).exclude(Q(status=Status.DELIVERED) & Q(messages__isnull=True))
    found = found.select_related("customer").annotate(
        last_text=Subquery(last.values("text")[:1]),
        last_at=Subquery(last.values("at")[:1]),
        last_author=Subquery(last.values("author")[:1]),
        read_upto=Coalesce(Subquery(mark.values("upto")[:1]), Value(0)),
    )
    unread = Q(messages__pk__gt=F("read_upto")) & ~Q(messages__author=user)
    return found.annotate(unread=Count("messages", filter=unread, distinct=True)).order_by(
        F("last_at").desc(nulls_last=True), "-movement"
    )
