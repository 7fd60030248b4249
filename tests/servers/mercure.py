"""The tests' site with a Mercure hub, and a page that leads to it."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
from tests.asgi import application  # isort: skip (it sets Django up, which livepush's modules need)

from django.http import HttpResponse
from django.urls import include, path

from livepush.bridges import mercure
from tests import urls

TOPIC = "https://example.com/books/1"


def book(request):
    last = mercure.last_event_id()
    response = HttpResponse("<!doctype html><title>Dune</title>")
    mercure.add_link(request, response, topic=TOPIC, last_event_id=last)
    mercure.set_cookie(request, response, subscribe=[TOPIC], publish=["note/{id}"])
    return response


urls.urlpatterns += [path("", include("livepush.bridges.mercure.urls")), path("book/", book)]
__all__ = ["application"]
