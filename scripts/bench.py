"""Install what the benchmarks need into an environment of its own, and run them; arguments go to ``benchmarks``."""

from __future__ import annotations

import shutil
import subprocess
import sys

from matrix import ROOT, find

PYTHONS = ("3.13", "3.12", "3.11")
VENV = ROOT / ".cache" / "venv-bench"
NODE = ROOT / "benchmarks" / "peers" / "node"


def install() -> None:
    """Make the environment, on the newest Python there is, and install the peers on Node."""
    missing = [name for name in ("cc", "node", "npm", "taskset") if shutil.which(name) is None]
    if missing:
        sys.exit(f"The benchmarks need {' and '.join(missing)}: on Debian, gcc, nodejs, npm and util-linux.")
    uv = [sys.executable, "-m", "uv"]
    python = next(found for found in map(find, PYTHONS) if found)
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", python, VENV], check=True)
    wanted = ["--editable", f"{ROOT}[all]", "--group", "bench"]
    python = VENV / "bin" / "python"
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, *wanted], check=True, cwd=ROOT)
    if not (NODE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=NODE, check=True)


if __name__ == "__main__":
    install()
    sys.exit(subprocess.run([VENV / "bin" / "python", "-m", "benchmarks", *sys.argv[1:]], cwd=ROOT).returncode)
