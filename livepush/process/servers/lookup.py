"""Finds a request's socket by its two addresses among all of the process's descriptors.

This is the last resort. granian hides its sockets, and if a middleware wraps the server's ``send``, livepush can't see
the transport. The search is slow in a process with many connections, so it runs in a thread and remembers what it saw.

No socket is found, and nothing is done, if the client's address is not that of the socket's peer (the server believes a
proxy's headers), or if there is no address (Unix sockets, QUIC).
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

from livepush.borrowing import AS_IT_IS, borrowed
from livepush.forking import renewed

Address = tuple[str, int]
Ends = tuple[Address, Address]
"""The server's address and the client's."""

FOLDER = next((each for each in ("/proc/self/fd", "/dev/fd") if Path(each).is_dir()), None)
"""The folder that lists a process's descriptors. Windows has none."""
PAUSE = 0.1
"""The shortest time (seconds) between two searches. Callers that ask meanwhile wait for the second one."""
NONE_LEFT = (errno.EMFILE, errno.ENFILE)
"""The errors of a process, or a system, that has no descriptor left."""
PAUSE_EVERY = 50
"""After this many descriptors the search lets other threads run, so that it does not delay the event loop."""

_lock = renewed(globals(), "_lock", RLock)
_known: tuple[float, dict[Ends, list[int]]] = (0.0, {})
_spare: int | None = None
"""A descriptor that is held for a search, since clients that read nothing may have taken all others."""


def keep_spare() -> None:
    """Hold a descriptor for searches, unless there is one already or none is left. Returns at once."""
    global _spare
    if not _lock.acquire(blocking=False):
        return  # another thread searches, and holds one after that
    try:
        if _spare is None:
            with suppress(OSError):
                _spare = os.open(os.devnull, os.O_RDONLY)
    finally:
        _lock.release()


@contextmanager
def without_spare() -> Iterator[None]:
    """Do without the spare descriptor in a block that needs one, and hold one again after it."""
    global _spare
    with _lock:
        if _spare is not None:
            _wait()  # else a server could take the descriptor before the search does
            os.close(_spare)
            _spare = None
        try:
            yield
        finally:
            keep_spare()


def find(scope: Mapping[str, Any], asked: float | None = None) -> socket.socket | None:
    """Return a duplicate of a request's socket, which the caller must close. Call this in a thread: it is slow.

    The result of a search that is not older than ``asked`` (by ``time.monotonic``) is believed; by default it may not
    be older than this call.

    Raises OSError if no descriptor is left for this.
    """
    ends = ends_of_scope(scope)
    if ends is None:
        return None
    asked = time.monotonic() if asked is None else asked
    with _lock:
        found = _duplicate(ends)
        if found is None and _known[0] < asked:
            _search_again()
            found = _duplicate(ends)
        return found


def _duplicate(ends: Ends) -> socket.socket | None:
    for descriptor in _known[1].get(ends, ()):
        try:
            own = socket.dup(descriptor)
        except OSError as error:
            if error.errno in NONE_LEFT:
                raise
            continue  # it was closed meanwhile
        try:
            found = socket.socket(type=AS_IT_IS, fileno=own)
        except OSError:  # the descriptor is a file's by now
            os.close(own)
            continue
        if _ends_of_socket(found) == ends:  # the descriptor may be reused by now
            return found
        found.close()
    return None


def _wait() -> None:
    time.sleep(max(0.0, _known[0] + PAUSE - time.monotonic()))


def _search_again() -> None:
    """List the descriptors of this process's TCP connections, a moment after that was done last."""
    global _known
    _wait()
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
            with borrowed(int(name)) as found:
                ends = _ends_of_socket(found)
        except OSError:  # not a socket
            continue
        if ends is not None:
            descriptors.setdefault(ends, []).append(int(name))
    return descriptors


def _ends_of_socket(found: socket.socket) -> Ends | None:
    try:
        return ends_of(found.getsockname(), found.getpeername())
    except OSError:  # it listens, or is not connected any more
        return None
