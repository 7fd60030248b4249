"""Run the log, hub and consumers on each other Python and Django that livepush supports.

The Python that ``make`` uses runs the whole suite; these run what touches the event loop and the database.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MATRIX = (("3.11", "django>=5.2,<5.3"), ("3.12", "django>=6.1,<6.2"), ("3.13", "django>=6.1,<6.2"))
TESTS = (
    "tests/test_wire.py",
    "tests/test_log.py",
    "tests/test_publishing.py",
    "tests/test_hub.py",
    "tests/test_signals.py",
    "tests/test_views.py",
    "tests/test_templatetags.py",
    "tests/integration/test_errors.py",
    "tests/integration/test_servers.py",
)
ROOT = Path(__file__).resolve().parent.parent


def interpreters(version: str) -> Iterator[Path]:
    """Yield the places where a Python may be."""
    for folder in os.environ.get("PATH", "").split(":"):
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)


def find(version: str) -> Path | None:
    """Return a Python of this version that runs."""
    ask = "import sys; print('%d.%d' % sys.version_info[:2])"
    for path in interpreters(version):
        if path.exists():
            answer = subprocess.run([path, "-c", ask], capture_output=True, text=True, check=False)
            if answer.stdout.strip() == version:
                return path
    return None


def install(python: Path, version: str, django: str) -> Path:
    """Return a Python with livepush's tests and this Django installed."""
    venv = ROOT / ".cache" / f"venv-{version}"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--quiet", "--allow-existing", "--python", python, venv], check=True)
    ours = venv / "bin" / "python"
    wanted = ["--editable", f"{ROOT}[all]", "--group", "test", django]
    subprocess.run([*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", ours, *wanted], check=True, cwd=ROOT)
    return ours


def main() -> int:
    """Run the matrix; return the exit code."""
    failed = False
    for version, django in MATRIX:
        if version == "{}.{}".format(*sys.version_info):
            continue
        python = find(version)
        if python is None:
            print(f"Python {version} is missing: install it (for example pyenv install {version}).")
            failed = failed or "CI" in os.environ
            continue
        ours = install(python, version, django)
        print(f"Python {version} with {re.sub('[<>=,].*', '', django)} {django.partition('=')[2].partition(',')[0]}")
        command = [ours, "-m", "pytest", "-q", "-n", "3", "--dist", "loadfile", *TESTS]
        failed |= subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
