"""The only place that knows uvicorn, hypercorn, daphne and TCP.

``client`` is what the rest of livepush uses: it finds the connection of a request and acts on it. ``uvicorn``,
``hypercorn`` and ``daphne`` each get at that server's transport. ``lookup`` finds a socket where there is no transport
to get at. ``tcp`` holds what is done to a socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
"""What an ASGI server says of a request."""
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
"""What an ASGI server gives the application to answer with."""
