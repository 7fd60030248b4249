"""Clients that read streams, and say exactly what they got."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx

from tests.integration.clients import http
from tests.patience import PATIENCE


def address(base: str, id: str, **query: object) -> str:
    """Return a stream's address."""
    return str(httpx.URL(f"{base}/livepush/streams/{id}/", params={key: str(value) for key, value in query.items()}))


class Reading:
    """What came of a stream in livepush's own format."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.parts: list[Any] = []
        self.offset = 0
        self.last: dict[str, Any] = {}

    @property
    def text(self) -> str:
        return "".join(part for part in self.parts if isinstance(part, str))

    async def next(self) -> bool:
        """Take the next event; return whether there was one."""
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith("data: "):
                    self.last = json.loads(line[6:])
                    self.parts += self.last["parts"]
                    self.offset = self.last["offset"]
                    return True
        return False

    async def until(self, text: str) -> None:
        """Read until a text has come."""
        while text not in self.text:
            assert await self.next(), self.parts

    async def to_end(self) -> str:
        """Read to the end; return how the stream ended."""
        while await self.next():
            if "state" in self.last:
                return str(self.last["state"])
        return "cut"


@contextlib.asynccontextmanager
async def reading(base: str, id: str, after: int = 0, headers: dict[str, str] | None = None) -> AsyncIterator[Reading]:
    """Read a stream from an offset on."""
    url = address(base, id, after=after, format="livepush")
    async with http() as client, client.stream("GET", url, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        yield Reading(response.aiter_lines())


async def get(base: str, id: str, headers: dict[str, str] | None = None, **query: object) -> httpx.Response:
    """Get a stream's address, whole."""
    async with http() as client:
        return await client.get(address(base, id, **query), headers=headers)


async def poll(base: str, id: str, after: int = 0, wait: float = 25, **more: Any) -> dict[str, Any]:
    """Poll a stream."""
    response = await get(base, id, after=after, wait=wait, **more)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


async def begin(base: str, **asked: object) -> str:
    """Have the site start a stream; return its id."""
    async with http() as client:
        response = await client.post(f"{base}/streams/answer/", json={"json": 1, **asked})
    assert response.status_code == 200, response.text
    return str(response.json()["stream"])


async def stop(base: str, id: str, headers: dict[str, str] | None = None) -> httpx.Response:
    """Ask a stream to stop."""
    async with http() as client:
        return await client.post(f"{base}/livepush/streams/{id}/stop/", headers=headers)


class Follower:
    """A client that reads a stream to its end, over whatever connections it takes, and resumes from its offset."""

    def __init__(self, urls: Sequence[str], id: str) -> None:
        self._urls = urls
        self._id = id
        self._task: asyncio.Task[None] | None = None
        self.parts: list[Any] = []
        self.offset = 0
        self.state = ""
        self.connections = 0
        self.wrong: list[tuple[int, dict[str, Any]]] = []
        """The messages whose offset is not the last one plus the length of what they bring."""
        self.at = 0
        """Which of the addresses it asks next."""

    @property
    def text(self) -> str:
        return "".join(self.parts)

    def cut(self) -> None:
        """Cut its connection."""
        if self._task is not None:
            self._task.cancel()

    async def run(self) -> None:
        """Read until the stream ends."""
        while not self.state:
            self._task = asyncio.create_task(self._read())
            await asyncio.wait({self._task})
            if not self._task.cancelled() and (error := self._task.exception()) is not None:
                if not isinstance(error, httpx.HTTPError | TimeoutError):
                    raise error
                self.at += 1
                await asyncio.sleep(0.1)

    async def _read(self) -> None:
        url = address(self._urls[self.at % len(self._urls)], self._id, after=self.offset, format="livepush")
        async with http() as client, client.stream("GET", url) as response:
            if response.status_code != 200:
                raise httpx.HTTPError(f"status {response.status_code}")
            self.connections += 1
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    self._take(json.loads(line[6:]))

    def _take(self, found: dict[str, Any]) -> None:
        if found["offset"] != self.offset + sum(len(part) for part in found["parts"]):
            self.wrong.append((self.offset, found))
        self.parts += found["parts"]
        self.offset = found["offset"]
        self.state = found.get("state", "")
