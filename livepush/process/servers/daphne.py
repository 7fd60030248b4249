"""Finds the Twisted transport of daphne's requests, and waits for it while its client does not read.

The ``send`` of other servers waits by itself. daphne passes everything to Twisted, whose transport accepts any amount.
Its ``producerPaused`` tells when it holds more than 64 KiB.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from livepush.notes import note_once
from livepush.process.servers import Scope, Send, lookup

NEEDED = ("producerPaused", "connected", "fileno")
"""The attributes of a transport that livepush uses."""
PAUSE = 0.1
"""How long (seconds) to wait before another look at a client that does not read, if no descriptor is left."""
PAUSE_EVERY = 100
"""After this many transports a search lets the event loop run."""


class SendWithBackpressure:
    """An ASGI ``send`` that waits while its client does not read."""

    __slots__ = ("_send", "transport")

    def __init__(self, send: Send, transport: Any) -> None:
        self._send = send
        self.transport = transport

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        await until_ready(self.transport)
        await self._send(message)


async def with_backpressure(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that waits while its client does not read. Except under daphne it is the server's own."""
    found = await connection(scope, transport(send))
    return send if found is None else SendWithBackpressure(send, found)


async def connection(scope: Scope, known: Any) -> Any:
    """Return the transport to wait for: ``known`` if it is daphne's, else that with the request's addresses.

    It is ``None`` except under daphne, and where livepush can't find it.
    """
    if reactor() is None:
        return None
    found = known if _is_usable(known) else await _by_address(scope)
    if found is None:
        note_once(
            "livepush does not find daphne's connections (a version that it does not know, or a proxy's address in the "
            "scope): for a client that does not read, daphne holds all that is sent.",
            level=logging.WARNING,
        )
    return found


async def until_ready(transport: Any) -> None:
    """Wait until the client of a transport takes more, or has gone."""
    while transport.producerPaused and transport.connected:
        await _until_writable(transport.fileno())


def transport(send: object) -> Any:
    """Return a request's transport; ``None`` if a known version of daphne does not serve it."""
    if isinstance(send, SendWithBackpressure):
        return send.transport
    protocol = send.args[0] if isinstance(send, functools.partial) and send.args else None
    found = getattr(protocol, "transport", None)
    while hasattr(found, "wrappedProtocol"):  # TLS wraps the transport that has the socket
        found = getattr(found, "transport", None)
    return found if _is_usable(found) else None


def _is_usable(transport: object) -> bool:
    return all(hasattr(transport, name) for name in NEEDED)


def largest_message(send: object) -> int | None:
    """Return how large (bytes) a WebSocket message may be, ``None`` if daphne sets no limit or does not serve it."""
    if isinstance(send, SendWithBackpressure):
        send = send._send
    protocol = send.args[0] if isinstance(send, functools.partial) and send.args else None
    return getattr(protocol, "maxMessagePayloadSize", None) or None


def fits(message: bytes | str, largest: int | None) -> bool:
    """Return whether a WebSocket message is not larger than ``largest_message`` says."""
    if largest is None or len(message) * 4 <= largest:
        return True
    return len(message if isinstance(message, bytes) else message.encode()) <= largest


def reactor() -> Any:
    """Return Twisted's reactor if it runs (that is, under daphne); else ``None``."""
    found = sys.modules.get("twisted.internet.reactor")
    return found if getattr(found, "running", False) else None


def unsent() -> int:
    """Return the number of connections for which Twisted has unsent bytes."""
    writers = getattr(reactor(), "getWriters", None)
    return 0 if writers is None else len(writers())


_told: set[int] = set()
"""The reactors that tell of their end."""


def before_end(drain: Callable[[], Awaitable[None]]) -> None:
    """Have ``drain`` awaited when the reactor begins to end.

    daphne's own way is to cancel its requests. It waits for the first of them, and for none if a WebSocket is open.
    """
    found, defer = reactor(), sys.modules.get("twisted.internet.defer")
    add = getattr(found, "addSystemEventTrigger", None)
    if add is not None and defer is not None and id(found) not in _told:
        _told.add(id(found))
        add("before", "shutdown", lambda: defer.Deferred.fromFuture(asyncio.ensure_future(drain())))


async def _by_address(scope: Scope) -> Any:
    """Find a request's transport by its addresses. Needed if a middleware wraps daphne's ``send``, and for HTTP/2."""
    readers, ends = getattr(reactor(), "getReaders", list), lookup.ends_of_scope(scope)
    for count, each in enumerate(reversed(readers()), 1):  # the newest are last
        if count % PAUSE_EVERY == 0:
            await asyncio.sleep(0)
        if _is_usable(each) and hasattr(each, "protocol"):  # a listening port's getPeer raises
            own, peer = each.getHost(), each.getPeer()
            if hasattr(peer, "port") and lookup.ends_of((own.host, own.port), (peer.host, peer.port)) == ends:
                return each
    return None


async def _until_writable(descriptor: int) -> None:
    """Wait until a socket can be written to, or has ended."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    try:
        own = socket.dup(descriptor)  # the loop allows one writer for each descriptor, and the server already has it
    except OSError:  # no descriptor is left, or the connection has just ended: the caller looks again
        await asyncio.sleep(PAUSE)
        return
    try:
        loop.add_writer(own, writable.set)
        await writable.wait()
    finally:
        loop.remove_writer(own)
        socket.close(own)
