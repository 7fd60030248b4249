"""The clients of livepush's streams that are responses of Django's own: Django sends them, and knows no connection.

So livepush's ASGI application notes the client of each request before Django gets it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import ref

from livepush.conf import get_settings
from livepush.process.hubs import ServingClient
from livepush.process.requests import spawn
from livepush.process.servers import Scope, Send, daphne
from livepush.process.servers.client import Peer, peer_at, peer_of

_noted: ContextVar[Peer | None] = ContextVar("livepush_client", default=None)
"""The client whom Django answers. It is held lightly, since whatever a view starts has a copy of the context."""


def note_client(scope: Scope, send: Send) -> None:
    """Note whom Django answers in this context."""
    _noted.set(peer_of(scope, send).lightly())


@asynccontextmanager
async def serving_response(scope: Mapping[str, Any] | None = None) -> AsyncIterator[ResponseClient]:
    """Register the response that Django sends in this context, as ``serving`` registers a request; yield its client.

    A client that was not noted is found by the addresses in its request's ``scope``.
    """
    peer = _noted.get() or peer_at(scope or {})
    with ServingClient(peer):
        yield ResponseClient(peer, await daphne.connection(peer.scope, peer.find()))


class ResponseClient:
    """The client of a response that streams."""

    def __init__(self, peer: Peer, transport: Any) -> None:
        self._peer = peer
        self._transport = transport
        """The transport to wait for under daphne; other servers make Django wait."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task = ref(task)
        """The task in which Django sends the response. Its result may be the response, which keeps this client."""

    async def ready(self) -> None:
        """Wait until the client takes more, where Django would not wait."""
        if self._transport is not None:
            await daphne.until_ready(self._transport)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """Hang up if the block lasts longer than ``WRITE_TIMEOUT`` because the connection takes nothing."""
        timer = self._loop.call_later(get_settings().WRITE_TIMEOUT, self._hang_up_if_full)
        try:
            yield
        finally:
            timer.cancel()

    def hang_up(self) -> None:
        """Reset the connection soon: its server ends the request then. Where that can't be done, end the response."""
        spawn(self._loop, self._hang_up())

    async def _hang_up(self) -> None:
        if not await self._peer.hang_up() and (task := self._task()) is not None:
            task.cancel()

    def _hang_up_if_full(self) -> None:
        spawn(self._loop, self._peer.hang_up(unless_writable=True))
