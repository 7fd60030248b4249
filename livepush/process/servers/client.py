"""The other end of a request's connection, under any server: resets it, and tells how much the client has received.

ASGI hides the connection. Under uvicorn, hypercorn and daphne livepush finds it through the server's ``send``. Under
other servers a thread finds it by its addresses.
"""

from __future__ import annotations

import asyncio
import socket
import time
import weakref
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from livepush.borrowing import borrowed
from livepush.notes import note_once
from livepush.process.servers import Scope, Send, daphne, hypercorn, lookup, tcp, uvicorn

T = TypeVar("T")

AGAIN = 1.0
"""How long (seconds) a server has to close a connection that livepush has reset; then livepush drops it."""
KEPT = ("type", "http_version", "server", "client")
"""The parts of a scope that are needed to find its connection."""
GONE = object()
"""In place of a transport: it has ended, and nothing keeps it."""


class Peer(NamedTuple):
    """The other end of a request's connection."""

    scope: Scope
    find: Callable[[], Any]
    """Returns the server's transport, ``GONE`` if it has ended, or ``None`` if livepush can't find it."""

    def lightly(self) -> Peer:
        """Return the client without its request, which would stay in memory for as long as somebody has the client."""
        found = self.find()
        if found is None:
            return self._replace(find=_unknown)
        kept = _weakly(found)
        return self._replace(find=partial(_kept, kept)) if isinstance(kept, weakref.ref) else self

    async def hang_up(self, *, unless_writable: bool = False, asked: float | None = None) -> bool:
        """Reset the connection, so that the server forgets it and its unsent bytes; return whether it was reset.

        ``unless_writable`` spares a connection that can be written to: the server can end it in order, or it may
        carry another request. An HTTP/2 connection may always carry others, so it is always spared then.

        ``asked`` is the same time for all of many clients, which one search then serves; see ``lookup.find``.
        """
        asked = time.monotonic() if asked is None else asked
        shared = str(self.scope.get("http_version")).startswith("2")
        work = partial(tcp.hang_up, unless_writable=unless_writable or shared)
        try:
            done = bool(await self._on_socket(work, asked))
        except OSError:  # no descriptor is left for a search
            return False
        if done and self.find() is None:  # granian, when busy, may miss that once
            loop = asyncio.get_running_loop()
            loop.call_later(AGAIN, loop.run_in_executor, None, self._drop, asked)
        return done

    async def progress(self) -> tcp.Received | None:
        """Return how much the client has received; ``None`` if it has gone or that is not known.

        Raises OSError if no descriptor is left for a search.
        """
        return await self._on_socket(tcp.progress, time.monotonic())

    def connection(self) -> Hashable:
        """Return a value that all requests of one connection share, and that does not keep the connection."""
        found = self.find()
        return str([self.scope.get(name) for name in KEPT]) if found is None else _weakly(found)

    async def _on_socket(self, work: Callable[[socket.socket], T], asked: float) -> T | None:
        """Call ``work`` with the connection's socket; return ``None`` if there is none, or it has ended."""
        transport = self.find()
        if transport is None:
            return await asyncio.to_thread(self._on_socket_by_address, work, asked)
        if transport is GONE:
            return None
        try:
            with borrowed(_descriptor(transport)) as found:  # nobody closes it meanwhile: the loop waits for ``work``
                return work(found)
        except (OSError, ValueError):  # the connection has ended
            return None

    def _on_socket_by_address(self, work: Callable[[socket.socket], T], asked: float) -> T | None:
        with lookup.without_spare():
            found = lookup.find(self.scope, asked)
            if found is None:
                return None
            with found:
                return work(found)

    def _drop(self, asked: float) -> None:
        with suppress(OSError):  # no descriptor is left for a search
            self._on_socket_by_address(tcp.drop, asked)


def peer_of(scope: Scope, send: Send) -> Peer:
    """Return the other end of a request's connection. It keeps only the parts of the scope that it needs."""
    return Peer({name: scope.get(name) for name in KEPT}, partial(_transport, send))


def peer_at(scope: Mapping[str, Any]) -> Peer:
    """Return the other end of the connection with a request's addresses, where the server's ``send`` is not known."""
    return Peer({name: scope.get(name) for name in KEPT}, _unknown)


def _unknown() -> None:
    """Stand for a transport that livepush can't find."""


def _weakly(transport: Any) -> Hashable:
    """Return a weak reference to a transport, or a transport that can't have one."""
    try:
        return weakref.ref(transport)
    except TypeError:
        return cast("Hashable", transport)


def _kept(reference: weakref.ref[Any]) -> Any:
    found = reference()
    return GONE if found is None else found


def _transport(send: Send) -> Any:
    """Return the transport that a server's ``send`` writes to; ``None`` if livepush can't find it."""
    found = uvicorn.transport(send) or hypercorn.transport(send) or daphne.transport(send)
    if found is None and not type(getattr(send, "__self__", None)).__module__.startswith("granian."):
        note_once(
            "livepush does not know the server's send (%s): it finds connections by their addresses, which costs time "
            "where there are many.",
            getattr(send, "__qualname__", type(send).__qualname__),
        )
    return found


def _descriptor(transport: Any) -> int:
    """Return the descriptor of a transport's socket; -1 if it is closed."""
    if not hasattr(transport, "get_extra_info"):  # Twisted's
        return int(transport.fileno())
    if transport.is_closing() and not transport.get_write_buffer_size():  # the descriptor may be reused by now
        return -1
    found = transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())
