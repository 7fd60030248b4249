"""Run the tests of every layer that the manual names, in an environment that has them all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
TESTS = ("tests/integration/test_layers.py",)


def main() -> int:
    """Install livepush with its tests and all layers, run the tests, and return the exit code."""
    venv = ROOT / ".cache" / "venv-layers"
    ours = venv / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, venv], check=True)
    wanted = ["--editable", f"{ROOT}[all]", "--group", "test", "--group", "layers"]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", ours, *wanted], check=True, cwd=ROOT)
    env = {**os.environ, "LIVEPUSH_TEST_LAYERS": "all"}
    return subprocess.run([ours, "-m", "pytest", "-q", "-n", "2", *TESTS], cwd=ROOT, env=env, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
