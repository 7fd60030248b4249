"""Run every scenario of ``docs/reliability.md`` at full size and print what each counted.

Each has a line as it ends, so that a failure is seen at once. Most scenarios spend their time waiting for something to
fail or to come back, so three of them run at once. Those that measure how long a client waits run afterwards, one at a
time. Arguments go to pytest, e.g. ``-k storm``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ALONE = ["tests/integration/test_faults_floods.py", "tests/integration/test_faults_rights.py"]
"""The files whose scenarios measure waits."""
TOGETHER = [
    *sorted({*map(str, Path("tests/integration").glob("test_faults_*.py"))} - {*ALONE}),
    *sorted(map(str, Path("tests/bridges").glob("test_*relays.py"))),
    *(
        f"tests/bridges/test_{name}.py"
        for name in ("publishing_site", "grip", "grip_websocket", "pusher_webhooks_audit")
    ),
    "tests/test_stateful.py",
    "tests/integration/test_soak.py",
]
SOAK = {"LIVEPUSH_SOAK_SECONDS": "600", "LIVEPUSH_SOAK_CLIENTS": "1000"}
LONGEST = 3600
"""How long (seconds) a scenario may take, on a slow machine too."""
PASSED, FOUND_NONE = 0, 5
"""Exit codes of pytest."""


def run(files: list[str], workers: int, figures: Path) -> int:
    """Run the scenarios of some files in this many processes; return pytest's exit code."""
    environment = {**SOAK, **os.environ, "LIVEPUSH_TEST_SCALE": "full", "LIVEPUSH_TEST_FIGURES": str(figures)}
    command = [sys.executable, "-m", "pytest", "-v", "--durations=0", "--durations-min=30", "-n", str(workers)]
    command += [f"--timeout={LONGEST}"]
    return subprocess.run([*command, "--dist", "worksteal", *files, *sys.argv[1:]], env=environment).returncode


with tempfile.TemporaryDirectory() as folder:
    figures = Path(folder, "figures")
    figures.touch()
    codes = {run(TOGETHER, workers=3, figures=figures), run(ALONE, workers=0, figures=figures)}
    for line in figures.read_text().splitlines():
        found = json.loads(line)
        print(f"\n{found.pop('test')}")
        for name, value in found.items():
            print(f"    {name}: {value}")
sys.exit(codes == {FOUND_NONE} or bool(codes - {PASSED, FOUND_NONE}))
