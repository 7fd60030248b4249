"""Drives the load, ``load.c``: clients that count what they are sent."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILT = HERE.parent / ".cache" / "bench"
Counts = dict[str, Any]


def build(name: str) -> Path:
    """Compile a C program of the benchmarks; return where it is."""
    source, program = HERE / f"{name}.c", BUILT / Path(name).name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        BUILT.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-Wall", "-Wextra", "-o", program, source], check=True)
    return program


class Load:
    """The process, as a measurement sees it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._input, self._output = process.stdin, process.stdout
        self._lines: deque[bytes] = deque()
        self._rest = b""

    def say(self, line: str) -> None:
        """Give a command."""
        self._input.write(f"{line}\n".encode())

    def hear(self) -> Counts:
        """Return the next answer."""
        while not self._lines:
            more = os.read(self._output.fileno(), 65_536)
            assert more, "the load has ended"
            *lines, self._rest = (self._rest + more).split(b"\n")
            self._lines += lines
        found: Counts = json.loads(self._lines.popleft())
        return found

    def has_answer(self, seconds: float) -> bool:
        """Wait for an answer; return whether there is one."""
        return bool(self._lines or select.select([self._output], [], [], seconds)[0])

    def answer(self, line: str) -> Counts:
        """Give a command; return its answer."""
        self.say(line)
        return self.hear()

    def open(self, request: str, count: int, at_once: int = 64) -> Counts:
        """Open clients; return how many were ``opened`` and ``failed`` so far, and in how many ``seconds``."""
        self.say(f"request {request.encode().hex()}")
        return self.answer(f"open {count} {at_once}")

    def until(self, deliveries: int, seconds: float) -> Counts:
        """Wait for so many deliveries since ``clear``; return the counts."""
        found = self.answer(f"until {deliveries} {round(seconds * 1000)}")
        while "all" in found:  # what a loop that was given up still said
            found = self.hear()
        return found


@contextlib.contextmanager
def load(port: int, mode: str, ready: str, core: int) -> Iterator[Load]:
    """Run the load on one core."""
    command = ["taskset", "-c", str(core), build("load"), str(port), mode, ready]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as process:
        try:
            yield Load(process)
        finally:
            process.kill()
