"""The pages of the conversations; they work without scripts too."""

from __future__ import annotations

from typing import cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

import livepush
from demo_project.parcels import talking
from demo_project.parcels.models import Message, Movement, Parcel, Status
from demo_project.parcels.views import check_may_see

BLANK = Message(parcel=Parcel(customer_id=0), author=User(pk=0), text="", ref="")
"""The values that fill a message's ``<template>``."""


@login_required
def conversations(request: HttpRequest) -> HttpResponse:
    """Show customers what they may write about, and the staff who has written."""
    user = cast(User, request.user)
    return render(
        request,
        "parcels/conversations.html",
        {
            "conversations": talking.conversations(user)[:20],
            "group": talking.DESK if user.is_staff else livepush.user_group(user),
        },
    )


@login_required
def conversation(request: HttpRequest, code: str) -> HttpResponse:
    """Show a parcel's conversation to its customer and the staff, and take what they write without scripts."""
    latest = Movement.latest()
    parcel = Parcel.objects.filter(code=code).select_related("customer").first()
    if parcel is None:
        return render(request, "parcels/gone.html", {"code": code}, status=404)
    check_may_see(request, parcel)
    user = cast(User, request.user)
    form = talking.MessageForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        talking.write(user, parcel, **form.cleaned_data)
        return redirect(reverse("conversation", args=[code]) + "#write")
    context = {
        "parcel": parcel,
        "latest": latest,
        "scope": parcel.code,
        "group": livepush.group_name(parcel),
        "messages": talking.latest_messages(parcel),
        "read_upto": talking.read_by_others(parcel, user),
        "is_staffs": user.pk != parcel.customer_id,
        "form": form,
        "ref": form["ref"].value() or Message().ref,
        "status_label": Status(parcel.status).label,
        "blank": BLANK,
        "max_length": talking.MAX_LENGTH,
    }
    return render(request, "parcels/conversation.html", context, status=422 if form.errors else 200)
