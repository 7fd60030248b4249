"""Pusher's clients in processes of their own, and a site that they connect to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pusher
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.patience import PATIENCE
from tests.servers import processes
from tests.servers.fresh import Database

HERE = Path(__file__).parent / "pusher_clients"
APPLICATION = "tests.servers.pusher:application"
APP = {"APP_ID": "1", "KEY": "shop", "SECRET": "a secret of the tests"}
SETTINGS = {"PUSHER": APP, "RETRY": 0.2, "DRAIN": 0.2, "PRESENCE_GRACE": 0.2}


class Site:
    """A server, another process on its database, and Pusher's own library for servers."""

    def __init__(
        self, server: processes.Server, elsewhere: processes.Publisher, folder: Path, database: Database | None = None
    ) -> None:
        self.server = server
        self.elsewhere = elsewhere
        self._folder = folder
        self.database = database
        for name in ("ann", "ben"):  # so that they are the users 1 and 2
            elsewhere.session(name)
        self.http = pusher.Pusher(
            APP["APP_ID"], APP["KEY"], APP["SECRET"], ssl=False, host="127.0.0.1", port=server.port, timeout=PATIENCE
        )

    async def trigger(self, *args: Any) -> Any:
        """Publish by Pusher's library."""
        return await asyncio.to_thread(self.http.trigger, *args)

    def publish_as(self, text: str, *arguments: Any) -> None:
        """Run the manual's Python, with this site's app, and call the function ``shipped`` that it defines."""
        for shown, own in (
            ('"mysite"', repr(APP["KEY"])),
            ('"only for development"', repr(APP["SECRET"])),
            ('host="example.com", ssl=True', f'host="127.0.0.1", port={self.server.port}, ssl=False'),
        ):
            assert text.count(shown) == 1
            text = text.replace(shown, own)
        namespace: dict[str, Any] = {}
        exec(text, namespace)
        namespace["shipped"](*arguments)

    @contextlib.asynccontextmanager
    async def page(self, scripts: Sequence[str], folder: Path) -> AsyncIterator[Client]:
        """Run the manual's scripts under node, where there are no cookies and no addresses of a page."""
        (folder / "node_modules").symlink_to(self._folder / "node_modules")
        text = "\n".join(scripts).replace('"mysite", {', f'"{APP["KEY"]}", {{')
        for name in ("auth", "user-auth"):
            shown = f'endpoint: "/pusher/{name}"'
            assert text.count(shown) == 1
            text = text.replace(shown, f'transport: "ajax", endpoint: "{self.server.url}/pusher/{name}"')
        (folder / "page.mjs").write_text(text + (HERE / "after.mjs").read_text())
        (folder / "before.mjs").write_text(
            f'globalThis.location = {{ hostname: "127.0.0.1", port: {self.server.port}, protocol: "http:" }};\n'
            'console.log = (data) => process.stdout.write(JSON.stringify({ event: "log", data }) + "\\n");\n'
        )
        async with running("--import", str(folder / "before.mjs"), str(folder / "page.mjs")) as process:
            yield Client(process, "")

    @contextlib.asynccontextmanager
    async def client(self, user: str = "", kind: str = "pusher", **more: Any) -> AsyncIterator[Client]:
        """Run a client under node, connected."""
        cookie = self.elsewhere.session(user) if user else ""
        given = {"kind": kind, "key": APP["KEY"], "port": self.server.port, "cookie": cookie, **more}
        words = (str(HERE / "client.mjs"), json.dumps(given))
        async with running(*words, LIVEPUSH_NODE_CLIENTS=str(self._folder)) as process:
            found = Client(process, cookie)
            await found.until("state", "connected")
            yield found


@contextlib.asynccontextmanager
async def running(*words: str, **env: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run node."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("node", *words, env={**os.environ, **env}, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


class Client:
    """A client under node."""

    def __init__(self, process: asyncio.subprocess.Process, cookie: str) -> None:
        self._process = process
        self.cookie = cookie

    def do(self, work: str, **arguments: Any) -> None:
        """Have it do something."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": work, **arguments}).encode() + b"\n")

    async def next(self, *besides: str) -> dict[str, Any]:
        """Return what it gets next, but for events of some names."""
        assert self._process.stdout is not None
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)
            assert line, "the client has ended"
            found: dict[str, Any] = json.loads(line)
            if found["event"] not in besides:
                return found

    async def until(self, event: str, data: Any = ...) -> Any:
        """Return the data of the next event of a name, or wait until it has some data."""
        while True:
            found = await self.next()
            if found["event"] == event and data in (..., found.get("data")):
                return found.get("data")

    async def subscribe(self, channel: str) -> Any:
        """Subscribe to a channel; return what the server answers."""
        self.do("subscribe", channel=channel)
        while True:
            found = await self.next()
            if found.get("of") == channel and found["event"].startswith("pusher:subscription_"):
                return found["data"] if found["event"].endswith("succeeded") else {"refused": found["data"]}


class Raw:
    """A WebSocket that speaks Pusher's protocol by hand."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket

    async def say(self, event: str, data: Any = None, **more: Any) -> None:
        """Send a message."""
        await self._socket.send(json.dumps({"event": event, "data": {} if data is None else data, **more}))

    async def send(self, message: str | bytes) -> None:
        """Send some text or bytes."""
        await self._socket.send(message)

    async def next(self, *besides: str) -> dict[str, Any]:
        """Return the next message, with its data decoded, but for those of some names."""
        while True:
            found: dict[str, Any] = json.loads(await asyncio.wait_for(self._socket.recv(), PATIENCE))
            if found["event"] not in besides:
                with contextlib.suppress(ValueError, TypeError):
                    found["data"] = json.loads(found["data"])
                return found

    async def closed(self) -> int | None:
        """Return the code with which the server closes it."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.wait_for(self._socket.recv(), PATIENCE)
        return self._socket.close_code


@contextlib.asynccontextmanager
async def raw(
    site: Site, path: str = "/app/shop?protocol=7", host: str = "127.0.0.1", **headers: str
) -> AsyncIterator[Raw]:
    """Connect by hand, to this machine whatever the host is called."""
    port = site.server.port
    address = f"ws://{host}:{port}{path}"
    async with connect(address, host="127.0.0.1", port=port, additional_headers=headers, proxy=None) as socket:
        yield Raw(socket)
