"""The hub's one address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from asgiref.sync import sync_to_async
from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.views.decorators.csrf import csrf_exempt

from livepush.bridges.mercure.publishing import publish
from livepush.bridges.mercure.subscribing import subscribe
from livepush.consumers.answering import for_origins, outside_transactions

METHODS = "GET, HEAD, POST, OPTIONS"


async def _hub(request: HttpRequest) -> HttpResponseBase:
    if request.method in ("GET", "HEAD"):
        return await subscribe(request)
    if request.method == "POST":
        return await sync_to_async(publish)(request)
    return _others(request)


hub: Callable[..., Any] = login_not_required(csrf_exempt(outside_transactions(cast(Any, _hub))))
"""The view; tokens say who may publish and subscribe."""


@for_origins
def _others(request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=204 if request.method == "OPTIONS" else 405, headers={"Allow": METHODS})
