"""The TCP connection under a request. ASGI hides it, but a process finds its own sockets by their addresses.

Where the client's address is not that of the socket's peer, as a server tells it that believes a proxy's headers, or
where there is none (Unix sockets, QUIC), no socket is found and nothing is done.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Address = tuple[str, int]
Ends = tuple[Address, Address]

FOLDER = next((each for each in ("/proc/self/fd", "/dev/fd") if Path(each).is_dir()), None)
"""Where a process finds its descriptors; Windows has no such place."""
AGE = 0.1
"""How long (seconds) a list of this process's sockets is good for: many connections are looked for at a time."""
BYTES_ACKED = 120
"""Where ``tcpi_bytes_acked``, a 64-bit number, is in ``struct tcp_info`` (linux/tcp.h)."""
AT_ONCE = struct.pack("ii", 1, 0)
"""``SO_LINGER`` for a close that forgets what is unsent and resets the connection."""


def hang_up(scope: Scope, *, unless_writable: bool = False) -> bool:
    """Reset a request's connection, so that its server forgets it and what is unsent; return whether that was done.

    The server sees a connection that has ended, and closes it. ``unless_writable`` leaves a connection alone that takes
    more bytes: the server can end it in order, or it may carry another request. So is HTTP/2's, which carries others.
    """
    found = find(scope)
    if found is None:
        return False
    with found:
        if (unless_writable or str(scope.get("http_version")).startswith("2")) and _writable(found):
            return False
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        with suppress(OSError):  # it has ended meanwhile
            found.shutdown(socket.SHUT_RDWR)
    return True


class Progress(NamedTuple):
    """How a client takes what it is sent."""

    taken: int
    """The bytes that it has taken since it came."""
    stuffed: bool
    """Whether the system takes no more for it."""


def progress(scope: Scope) -> Progress | None:
    """Return how a request's client gets on, ``None`` where it has gone or that can't be told (but on Linux)."""
    found = find(scope) if hasattr(socket, "TCP_INFO") else None
    if found is None:
        return None
    with found:
        told = found.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, BYTES_ACKED + 8)
        return Progress(int.from_bytes(told[BYTES_ACKED:], sys.byteorder), not _writable(found))


def find(scope: Scope) -> socket.socket | None:
    """Return a duplicate of the socket that a request came by, to be closed by the caller."""
    ends = _ends(scope)
    for number in () if ends is None else _numbers().get(ends, ()):
        try:
            found = socket.socket(fileno=os.dup(number))
        except OSError:  # a duplicate that has been closed meanwhile
            continue
        if _ends_of(found) == ends:  # the number may be another file's by now
            return found
        found.close()
    return None


def reactor() -> Any:
    """Return Twisted's reactor where it runs, which is to say under daphne; else ``None``."""
    found = sys.modules.get("twisted.internet.reactor")
    return found if getattr(found, "running", False) else None


def sending() -> int:
    """Return to how many connections Twisted has bytes to send."""
    twisted = reactor()
    return 0 if twisted is None else len(twisted.getWriters())


def held_back(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that waits while its client does not read, as ASGI servers' own do.

    daphne's does not: it hands everything on to Twisted, whose transport takes it and says in ``producerPaused`` that
    it holds more than 64 KiB.
    """
    transport = _transport(scope)
    if transport is None:
        return send

    async def wait_and_send(message: MutableMapping[str, Any]) -> None:
        while transport.producerPaused and transport.connected:
            await _taking(transport.fileno())
        await send(message)

    return wait_and_send


def _transport(scope: Scope) -> Any:
    """Return Twisted's transport under a request; ``None`` where Twisted does not serve it."""
    twisted, ends = reactor(), _ends(scope)
    if twisted is None or ends is None:
        return None
    for each in reversed(twisted.getReaders()):  # the newest are last
        if hasattr(each, "protocol") and hasattr(each, "producerPaused"):  # a listening port's getPeer raises
            own, peer = each.getHost(), each.getPeer()
            if hasattr(peer, "port") and _both((own.host, own.port), (peer.host, peer.port)) == ends:
                return each
    return None


async def _taking(number: int) -> None:
    """Wait until a socket takes bytes, or has ended."""
    loop = asyncio.get_running_loop()
    taking = asyncio.Event()
    own = os.dup(number)  # the loop heeds one writer for each number, and the server's is there already
    try:
        loop.add_writer(own, taking.set)
        await taking.wait()
    finally:
        loop.remove_writer(own)
        os.close(own)


def _writable(found: socket.socket) -> bool:
    ready = select.poll()
    ready.register(found, select.POLLOUT)
    return bool(ready.poll(0))


_known: tuple[float, dict[Ends, list[int]]] = (0.0, {})


def _numbers() -> dict[Ends, list[int]]:
    """Return this process's TCP connections, their descriptors by their ends, as they are or were a moment ago."""
    global _known
    if time.monotonic() - _known[0] > AGE:
        _known = (time.monotonic(), _scan())
    return _known[1]


def _scan() -> dict[Ends, list[int]]:
    numbers: dict[Ends, list[int]] = {}
    for name in os.listdir(FOLDER) if FOLDER else ():
        try:
            borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=int(name))
        except OSError:  # no socket
            continue
        ends = _ends_of(borrowed)
        borrowed.detach()
        if ends is not None:
            numbers.setdefault(ends, []).append(int(name))
    return numbers


def _ends_of(found: socket.socket) -> Ends | None:
    try:
        return _both(found.getsockname(), found.getpeername())
    except OSError:  # it listens, or is not connected any more
        return None


def _ends(scope: Scope) -> Ends | None:
    return _both(scope.get("server"), scope.get("client"))


def _both(own: Any, peer: Any) -> Ends | None:
    try:
        return _address(own), _address(peer)
    except (TypeError, ValueError, IndexError):  # not a pair of host and port
        return None


def _address(address: Any) -> Address:
    """Return an address in one form; servers write ports as text, or IPv4 as IPv6."""
    return str(address[0]).partition("%")[0].removeprefix("::ffff:"), int(address[1])
