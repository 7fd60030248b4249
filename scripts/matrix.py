"""Run what hangs on Python and Django on other ones that livepush supports.

The Python that ``make`` uses runs the whole suite on three databases. The newest one, with the newest Django, runs what
touches the event loop, the ORM, and what Django's admin, templates and views do for us, on PostgreSQL. With
``--whole``, so does every other Python, more tests and the long ones run too, and all of it on SQLite as well.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

MATRIX = (("3.13", "django>=6.1,<6.2"), ("3.12", "django>=6.1,<6.2"), ("3.11", "django>=5.2,<5.3"))
TESTS = (
    "tests/integration/test_servers.py",  # every server, on this event loop
    "tests/integration/test_shortcut.py",  # the way round uvicorn's protocols
    "tests/inbox/test_admin.py",
    "tests/test_log.py",
    "tests/test_signals.py",
    "tests/test_threads.py",
    "tests/test_sockets.py",
    "tests/test_testing.py",
    "tests/test_views.py",
    "tests/test_admin.py",
    "tests/test_templatetags.py",
)
LONGER = (
    "tests/inbox/test_filing.py",
    "tests/inbox/test_views.py",
    "tests/test_hub.py",
    "tests/test_notify.py",
    "tests/test_publishing.py",
    "tests/test_receiving.py",
)
"""What runs too with ``--whole``."""
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
    subprocess.run([*uv, "pip", "install", "--quiet", "--python", ours, *wanted], check=True, cwd=ROOT)
    return ours


def main() -> int:
    """Run the matrix; return the exit code."""
    failed, whole = False, "--whole" in sys.argv
    others = [each for each in MATRIX if each[0] != "{}.{}".format(*sys.version_info)]
    for version, django in others if whole else others[:1]:
        python = find(version)
        if python is None:
            print(f"Python {version} is missing: install it (for example pyenv install {version}).")
            failed = failed or "CI" in os.environ
            continue
        ours = install(python, version, django)
        wanted = re.sub("[<>=,].*", "", django), django.partition("=")[2].partition(",")[0]
        print(f"Python {version} with {' '.join(wanted)}", flush=True)
        command = [ours, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *TESTS]
        command += LONGER if whole else ["-m", "not long"]
        environment = {**os.environ, "LIVEPUSH_TEST_ON": "postgresql,sqlite" if whole else "postgresql"}
        failed |= subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
