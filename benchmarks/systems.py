"""What is measured side by side: livepush on each server, and what a user would pick instead."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

PYTHON = (sys.executable, "-m")
NODE = "benchmarks/peers/node"


@dataclass(frozen=True, kw_only=True)
class System:
    """A server, a way to publish to it, and what a client of it says."""

    key: str
    """Its name on the command line."""
    title: str
    """Its name in tables."""
    server: tuple[str, ...]
    """The command; ``{port}``, ``{feed}`` and ``{writer}`` are filled in."""
    publisher: tuple[str, ...]
    """The command of the process that sends."""
    path: str = "/"
    """What a client asks for; ``{i}`` is its number."""
    mode: str = "sse"
    """``sse``, ``ws``, ``poll`` or ``socketio``."""
    headers: tuple[str, ...] = ()
    ready: str = ""
    """What has come when a client is ready; with none, the response's head."""
    env: Mapping[str, str] = field(default_factory=dict)
    database: bool = False
    """Whether it needs PostgreSQL."""
    together: bool = False
    """Whether it can send several events in one transaction."""
    settles: bool = False
    """Whether its server does more in the first half minute than later, which is waited for."""
    most_clients: int = 4000

    @property
    def request(self) -> str:
        """The bytes of a client's request, as text."""
        lines = [f"GET {self.path} HTTP/1.1", "Host: 127.0.0.1", *self.headers]
        if self.mode in ("ws", "socketio"):
            lines += [
                "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://127.0.0.1",
            ]  # fmt: skip
        return "\r\n".join([*lines, "", ""])


def asgi(kind: str, application: str, *more: str) -> tuple[str, ...]:
    """Return the command of an ASGI server with one process."""
    commands = {
        "uvicorn": ("uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--log-level", "warning"),
        "daphne": ("daphne", "-b", "127.0.0.1", "-p", "{port}", "-v", "0"),
        "hypercorn": ("hypercorn", "--workers", "0", "--bind", "127.0.0.1:{port}", "--backlog", "4096"),
        "granian": (
            "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "--backlog", "4096",
            "--log-level", "warning",
        ),
    }  # fmt: skip
    return (*PYTHON, *commands[kind], *more, application)


RARE_PINGS = ("--ws-ping-interval", "300")
"""What ``docs/performance.md`` recommends: livepush's own heartbeats do that work."""
LAYER = {"LIVEPUSH_TEST_LAYER": "pubsub"}
PREFIX = "/livepush"
TRANSPORTS = {
    "sse": ("SSE", f"{PREFIX}/sse/?group=board&format=envelope", "sse", (), "livepush.hello"),
    "ws": (
        "WebSocket", f"{PREFIX}/ws/?group=board", "ws", ("Sec-WebSocket-Protocol: livepush.v1",), "livepush.hello",
    ),
    "wstext": ("WebSocket, an event a message", f"{PREFIX}/ws/?group=board", "ws", (), "livepush.hello"),
    "poll": ("long poll", f"{PREFIX}/poll/?group=board&wait=25&since={{since}}", "poll", (), ""),
}  # fmt: skip


def livepush(kind: str, transport: str, ephemeral: bool = False) -> System:
    """Return livepush on a server, with a PostgreSQL log and the pub/sub layer."""
    title, path, mode, headers, ready = TRANSPORTS[transport]
    return System(
        key=f"livepush-{transport}-{kind}" + ("-ephemeral" if ephemeral else ""),
        title=f"**livepush**, {title}, {kind}" + (", ephemeral" if ephemeral else ""),
        server=asgi(kind, "tests.asgi:application", *(RARE_PINGS if (kind, mode) == ("uvicorn", "ws") else ())),
        publisher=(*PYTHON, "benchmarks.peers.publish", "livepush"),
        path=path, mode=mode, headers=headers, ready=ready,
        env={**LAYER, "DJANGO_SETTINGS_MODULE": "tests.settings", **({"BENCH_EPHEMERAL": "1"} if ephemeral else {})},
        database=True,
        together=not ephemeral,
        settles=True,
    )  # fmt: skip


def channels(kind: str) -> System:
    """Return a plain Channels consumer with one of the Redis layers."""
    return System(
        key=f"channels-{kind}",
        title=f"plain Channels, {kind} Redis layer, uvicorn",
        server=asgi("uvicorn", "benchmarks.peers.channels_plain.asgi:application"),
        publisher=(*PYTHON, "benchmarks.peers.publish", "channels"),
        path="/ws/", mode="ws",
        env={"BENCH_LAYER": kind, "DJANGO_SETTINGS_MODULE": "benchmarks.peers.channels_plain.settings"},
    )  # fmt: skip


def eventstream(storage: str) -> System:
    """Return django-eventstream with Redis, with or without its model storage."""
    return System(
        key=f"eventstream-{storage}",
        title=f"django-eventstream, Redis{', model storage' if storage == 'model' else ''}, uvicorn",
        server=asgi("uvicorn", "benchmarks.peers.eventstream.asgi:application"),
        publisher=(*PYTHON, "benchmarks.peers.publish", "eventstream"),
        path="/events/",
        env={"BENCH_STORAGE": storage, "DJANGO_SETTINGS_MODULE": "benchmarks.peers.eventstream.settings"},
        database=storage == "model",
        most_clients=1000,
    )


FEED = (*PYTHON, "benchmarks.peers.publish", "feed")
QUEUES = asgi("uvicorn", "benchmarks.peers.asgi_queues:application")
SYSTEMS = {
    system.key: system
    for system in (
        *(livepush(kind, "sse") for kind in ("uvicorn", "granian", "daphne", "hypercorn")),
        *(livepush(kind, "ws") for kind in ("uvicorn", "granian", "daphne", "hypercorn")),
        livepush("uvicorn", "wstext"),
        *(livepush(kind, "poll") for kind in ("uvicorn", "granian", "daphne", "hypercorn")),
        livepush("uvicorn", "sse", ephemeral=True),
        livepush("uvicorn", "ws", ephemeral=True),
        channels("core"),
        channels("pubsub"),
        eventstream("none"),
        eventstream("model"),
        System(
            key="socketio", title="Socket.IO on Node, Redis adapter",
            server=("node", f"{NODE}/socketio.mjs"), publisher=("node", f"{NODE}/emitter.mjs"),
            path="/socket.io/?EIO=4&transport=websocket", mode="socketio", ready="40{",
        ),
        System(
            key="ws", title="`ws` on Node",
            server=("node", f"{NODE}/ws.mjs"), publisher=FEED, path="/ws/", mode="ws",
        ),
        System(
            key="asgi-sse", title="bare ASGI with queues, SSE, uvicorn", server=QUEUES, publisher=FEED,
            path="/sse/",
        ),
        System(
            key="asgi-sse-layer", title="the same, SSE, fed by a Channels pub/sub layer", server=QUEUES,
            publisher=(*PYTHON, "benchmarks.peers.publish", "channels"), path="/sse/", env={"BENCH_LAYER": "pubsub"},
        ),
        System(
            key="asgi-ws", title="bare ASGI with queues, WebSocket, uvicorn", server=QUEUES, publisher=FEED,
            path="/ws/", mode="ws",
        ),
        System(
            key="asyncio", title="asyncio protocol (uvloop), prebuilt bytes",
            server=(*PYTHON, "benchmarks.peers.protocol"), publisher=FEED,
        ),
        System(key="c", title="C, epoll: the limit", server=("{writer}", "{port}", "{feed}"), publisher=FEED),
    )
}  # fmt: skip
BY_NOTIFY = "livepush-sse-uvicorn-notify"
SYSTEMS[BY_NOTIFY] = replace(
    SYSTEMS["livepush-sse-uvicorn"],
    key=BY_NOTIFY,
    title="**livepush**, SSE, uvicorn, PostgreSQL's NOTIFY and no layer",
    env={"DJANGO_SETTINGS_MODULE": "tests.settings"},
)
MANY_GROUPS = ("livepush-sse-uvicorn", "livepush-groups")
"""Each client in one group that all have; in the second, in 99 more of its own: 100,000 for 1,000 clients."""
MORE_GROUPS = "".join(f"&group=room:g{number}-{{i}}" for number in range(99))
SYSTEMS["livepush-groups"] = replace(
    SYSTEMS["livepush-sse-uvicorn"],
    key="livepush-groups",
    title="**livepush**, SSE, uvicorn, 100 groups a client",
    path=SYSTEMS["livepush-sse-uvicorn"].path + MORE_GROUPS,
)
QUICK = ("livepush-sse-uvicorn", "livepush-ws-uvicorn", "asyncio", "asgi-ws", "socketio")
"""livepush and three peers."""
GOALS = (
    "livepush-sse-uvicorn", "asyncio", "asgi-sse", "livepush-ws-uvicorn", "asgi-ws", "socketio", "channels-pubsub",
    "eventstream-none",
)  # fmt: skip
"""What the goals compare."""
