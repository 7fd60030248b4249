"""How many events a second ``POST publish/`` takes, beside a plain DRF view that inserts a row of the same size.

PostgreSQL with ``fsync`` on, gunicorn with threads and uvicorn, one process each; turns alternate, and each figure is
the median of them::

    python -m benchmarks.http_publish [--rounds 5] [--seconds 2] [--clients 1,8]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread
from typing import Any

from tests.servers import databases, processes
from tests.servers.fresh import Databases

DATA = "x" * 189
ROW = json.dumps({"status": "shipped", "note": DATA}).encode()
EVENT = json.dumps({"group": "order:7", "type": "status", "data": {"text": DATA}}).encode()
ONCE = "Idempotency-Key"
SERVERS = {
    "gunicorn": ["gunicorn", "--threads", "8", "--worker-connections", "100", "benchmarks.http_site:wsgi"],
    "uvicorn": ["uvicorn", "--http", "httptools", "--log-level", "warning", "benchmarks.http_site:asgi"],
}


def post(port: int, path: str, body: bytes, headers: dict[str, str], until: float, counts: list[int]) -> None:
    """Post over one connection until a time; add up how many answers came."""
    connection, count = http.client.HTTPConnection("127.0.0.1", port), 0
    while time.monotonic() < until:
        if ONCE in headers:
            headers = {**headers, ONCE: secrets.token_hex(8)}
        connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status in (200, 201), content
        count += 1
    connection.close()
    counts.append(count)


def rate(port: int, path: str, body: bytes, headers: dict[str, str], clients: int, seconds: float) -> float:
    """Return how many requests a second are answered."""
    counts: list[int] = []
    until = time.monotonic() + seconds
    threads = [Thread(target=post, args=(port, path, body, headers, until, counts)) for _ in range(clients)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return sum(counts) / seconds


def wait_for(port: int) -> None:
    """Wait until a server answers."""
    while True:
        with contextlib.suppress(ConnectionError):
            post(port, "/orders/", ROW, {}, time.monotonic() + 0.5, [])
            return
        time.sleep(0.1)


def measure(server: str, env: dict[str, str], key: str, options: Any) -> None:
    """Print the rates with one server."""
    port = processes.free_port()
    words = [*SERVERS[server], *(["--bind", f"127.0.0.1:{port}"] if server == "gunicorn" else ["--port", str(port)])]
    running = subprocess.Popen([sys.executable, "-m", *words], env=env)
    try:
        wait_for(port)
        named = {"Authorization": f"Bearer {key}"}
        for clients in map(int, options.clients.split(",")):
            ways = {
                "DRF view": ("/orders/", ROW, {}),
                "publish/": ("/livepush/publish/", EVENT, named),
                "with a key": ("/livepush/publish/", EVENT, {**named, ONCE: ""}),
            }
            found: dict[str, list[float]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, (path, body, headers) in ways.items():
                    found[way].append(rate(port, path, body, headers, clients, options.seconds))
            row = statistics.median(found["DRF view"])
            for way, rates in found.items():
                middle = statistics.median(rates)
                print(f"{server:9} {clients:2} clients  {way:10} {middle:7.0f}/s  {middle / row:.2f}", flush=True)
    finally:
        running.terminate()
        running.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--clients", default="1,8")
    options = parser.parse_args()
    with databases.running(("postgresql",)) as found, tempfile.TemporaryDirectory() as folder:
        os.environ[databases.ENV] = json.dumps(found)
        fresh = Databases(Path(folder))
        with fresh.fresh("postgresql") as database, processes.publisher(database) as elsewhere:
            key = elsewhere.do("key", groups=["order:*"])
            for server in SERVERS:
                measure(server, database.env, key, options)


if __name__ == "__main__":
    main()
