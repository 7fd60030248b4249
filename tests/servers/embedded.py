"""A server that a program runs in its own event loop, and ends without a signal's handler of the server's own.

``python -m tests.servers.embedded KIND PORT`` serves the project. SIGUSR1 ends it as a program would.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from tests.asgi import application


async def uvicorn(port: int) -> None:
    from uvicorn import Config, Server

    server = Server(Config(application, port=port, lifespan="off"))
    on_usr1(lambda: setattr(server, "should_exit", True))
    await asyncio.gather(server.serve())  # in a task of its own


async def uvicorn_twice(port: int) -> None:
    """Serve, and serve again in the same loop when the first server has ended."""
    from livepush.process import hubs

    hubs.SERVES_ON = 0.1
    await uvicorn(port)
    await uvicorn(port)


async def uvicorn_two(port: int) -> None:
    """Serve beside a server in the same loop that somebody has read from."""
    from uvicorn import Config, Server

    first = Server(Config(application, port=0, lifespan="off"))
    serving = asyncio.create_task(first.serve())
    while not first.started:
        await asyncio.sleep(0.01)
    host, its_port = first.servers[0].sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(host, its_port)
    writer.write(b"GET /livepush/sse/?group=board HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await reader.readuntil(b"livepush.hello")
    writer.close()
    await uvicorn(port)
    first.should_exit = True
    await serving


async def uvicorn_cancelled(port: int) -> None:
    """Cancel the task that serves, with no limit for its requests, as asyncio.run does at its end."""
    from uvicorn import Config, Server

    serving = asyncio.create_task(Server(Config(application, port=port, lifespan="off")).serve())
    on_usr1(serving.cancel)
    await asyncio.wait([serving])


async def hypercorn(port: int) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config, end = Config(), asyncio.Event()
    config.bind = [f"127.0.0.1:{port}"]
    on_usr1(end.set)
    await serve(application, config, shutdown_trigger=end.wait)  # type: ignore[arg-type]


async def granian(port: int) -> None:
    from granian.constants import Interfaces
    from granian.server.embed import Server

    server = Server(application, port=port, interface=Interfaces.ASGI)
    on_usr1(server.stop)
    await server.serve()


def on_usr1(end: Callable[[], object]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, end)


def daphne(port: int) -> None:
    from daphne.endpoints import build_endpoint_description_strings
    from daphne.server import Server  # before Twisted: it chooses the reactor
    from twisted.internet import reactor

    endpoints = build_endpoint_description_strings(host="127.0.0.1", port=port)
    server = Server(application, endpoints=endpoints)
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(server.stop))  # type: ignore[attr-defined]
    server.run()


if __name__ == "__main__":
    kind, port = sys.argv[1], int(sys.argv[2])
    if kind == "daphne":
        daphne(port)
    else:
        servers: dict[str, Callable[[int], Awaitable[None]]] = {
            "uvicorn": uvicorn,
            "uvicorn-twice": uvicorn_twice,
            "uvicorn-two": uvicorn_two,
            "uvicorn-cancelled": uvicorn_cancelled,
            "hypercorn": hypercorn,
            "granian": granian,
        }
        asyncio.run(servers[kind](port))  # type: ignore[arg-type]
