"""Where the endpoints are.

For projects with a ``ProtocolTypeRouter`` of their own, as Channels' ``URLRouter`` takes them::

    application = ProtocolTypeRouter({
        "http": URLRouter([*livepush.routing.http_urlpatterns(), re_path("", get_asgi_application())]),
        "websocket": URLRouter([*livepush.routing.websocket_urlpatterns(), *others]),
    })

The endpoints read the session themselves. If ``AuthMiddlewareStack`` or a middleware of the project has put a ``user``
into the scope, they use that user, until the login or the right ends.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, URLPattern, get_script_prefix, path, reverse, set_script_prefix
from django.urls.resolvers import RoutePattern
from django.utils import translation

from livepush import process
from livepush.consumers.base import Endpoint, Receive, Scope, Send, refusing
from livepush.consumers.poll import poll
from livepush.consumers.sse import sse
from livepush.consumers.websocket import websocket
from livepush.wire import Close, WireError


class Application:
    """Livepush's endpoints where ``urls.py`` includes them; everything else is the other application's.

    Servers that ask (the ASGI lifespan protocol) are told that it has started, and wait for its end; Django itself
    answers them with an error.
    """

    def __init__(self, django: Endpoint) -> None:
        self._django = django

    @cached_property
    def _endpoints(self) -> dict[tuple[str, str], Endpoint]:
        return endpoints()

    @cached_property
    def _patterns(self) -> list[tuple[str, RoutePattern, Endpoint]]:
        """The endpoints whose address has a part that varies."""
        return [
            (type, RoutePattern(address, is_endpoint=True), endpoint)
            for (type, address), endpoint in self._endpoints.items()
            if "<" in address
        ]

    def _matching(self, type: str, path: str) -> Endpoint | None:
        return next((found for kind, route, found in self._patterns if kind == type and route.match(path)), None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = lifespan if scope["type"] == "lifespan" else self._django
        if scope["type"] in ("http", "websocket"):
            path = path_of(scope)
            default = refuse_websocket if scope["type"] == "websocket" else self._django
            endpoint = self._endpoints.get((scope["type"], path)) or self._matching(scope["type"], path) or default
        if endpoint is self._django:
            process.note_client(scope, send)
        await endpoint(scope, receive, send)


def path_of(scope: Scope) -> str:
    """Return a request's path below the site's root, which ``FORCE_SCRIPT_NAME`` or else the server names."""
    path: str = scope["path"]
    for root in (settings.FORCE_SCRIPT_NAME, scope.get("root_path")):
        if root and path.startswith(f"{root.rstrip('/')}/"):
            return path.removeprefix(root.rstrip("/"))
    return path


async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    """Follow a server's start and end: the hub starts with its first client, and stops here."""
    while (await receive())["type"] != "lifespan.shutdown":
        await send({"type": "lifespan.startup.complete"})
    await process.stop()
    await send({"type": "lifespan.shutdown.complete"})


@refusing
async def upgrade_required(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a plain HTTP request to the WebSocket's address."""
    raise WireError("upgrade_required", "This address speaks WebSocket: connect with ws:// or wss://.", 426)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a WebSocket where there is none."""
    await receive()
    await send({"type": "websocket.close", "code": int(Close.BAD_REQUEST)})


def prefix() -> str:
    """Return the path under which ``livepush.urls`` is included, e.g. ``/livepush/``, in the active language.

    Raises ImproperlyConfigured: it is not included.
    """
    script = get_script_prefix()
    set_script_prefix("/")
    try:
        return reverse("livepush:poll").removesuffix("poll/")
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "livepush has no address: add path('livepush/', include('livepush.urls')) to your ROOT_URLCONF."
        ) from error
    finally:
        set_script_prefix(script)


def prefixes() -> list[str]:
    """Return every path under which ``livepush.urls`` is included: in ``i18n_patterns`` one for each language.

    Raises ImproperlyConfigured: it is not included.
    """
    languages = [None, *dict(settings.LANGUAGES)] if settings.USE_I18N else [None]
    found = list(dict.fromkeys(map(_prefix_in, languages[:3])))
    if len(found) == 1:  # else two languages would differ; reversing in a hundred of them is slow
        return found
    return list(dict.fromkeys(map(_prefix_in, languages)))


def _prefix_in(language: str | None) -> str:
    with translation.override(language):
        return prefix()


def endpoints() -> dict[tuple[str, str], Endpoint]:
    """Return each endpoint by scope type and path."""
    return {key: endpoint for base in prefixes() for key, endpoint in _endpoints_under(base).items()}


def _endpoints_under(base: str) -> dict[tuple[str, str], Endpoint]:
    return {
        ("http", f"{base}sse/"): sse,
        ("http", f"{base}poll/"): poll,
        ("http", f"{base}ws/"): upgrade_required,
        ("websocket", f"{base}ws/"): websocket,
        **{key: endpoint for more in registered for key, endpoint in more(base).items()},
    }


registered: list[Callable[[str], dict[tuple[str, str], Endpoint]]] = []
"""Each returns further endpoints under a prefix: those of packages that this one does not import."""


def http_urlpatterns() -> list[URLPattern]:
    """Return the HTTP endpoints for ``URLRouter``."""
    return _patterns("http")


def websocket_urlpatterns() -> list[URLPattern]:
    """Return the WebSocket endpoint for ``URLRouter``."""
    return _patterns("websocket")


def _patterns(kind: str) -> list[URLPattern]:
    root = (settings.FORCE_SCRIPT_NAME or "").strip("/")  # which URLRouter does not know
    found: list[Any] = [
        path(f"{prefix}{address}".lstrip("/"), endpoint)  # type: ignore[arg-type]
        for (type, address), endpoint in endpoints().items()
        for prefix in dict.fromkeys(["", root])
        if type == kind
    ]
    return found
