"""The scene "Who is online": the members of a group, and guests whom a visitor lets in."""

from __future__ import annotations

import random

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_POST

import livepush
from demo_project.parcels.shop import CUSTOMERS, known_user

GROUP = "online"
GUEST_SECONDS = 120


def online(request: HttpRequest) -> HttpResponse:
    """Show who has this page open."""
    return render(request, "showcase/online.html")


@require_POST
def guest(request: HttpRequest) -> HttpResponse:
    """Answer with a token of one of the shop's people, who are no accounts to log in to: it reads this group only."""
    outside = [name for name in CUSTOMERS if name not in request.POST.getlist("in")]
    if not outside:
        return HttpResponse("Everybody is in.", status=409)
    user = known_user(random.choice(outside))
    token = livepush.token(user, [GROUP], ttl=GUEST_SECONDS)
    return JsonResponse({"username": user.username, "name": user.get_full_name(), "token": token})
