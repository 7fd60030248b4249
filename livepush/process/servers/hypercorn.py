"""Finds the transport of hypercorn's requests, and limits what its WebSockets take."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from livepush.notes import note_once

HOPS = 4
"""How many ``send`` methods to follow: the stream's leads to the protocol's, and that to the server with the writer."""


def transport(send: object) -> asyncio.WriteTransport | None:
    """Return a request's transport; ``None`` if a known version of hypercorn does not serve it."""
    for _ in range(HOPS):
        owner: Any = getattr(send, "__self__", None)
        if not type(owner).__module__.startswith("hypercorn."):
            return None
        writer = getattr(owner, "writer", None)
        if writer is not None:
            found: asyncio.WriteTransport | None = getattr(writer, "transport", None)
            return found
        send = getattr(owner, "send", None)
    return None


def limit_incoming(channel: object, max_bytes: int) -> None:
    """Have a WebSocket that is not accepted yet refuse compression, and messages of more than ``max_bytes``.

    hypercorn would put together 16 MiB for anybody, unpack more from a few KiB, and go on gathering what a client sends
    after it was told that this is too much.
    """
    owner: Any = getattr(channel, "__self__", None)
    if not type(owner).__module__.startswith("hypercorn."):
        return
    try:
        handshake, buffer = owner.handshake, owner.buffer
        extend, clear = buffer.extend, buffer.clear
        if handshake.extensions is not None:
            handshake.extensions = None  # what the client offers
        buffer.max_length = min(buffer.max_length, max_bytes)
    except (AttributeError, TypeError):
        note_once(
            "livepush can't limit the messages that this version of hypercorn takes (%s): "
            "set websocket_max_message_size.",
            type(owner).__qualname__,
            level=logging.WARNING,
        )
        return

    def extend_or_drop(event: object) -> None:
        try:
            extend(event)
        except Exception:
            clear()
            raise

    buffer.extend = extend_or_drop
