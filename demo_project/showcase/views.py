"""The pages of the demo that are no part of the shop: the front page, its stage, the scenes, the manual."""

from __future__ import annotations

from typing import Any

from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_POST

import livepush
from demo_project.csp import framed
from demo_project.parcels.models import Movement, Parcel
from demo_project.parcels.shop import STAGE
from demo_project.parcels.views import done
from demo_project.showcase import checking, letters, manual, metrics, phone, stage
from demo_project.showcase.models import Check, Letter, Reading
from demo_project.showcase.scenes import SCENES


def home(request: HttpRequest) -> HttpResponse:
    """Show the front page: the stage, and a tile for each scene."""
    return render(request, "showcase/home.html", {"scenes": SCENES})


@xframe_options_sameorigin
@framed
def window(request: HttpRequest, side: str) -> HttpResponse:
    """Show one of the stage's two windows: the customer's or the warehouse's."""
    latest = Movement.latest()
    found = list(stage.parcels().select_related("customer")[: stage.SHOWN])
    context = {"parcels": found, "side": side, "latest": latest, "group": STAGE, "blank": {"code": "CODE"}}
    return render(request, f"showcase/{side}.html", context)


@require_POST
def move(request: HttpRequest) -> HttpResponse:
    """Move a parcel of the stage on; without a code, the one that has waited longest."""
    try:
        stage.move(request.POST.get("code", ""))
    except Parcel.DoesNotExist:
        return done(request, 404)
    return done(request)


def metrics_page(request: HttpRequest) -> HttpResponse:
    """Show the figures of the last two minutes."""
    readings = [metrics.public(reading) for reading in Reading.objects.all()]
    return render(
        request,
        "showcase/metrics.html",
        {"readings": readings, "last": readings[-1] if readings else None, "charts": metrics.CHARTS},
    )


def checks(request: HttpRequest) -> HttpResponse:
    """Show the checks and how they went; start them if the visitor presses the button."""
    if request.method == "POST":
        return done(request, 204 if checking.start() else 409)
    checking.seed()
    return render(request, "showcase/checks.html", {"checks": Check.objects.all()})


def fragments(request: HttpRequest) -> HttpResponse:
    """Show the last moves; the page asks for this list again when a parcel moves."""
    moves = Movement.objects.select_related("parcel", "customer").filter(parcel__isnull=False)[:8]
    return render(request, "showcase/fragments.html", {"moves": moves})


def bell(request: HttpRequest) -> HttpResponse:
    """Show the inbox, with a form that sends notifications to it."""
    form = letters.LetterForm(request.user, request.POST or None)
    sent: Letter | None = None
    if request.user.is_authenticated and form.is_bound and form.is_valid():
        sent = letters.write(request.user, form)
    context: dict[str, Any] = {
        "form": form,
        "code": letters.code_of(sent) if sent else "",
        "later": sent is not None and sent.pk is not None,
        "titles": letters.TITLES,
        "phone": phone.address(request.get_port()),
    }
    status = 422 if form.errors else 200
    if request.headers.get("X-Requested-With") == "fetch":
        return JsonResponse({"code": context["code"], "later": context["later"], "errors": form.errors}, status=status)
    return render(request, "showcase/bell.html", context, status=status)


def terminal(request: HttpRequest) -> HttpResponse:
    """Show lines for a terminal, with a token of the visitor's own."""
    token = ""
    if request.user.is_authenticated:
        # scene: terminal
        groups = ["board", livepush.user_group(request.user)]
        token = livepush.token(request.user, groups, ttl=600)
        # scene: end
    origin = f"{request.scheme}://{request.get_host()}"
    context = {"token": token, "origin": origin, "group": f"user:{request.user.pk}"}
    return render(request, "showcase/terminal.html", context)


def phone_page(request: HttpRequest) -> HttpResponse:
    """Show the demo's address on the local network, or how to start it for one."""
    address = phone.address(request.get_port())
    context = {"address": address, "qr_code": phone.qr_code(address) if address else ""}
    return render(request, "showcase/phone.html", context)


def manual_page(request: HttpRequest, page: str) -> HttpResponse:
    """Show a page of the manual."""
    try:
        title, html = manual.page(page)
    except KeyError:
        raise Http404(f"The manual has no page {page!r}.") from None
    context = {"title": title, "html": html, "parts": manual.parts()}
    return render(request, "showcase/manual.html", context)


def manual_picture(request: HttpRequest, name: str) -> FileResponse:
    """Send a picture of the manual."""
    if name not in manual.pictures():
        raise Http404(f"The manual has no picture {name!r}.")
    path = manual.DOCS / name
    return FileResponse(path.open("rb"), content_type=manual.PICTURES[path.suffix])


def manual_home(request: HttpRequest) -> HttpResponse:
    """Lead to the manual's first page."""
    return redirect("manual", "index")
