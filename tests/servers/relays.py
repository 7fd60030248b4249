"""The command that relays, in a process of its own."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.patience import PATIENCE
from tests.servers import processes
from tests.servers.fresh import ROOT, Database


@contextlib.contextmanager
def relaying(
    database: Database,
    relays: Mapping[str, Mapping[str, Any]],
    *,
    die: Sequence[str] = (),
    may_fail: bool = False,
    more: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run some relays until the block ends. The process logs no traceback, unless it ``may_fail``.

    ``more`` are further arguments of the command, and ``settings`` further settings of livepush's.

    ``die`` names the step at which it kills itself, as ``tests.servers.dying_relay`` takes it.
    """
    env = processes.settings_env(database, {"RELAYS": relays, **(settings or {})})
    words = (
        ["tests.servers.dying_relay", *die, *relays] if die else ["django", "livepush_relay", *relays, *more, "-v", "2"]
    )
    process = subprocess.Popen(
        [sys.executable, "-m", *words], env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=PATIENCE)[1]
        print(told, file=sys.stderr)  # pytest shows it if the test fails
        assert may_fail or "Traceback" not in told, told
