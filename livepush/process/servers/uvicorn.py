"""Finds uvicorn's transports: to end a connection, and to write the same bytes to many clients without ``send``.

uvicorn's ``send`` makes a chunk or a frame of each message for each client, and compresses it for each WebSocket that
accepts compression. For 1,000 clients that is most of an event's cost. With ``direct_transport`` the caller makes the
bytes once. They equal uvicorn's own bytes without compression. Every client accepts them, since a WebSocket decides
about compression for each message (RFC 7692, section 6).

There is no direct transport under another server, under a version of uvicorn that livepush does not know, or if
something wraps uvicorn's ``send``. Then livepush uses ``send``. ``benchmarks/README.md`` shows the gain.
"""

from __future__ import annotations

import asyncio
import copy
import logging
import sys
from collections.abc import Callable
from types import MethodType
from typing import Any

from livepush.hub.direct import write_now
from livepush.notes import note_once


def transport(send: object) -> asyncio.WriteTransport | None:
    """Return a request's transport; ``None`` if a known version of uvicorn does not serve it."""
    owner: Any = getattr(send, "__self__", None)
    if not type(owner).__module__.startswith("uvicorn.protocols."):
        return None
    found: asyncio.WriteTransport | None = getattr(owner, "transport", None)
    return found


def direct_transport(send: object) -> asyncio.WriteTransport | None:
    """Return the transport for the chunks of a begun response or the frames of an accepted WebSocket, if usable."""
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


def limit_incoming(channel: object, max_bytes: int) -> None:
    """Have a WebSocket that is not accepted yet refuse compression, and messages of more than ``max_bytes``.

    uvicorn would put together 16 MiB for anybody, and unpack that from a few KiB. It can't be told so by ASGI.
    """
    owner: Any = getattr(channel, "__self__", None)
    if not type(owner).__module__.startswith("uvicorn.protocols.websockets."):
        return
    try:
        if _is(owner, "websockets.websockets_sansio_impl", "WebSocketsSansIOProtocol"):
            owner.response.headers.pop("Sec-WebSocket-Extensions", None)
            owner.conn.extensions = []
            owner.conn.max_message_size = min(owner.conn.max_message_size, max_bytes)
            return
        if _is(owner, "websockets.websockets_impl", "WebSocketProtocol"):
            owner.available_extensions.clear()
            owner.max_size = min(owner.max_size, max_bytes)
            return
        if _is(owner, "websockets.wsproto_impl", "WSProtocol"):
            owner.buffer.max_length = min(owner.buffer.max_length, max_bytes)
            owner.config = copy.copy(owner.config)  # which all connections share
            owner.config.ws_per_message_deflate = False
            return
    except (AttributeError, TypeError):
        pass
    note_once(
        "livepush can't limit the messages that this version or option of uvicorn takes (%s): give it --ws-max-size "
        "and --ws-per-message-deflate false.",
        type(owner).__qualname__,
        level=logging.WARNING,
    )


def short_way(send: object) -> Callable[[bytes], bool] | None:
    """Return what ``writer`` makes of the direct transport; ``None`` if there is none."""
    transport = direct_transport(send)
    return None if transport is None else writer(transport)


def writer(transport: asyncio.WriteTransport) -> Callable[[bytes], bool]:
    """Return what ``write_now`` is for one transport."""
    return MethodType(write_now, transport)  # one object for each client; a closure is eight


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
