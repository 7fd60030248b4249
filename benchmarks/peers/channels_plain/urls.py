"""HTTP has no more than the check of readiness."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path


def ready(request: HttpRequest) -> HttpResponse:
    return HttpResponse("ready")


urlpatterns = [path("ready/", ready)]
