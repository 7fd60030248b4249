"""Install what the benchmarks need into an environment of its own, and run them; arguments go to ``benchmarks``."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from matrix import ROOT, find

PYTHONS = ("3.13", "3.12", "3.11")
VENV = ROOT / ".cache" / "venv-bench"
NODE = ROOT / "benchmarks" / "peers" / "node"


def environment() -> Path:
    """Make the environment, on the newest Python there is; return its Python."""
    uv = [sys.executable, "-m", "uv"]
    python = next(found for found in map(find, PYTHONS) if found)
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", python, VENV], check=True)
    ours = VENV / "bin" / "python"
    wanted = ["--editable", f"{ROOT}[all]", "--group", "bench"]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", ours, *wanted], check=True, cwd=ROOT)
    return ours


def install() -> Path:
    """Make the environment, and install the peers on Node; return its Python."""
    missing = [name for name in ("cc", "node", "npm", "taskset") if shutil.which(name) is None]
    if missing:
        sys.exit(f"The benchmarks need {' and '.join(missing)}: on Debian, gcc, nodejs, npm and util-linux.")
    if not (NODE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=NODE, check=True)
    return environment()


if __name__ == "__main__":
    sys.exit(subprocess.run([install(), "-m", "benchmarks", *sys.argv[1:]], cwd=ROOT).returncode)
