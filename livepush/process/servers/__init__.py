"""The only place that knows uvicorn, hypercorn, daphne and TCP.

The rest of livepush uses ``client``, which finds the connection of a request and acts on it. ``uvicorn``,
``hypercorn`` and ``daphne`` each find that server's transport. ``lookup`` finds the socket if there is no transport to
be found. ``tcp`` reads from a socket how far a client has got, and resets it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
"""An ASGI server's description of a request."""
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""The function with which an ASGI application answers."""
