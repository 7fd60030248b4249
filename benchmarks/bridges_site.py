"""The site that ``benchmarks.bridges`` measures: anyone may read the board, and a page follows it."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path

import livepush


@livepush.can_read("board")
def allow(user: Any) -> bool:
    """Let anyone read."""
    return True


def page(request: HttpRequest) -> HttpResponse:
    """Show a page that follows the board."""
    template = engines["django"].from_string("{% load livepush %}<body>{% livepush 'board' %}</body>")
    return HttpResponse(template.render({}, request))


urlpatterns = [
    path("page/", page),
    path("livepush/", include("livepush.urls")),
]
