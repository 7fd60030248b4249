"""Writes to a server's transport at once, without the server's ``send``."""

from __future__ import annotations

import asyncio

HIGH_WATER = 65_536
"""How many bytes may wait in a transport before livepush stops writing: asyncio's and uvloop's own limit."""


def write_now(transport: asyncio.WriteTransport, data: bytes) -> bool:
    """Write bytes to a transport; return whether it accepted them.

    It does not accept them if its client has gone or does not read.
    """
    if transport.get_write_buffer_size() > HIGH_WATER or transport.is_closing():
        return False
    transport.write(data)
    return True
