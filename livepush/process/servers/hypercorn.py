"""Finds the transport of hypercorn's requests."""

from __future__ import annotations

import asyncio
from typing import Any

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
