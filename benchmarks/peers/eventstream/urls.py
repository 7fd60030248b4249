"""The stream of one channel, which anyone may read."""

from __future__ import annotations

import django_eventstream
from django.http import HttpRequest, HttpResponse
from django.urls import include, path


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


urlpatterns = [
    path("ready/", ready),
    path("events/", include(django_eventstream.urls), {"channels": ["board"]}),
]
