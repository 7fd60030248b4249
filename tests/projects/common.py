"""What the scenes of each project share. It runs in the project's own environment: Django and the standard library."""

from __future__ import annotations

import contextlib
import http.client
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any
from urllib.parse import urlencode

PATIENCE = float(os.environ.get("LIVEPUSH_TEST_PATIENCE", "100"))


class Server:
    """The project's site under uvicorn."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--port", str(self.port), "--log-level", "warning", "asgi:application"]
        )

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
        """Send a request; a body goes as JSON."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def wait(self) -> None:
        """Wait until it answers."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(OSError):
                self.ask("GET", "/livepush/poll/")
                return
            time.sleep(0.05)
        raise AssertionError("the server does not answer")

    @contextlib.contextmanager
    def stream(self, *groups: str, **headers: str) -> Iterator[Callable[[], tuple[str, Any]]]:
        """Open a stream; yield what returns the next event as its type and data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request("GET", f"/livepush/sse/?{urlencode([('group', each) for each in groups])}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        found: Queue[tuple[str, Any]] = Queue()

        def read() -> None:
            kind = "message"
            with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
                while line := answer.readline():
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "event":
                        kind = value
                    elif name == "data":
                        found.put((kind, json.loads(value)))
                        kind = "message"

        threading.Thread(target=read, daemon=True).start()
        try:
            kind, hello = found.get(timeout=PATIENCE)
            assert (kind, hello["groups"]) == ("livepush.hello", list(groups)), hello
            yield lambda: next_event(found)
        finally:
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()


def next_event(found: Queue[tuple[str, Any]]) -> tuple[str, Any]:
    while True:
        kind, data = found.get(timeout=PATIENCE)
        if not kind.startswith("livepush."):
            return kind, data


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    """Run the site."""
    server = Server()
    try:
        server.wait()
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) in (0, -signal.SIGTERM)
    finally:
        server.process.kill()
        server.process.wait()


def log_in(user: Any) -> dict[str, str]:
    """Return the headers of a user who is logged in."""
    from django.conf import settings
    from django.test import Client

    client = Client()
    client.force_login(user, settings.AUTHENTICATION_BACKENDS[0])
    return {"Cookie": f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"}


if __name__ == "__main__":
    import django

    django.setup()
    try:
        getattr(importlib.import_module("scenes"), sys.argv[1])()
    except Exception:
        traceback.print_exc()
        sys.exit(1)
