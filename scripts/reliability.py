"""Run every scenario of ``docs/reliability.md`` at full size and print what each counted.

Arguments go to pytest, e.g. ``-k storm``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

FILES = [
    *sorted(map(str, Path("tests/integration").glob("test_faults_*.py"))),
    *sorted(map(str, Path("tests/bridges").glob("test_*relays.py"))),
    "tests/test_stateful.py",
]
SOAK = {"LIVEPUSH_SOAK_SECONDS": "600", "LIVEPUSH_SOAK_CLIENTS": "1000"}

with tempfile.TemporaryDirectory() as folder:
    figures = Path(folder, "figures")
    figures.touch()
    environment = {**SOAK, **os.environ, "LIVEPUSH_TEST_SCALE": "full", "LIVEPUSH_TEST_FIGURES": str(figures)}
    command = [sys.executable, "-m", "pytest", "-q", *FILES, "tests/integration/test_soak.py", *sys.argv[1:]]
    done = subprocess.run(command, env=environment)
    for line in figures.read_text().splitlines():
        found = json.loads(line)
        print(f"\n{found.pop('test')}")
        for name, value in found.items():
            print(f"    {name}: {value}")
sys.exit(done.returncode)
