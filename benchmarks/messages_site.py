"""The site of ``benchmarks.messages``: a handler that stores a row, and a plain view that does the same."""

# ruff: noqa: E402 (Django must be ready before its models are imported)
from __future__ import annotations

import json
import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

import livepush
from tests import urls
from tests.asgi import application
from tests.shop.models import Tag

__all__ = ["application"]


@livepush.can_send("notes:<slug:name>")
def may_write(user: Any, name: str) -> bool:
    return bool(user.is_authenticated)


@livepush.receive("notes:<slug:name>", "note")
def take_note(user: Any, data: Any, name: str) -> dict[str, int]:
    return {"pk": Tag.objects.create(name=data["text"]).pk}


@livepush.receive("notes:<slug:name>", "told")
def take_and_tell(user: Any, data: Any, name: str) -> dict[str, int]:
    tag = Tag.objects.create(name=data["text"])
    livepush.send(f"notes:{name}", "told", data, sender=user)
    return {"pk": tag.pk}


@csrf_exempt
def plain(request: HttpRequest) -> HttpResponse:
    if not request.user.is_authenticated:
        return HttpResponse(status=403)
    data = json.loads(request.body)
    return JsonResponse({"pk": Tag.objects.create(name=data["data"]["text"]).pk})


urls.urlpatterns.append(path("plain/", plain))
