"""The shop's pages: plain Django views, nothing in them is about being live but a group's name in a template."""

from __future__ import annotations

from typing import Any, cast

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

import livepush
from demo_project.parcels.models import Errand, Movement, Parcel, Status
from demo_project.parcels.shop import STAGE, STAGE_CUSTOMER, place_order
from demo_project.showcase.models import Receipt
from demo_project.showcase.scenes import SCENES
from livepush.exceptions import InvalidNotification

BLANK = {"code": "CODE"}
"""What ``<template>`` elements are rendered with; the scripts put a real parcel's code in its place."""
MAX_OWN_ORDERS = 9


def board(request: HttpRequest) -> HttpResponse:
    """Show every parcel to everyone."""
    latest = Movement.latest()
    found: dict[str, list[Parcel]] = {}
    for item in Parcel.objects.order_by("-movement"):
        found.setdefault(item.status, []).append(item)
    columns = [{"status": status, "parcels": found.get(status.value, [])} for status in Status]
    return render(
        request, "parcels/board.html", {"columns": columns, "latest": latest, "scope": "board", "blank": BLANK}
    )


def together(request: HttpRequest) -> HttpResponse:
    """Show everyone where the others' cursors are."""
    return render(request, "parcels/together.html", {"latest": Movement.latest(), "scope": "board"})


@login_required
def orders(request: HttpRequest) -> HttpResponse:
    """Show customers their own orders."""
    return render(
        request,
        "parcels/orders.html",
        {
            "latest": Movement.latest(),
            "parcels": Parcel.objects.filter(customer_id=request.user.pk),
            "user_group": livepush.user_group(request.user),
            "scope": "mine",
            "blank": BLANK | {"steps": Parcel().steps},
        },
    )


@login_required
def parcel(request: HttpRequest, code: str) -> HttpResponse:
    """Show one parcel and its way so far to its customer and the staff."""
    latest = Movement.latest()
    item = Parcel.objects.filter(code=code).select_related("customer").first()
    if item is None:
        return gone(request, code)
    check_may_see(request, item)
    context = {"latest": latest, "parcel": item, "scope": item.code, "errands": shown(item)}
    return render(request, "parcels/parcel.html", context)


def shown(parcel: Parcel | None) -> QuerySet[Errand]:
    """Return the latest errands, about a parcel or about none, that the worker has begun."""
    return Errand.objects.filter(parcel=parcel, stream__gt="-")[:3]


def gone(request: HttpRequest, code: str) -> HttpResponse:
    """Show what is left of a parcel that was cleared away, to its customer and the staff."""
    receipt = Receipt.objects.filter(code=code).first()
    if receipt is None:
        return render(request, "parcels/gone.html", {"code": code}, status=404)
    check_may_see(request, receipt)
    return render(request, "parcels/gone.html", {"code": code, "receipt": receipt})


@require_POST
def advance(request: HttpRequest, code: str) -> HttpResponse:
    """Move a parcel on, for the staff: the one line that saves is all that the live pages need."""
    if not request.user.is_staff:
        raise PermissionDenied
    get_object_or_404(Parcel, code=code).advance()
    return done(request)


@require_POST
def ask(request: HttpRequest, code: str) -> HttpResponse:
    """Ask the assistant about a parcel: the worker answers, in a stream that every page of the parcel shows."""
    item = get_object_or_404(Parcel, code=code)
    check_may_see(request, item)
    Errand.objects.create(parcel=item, text=request.POST.get("question", "")[:120])
    return done(request)


def assistant(request: HttpRequest) -> HttpResponse:
    """Lead to the assistant of the visitor's latest parcel; the staff's is anybody's. Offer strangers a login."""
    if not request.user.is_authenticated:
        return render(request, "parcels/ask.html")
    own = Parcel.objects.all() if request.user.is_staff else Parcel.objects.filter(customer_id=request.user.pk)
    latest = own.exclude(status=Status.DELIVERED).first() or own.first()
    return redirect(f"{latest.get_absolute_url()}#ask" if latest else "orders")


def jobs(request: HttpRequest) -> HttpResponse:
    """Show the staff the latest import, and its log."""
    return render(request, "parcels/jobs.html", {"errands": shown(None)[:1] if request.user.is_staff else []})


@require_POST
def import_depots(request: HttpRequest) -> HttpResponse:
    """Have the worker import the depots."""
    if not request.user.is_staff:
        raise PermissionDenied
    Errand.objects.create(text="Import of the depots")
    return done(request)


@require_POST
@login_required
def order_something(request: HttpRequest) -> HttpResponse:
    """Order something for the customer."""
    on_the_way = Parcel.objects.filter(customer_id=request.user.pk).exclude(status=Status.DELIVERED)
    if on_the_way.count() < MAX_OWN_ORDERS:
        place_order(cast(User, request.user))
        return done(request)
    return done(request, 409)


@require_POST
def announce(request: HttpRequest) -> HttpResponse:
    """Tell every customer: one row, however many they are."""
    if not request.user.is_staff:
        raise PermissionDenied
    try:
        livepush.notify(
            livepush.everyone, request.POST.get("title", ""), body=request.POST.get("body", ""), level="warning",
            category="news", actor=request.user,
        )  # fmt: skip
    except InvalidNotification as error:
        return HttpResponseBadRequest(str(error), content_type="text/plain")
    return done(request)


def movements(request: HttpRequest, scope: str) -> HttpResponse:
    """Answer with the numbers of the movements in ``(after, upto]`` that a page should have heard of."""
    try:
        after, upto = int(request.GET.get("after", 0)), int(request.GET.get("upto") or Movement.latest())
    except ValueError:
        return HttpResponseBadRequest("after and upto are numbers")
    book = book_of(request, scope).filter(number__gt=after, number__lte=upto)
    return JsonResponse({"numbers": sorted(book.values_list("number", flat=True)[:2_000])})


def book_of(request: HttpRequest, scope: str) -> QuerySet[Movement]:
    """Return the movements that a page is about: ``board``, ``stage``, ``mine``, or a parcel's code."""
    if scope == "board":
        return Movement.objects.all()
    if scope == STAGE:
        return Movement.objects.filter(customer__username=STAGE_CUSTOMER)
    if scope == "mine":
        return Movement.objects.filter(customer_id=request.user.pk)
    item = get_object_or_404(Parcel, code=scope)
    check_may_see(request, item)
    return item.movements.all()


def check_may_see(request: HttpRequest, item: Parcel | Receipt) -> None:
    """Raise PermissionDenied for anyone but a parcel's customer and the staff."""
    user = request.user
    if not (user.is_authenticated and (user.is_staff or item.customer_id == user.pk)):
        raise PermissionDenied


def done(request: HttpRequest, status: int = 204) -> HttpResponse:
    """Answer a form: a script that sent it needs no page, everyone else goes back to where they were."""
    if request.headers.get("X-Requested-With") == "fetch":
        return HttpResponse(status=status)
    back = request.POST.get("next", "")
    return redirect(back if url_has_allowed_host_and_scheme(back, {request.get_host()}) else "board")


class Login(LoginView):
    """Send customers to their orders and the staff to the board; who comes from a scene sees what it is about."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Return what the page shows, with the scene that sent the visitor here, if one did."""
        sent_by = [scene for scene in SCENES if reverse(scene.url) == self.get_redirect_url()]
        return super().get_context_data(**kwargs) | {"scene": sent_by[0] if sent_by else None}

    def get_default_redirect_url(self) -> str:
        """Return where somebody who came from nowhere goes."""
        return reverse("board") if self.request.user.is_staff else super().get_default_redirect_url()
