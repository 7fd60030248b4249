from __future__ import annotations

from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.urls import include, path

import livepush
from livepush.hub import hubs


def page(request: HttpRequest) -> HttpResponse:
    template = engines["django"].from_string(
        "<!doctype html><title>page</title>{% load livepush %}<body>{% livepush 'board' %}</body>"
    )
    return HttpResponse(template.render({}, request))


async def send_async(request: HttpRequest) -> JsonResponse:
    await livepush.asend("board", "from-async", {"n": 1})
    return JsonResponse({})


def send_twice_and_fail(request: HttpRequest) -> HttpResponse:
    livepush.send("board", "never", 1)
    User.objects.create(username="never")
    raise RuntimeError("the request fails")


def send_in_request(request: HttpRequest) -> JsonResponse:
    livepush.send("board", "from-request", {"n": 2})
    return JsonResponse({})


def ready(request: HttpRequest) -> JsonResponse:
    """Say that the server answers, and how many clients it holds."""
    return JsonResponse({"subscribers": sum(len(hub.subscribers) for hub in hubs)})


urlpatterns = [
    path("admin/", admin.site.urls),
    path("livepush/", include("livepush.urls")),
    path("page/", page),
    path("send-async/", send_async),
    path("send-fail/", send_twice_and_fail),
    path("send/", send_in_request),
    path("ready/", ready),
]
