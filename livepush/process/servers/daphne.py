"""Gets at Twisted's transport beneath a request of daphne's, and waits for it where its client does not read.

Other servers' ``send`` waits by itself. daphne hands everything on to Twisted. Twisted's transport takes any amount,
and says in ``producerPaused`` that it holds more than 64 KiB.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

from livepush.notes import note_once
from livepush.process.servers import Scope, Send, lookup

NEEDED = ("producerPaused", "connected", "fileno")
"""What livepush uses of a transport."""
BREATH = 100
"""A search lets the event loop run after so many transports."""


class SendWithBackpressure:
    """An ASGI ``send`` that waits while its client does not read."""

    __slots__ = ("_send", "transport")

    def __init__(self, send: Send, transport: Any) -> None:
        self._send = send
        self.transport = transport

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        while self.transport.producerPaused and self.transport.connected:
            await _until_writable(self.transport.fileno())
        await self._send(message)


async def with_backpressure(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that waits while its client does not read: the server's own, but for daphne's."""
    if reactor() is None:
        return send
    found = transport(send) or await _by_address(scope)
    if found is None:
        note_once(
            "livepush does not find daphne's connections (a version that it does not know, or a proxy's address in the "
            "scope): for a client that does not read, daphne holds all that is sent.",
            level=logging.WARNING,
        )
        return send
    return SendWithBackpressure(send, found)


def transport(send: object) -> Any:
    """Return the transport beneath a request, ``None`` where daphne does not serve it, or a version unknown here."""
    if isinstance(send, SendWithBackpressure):
        return send.transport
    protocol = send.args[0] if isinstance(send, functools.partial) and send.args else None
    found = getattr(protocol, "transport", None)
    while hasattr(found, "wrappedProtocol"):  # TLS, around the transport that has the socket
        found = getattr(found, "transport", None)
    return found if all(hasattr(found, name) for name in NEEDED) else None


def reactor() -> Any:
    """Return Twisted's reactor where it runs, which is to say under daphne; else ``None``."""
    found = sys.modules.get("twisted.internet.reactor")
    return found if getattr(found, "running", False) else None


def unsent() -> int:
    """Return to how many connections Twisted has bytes to send."""
    twisted = reactor()
    return 0 if twisted is None else len(twisted.getWriters())


async def _by_address(scope: Scope) -> Any:
    """Return a request's transport, found by its addresses: a middleware wraps daphne's ``send``, or it is HTTP/2."""
    twisted, ends = reactor(), lookup.ends_of_scope(scope)
    for count, each in enumerate(reversed(twisted.getReaders()), 1):  # the newest are last
        if count % BREATH == 0:
            await asyncio.sleep(0)
        if all(hasattr(each, name) for name in (*NEEDED, "protocol")):  # a listening port's getPeer raises
            own, peer = each.getHost(), each.getPeer()
            if hasattr(peer, "port") and lookup.ends_of((own.host, own.port), (peer.host, peer.port)) == ends:
                return each
    return None


async def _until_writable(descriptor: int) -> None:
    """Wait until a socket can be written to, or has ended."""
    loop = asyncio.get_running_loop()
    writable = asyncio.Event()
    own = os.dup(descriptor)  # the loop heeds one writer for each descriptor, and the server's is there already
    try:
        loop.add_writer(own, writable.set)
        await writable.wait()
    finally:
        loop.remove_writer(own)
        os.close(own)
