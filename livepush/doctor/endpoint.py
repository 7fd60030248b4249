"""What ``livepush_doctor --url`` asks of a server process: what it is, and streams to be watched on their way.

Who has no fresh token signed with ``SECRET_KEY`` finds nothing here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import django
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler

import livepush
from livepush import process
from livepush.access import identity
from livepush.conf import get_settings
from livepush.consumers.base import Endpoint, Receive, Scope, Send, answer, until_disconnect
from livepush.consumers.sse import HEADERS
from livepush.doctor.protocol import FRAMES, GROUP, IDLE_HEARTBEATS, PAUSE, is_token
from livepush.hub import Connection, Hub, hubs
from livepush.wire import Close, Event, Format, WireError, dumps, encode, timestamp

HUB_WITHIN = 4.0
"""How long (seconds) a hub may take to start before the answer goes without it."""
ECHO_FOR = 60.0
"""How long (seconds) a WebSocket is open at most."""
SERVERS = ("uvicorn", "hypercorn", "granian", "daphne")


def endpoints(base: str) -> dict[tuple[str, str], Endpoint]:
    """Return each of the doctor's endpoints by scope type and path."""
    return {
        ("http", f"{base}doctor/"): known_only(tell),
        ("http", f"{base}doctor/sse/"): known_only(stream),
        ("http", f"{base}doctor/ws/"): known_only(upgrade_lost),
        ("websocket", f"{base}doctor/ws/"): known_only(echo),
    }


def known_only(endpoint: Endpoint) -> Endpoint:
    """Serve who has a token; to anybody else this address is as good as any that is not there."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if is_known(scope):
            await endpoint(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": int(Close.BAD_REQUEST)})
        else:
            await django_itself()(scope, receive, send)

    return wrapped


@cache
def django_itself() -> Endpoint:
    """Return Django's application, which answers what it answers to an unknown address."""
    return ASGIHandler()  # type: ignore[return-value]


def is_known(scope: Scope) -> bool:
    """Return whether a request has a token that is signed with ``SECRET_KEY`` and no older than a minute."""
    return is_token(query_of(scope).get("token", [""])[0])


def query_of(scope: Scope) -> dict[str, list[str]]:
    """Return a request's query, as far as it can be read."""
    try:
        return parse_qs(scope.get("query_string", b"").decode("ascii"))
    except ValueError:
        return {}


# What the process is


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what this process is and holds, as JSON."""
    await answer(send, dumps(await facts(scope, send)).encode())


async def facts(scope: Scope, send: Send) -> dict[str, Any]:
    """Return what this process is and holds."""
    server = server_of(send)
    hub, trouble = await hub_of()
    return {
        "pid": os.getpid(),
        "time": time.time(),
        "server": server,
        "command_line": masked(sys.argv),
        "started_by_server": bool(server) and program() == server,
        "environment": sorted(name for name in os.environ if server and name.startswith(f"{server.upper()}_")),
        "worker_process": multiprocessing.parent_process() is not None,
        "versions": versions(server),
        "debug": django_settings.DEBUG,
        "heartbeat": get_settings().HEARTBEAT,
        "files": open_files(),
        "hub": None if hub is None else describe(hub),
        "trouble": trouble,
        "request": arrival(scope),
    }


def server_of(send: Send) -> str:
    """Return which server runs this process, ``""`` where it can't be told.

    By what runs this task or takes its messages: a module that is loaded need not be the server's.
    """
    return next((name for name in packages(send) if name in SERVERS), "")


def packages(send: Send) -> Iterator[str]:
    """Yield the packages that may be the server's, the surest first."""
    task = asyncio.current_task()
    frame = getattr(task.get_coro() if task else None, "cr_frame", None)
    if frame is not None:
        yield frame.f_globals.get("__name__", "").partition(".")[0]
    call: Any = send
    while hasattr(call, "func"):  # a partial
        call = call.func
    yield (getattr(call, "__module__", None) or type(call).__module__).partition(".")[0]
    yield program()


def program() -> str:
    """Return the name of the program that was started; of a package that was run, its name."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def versions(server: str) -> dict[str, str]:
    """Return the versions of what matters."""
    found = {"python": platform.python_version(), "django": django.__version__, "livepush": livepush.__version__}
    with suppress(metadata.PackageNotFoundError):
        found |= {server: metadata.version(server)} if server else {}
    return found


def masked(words: list[str]) -> list[str]:
    """Return a command line without its secrets."""
    found: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        secret = "password" in name.lower() or "secret" in name.lower()
        after = found and "=" not in found[-1] and found[-1].startswith("-") and "password" in found[-1].lower()
        found.append(f"{name}=…" if secret and equals else "…" if after else word)
    return found


def open_files() -> dict[str, int | None]:
    """Return how many files this process has open and may open, where the system can say."""
    count = limit = None
    with suppress(OSError):
        count = len(os.listdir("/proc/self/fd"))
    with suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {"open": count, "limit": limit}


async def hub_of() -> tuple[Hub | None, str]:
    """Return this process's hub, or why there is none."""
    try:
        async with asyncio.timeout(HUB_WITHIN):
            return await process.get_hub(), ""
    except TimeoutError:
        return None, f"the database did not answer within {HUB_WITHIN:g} s"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def describe(hub: Hub) -> dict[str, Any]:
    """Return where a hub stands."""
    subscribers = list(hub.subscribers)
    connections = [each for each in subscribers if isinstance(each, Connection)]
    return {
        "position": str(hub.position),
        "floor": hub.floor,
        "subscribers": len(subscribers),
        "states": Counter(each.state.value for each in connections),
        "groups": len(hub.router.routes),
        "layer": hub.layer,
        "draining": hub.draining,
    }


def arrival(scope: Scope) -> dict[str, Any]:
    """Return how this request came: its host and origin as Django sees them, and whether it is secure."""
    request = identity.request_of(scope)
    found: dict[str, Any] = {"host": None, "origin": "ok", "secure": request.is_secure()}
    try:
        found["host"] = identity.handshake(request).host
        identity.check_origin(request)
    except WireError as error:
        found["origin"] = error.code
    return found


# What is watched on its way


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Send some frames with pauses between them; with ``idle=1`` two, as far apart as a quiet stream's can be."""
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    gone = asyncio.create_task(until_disconnect(receive))
    try:
        await send_frames(scope, gone, lambda text: send_piece(send, text))
    finally:
        if not gone.cancel():
            gone.exception()  # whatever ended it, the client is gone
    await send({"type": "http.response.body", "body": b""})


async def send_piece(send: Send, text: str) -> None:
    await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def send_frames(scope: Scope, gone: asyncio.Task[None], write: Callable[[str], Any]) -> None:
    """Write frames until all are written, the client has gone, or the server goes away."""
    idle = "idle" in query_of(scope)
    pause = IDLE_HEARTBEATS * get_settings().HEARTBEAT if idle else PAUSE
    for number in range(2 if idle else FRAMES):
        if number and not await rest(pause, gone):
            return
        await write(encode(probe(number), "", Format.SSE))


def probe(number: int) -> Event:
    """Return what a probe sends: an ephemeral event to a group that nobody reads."""
    return Event(None, (GROUP,), "probe", str(number), timestamp(datetime.now(UTC)))


async def rest(seconds: float, gone: asyncio.Task[None]) -> bool:
    """Wait; return whether to go on."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while (left := end - loop.time()) > 0:
        if gone.done() or any(hub.draining for hub in list(hubs)):
            return False
        await asyncio.wait({gone}, timeout=min(left, 0.5))
    return not gone.done()


async def upgrade_lost(scope: Scope, receive: Receive, send: Send) -> None:
    """Say that a WebSocket's handshake came as a plain request, and whether all of its upgrade came along."""
    headers = dict(scope["headers"])
    whole = b"upgrade" in headers and b"upgrade" in headers.get(b"connection", b"").lower()
    arrived = whole and scope.get("http_version") == "1.1"
    await answer(send, dumps({"upgrade_arrived": arrived}).encode(), 426)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Send one message, and then back what comes."""
    await receive()
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.send", "text": encode(probe(0), "", Format.TEXT)})
    with suppress(TimeoutError):
        async with asyncio.timeout(ECHO_FOR):
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message.get("text") or ""})
