"""The inbox's peer: django-notifications, in its maintained fork, in a folder of its own beside this environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WANTED = "django-notifications-community==1.12.3"
FOLDER = Path(__file__).resolve().parents[3] / ".cache" / "bench" / "notifications"


def install() -> None:
    """Install the peer where there is none yet, and have this process find it."""
    if not (FOLDER / "notifications").exists():
        where = ["--quiet", "--no-deps", "--target", str(FOLDER)]
        subprocess.run([sys.executable, "-m", "uv", "pip", "install", *where, WANTED], check=True)
    sys.path.append(str(FOLDER))
