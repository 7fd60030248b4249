from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers.fresh import ROOT

CACHE = ROOT / ".cache" / "projects"


@pytest.fixture(scope="session")
def python_with() -> Callable[..., Path]:
    """Return a function that makes an environment with livepush and further packages, once, and returns its Python."""

    def make(name: str, *packages: str) -> Path:
        folder = CACHE / name
        done, wanted = folder / "installed", "\n".join([str(ROOT), *packages])
        if not done.exists() or done.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            uv = [sys.executable, "-m", "uv"]
            subprocess.run([*uv, "venv", "--quiet", "--python", sys.executable, folder], check=True)
            install = [*uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python"]
            subprocess.run([*install, "--editable", str(ROOT), *packages], check=True)
            done.write_text(wanted)
        return folder / "bin" / "python"

    return make
