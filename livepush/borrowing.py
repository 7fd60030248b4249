"""Uses a socket of somebody else's by its descriptor. That takes no descriptor, of which there may be none left."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

AS_IT_IS = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
"""The type for a socket that somebody else uses too. With a plain type, and a default timeout (see
``socket.setdefaulttimeout``), Python would make it non-blocking for everybody, since duplicates share that flag."""


@contextmanager
def borrowed(descriptor: int) -> Iterator[socket.socket]:
    """Return the socket of a descriptor, whose owner closes it. Raises OSError or ValueError if it has none."""
    found = socket.socket(type=AS_IT_IS, fileno=descriptor)
    try:
        yield found
    finally:
        found.detach()  # else Python would close it
