"""The bridges' views and endpoints, each imported with its first request.

A bridge that is not used costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import NoReverseMatch, get_script_prefix, reverse, set_script_prefix
from django.utils.module_loading import import_string
from django.views.decorators.csrf import csrf_exempt

from livepush import process, publish
from livepush.conf import get_settings
from livepush.consumers.answering import never_a_page, outside_transactions
from livepush.consumers.base import Endpoint, Receive, Scope, Send
from livepush.hub import Hub
from livepush.wire import Batch


def lazily(path: str) -> Callable[..., HttpResponse]:
    """Return a view that imports the one with a dotted path when it is first asked.

    Such a view says itself who may do what, and needs no CSRF token: it asks for what no browser sends by itself.
    """

    @login_not_required
    @csrf_exempt
    @outside_transactions
    @never_a_page
    def view(request: HttpRequest, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = import_string(path)(request, **kwargs)
        return response

    return view


def at_edge(path: str, plain: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Return a view that answers a GRIP proxy with the one at a dotted path, and everybody else with a plain one."""

    @wraps(plain)
    def view(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
        comes_from_proxy = "HTTP_GRIP_SIG" in request.META and bool(get_settings().GRIP)
        response: HttpResponseBase = (import_string(path) if comes_from_proxy else plain)(request, **kwargs)
        return response

    return view


def lazily_async(path: str) -> Endpoint:
    """Return an ASGI endpoint that imports the one with a dotted path when it is first asked."""

    async def endpoint(scope: Scope, receive: Receive, send: Send) -> None:
        await import_string(path)(scope, receive, send)

    return endpoint


def endpoints(base: str) -> dict[tuple[str, str], Endpoint]:
    """Return the bridges' ASGI endpoints under a prefix; see ``livepush.routing.registered``."""
    return {
        ("http", f"{base}publish/"): lazily_async("livepush.bridges.publishing.endpoint.publish"),
        ("http", f"{base}publish/notify/"): lazily_async("livepush.bridges.publishing.endpoint.notify"),
        **_pusher(),
    }


def _pusher() -> dict[tuple[str, str], Endpoint]:
    """Return the WebSocket of Pusher's clients, where the project has mounted ``livepush.bridges.pusher.urls``."""
    if not get_settings().PUSHER:
        return {}
    script = get_script_prefix()
    set_script_prefix("/")
    try:
        address = reverse("livepush_pusher:app", args=["key"]).removesuffix("key")
    except NoReverseMatch:
        return {}
    finally:
        set_script_prefix(script)
    return {("websocket", f"{address}<str:key>"): lazily_async("livepush.bridges.pusher.consumer.serve")}


def connect() -> None:
    """Have events traced, hubs measured, GRIP proxies and webhooks told, where the settings ask for it by then."""
    if _measure not in process.on_start:
        process.on_start.append(_measure)
        publish.on_settled += [_tell_proxies, _trace_settled]
        publish.tracers.append(_trace_send)


def _tell_proxies(using: str, batch: Batch) -> None:
    if get_settings().GRIP:
        import_string("livepush.bridges.grip.sending.follow")(using, batch)


def _trace_send(sent: publish.Sent) -> AbstractContextManager[str | None]:
    if not get_settings().TRACING:
        return publish.UNTRACED
    span: AbstractContextManager[str | None] = import_string("livepush.bridges.tracing.spans.sending")(sent)
    return span


def _trace_settled(using: str, batch: Batch) -> None:
    if get_settings().TRACING:
        import_string("livepush.bridges.tracing.spans.settled")(using, batch)


def _measure(hub: Hub) -> None:
    settings = get_settings()
    if settings.METRICS_TOKEN or settings.METRICS_ALLOWED:
        import_string("livepush.bridges.metrics.sharing.follow")(hub)
    if settings.TRACING:
        import_string("livepush.bridges.tracing.spans.follow")(hub)
    if settings.PUSHER.get("WEBHOOK"):
        import_string("livepush.bridges.pusher.posting.follow")(hub)
