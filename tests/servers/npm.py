"""Clients from npm that tests use, installed once."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from tests.servers.fresh import ROOT


def installed(package: Path, name: str) -> Path:
    """Return the folder in which what a ``package.json`` names is installed, under a name of its own."""
    folder, wanted = ROOT / ".cache" / name, package.read_text()
    folder.mkdir(parents=True, exist_ok=True)
    done, own = folder / "done", folder / "package.json"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the tests' other workers may want it too
        if not done.exists() or own.read_text() != wanted:
            done.unlink(missing_ok=True)
            own.write_text(wanted)
            npm = shutil.which("npm")
            assert npm is not None, "npm is not installed: on Debian, apt-get install npm."
            subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True, timeout=300)
            done.touch()
    return folder
