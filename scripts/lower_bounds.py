"""Run the matrix's tests with the oldest versions that ``pyproject.toml`` allows of what it names.

On the oldest Python with the oldest Django, and on the newest Python with the newest Django: who upgrades Django may
keep an old Channels.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from matrix import ROOT, TESTS, find

ENDS = (("3.11", "django>=5.2.13,<5.3"), ("3.13", "django>=6.1,<6.2"))
MORE = ("tests/test_hints.py", "tests/test_checks.py", "tests/test_testing.py", "tests/test_packaging.py")


def install(python: Path, version: str, django: str) -> Path:
    """Return a Python with livepush, its extras and its tests, each requirement at its lower bound."""
    venv = ROOT / ".cache" / f"venv-lowest-{version}"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", python, venv], check=True)
    ours = venv / "bin" / "python"
    lowest = ["--resolution", "lowest-direct", "--editable", f"{ROOT}[all]", "--group", "test", django]
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", ours, *lowest], check=True, cwd=ROOT)
    return ours


def main() -> int:
    """Run the tests at both ends; return the exit code."""
    failed = False
    for version, django in ENDS:
        python = find(version)
        if python is None:
            print(f"Python {version} is missing: install it (for example pyenv install {version}).")
            failed = True
            continue
        ours = install(python, version, django)
        print(f"Python {version}, {django}, everything else at its lower bound", flush=True)
        command = [ours, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", *TESTS, *MORE]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
