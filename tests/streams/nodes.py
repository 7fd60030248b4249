"""The clients from npm that the tests read streams with, installed once."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers.fresh import ROOT

HERE = Path(__file__).parent / "node_clients"
CACHE = ROOT / ".cache" / "stream-clients"


@pytest.fixture(scope="session")
def node_clients() -> Path:
    """The folder with the clients from npm, installed once."""
    CACHE.mkdir(parents=True, exist_ok=True)
    wanted = (HERE / "package.json").read_text()
    installed = CACHE / "package.json"
    if not (CACHE / "done").exists() or installed.read_text() != wanted:
        (CACHE / "done").unlink(missing_ok=True)
        installed.write_text(wanted)
        npm = shutil.which("npm")
        assert npm is not None, "npm is not installed: on Debian, apt-get install npm."
        subprocess.run([npm, "install", "--no-audit", "--no-fund", "--silent"], cwd=CACHE, check=True, timeout=300)
        (CACHE / "done").touch()
    return CACHE
