"""The views under ASGI: in threads whose database connections stay open, past the site's middleware."""

from __future__ import annotations

import logging
from collections.abc import Callable
from io import BytesIO
from typing import TypeVar

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse

from livepush import process
from livepush.bridges.publishing import views
from livepush.bridges.publishing.drafts import MAX_BODY
from livepush.consumers.base import Receive, Scope, Send, answer, refusal_headers
from livepush.notes import Rarely
from livepush.process.connections import PUBLISH_THREAD
from livepush.wire import WireError, bad_query, unavailable

logger = logging.getLogger("livepush")
failures = Rarely()
View = Callable[[HttpRequest], HttpResponse]
T = TypeVar("T")
SMALL = 65_536
"""How many bytes are read of a client that may have no key. A larger body is read only of one that has."""


async def publish(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``POST publish/``."""
    await _serve(views.publish, scope, receive, send)


async def notify(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve ``POST publish/notify/``."""
    await _serve(views.notify, scope, receive, send)


async def _serve(view: View, scope: Scope, receive: Receive, send: Send) -> None:
    with process.serving(scope, send):
        try:
            response = None if _is_small(scope) else await _in_thread(views.refusal, scope)
            if response is None:
                body = await _body(receive)
                if body is None:
                    return
                response = await _in_thread(view, scope, body)
        except WireError as error:
            refusal = error
        except Exception as error:
            if times := failures.times():
                logger.warning("%d publishing requests failed.", times, exc_info=error)
            refusal = unavailable()
        else:
            headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response.items()]
            headers.append((b"content-length", str(len(response.content)).encode()))
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            await send({"type": "http.response.body", "body": response.content})
            return
        await answer(scope, send, refusal.body(), refusal.status, refusal_headers(refusal))


async def _in_thread(view: Callable[[HttpRequest], T], scope: Scope, body: bytes = b"") -> T:
    try:
        request = ASGIRequest(scope, BytesIO(body))
    except UnicodeDecodeError as error:  # Django decodes the query
        raise bad_query() from error
    return await process.in_thread(lambda: view(request), name=PUBLISH_THREAD)


def _is_small(scope: Scope) -> bool:
    """Return whether a request says that its body is so small that it may be read of anybody."""
    length = next((value for name, value in scope.get("headers", ()) if name == b"content-length"), b"")
    return length.isdigit() and int(length[:10]) <= SMALL


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
