"""Faults of a network, made for one visitor: a proxy that holds back a transport, and a slow line.

A visitor's cookie names them, so that one browser suffers and all others do not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from http.cookies import SimpleCookie
from typing import Any

COOKIE = "livepush_demo_faults"
FAULTS = ("sse", "websocket", "slow")
PREFIX = "/livepush/"
DELAY = 0.7
"""How many seconds a slow line takes for each piece."""

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Faults:
    """Wraps an ASGI application; only livepush's own paths suffer."""

    def __init__(self, application: Any) -> None:
        self.application: Application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        chosen = faults_of(scope)
        if "sse" in chosen and scope["path"] == f"{PREFIX}sse/":
            await hold_back_stream(receive, send)
        elif "websocket" in chosen and scope["type"] == "websocket":
            await hold_back_websocket(scope, receive, send)
        elif "slow" in chosen:
            await self.application(scope, receive, slowly(send))
        else:
            await self.application(scope, receive, send)


def faults_of(scope: Scope) -> set[str]:
    """Return the faults that a request's cookie names, if the request is for livepush."""
    if scope["type"] not in ("http", "websocket") or not scope["path"].startswith(PREFIX):
        return set()
    cookies: SimpleCookie = SimpleCookie(dict(scope["headers"]).get(b"cookie", b"").decode("latin-1"))
    return set(cookies[COOKIE].value.split(".")) & set(FAULTS) if COOKIE in cookies else set()


async def hold_back_stream(receive: Receive, send: Send) -> None:
    """Do as a proxy that buffers: pass on the head of a stream, and nothing else."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    while (await receive())["type"] != "http.disconnect":
        pass


async def hold_back_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Do as a proxy that does not know WebSocket well: agree to it, and fall silent."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
    while (await receive())["type"] != "websocket.disconnect":
        pass


def slowly(send: Send) -> Send:
    """Return what sends each piece later, in order."""

    async def send_later(message: dict[str, Any]) -> None:
        await asyncio.sleep(DELAY)
        await send(message)

    return send_later
