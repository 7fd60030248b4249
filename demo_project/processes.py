"""The demo's processes: a server, a worker and, if a visitor asks for it, a second server. A killed one is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

PROJECT = Path(__file__).resolve().parent.parent
LOOK = 0.2
PATIENCE = 5


def free(host: str, port: int) -> bool:
    """Return whether a port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def follow(parent: int) -> None:
    """End this process soon after its parent, whose number is given: also where the parent was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class Processes:
    """Starts the processes, each in a group of its own: Ctrl-C is for this process, which ends them."""

    def __init__(self, host: str, port: int, second_port: int) -> None:
        following = ["--follow-parent", str(os.getpid())]
        self._commands = {
            "server": ["serve", f"{host}:{port}", *following],
            "worker": ["simulate", *following],
        }
        self._second = ["serve", f"{host}:{second_port}", *following]
        self._environment = {**os.environ, "DEMO_SECOND_PORT": str(second_port)}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._asked_for_second = threading.Event()

    def __enter__(self) -> Processes:
        signal.signal(signal.SIGUSR1, lambda number, frame: self._asked_for_second.set())
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        self._start_missing()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for process in self._running.values():
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    @property
    def server_ended(self) -> bool:
        """Whether the server has ended, and was not started again."""
        return self._running["server"].poll() is not None

    def watch(self) -> None:
        """Replace what ends, and start the second server once it is asked for; return never."""
        pause = threading.Event()
        while not pause.wait(LOOK):
            if self._asked_for_second.is_set():
                self._commands["second"] = self._second
            self._start_missing()

    def _start_missing(self) -> None:
        for name, command in self._commands.items():
            process = self._running.get(name)
            if process is None or process.poll() is not None:
                self._running[name] = self._start(command)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 (our own words)
            [sys.executable, "manage.py", *command], cwd=PROJECT, env=self._environment, process_group=0
        )
