"""Gets at uvicorn's transports: to end a connection, and to write past ``send`` what is the same for many clients.

An ASGI ``send`` makes a chunk or a frame of each message anew for each client, and uvicorn's WebSocket compresses it
for each client that offers to: for 1,000 clients that is most of what an event costs. ``direct_transport`` lets the
caller make the bytes once. They are as uvicorn's own would be, uncompressed, which every client takes: compression is
for each message (RFC 7692, section 6).

Where another server runs, or another version than is known here, or something wraps its ``send``, there is no direct
transport, and ``send`` does the same. ``benchmarks/README.md`` has what it gains.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from livepush.notes import note_once

HIGH_WATER = 65_536
"""How many bytes may wait in a transport before livepush waits for it: asyncio's and uvloop's own mark."""


def transport(send: object) -> asyncio.WriteTransport | None:
    """Return the transport beneath a request, ``None`` where uvicorn does not serve it, or a version unknown here."""
    owner: Any = getattr(send, "__self__", None)
    if not type(owner).__module__.startswith("uvicorn.protocols."):
        return None
    found: asyncio.WriteTransport | None = getattr(owner, "transport", None)
    return found


def direct_transport(send: object) -> asyncio.WriteTransport | None:
    """Return what takes a response's chunks, once it has begun, or a WebSocket's frames, once it was accepted."""
    owner: Any = getattr(send, "__self__", None)
    try:
        if _is(owner, "http.httptools_impl", "RequestResponseCycle"):
            usable = owner.chunked_encoding is True and _streams(owner)
        elif _is(owner, "http.h11_impl", "RequestResponseCycle"):
            usable = owner.scope["http_version"] == "1.1" and _streams(owner)
        elif _is(owner, "websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol"):
            usable = owner.handshake_complete and not owner.close_sent
        else:
            if type(owner).__module__.startswith("uvicorn.protocols."):
                _note(owner)
            return None
        return owner.transport if usable else None
    except AttributeError:
        _note(owner)
        return None


def short_way(send: object) -> Callable[[bytes], bool] | None:
    """Return what hands bytes to a response's transport, or a WebSocket's, and returns whether it took them.

    ``None`` where there is no short way.
    """
    transport = direct_transport(send)
    if transport is None:
        return None

    def write_now(data: bytes) -> bool:
        if not can_write_now(transport):
            return False
        transport.write(data)
        return True

    return write_now


def can_write_now(transport: asyncio.WriteTransport) -> bool:
    """Return whether a transport can be written to now: not where its client has gone or does not read."""
    return transport.get_write_buffer_size() <= HIGH_WATER and not transport.is_closing()


def _is(owner: object, module: str, name: str) -> bool:
    return type(owner) is getattr(sys.modules.get(f"uvicorn.protocols.{module}"), name, None)


def _streams(response: Any) -> bool:
    """Return whether a response of unknown length has begun."""
    return response.response_started and not response.response_complete and response.scope["method"] != "HEAD"


def _note(owner: object) -> None:
    note_once(
        "livepush does not know this version or option of uvicorn (%s): events take uvicorn's own send, which costs "
        "more for each client.",
        type(owner).__qualname__,
    )
