"""The views under ASGI: in threads whose database connections stay open, past the site's middleware."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from io import BytesIO

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from livepush import process
from livepush.bridges.publishing import views
from livepush.bridges.publishing.drafts import MAX_BODY
from livepush.consumers.base import Receive, Scope, Send, answer, refusal_headers
from livepush.notes import Rarely
from livepush.wire import unavailable

logger = logging.getLogger("livepush")
failures = Rarely()
THREAD = "livepush-publish"
View = Callable[[HttpRequest], HttpResponse]


async def publish(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``POST publish/``."""
    await _serve(views.publish, scope, receive, send)


async def notify(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``POST publish/notify/``."""
    await _serve(views.notify, scope, receive, send)


async def _serve(view: View, scope: Scope, receive: Receive, send: Send) -> None:
    with process.serving(scope, send):
        body = await _body(receive)
        if body is None:
            return
        try:
            response = await process.in_thread(partial(_respond, view, scope, body), name=THREAD)
        except Exception as error:
            if times := failures.times():
                logger.warning("%d publishing requests failed.", times, exc_info=error)
            refusal = unavailable()
            await answer(scope, send, refusal.body(), refusal.status, refusal_headers(refusal))
            return
        headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
        headers.append((b"content-length", str(len(response.content)).encode()))
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": response.content})


def _respond(view: View, scope: Scope, body: bytes) -> HttpResponse:
    return view(ASGIRequest(scope, BytesIO(body)))


async def _body(receive: Receive) -> bytes | None:
    """Return a request's body, of a longer one as much as shows that it is too long; ``None`` if the client left."""
    parts, size, more = [], 0, True
    while more and size <= MAX_BODY:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
    return b"".join(parts)
