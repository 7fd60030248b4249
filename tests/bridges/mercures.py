"""Mercure's clients, and a site that is their hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
from httpx_sse import ServerSentEvent, aconnect_sse
from mercure_publisher import AsyncMercurePublisher, MercureConfig

from tests.patience import PATIENCE
from tests.servers import processes

HERE = Path(__file__).parent / "mercure_clients"
APPLICATION = "tests.servers.mercure:application"
KEY = "!ChangeThisMercureHubJWTSecretKey!"
"""The key of the reference hub's own examples and conformance tests."""
SETTINGS = {"MERCURE": {"KEY": KEY, "ANONYMOUS": True}, "RETRY": 0.2, "DRAIN": 0.2}
PATH = "/.well-known/mercure"
FORM = {"content-type": "application/x-www-form-urlencoded"}


def token(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    """Return a token; ``publish`` and ``subscribe`` are its ``mercure`` claim's."""
    mercure = {name: claims.pop(name) for name in ("publish", "subscribe") if name in claims}
    return jwt.encode({"mercure": mercure, **claims}, key, algorithm)


def bearer(**claims: Any) -> dict[str, str]:
    """Return the header with a token."""
    return {"authorization": f"Bearer {token(**claims)}"}


class Site:
    """A server with a hub, another process on its database, and a publisher's library."""

    def __init__(self, server: processes.Server, elsewhere: processes.Publisher, folder: Path) -> None:
        self.server = server
        self.elsewhere = elsewhere
        self.url = f"{server.url}{PATH}"
        self._folder = folder
        self.config = MercureConfig(self.url, KEY, ["*"], request_timeout=PATIENCE)

    async def publish(self, topic: str | list[str], data: Any = "", **more: Any) -> str:
        """Publish by the library ``mercure-publisher``; return what the hub answers."""
        async with AsyncMercurePublisher(self.config) as publisher:
            return await publisher.publish(topic, data, **more)

    async def post(self, fields: Any, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
        """Post a form by hand."""
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            given = {"content": fields} if isinstance(fields, bytes) else {"content": urlencode(fields).encode()}
            return await http.post(self.url, **given, headers={**FORM, **(headers or {})}, **more)

    async def ask(self, method: str, address: str, **headers: str) -> httpx.Response:
        """Make a request whose answer ends."""
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            return await http.request(method, address, headers=headers)

    def address(self, *topics: str, **more: str) -> str:
        """Return where to subscribe."""
        return str(httpx.URL(self.url, params=[*(("topic", each) for each in topics), *more.items()]))

    @contextlib.asynccontextmanager
    async def client(self, kind: str, *topics: str, **more: Any) -> AsyncIterator[Client]:
        """Run a subscriber under node."""
        query = {name: more.pop(name) for name in ("lastEventID",) if name in more}
        given = {"kind": kind, "url": self.address(*topics, **query), **more}
        async with self._node(str(HERE / "client.mjs"), json.dumps(given)) as client:
            yield client

    @contextlib.asynccontextmanager
    async def page(self, script: str, folder: Path) -> AsyncIterator[Client]:
        """Run the manual's script under node, where there is no EventSource and no address of a page."""
        (folder / "before.mjs").write_text(
            f'import {{ createRequire }} from "node:module";\nconst all = createRequire("{self._folder}/");\n'
            f'globalThis.location = {{ href: "{self.server.url}/" }};\n'
            'globalThis.EventSource = all("eventsource").EventSource;\n'
            'const say = (found) => process.stdout.write(JSON.stringify(found) + "\\n");\n'
            'console.log = (...said) => say({ type: "log", said });\nglobalThis.say = say;\n'
        )
        (folder / "page.mjs").write_text(f'{script}\nsource.onopen = () => say({{ type: "open" }});\n')
        async with self._node("--import", str(folder / "before.mjs"), str(folder / "page.mjs")) as client:
            yield client

    @contextlib.asynccontextmanager
    async def _node(self, *words: str) -> AsyncIterator[Client]:
        env = {**os.environ, "LIVEPUSH_NODE_CLIENTS": str(self._folder)}
        process = await asyncio.create_subprocess_exec("node", *words, env=env, stdout=asyncio.subprocess.PIPE)
        try:
            yield Client(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    @contextlib.asynccontextmanager
    async def stream(self, *topics: str, headers: dict[str, str] | None = None, **more: str) -> AsyncIterator[Stream]:
        """Subscribe with httpx."""
        address = self.address(*topics, **more)
        async with (
            httpx.AsyncClient(timeout=PATIENCE) as http,
            aconnect_sse(http, "GET", address, headers=headers or {}) as source,
        ):
            yield Stream(source.response, aiter(source.aiter_sse()))


class Client:
    """A subscriber under node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def next(self, *types: str) -> dict[str, Any]:
        """Return what it gets next, of some types."""
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
            assert line, "the client has ended"
            found: dict[str, Any] = json.loads(line)
            if not types or found["type"] in types:
                return found


class Stream:
    """A subscriber in this process."""

    def __init__(self, response: httpx.Response, events: AsyncIterator[ServerSentEvent]) -> None:
        self.response = response
        self._events = events

    async def next(self) -> ServerSentEvent:
        """Return the next update."""
        return await asyncio.wait_for(anext(self._events), PATIENCE)

    async def data(self, count: int) -> list[str]:
        """Return the data of the next updates."""
        return [(await self.next()).data for _ in range(count)]

    async def ends(self) -> None:
        """Wait until the hub ends the stream, without another update."""
        async with asyncio.timeout(PATIENCE):
            assert [each async for each in self._events] == []


def soon(seconds: float) -> float:
    """Return a time in some seconds, as tokens have it."""
    return time.time() + seconds
