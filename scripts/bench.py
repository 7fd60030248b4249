"""Install what the benchmarks need into an environment of its own, and run them; arguments go to ``benchmarks``.

With ``rooms`` or ``paced`` as the first one, those after it go to ``benchmarks.rooms`` or ``benchmarks.paced``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from matrix import ROOT, find

PYTHONS = ("3.13", "3.12", "3.11")
VENV = ROOT / ".cache" / "venv-bench"
PACKAGES = {"cc": "gcc", "node": "nodejs", "npm": "npm", "taskset": "util-linux"}
"""Debian's package of each program."""
NODE = ROOT / "benchmarks" / "peers" / "node"


def newest_python() -> Path:
    """Return the newest Python there is, or the one that runs this if none is in the usual places."""
    return next((found for found in map(find, PYTHONS) if found), Path(sys.executable))


def require(*programs: str) -> None:
    """Exit with a sentence unless these programs are installed."""
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = " and ".join(dict.fromkeys(PACKAGES[name] for name in missing))
        sys.exit(f"The benchmarks need {' and '.join(missing)}: on Debian, {packages}.")


def environment() -> Path:
    """Make the environment, on the newest Python there is; return its Python."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", newest_python(), VENV], check=True)
    ours = VENV / "bin" / "python"
    wanted = ["--editable", f"{ROOT}[all]", "--group", "bench"]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", ours, *wanted], check=True, cwd=ROOT)
    return ours


def install() -> Path:
    """Make the environment, and install the peers on Node; return its Python."""
    require("cc", "node", "npm", "taskset")
    if not (NODE / "node_modules").exists():
        subprocess.run(["npm", "ci", "--silent", "--no-audit", "--no-fund"], cwd=NODE, check=True)
    return environment()


if __name__ == "__main__":
    module, arguments = "benchmarks", sys.argv[1:]
    if arguments[:1] in (["rooms"], ["paced"]):
        module, arguments = f"benchmarks.{arguments[0]}", arguments[1:]
    sys.exit(subprocess.run([install(), "-m", module, *arguments], cwd=ROOT).returncode)
