"""Facts about a server process, for ``livepush_doctor --url``."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import django
from django.conf import settings as django_settings

import livepush
from livepush import hints, process
from livepush.access import identity, origins
from livepush.conf import get_settings
from livepush.consumers.base import Scope, Send
from livepush.hub import Connection, Hub
from livepush.wire import WireError

HUB_WITHIN = 4.0
"""How long (seconds) the answer waits for the hub to start. After that, it goes out without the hub."""
ENVELOPE = 1024
"""About how many bytes a message has besides its event's data."""
GROUP = 40
"""About how many bytes a group takes in an address."""
SERVERS = ("uvicorn", "hypercorn", "granian", "daphne", "gunicorn")
"""The servers that the doctor knows."""


async def facts(scope: Scope, send: Send) -> dict[str, Any]:
    """Return the facts about this process."""
    server = server_of(send)
    hub, trouble = await running_hub()
    return {
        "pid": os.getpid(),
        "time": time.time(),
        "server": server,
        "command_line": masked(sys.argv),
        "started_by_server": bool(server) and program() == server,
        "environment": sorted(name for name in os.environ if server and name.startswith(f"{server.upper()}_")),
        "versions": versions(server),
        "debug": django_settings.DEBUG,
        "heartbeat": get_settings().HEARTBEAT,
        "message_bytes": get_settings().MAX_EVENT_BYTES + ENVELOPE,
        "query_bytes": get_settings().MAX_GROUPS * GROUP,
        "files": open_files(),
        "hub": None if hub is None else describe(hub),
        "hint": hints.chosen(),
        "ephemeral_left_out": hints.left_out(),
        "trouble": trouble,
        "request": arrival(scope),
    }


def server_of(send: Send) -> str:
    """Return the name of the server that runs this process, ``""`` if it is unknown.

    The name comes from the code that runs this task or takes its messages, or else from the program that was started.
    Loaded modules prove nothing: a server's module may be loaded while another server runs.
    """
    return next((name for name in packages(send) if name in SERVERS), "")


def packages(send: Send) -> Iterator[str]:
    """Yield the names of packages that may be the server's, the most reliable first."""
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
    """Return the name of the program that was started. For ``python -m package``, it is the package's name."""
    path = Path(sys.argv[0])
    return path.parent.name if path.stem == "__main__" else path.stem


def versions(server: str) -> dict[str, str]:
    """Return the versions of Python, Django, livepush and the server."""
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
    """Return how many files this process has open and how many it may open; ``None`` if the system can't say."""
    count = limit = None
    with suppress(OSError):
        count = len(os.listdir("/proc/self/fd"))
    with suppress(ImportError):
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return {"open": count, "limit": limit}


async def running_hub() -> tuple[Hub | None, str]:
    """Return this process's hub and ``""``, or ``None`` and the reason."""
    try:
        async with asyncio.timeout(HUB_WITHIN):
            return await process.get_hub(), ""
    except TimeoutError:
        return None, f"the database did not answer within {HUB_WITHIN:g} s"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def describe(hub: Hub) -> dict[str, Any]:
    """Return the state of a hub: its position, floor, clients, groups and layer, and whether it drains."""
    subscribers = list(hub.subscribers)
    connections = [each for each in subscribers if isinstance(each, Connection)]
    return {
        "position": str(hub.position),
        "floor": hub.floor,
        "subscribers": len(subscribers),
        "states": Counter(each.state.value for each in connections),
        "groups": len(hub.router.routes),
        "layer": hub.hint_state,
        "draining": hub.draining,
    }


def arrival(scope: Scope) -> dict[str, Any]:
    """Return how this request came: its host and origin as Django sees them, and whether it is secure."""
    request = identity.request_of(scope)
    found: dict[str, Any] = {"host": None, "origin": "ok", "secure": request.is_secure()}
    try:
        found["host"] = identity.handshake(request).host
        origins.check_origin(request)
    except WireError as error:
        found["origin"] = error.code
    return found
