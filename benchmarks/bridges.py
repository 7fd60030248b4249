"""What each bridge costs: nothing where it is not used, and what an event costs more where it is::

    python -m benchmarks.bridges [--events 100] [--turns 7] [--json]

One process with a database of SQLite sends events one after another to a client inside of the process. Queries are
those of an event; µs are the CPU time of an event from ``send`` to the client, the median of some turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.inside import MARK, Reader, Way

BEFORE = "none, and no package that one needs"
NONE, UNHOOKED = "none", "none, and nothing that asks whether one is wanted"
DATA = {"text": MARK + "x" * 180}
HUB = "/.well-known/mercure"
APP = {"APP_ID": "1", "KEY": "shop", "SECRET": "a secret of the benchmark"}
PROXY = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *args): pass
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""
"""Takes what is published to it, as Pushpin does."""
FOREIGN = (
    "aio_pika", "aiormq", "cloudevents", "confluent_kafka", "django_eventstream", "faststream", "gripcontrol", "jwt",
    "nats", "opentelemetry", "paho", "prometheus_client", "pubcontrol", "pusher", "redis", "standardwebhooks", "zmqtt",
)  # fmt: skip
"""The packages that a bridge may need."""

SITE = {
    "SECRET_KEY": "benchmarks-only",
    "ALLOWED_HOSTS": ["testserver"],
    "INSTALLED_APPS": [
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "django.contrib.staticfiles",
        "livepush",
    ],
    "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
    "TEMPLATES": [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
    "ROOT_URLCONF": "benchmarks.bridges_site",
    "STATIC_URL": "/static/",
    "USE_TZ": True,
}

queries: Counter[str] = Counter()
"""How many queries each thread has made."""


class Cost(NamedTuple):
    """The cost of an event."""

    send: float
    """Queries of the thread that sends."""
    delivery: float
    """Queries of all other threads."""
    page: float
    """Bytes of a page that follows the group."""
    us: float
    """Microseconds of CPU time."""
    more: float = 0.0
    """How many of these it costs more than without a bridge."""


def set_up(database: str) -> None:
    """Have Django use the site, with an empty SQLite database in a file."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    options = {"transaction_mode": "IMMEDIATE", "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;"}
    databases = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": database, "OPTIONS": options}}
    settings.configure(**SITE, DATABASES=databases)
    django.setup()
    call_command("migrate", verbosity=0)


def count_queries() -> None:
    """Count the queries of all connections from now on."""
    from django.db.backends.signals import connection_created

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if not sql.startswith(("PRAGMA", "SAVEPOINT", "RELEASE")):
            queries[threading.current_thread().name] += 1
        return execute(sql, params, many, context)

    connection_created.connect(lambda connection, **more: connection.execute_wrappers.append(count), weak=False)


def measure(way: Way, events: int) -> Cost:
    """Return what an event costs."""
    from django.test import Client, override_settings

    settings = {"TAIL_INTERVAL": 60.0, "PUBLISHED_PER_SECOND": 1e6, **way.settings}
    with override_settings(LIVEPUSH=settings):
        page = Client().get("/page/").content
        send, delivery, us = asyncio.run(_measure(way, events))
    return Cost(send, delivery, len(_without_position(page)), us)


async def _measure(way: Way, events: int) -> tuple[float, float, float]:
    from livepush import process
    from livepush.asgi import get_asgi_application

    reader, loop = Reader(way), asyncio.get_running_loop()
    running = asyncio.create_task(reader.run(get_asgi_application()))
    await asyncio.wait_for(reader.is_ready.wait(), 60)
    with ThreadPoolExecutor(1, "sender") as sender:
        await loop.run_in_executor(sender, way.send)
        await reader.until(1)
        queries.clear()
        began = time.process_time()
        for _ in range(events):
            count = reader.count + 1
            await loop.run_in_executor(sender, way.send)
            await reader.until(count)
        us, found = (time.process_time() - began) / events * 1e6, dict(queries)
        await loop.run_in_executor(sender, _close)
    reader.leave()
    await running
    await process.stop()
    own = sum(number for name, number in found.items() if name.startswith("sender"))
    return round(own / events, 1), round((sum(found.values()) - own) / events, 1), us


def _close() -> None:
    from django.db import connections

    connections.close_all()


def _without_position(page: bytes) -> bytes:
    before, _, rest = page.partition(b'data-position="')
    return before + rest.partition(b'"')[2]


@contextlib.contextmanager
def unhooked() -> Iterator[None]:
    """Take away whatever calls a bridge when an event is sent or settled, or a hub starts."""
    from livepush import process, publish

    places: list[list[Any]] = [process.on_start, publish.on_settled, publish.tracers]
    before = [list(hooks) for hooks in places]
    for hooks in places:
        hooks[:] = [hook for hook in hooks if not hook.__module__.startswith("livepush.bridges.")]
    assert all(len(hooks) < len(old) for hooks, old in zip(places, before, strict=True))
    yield
    for hooks, old in zip(places, before, strict=True):
        hooks[:] = old


class Missing(MetaPathFinder):
    """Has the packages that bridges need be missing."""

    def find_spec(self, name: str, path: object, target: object = None) -> None:
        if name.partition(".")[0] in FOREIGN:
            raise ModuleNotFoundError(f"{name} is not installed here", name=name)


@contextlib.contextmanager
def proxy() -> Iterator[str]:
    """Run what takes the place of Pushpin; yield its address."""
    running = subprocess.Popen([sys.executable, "-c", PROXY], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(running.stdout.readline())}"
    finally:
        running.terminate()
        running.communicate()


def ways(control: str) -> dict[str, Way]:
    """Return each bridge in use, by its name."""
    import livepush
    from livepush.bridges import eventstream, mercure

    grip = {"CONTROL_URI": control, "KEY": "k" * 32}
    relay = {"DIRECTION": "out", "URL": "https://example.com/", "SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
    subscribe = json.dumps({"event": "pusher:subscribe", "data": {"channel": "board"}})
    plain = _send(livepush.send)
    return {
        "publishing": Way({}, _publish()),
        "pusher": Way({"PUSHER": APP}, plain, "/app/shop", b"protocol=7", (subscribe,)),
        "eventstream": Way({}, _send(eventstream.send_event), "/events/", b""),
        "mercure": Way({"MERCURE": {"KEY": "k" * 32, "ANONYMOUS": True}}, _update(mercure), HUB, b"topic=board"),
        "grip": Way({"GRIP": grip}, plain),
        "relays": Way({"RELAYS": {"partner": relay}}, plain),
        "metrics": Way({"METRICS_TOKEN": "a token", "METRICS_INTERVAL": 60.0}, plain),
        "tracing": Way({"TRACING": True}, plain),
    }


def _send(function: Callable[..., object]) -> Callable[[], object]:
    return lambda: function("board", "status", DATA)


def _update(mercure: Any) -> Callable[[], object]:
    return lambda: mercure.send_update("board", DATA)


def _publish() -> Callable[[], object]:
    from django.test import Client

    from livepush.bridges.publishing import keys

    headers = {"authorization": f"Bearer {keys.create_key('benchmark', groups=['board'])}"}
    body, client = json.dumps({"group": "board", "type": "status", "data": DATA}), Client()

    def post() -> None:
        answer = client.post("/livepush/publish/", body, "application/json", headers=headers)
        assert answer.status_code == 200, answer.content

    return post


def _trace() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())


def _mount() -> None:
    """Add the addresses of the bridges that have some of their own."""
    from django.urls import clear_url_caches, include, path

    from benchmarks import bridges_site
    from livepush.bridges import eventstream

    bridges_site.urlpatterns += [
        path("", include("livepush.bridges.pusher.urls")),
        path("", include("livepush.bridges.mercure.urls")),
        path("events/", include(eventstream.urls), {"channels": ["board"]}),
    ]
    clear_url_caches()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=100)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, proxy() as control:
        imported, found = run(str(Path(folder) / "db.sqlite3"), control, options.events, options.turns)
    if options.json:
        print(json.dumps({"imported": imported, "costs": {name: each._asdict() for name, each in found.items()}}))
        return
    print("| bridge | queries of a send | of a delivery | bytes of the page | CPU µs an event | more µs |")
    print("|---|---|---|---|---|---|")
    for name, each in found.items():
        print(f"| {name} | {each.send:g} | {each.delivery:g} | {each.page:g} | {each.us:.0f} | {each.more:+.0f} |")


def run(database: str, control: str, events: int, turns: int) -> tuple[list[str], dict[str, Cost]]:
    """Return what a process has imported that uses no bridge, and the costs of each bridge, by its name."""
    sys.meta_path.insert(0, Missing())
    set_up(database)
    import livepush

    count_queries()
    plain = Way({}, _send(livepush.send))
    found = {BEFORE: measure(plain, 10)}
    imported = [name for name in sys.modules if name.startswith("livepush.bridges.")]
    imported += {name.partition(".")[0] for name in sys.modules} & set(FOREIGN)
    del sys.meta_path[0]
    _mount()
    _trace()
    told: dict[str, list[Cost]] = {}
    chance = random.Random(2026)
    for _ in range(turns):
        turn: dict[str, Cost] = {}
        every = [(NONE, plain), (UNHOOKED, plain), *ways(control).items()]
        chance.shuffle(every)
        for name, way in every:
            with unhooked() if name == UNHOOKED else contextlib.nullcontext():
                turn[name] = measure(way, events)
        for name, cost in turn.items():
            told.setdefault(name, []).append(cost._replace(more=cost.us - turn[NONE].us))
    found |= {name: _middle(told[name]) for name in (NONE, UNHOOKED, *ways(control))}
    return sorted(imported), found


def _middle(costs: list[Cost]) -> Cost:
    return Cost(*(statistics.median(values) for values in zip(*costs, strict=True)))


if __name__ == "__main__":
    main()
