"""Install what the tests need of the system, where that is possible; else say in one line what is missing.

``--whole``: for the long tests too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NEEDED = {
    "apache2": "apache2",
    "chromium": "chromium",
    "chromium-headless-shell": "chromium-headless-shell",
    "haproxy": "haproxy",
    "mariadbd": "mariadb-server",
    "mosquitto": "mosquitto",
    "msgfmt": "gettext",
    "nginx": "nginx-light",
    "pgbouncer": "pgbouncer",
    "promtool": "prometheus",
    "pushpin": "pushpin",
    "systemd-analyze": "systemd",
}
NEEDED_BY_LONG_TESTS = {
    "caddy": "caddy",
    "firefox-esr": "firefox-esr",
    "rabbitmq-server": "rabbitmq-server",
    "varnishd": "varnish",
}
POLICY = Path("/usr/sbin/policy-rc.d")
"""What Debian's packages ask before they start a service."""


def missing() -> list[str]:
    """Return the Debian packages whose programs are not there."""
    needed = NEEDED | NEEDED_BY_LONG_TESTS if "--whole" in sys.argv else NEEDED
    places = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    return [package for program, package in needed.items() if shutil.which(program, path=places) is None]


def install(packages: list[str]) -> None:
    """Install Debian packages; the tests start the servers in them themselves."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", *packages]):
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)


@contextmanager
def no_services() -> Iterator[None]:
    """Keep packages from starting their services, unless the machine has a policy of its own."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


packages = missing()
if packages and os.geteuid() == 0 and shutil.which("apt-get"):
    print(f"Installing {' and '.join(packages)} (once)…")
    install(packages)
    packages = missing()
if packages:
    sys.exit(f"The tests need {' and '.join(packages)}: on Debian, sudo apt-get install {' '.join(packages)}.")
