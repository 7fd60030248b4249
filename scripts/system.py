"""Install what the tests need of the system, where that is possible; else say in one line what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

NEEDED = {"chromium": "chromium", "mariadbd": "mariadb-server"}


def missing() -> list[str]:
    """Return the Debian packages whose programs are not there."""
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    return [package for program, package in NEEDED.items() if shutil.which(program, path=places) is None]


def install(packages: list[str]) -> None:
    """Install Debian packages."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]):
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


packages = missing()
if packages and os.geteuid() == 0 and shutil.which("apt-get"):
    print(f"Installing {' and '.join(packages)} (once)…")
    install(packages)
    packages = missing()
if packages:
    sys.exit(f"The tests need {' and '.join(packages)}: on Debian, sudo apt-get install {' '.join(packages)}.")
