"""What livepush asks of a TCP socket: does its client read, how far has it got, and how to end it at once."""

from __future__ import annotations

import select
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

from livepush.notes import note_once

BYTES_ACKED = 120
"""Where ``tcpi_bytes_acked``, a 64-bit number, is in Linux's ``struct tcp_info`` (linux/tcp.h, since Linux 4.1)."""
RESET = struct.pack("ii", 1, 0)
"""``SO_LINGER`` for a close that drops what is unsent and resets the connection."""


class Progress(NamedTuple):
    """How far a client has got."""

    taken: int
    """The bytes that the client has received since it connected."""
    buffer_full: bool
    """Whether the system's send buffer for this client is full."""


def hang_up(connection: socket.socket, *, unless_writable: bool = False) -> bool:
    """Reset a connection and drop what is unsent; return whether that was done.

    The server sees that the connection has ended, and closes it. With ``unless_writable`` a connection that can be
    written to is left alone.
    """
    if unless_writable and can_write_now(connection):
        return False
    with suppress(OSError):  # the client has ended it meanwhile
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RDWR)
    return True


def progress(connection: socket.socket) -> Progress | None:
    """Return how far a client has got; ``None`` where the system can't say."""
    if sys.platform != "linux":  # other systems have no such structure, or another one under the same name
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
    except OSError:  # a Unix socket
        return None
    if len(info) < BYTES_ACKED + 8:
        note_once("This Linux does not say how much a client has received: stuck downloads are not ended.")
        return None
    return Progress(int.from_bytes(info[BYTES_ACKED:], sys.byteorder), not can_write_now(connection))


def can_write_now(connection: socket.socket) -> bool:
    """Return whether the system would take bytes for this client now."""
    ready = select.poll()
    ready.register(connection, select.POLLOUT)
    return bool(ready.poll(0))
