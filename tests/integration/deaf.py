"""Streams that Django sends as responses of its own, and clients that read nothing of them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from tests.patience import PATIENCE, eventually
from tests.servers import faults
from tests.servers.fresh import Database
from tests.servers.processes import Publisher, Server
from tests.streams.readers import begin

APPLICATION = "tests.servers.streamed:application"
MERCURE = {"KEY": "k" * 32, "ANONYMOUS": True}
DATA = "x" * 50_000
COUNT = 100
"""So many events with these data are more than the system takes for a client that does not read."""


async def written(server: Server, database: Database) -> str:
    """Have the site write a stream of text that is as large; return its id once it has ended."""
    stream = await begin(server.url, words=1, bulk=COUNT)
    await eventually(lambda: database.query("SELECT 1 FROM livepush_stream WHERE state = 'finished'"))
    return stream


def addresses(start: str, stream: str) -> list[str]:
    """Return where a channel's events and a topic's updates come from a position on, and a view's stream of text."""
    return [
        f"/events/?channel=a&lastEventId={start}",
        f"/.well-known/mercure?topic=a&lastEventID=%23{start}",
        f"/streams/plain/{stream}/",
    ]


def send_much(elsewhere: Publisher) -> None:
    """Send to the channel and to the topic."""
    for _ in range(COUNT):
        elsewhere.send("eventstream:a", "grew", DATA)
        elsewhere.do("update", topics="a", data=DATA)


@contextlib.contextmanager
def never_reading(port: int, paths: list[str]) -> Iterator[None]:
    """Ask for some streams, each over a connection of its own, and read nothing but how their answers begin."""
    with contextlib.ExitStack() as stack:
        for path in paths:
            client = stack.enter_context(socket.socket())
            faults.unread(client)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", port))
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            assert client.recv(12, socket.MSG_WAITALL) == b"HTTP/1.1 200"
        yield
