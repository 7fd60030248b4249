"""A short way past uvicorn's ``send``: bytes that are the same for many clients go straight to its transports.

An ASGI ``send`` makes a chunk or a frame of each message anew for each client, and uvicorn's WebSocket compresses it
for each that offers to: for 1,000 clients that is most of what an event costs. Here the bytes are made once. They are
as the server's own would be, uncompressed, which every client takes: compression is for each message (RFC 7692,
section 6).

Where another server runs, or another version than is known here, or something wraps its ``send``, there is no short
way: ``send`` does the same. ``benchmarks/README.md`` has what it gains.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

HIGH_WATER = 65_536
"""The most bytes that wait in a transport before it takes more: asyncio's and uvloop's own mark."""


def find(send: object) -> asyncio.WriteTransport | None:
    """Return what takes a response's chunks, once it has begun, or a WebSocket's frames, once it was accepted."""
    owner: Any = getattr(send, "__self__", None)
    try:
        if _is(owner, "http.httptools_impl", "RequestResponseCycle"):
            usable = owner.chunked_encoding is True and _streams(owner)
        elif _is(owner, "http.h11_impl", "RequestResponseCycle"):
            usable = owner.scope["http_version"] == "1.1" and _streams(owner)
        else:
            websocket = _is(owner, "websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol")
            usable = websocket and owner.handshake_complete and not owner.close_sent
        return owner.transport if usable else None
    except AttributeError:  # another version
        return None


def short_way(send: object) -> Callable[[bytes], bool] | None:
    """Return what hands bytes to a response's transport, or a WebSocket's, and returns whether it took them.

    ``None`` where there is no short way.
    """
    transport = find(send)
    if transport is None:
        return None

    def write_now(data: bytes) -> bool:
        if not takes(transport):
            return False
        transport.write(data)
        return True

    return write_now


def takes(transport: asyncio.WriteTransport) -> bool:
    """Return whether a transport takes bytes now: not where its client has gone or does not read."""
    return transport.get_write_buffer_size() <= HIGH_WATER and not transport.is_closing()


def _is(owner: object, module: str, name: str) -> bool:
    return type(owner) is getattr(sys.modules.get(f"uvicorn.protocols.{module}"), name, None)


def _streams(response: Any) -> bool:
    """Return whether a response of unknown length has begun."""
    return response.response_started and not response.response_complete and response.scope["method"] != "HEAD"
