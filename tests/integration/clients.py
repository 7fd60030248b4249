"""Clients that are not livepush's own, and say exactly what they got."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.patience import PATIENCE


def address(base: str, endpoint: str, groups: Sequence[str] | str, **query: object) -> str:
    """Return an endpoint's URL, e.g. ``address(url, "sse", ["board"], since="…")``; ``None`` is left out."""
    names = [groups] if isinstance(groups, str) else groups
    pairs = [("group", name) for name in names]
    pairs += [(name, str(value)) for name, value in query.items() if value is not None]
    return f"{base}/livepush/{endpoint}/?{urlencode(pairs)}"


def http() -> httpx.AsyncClient:
    """Return a client that waits long enough, and takes a new connection for each request: a server that was stopped
    for a while finds that an idle one is due, and closes it as the next request arrives."""
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.AsyncClient(timeout=httpx.Timeout(PATIENCE), limits=limits, trust_env=False, verify=False)


class SSE:
    """The bytes of an event stream."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._chunks = response.aiter_raw()
        self._rest = b""

    async def block(self) -> bytes:
        """Return the bytes up to the next blank line, that included; heartbeats are left out."""
        while b"\n\n" not in self._rest:
            self._rest += await asyncio.wait_for(anext(self._chunks), PATIENCE)
            while self._rest.startswith(b":\n"):
                self._rest = self._rest[2:]
        block, _, self._rest = self._rest.partition(b"\n\n")
        return block + b"\n\n"

    async def chunk(self) -> bytes:
        """Return the bytes that come next, behind the blocks."""
        assert not self._rest
        return await asyncio.wait_for(anext(self._chunks), PATIENCE)

    async def fields(self) -> dict[str, str]:
        """Return the next block as a dict of its fields."""
        return dict(line.split(": ", 1) for line in (await self.block()).decode().rstrip("\n").split("\n"))

    async def until(self, **wanted: str) -> dict[str, str]:
        """Return the next block that has these fields."""
        while True:
            found = await self.fields()
            if wanted.items() <= found.items():
                return found

    async def rest(self) -> bytes:
        """Return what comes until the server ends the stream."""
        async with asyncio.timeout(PATIENCE):
            async for chunk in self._chunks:
                self._rest += chunk
        return self._rest


@contextlib.asynccontextmanager
async def sse(
    base: str, groups: Sequence[str] | str, *, headers: dict[str, str] | None = None, **query: object
) -> AsyncIterator[SSE]:
    """Open an event stream."""
    async with http() as client, client.stream("GET", address(base, "sse", groups, **query), headers=headers) as found:
        yield SSE(found)


@contextlib.asynccontextmanager
async def websocket(
    base: str,
    groups: Sequence[str] | str,
    *,
    subprotocols: Sequence[Any] | None = None,
    headers: dict[str, str] | None = None,
    **query: object,
) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket."""
    url = address(base.replace("http", "ws", 1), "ws", groups, **query)
    async with connect(
        url, subprotocols=subprotocols, additional_headers=headers, proxy=None, open_timeout=PATIENCE, close_timeout=2
    ) as socket:
        try:
            yield socket
        finally:
            socket.transport.abort()  # a closing handshake would wait for what is on its way


@contextlib.asynccontextmanager
async def connected(url: str, port: int, headers: dict[str, str]) -> AsyncIterator[ClientConnection]:
    """Open a WebSocket on a port of this machine, whatever host its URL names."""
    async with connect(
        url, host="127.0.0.1", port=port, additional_headers=headers, proxy=None, open_timeout=PATIENCE, close_timeout=2
    ) as socket:
        yield socket


async def text(socket: ClientConnection) -> str:
    """Return the next frame of a WebSocket."""
    return str(await asyncio.wait_for(socket.recv(decode=True), PATIENCE))


async def frame(socket: ClientConnection) -> Any:
    """Return the next frame of a WebSocket, decoded."""
    return json.loads(await text(socket))


async def until_closed(socket: ClientConnection) -> tuple[list[str], tuple[int, str] | None]:
    """Return the frames up to the end, and the server's close code and reason if it gave them."""
    found = []
    try:
        while True:
            found.append(await text(socket))
    except ConnectionClosed as closed:
        return found, None if closed.rcvd is None else (closed.rcvd.code, closed.rcvd.reason)


async def poll(
    base: str, groups: Sequence[str] | str, *, headers: dict[str, str] | None = None, **query: object
) -> httpx.Response:
    """Poll once."""
    async with http() as client:
        return await client.get(address(base, "poll", groups, **query), headers=headers)


Got = dict[str, Any]
Follow = Callable[..., AsyncIterator[Got]]
Headers = dict[str, str] | None


async def follow_sse(base: str, groups: Sequence[str], since: str, headers: Headers = None) -> AsyncIterator[Got]:
    """Yield the envelopes that one event stream brings behind a position."""
    async with sse(base, groups, since=since, format="envelope", headers=headers) as stream:
        while True:
            yield json.loads((await stream.fields())["data"])


async def follow_websocket(base: str, groups: Sequence[str], since: str, headers: Headers = None) -> AsyncIterator[Got]:
    """Yield the envelopes that one WebSocket brings behind a position."""
    async with websocket(base, groups, since=since, headers=headers) as socket:
        while True:
            yield await frame(socket)


async def follow_array(base: str, groups: Sequence[str], since: str, headers: Headers = None) -> AsyncIterator[Got]:
    """Yield the envelopes that one WebSocket with ``livepush.v1`` brings behind a position."""
    async with websocket(base, groups, since=since, subprotocols=["livepush.v1"], headers=headers) as socket:
        while True:
            found = await frame(socket)
            for envelope in found if isinstance(found, list) else [found]:
                yield envelope


async def follow_long_poll(base: str, groups: Sequence[str], since: str, headers: Headers = None) -> AsyncIterator[Got]:
    """Yield the envelopes that long polls bring behind a position."""
    async for envelope in _polls(base, groups, since, 15, headers):
        yield envelope


async def follow_poll(base: str, groups: Sequence[str], since: str, headers: Headers = None) -> AsyncIterator[Got]:
    """Yield the envelopes that polls bring behind a position, ten a second."""
    async for envelope in _polls(base, groups, since, 0, headers):
        yield envelope


async def _polls(base: str, groups: Sequence[str], since: str, wait: float, headers: Headers) -> AsyncIterator[Got]:
    async with http() as client:
        while True:
            response = await client.get(address(base, "poll", groups, since=since, wait=wait), headers=headers)
            answer = response.raise_for_status().json()
            assert not answer["reset"], answer
            for envelope in answer["events"]:
                yield envelope
            since = answer["position"]
            if not wait and not answer["events"]:
                await asyncio.sleep(0.1)


TRANSPORTS: dict[str, Follow] = {
    "sse": follow_sse,
    "websocket": follow_websocket,
    "websocket livepush.v1": follow_array,
    "long poll": follow_long_poll,
    "poll": follow_poll,
}


async def take(follow: AsyncIterator[Got], until: str) -> list[Got]:
    """Return the events that come, what livepush itself says left out, up to one of a type, that one included."""
    found: list[Got] = []
    async with asyncio.timeout(PATIENCE), contextlib.aclosing(follow) as envelopes:  # type: ignore[type-var]
        async for envelope in envelopes:
            assert envelope["type"] != "livepush.reset", envelope
            if not envelope["type"].startswith("livepush."):
                found.append(envelope)
            if envelope["type"] == until:
                return found
    raise AssertionError("the stream ended")
