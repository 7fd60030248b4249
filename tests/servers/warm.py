"""Starts ``python -m MODULE`` in a sixth of the time: by forking a process that has imported Django and the servers.

A test run starts some three hundred processes, and most of what each takes to start goes into imports. What is imported
beforehand is not livepush's, reads no settings and opens nothing. Benchmarks start each process from nothing instead,
and so does ``make test-all``.

One such helper serves each process of the test run. A request is the words and the environment as JSON, with the
descriptors that become 0, 1, 2, and one to which the exit status is written; the answer is the process id.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).resolve().parents[2]
COLD = "LIVEPUSH_TEST_COLD"
LIMIT = 1 << 18
"""Bytes of a request at most."""
WITHOUT_SETTINGS = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
IMPORTED = (
    "channels_redis.core", "django.contrib.admin.apps", "django.contrib.admin.views.main", "django.contrib.auth.apps",
    "django.contrib.auth.hashers", "django.contrib.sessions.middleware", "django.contrib.sites.shortcuts",
    "django.contrib.staticfiles.apps", "django.core.asgi", "django.db.backends.postgresql.base",
    "django.db.backends.sqlite3.base", "django.middleware.common", "hypercorn.asyncio", "psycopg_pool",
    "uvicorn.lifespan.on", "uvicorn.loops.auto", "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_impl",
)  # fmt: skip


class Process:
    """A process that was forked; what it has of ``subprocess.Popen``'s names means the same."""

    def __init__(
        self, args: Sequence[str], env: Mapping[str, str], stdin: Any, stdout: Any, stderr: Any, session: bool
    ) -> None:
        self.args = list(args)
        self.returncode: int | None = None
        self.stdin: IO[str] | None = None
        self.stdout: IO[str] | None = None
        with contextlib.ExitStack() as ours:
            given = [self._descriptor(number, where, ours) for number, where in enumerate((stdin, stdout, stderr))]
            self._status, status = os.pipe()
            ours.callback(os.close, status)
            assert _helper is not None
            request = {"args": self.args, "env": dict(env), "session": session}
            self.pid = _helper.start(request, [*given, status])

    def poll(self) -> int | None:
        """Return the exit code, or ``None`` while the process lives."""
        if self.returncode is None and self._has_ended(0):
            self._take()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raises ``subprocess.TimeoutExpired``."""
        if self.returncode is None:
            if not self._has_ended(timeout):
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self._take()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *raised: Any) -> None:
        for stream in (self.stdin, self.stdout):
            if stream is not None:
                stream.close()
        self.wait()

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _has_ended(self, timeout: float | None) -> bool:
        waiting = select.poll()  # select.select refuses descriptors over 1,023
        waiting.register(self._status, select.POLLIN)
        return bool(waiting.poll(None if timeout is None else 1000 * timeout))

    def _take(self) -> None:
        said = os.read(self._status, 20)
        os.close(self._status)
        assert said, "the process that forks others has ended"
        self.returncode = int(said)

    def _descriptor(self, number: int, where: Any, ours: contextlib.ExitStack) -> int:
        """Return what becomes the process's standard input, output or error."""
        if where is None:
            return number
        if where == subprocess.DEVNULL:
            nowhere = os.open(os.devnull, os.O_RDWR)
            ours.callback(os.close, nowhere)
            return nowhere
        if where != subprocess.PIPE:
            return int(where.fileno())
        read, write = os.pipe()
        ours.callback(os.close, write if number else read)
        if number:
            self.stdout = open(read)  # noqa: SIM115
            return write
        self.stdin = open(write, "w")  # noqa: SIM115
        return read


Started = Process | subprocess.Popen[str]


def start(
    module: str,
    *arguments: str,
    env: Mapping[str, str],
    stdin: Any = None,
    stdout: Any = None,
    stderr: Any = None,
    session: bool = False,
) -> Started:
    """Run a module as ``python -m`` does, from the project's folder; with ``session``, as the leader of one."""
    if _helper is None:
        return start_cold(module, *arguments, env=env, stdin=stdin, stdout=stdout, stderr=stderr, session=session)
    return Process([module, *arguments], env, stdin, stdout, stderr, session)


def start_cold(*words: str, env: Mapping[str, str], session: bool = False, **streams: Any) -> subprocess.Popen[str]:
    """Run a module as ``start`` does, from nothing."""
    words = (sys.executable, "-m", *words)
    return subprocess.Popen(words, env=env, cwd=ROOT, text=True, start_new_session=session, **streams)


_helper: Helper | None = None


@contextlib.contextmanager
def helper() -> Iterator[None]:
    """Have ``start`` fork what it starts, for as long as the block lasts, unless the environment says COLD."""
    global _helper
    if COLD in os.environ:
        yield
        return
    _helper = Helper()
    try:
        yield
    finally:
        _helper.close()
        _helper = None


class Helper:
    """The process that forks others, as the test run sees it."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        with theirs:
            words = [sys.executable, "-u", "-W", "ignore", "-m", __name__, str(theirs.fileno())]
            self._process = subprocess.Popen(words, cwd=ROOT, env=WITHOUT_SETTINGS, pass_fds=[theirs.fileno()])

    def start(self, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        """Have a process started; return its id."""
        with self._lock:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(20)
        assert answer, "the process that forks others has ended"
        return int(answer)

    def close(self) -> None:
        self._socket.close()
        self._process.wait()


def serve(requests: socket.socket) -> dict[str, Any] | None:
    """Fork a process for each request until nobody asks any more.

    Returns twice, so to speak: in a new process what it is to run, and at the end ``None``.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is not None:
                    selector.unregister(key.fd)
                    ended(key.fd, *key.data)
                    continue
                message, descriptors, *_ = socket.recv_fds(requests, LIMIT, 4)
                if not message:
                    return None
                pid = os.fork()
                if pid == 0:
                    become(descriptors)
                    return json.loads(message)  # type: ignore[no-any-return]
                for descriptor in descriptors[:3]:
                    os.close(descriptor)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, descriptors[3]))
                requests.send(str(pid).encode())


def become(descriptors: Sequence[int]) -> None:
    """Take standard input, output and error, and keep nothing else open."""
    for number, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, number)
    os.closerange(3, 4096)


def ended(pidfd: int, pid: int, status: int) -> None:
    """Say how a process ended to the one that had it started, who may have ended too."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(status, str(code).encode())
    os.close(status)
    os.close(pidfd)


def main() -> None:
    for name in IMPORTED:
        import_module(name)
    gc.collect()
    gc.freeze()
    request = serve(socket.socket(fileno=int(sys.argv[1])))
    if request is None:
        return
    if request["session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(request["env"])
    sys.path[1:1] = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.argv = request["args"]
    runpy.run_module(request["args"][0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
