"""Finds a request's socket by its two addresses among all of the process's descriptors.

This is the last resort. granian hides its sockets, and if a middleware wraps the server's ``send``, livepush can't see
the transport. The search is slow in a process with many connections, so it runs in a thread and remembers what it saw.

No socket is found, and nothing is done, if the client's address is not that of the socket's peer (the server believes a
proxy's headers), or if there is no address (Unix sockets, QUIC).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from threading import RLock
from typing import Any

from livepush.forking import renewed

Address = tuple[str, int]
Ends = tuple[Address, Address]
"""The server's address and the client's."""

FOLDER = next((each for each in ("/proc/self/fd", "/dev/fd") if Path(each).is_dir()), None)
"""The folder that lists a process's descriptors. Windows has none."""
PAUSE = 0.1
"""How long (seconds) lies between two searches at least. Whoever asks meanwhile waits for the second one."""
PAUSE_EVERY = 50
"""After this many descriptors the search lets other threads run, so that it does not delay the event loop."""

_lock = renewed(globals(), "_lock", RLock)
_known: tuple[float, dict[Ends, list[int]]] = (0.0, {})


def find(scope: Mapping[str, Any]) -> socket.socket | None:
    """Return a duplicate of a request's socket, which the caller must close. Call this in a thread: it is slow."""
    ends = ends_of_scope(scope)
    if ends is None:
        return None
    asked = time.monotonic()
    with _lock:
        found = _duplicate(ends)
        if found is None and _known[0] < asked:
            _search_again()
            found = _duplicate(ends)
        return found


def _duplicate(ends: Ends) -> socket.socket | None:
    for descriptor in _known[1].get(ends, ()):
        try:
            found = socket.socket(fileno=socket.dup(descriptor))
        except OSError:  # it was closed meanwhile
            continue
        if _ends_of_socket(found) == ends:  # the descriptor may be reused by now
            return found
        found.close()
    return None


def _search_again() -> None:
    """List the descriptors of this process's TCP connections, a moment after that was done last."""
    global _known
    time.sleep(max(0.0, _known[0] + PAUSE - time.monotonic()))
    begin = time.monotonic()
    _known = (begin, _scan())


def ends_of_scope(scope: Mapping[str, Any]) -> Ends | None:
    """Return the addresses of a request's two ends."""
    return ends_of(scope.get("server"), scope.get("client"))


def ends_of(own: Any, peer: Any) -> Ends | None:
    """Return two addresses in one form; ``None`` if either is not a pair of host and port."""
    try:
        return _address(own), _address(peer)
    except (TypeError, ValueError, IndexError):
        return None


def _address(address: Any) -> Address:
    """Return an address in one form: some servers write ports as text, or IPv4 addresses as IPv6."""
    return str(address[0]).partition("%")[0].removeprefix("::ffff:"), int(address[1])


def _scan() -> dict[Ends, list[int]]:
    descriptors: dict[Ends, list[int]] = {}
    for count, name in enumerate(os.listdir(FOLDER) if FOLDER else (), 1):
        if count % PAUSE_EVERY == 0:
            time.sleep(0.001)
        try:
            borrowed = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, 0, fileno=int(name))
        except OSError:  # not a socket
            continue
        try:
            ends = _ends_of_socket(borrowed)
        finally:
            borrowed.detach()  # else Python would close a socket that others use
        if ends is not None:
            descriptors.setdefault(ends, []).append(int(name))
    return descriptors


def _ends_of_socket(found: socket.socket) -> Ends | None:
    try:
        return ends_of(found.getsockname(), found.getpeername())
    except OSError:  # it listens, or is not connected any more
        return None
