"""Tells how much the client of a TCP socket has received, and whether it reads; ends a connection at once."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

try:
    import fcntl
    import termios
except ImportError:  # Windows
    pass

from livepush.notes import note_once

BYTES_ACKED = 120
"""The offset of the 64-bit ``tcpi_bytes_acked`` in Linux's ``struct tcp_info`` (linux/tcp.h, since Linux 4.1)."""
RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
"""``SO_LINGER`` for a close that drops unsent bytes and resets the connection."""


class Received(NamedTuple):
    """How much a client has received."""

    taken: int
    """The bytes that the client has received since it connected."""
    waiting: bool
    """Whether bytes wait in the system's send buffer, or are on their way."""
    buffer_full: bool
    """Whether that buffer is full, so that the server waits."""


def hang_up(connection: socket.socket, *, unless_writable: bool = False) -> bool:
    """Reset a connection and drop its unsent bytes; return whether that was done.

    The server sees that the connection has ended, and closes it. ``unless_writable`` spares a connection that can be
    written to.
    """
    if unless_writable and can_write_now(connection):
        return False
    with suppress(OSError):  # the client may have ended it meanwhile
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.shutdown(socket.SHUT_RDWR)
    return True


def drop(connection: socket.socket) -> bool:
    """Drop what a connection that was hung up on still holds, and wake its server again; return whether there was any.

    On Linux to connect to no address at all ends a connection at once (connect(2)).
    """
    if sys.platform != "linux":
        return False
    nowhere = struct.pack("H14x", socket.AF_UNSPEC)
    return bool(ctypes.CDLL(None).connect(connection.fileno(), nowhere, len(nowhere)) == 0)


def progress(connection: socket.socket) -> Received | None:
    """Return how much a client has received; ``None`` if the system can't tell."""
    if sys.platform != "linux" or not hasattr(
        socket, "TCP_INFO"
    ):  # other systems have no such structure, or a different one of the same name
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
    except OSError:  # a Unix socket
        return None
    if len(info) < BYTES_ACKED + 8:
        note_once("This Linux does not say how much a client has received: stuck downloads are not ended.")
        return None
    waiting = int.from_bytes(fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    return Received(int.from_bytes(info[BYTES_ACKED:], sys.byteorder), waiting > 0, not can_write_now(connection))


def can_write_now(connection: socket.socket) -> bool:
    """Return whether the system accepts bytes for this client now."""
    if not hasattr(select, "poll"):  # Windows, whose select takes any descriptor
        return bool(select.select([], [connection], [], 0)[1])
    ready = select.poll()
    ready.register(connection, select.POLLOUT)
    return bool(ready.poll(0))
