"""A process that sends steadily, and times each send: ``python -m tests.servers.steady PLAN``.

It says when it is ready, and answers each line of its input with a line of figures about the sends since the line
before. It ends after ``end``.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import django

if __name__ == "__main__":
    django.setup()

from tests.servers.fresh import ROOT, Database


class Steady:
    """The process, as a test sees it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def figures(self, last: bool = False) -> dict[str, Any]:
        """Return what was sent since the last call: ``sends``, ``errors``, and in ms ``p50``, ``p99`` and ``most``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("end\n" if last else "figures\n")
        self._process.stdin.flush()
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found


@contextlib.contextmanager
def steady(database: Database, groups: list[str], rate: float, **env: str) -> Iterator[Steady]:
    """Run a process that sends so many events a second to one of some groups by turns, each fifth one ephemeral.

    The data of a durable event is ``{"t": time.time()}``, of an ephemeral one ``{"e": number}``.
    """
    from tests.servers.processes import settings_env

    with subprocess.Popen(
        [sys.executable, "-m", "tests.servers.steady", json.dumps({"groups": groups, "rate": rate})],
        env=settings_env(database, None, **env),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield Steady(process)
        finally:
            process.kill()


class Sending:
    """What the process does."""

    def __init__(self, groups: list[str], rate: float) -> None:
        self.groups = groups
        self.pause = 1 / rate
        self.times: list[float] = []
        self.errors: list[str] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.ended.wait(self.pause):
            number += 1
            began = time.perf_counter()
            try:
                self.send(number)
            except Exception as error:
                with self.lock:
                    self.errors.append(repr(error))
            with self.lock:
                self.times.append(time.perf_counter() - began)

    def send(self, number: int) -> None:
        import livepush

        group = self.groups[number % len(self.groups)]
        if number % 5 == 0:
            livepush.send(group, "typing", {"e": number}, ephemeral=True)
        else:
            livepush.send(group, "moved", {"t": time.time()})

    def figures(self) -> dict[str, Any]:
        with self.lock:
            times, self.times = sorted(self.times), []
            errors, self.errors = self.errors, []
        shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
        found = {
            name: round(1000 * times[min(len(times) - 1, int(len(times) * share))], 1) for name, share in shares.items()
        }
        return {"sends": len(times), "errors": errors, **found}


if __name__ == "__main__":
    sending = Sending(**json.loads(sys.argv[1]))
    sending.send(1)  # what the first send alone pays for is no part of the figures
    thread = threading.Thread(target=sending.run)
    thread.start()
    print("ready", flush=True)
    for line in sys.stdin:
        if line == "end\n":
            sending.ended.set()
            thread.join()
        print(json.dumps(sending.figures()), flush=True)
        if sending.ended.is_set():
            break
