"""livepush needs nothing that Python lacks on Windows."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from livepush.management.commands import livepush_relay
from tests.patience import PATIENCE

ROOT = Path(__file__).parent.parent
UNITS = ("wire", "hub", "flow", "routes", "groups", "threads", "log", "publishing", "signals", "views", "templatetags",
         "testing", "commands", "admin")  # fmt: skip


def run(*words):
    """Run a Python with the tests' settings on SQLite, without what Windows lacks."""
    left_out = ("LIVEPUSH_TEST_DATABASES", "PYTEST_XDIST_WORKER")
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    env |= {"DJANGO_SETTINGS_MODULE": "tests.settings", "PYTHONPATH": str(ROOT), "LIVEPUSH_TEST_ON": "sqlite"}
    return subprocess.run([sys.executable, *words], cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.long
def test_every_module_is_imported_without_what_windows_lacks():
    found = run("-m", "tests.windows", "import")
    assert found.returncode == 0, found.stderr


async def test_a_relay_hears_of_its_end_where_event_loops_take_no_signals(monkeypatch):
    loop, heard = asyncio.get_running_loop(), asyncio.Event()
    monkeypatch.setattr(loop, "add_signal_handler", asyncio.AbstractEventLoop().add_signal_handler)
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        livepush_relay.at_the_end(heard.set)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(heard.wait(), PATIENCE)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


@pytest.mark.long
def test_the_unit_tests_pass_without_what_windows_lacks():
    files = [f"tests/test_{name}.py" for name in UNITS]
    found = run("-m", "pytest", "-q", "-p", "tests.windows", "-p", "no:cacheprovider", *files)
    assert found.returncode == pytest.ExitCode.OK, found.stdout[-3000:]
