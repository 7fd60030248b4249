"""Publishes the benchmark's events: ``python -m benchmarks.peers.publish feed|channels|eventstream|livepush``.

It says ``ready``, reads a command a line and answers each with a line, all in JSON:

    {"do": "paced", "first": 0, "count": 100, "rate": 50}   so many a second, by a schedule that is fixed at the start
    {"do": "burst", "first": 0, "count": 100}               as fast as it can
    {"do": "together", "first": 0, "count": 100}            the same in one transaction, where there is one
    {"do": "one", "first": 0}

    {"sent": 100, "seconds": 2.0, "cpu": 0.1, "p50_ms": 0.3, "p99_ms": 0.9, "errors": 0}

``cpu`` is the process's own time, ``p50_ms`` and ``p99_ms`` are of single sends. An event's data is an object whose
JSON has 200 bytes and begins ``{"x":"@NUMBER,MICROSECONDS;``: which event it is, and when it was sent (since 1970).

``channels`` and ``eventstream`` use the settings of those peers, ``livepush`` those of ``DJANGO_SETTINGS_MODULE``;
there ``BENCH_EPHEMERAL=1`` sends events that are not stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

Command = dict[str, Any]
Data = dict[str, str]
BYTES = 200


def data_of(number: int) -> Data:
    """Return an event's data, sent now."""
    return {"x": f"@{number},{time.time_ns() // 1000};".ljust(BYTES - len('{"x":""}'), "a")}


def text_of(number: int) -> str:
    """Return an event's data as JSON."""
    return json.dumps(data_of(number), separators=(",", ":"))


class Tally:
    """What a command sends and how long it takes; used as a context manager around each send."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._took: list[float] = []
        self._errors = 0
        self._cpu = time.process_time()
        self._began = self._send_began = time.perf_counter()

    def due(self) -> Iterator[tuple[int, float]]:
        """Yield each event's number and how many seconds it is too early for it."""
        for place in range(self._command.get("count", 1)):
            wait = 0.0
            if self._command["do"] == "paced":
                wait = self._began + place / self._command["rate"] - time.perf_counter()
            yield self._command["first"] + place, wait

    def __enter__(self) -> None:
        self._send_began = time.perf_counter()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        self._took.append(time.perf_counter() - self._send_began)
        if isinstance(error, Exception):
            if not self._errors:
                traceback.print_exception(error)
            self._errors += 1
        return error is None or isinstance(error, Exception)

    def answer(self) -> str:
        """Return the answer to the command."""
        took = sorted(self._took)
        return json.dumps(
            {
                "sent": len(took) - self._errors,
                "seconds": round(time.perf_counter() - self._began, 6),
                "cpu": round(time.process_time() - self._cpu, 6),
                "p50_ms": round(took[len(took) // 2] * 1e3, 4),
                "p99_ms": round(took[int(len(took) * 0.99)] * 1e3, 4),
                "errors": self._errors,
            }
        )


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def serve(
    send: Callable[[int], None],
    together: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    flush: Callable[[], object] = lambda: None,
) -> None:
    """Carry out the commands with a call that sends an event of some number."""
    say("ready")
    for line in sys.stdin:
        command = json.loads(line)
        tally = Tally(command)
        with together() if command["do"] == "together" else contextlib.nullcontext():
            for number, wait in tally.due():
                if wait > 0:
                    time.sleep(wait)
                with tally:
                    send(number)
        flush()
        say(tally.answer())


async def aserve(send: Callable[[int], Awaitable[None]]) -> None:
    """Carry out the commands as ``serve`` does, all in one event loop."""
    say("ready")
    async for line in typed():
        tally = Tally(json.loads(line))
        for number, wait in tally.due():
            if wait > 0:
                await asyncio.sleep(wait)
            with tally:
                await send(number)
        say(tally.answer())


async def typed() -> AsyncIterator[str]:
    """Yield the lines of the standard input."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield line


def django_ready(settings: str | None = None) -> None:
    """Set Django up, with some settings or those of the environment."""
    import django

    if settings is not None:
        os.environ["DJANGO_SETTINGS_MODULE"] = settings
    django.setup()


def feed() -> None:
    """Publish to a peer that has no broker."""
    with socket.create_connection(("127.0.0.1", int(os.environ["BENCH_FEED"]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        serve(lambda number: connection.sendall(text_of(number).encode() + b"\n"))


def channels() -> None:
    """Publish to the plain consumers' group."""
    django_ready("benchmarks.peers.channels_plain.settings")
    from channels.layers import get_channel_layer

    layer = get_channel_layer()

    async def send(number: int) -> None:
        await layer.group_send("board", {"type": "board.event", "text": text_of(number)})

    asyncio.run(aserve(send))


def eventstream() -> None:
    """Publish with django-eventstream."""
    django_ready("benchmarks.peers.eventstream.settings")
    from django_eventstream import send_event

    serve(lambda number: send_event("board", "message", data_of(number)))


def livepush() -> None:
    """Publish with livepush; what is announced asynchronously counts until it is out."""
    django_ready()
    from django.db import transaction

    from livepush import hints, send

    ephemeral = os.environ.get("BENCH_EPHEMERAL") == "1"

    def flush() -> None:
        while not hints.flush():
            pass

    serve(lambda number: send("board", "bench", data_of(number), ephemeral=ephemeral), transaction.atomic, flush)


WAYS = {way.__name__: way for way in (feed, channels, eventstream, livepush)}

if __name__ == "__main__":
    WAYS[sys.argv[1]]()
