"""Gets at the transport beneath a request of hypercorn's."""

from __future__ import annotations

import asyncio
from typing import Any

HOPS = 4
"""A stream's ``send`` leads to the protocol's, and that one's to the server's, which holds the writer."""


def transport(send: object) -> asyncio.WriteTransport | None:
    """Return the transport beneath a request, ``None`` where hypercorn does not serve it, or a version unknown here."""
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
