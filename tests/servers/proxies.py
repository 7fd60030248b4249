"""Apache, HAProxy, Varnish and Caddy with the manual's configurations, on free ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.patience import PATIENCE
from tests.servers.nginx import wait_for_port

MODULES = Path("/usr/lib/apache2/modules")
LOADED = ("mpm_event", "authz_core", "headers", "http2", "proxy", "proxy_http", "setenvif", "socache_shmcb", "ssl")


@contextlib.contextmanager
def apache(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run Apache with some directives in a folder."""
    modules = "\n".join(f"LoadModule {name}_module {MODULES}/mod_{name}.so" for name in LOADED)
    user = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
    conf = folder / "apache.conf"
    files = f'ServerRoot "{folder}"\nPidFile apache.pid\nErrorLog apache.log'
    conf.write_text(f"ServerName localhost\n{files}\n{modules}\n{user}\n{text}\n")
    with running(["apache2", "-f", str(conf), "-DFOREGROUND"], port, folder / "apache.out", folder / "apache.log"):
        yield


@contextlib.contextmanager
def haproxy(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run HAProxy with a configuration in a folder."""
    conf = folder / "haproxy.cfg"
    conf.write_text(text)
    with running(["haproxy", "-db", "-f", str(conf)], port, folder / "haproxy.out"):
        yield


@contextlib.contextmanager
def varnish(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run Varnish with a configuration in a folder."""
    conf = folder / "default.vcl"
    conf.write_text(text)
    where = ["-f", str(conf), "-a", f"127.0.0.1:{port}", "-n", str(folder / "varnish")]
    with running(["varnishd", "-F", *where, "-j", "none", "-s", "malloc,32m"], port, folder / "varnish.out"):
        yield


@contextlib.contextmanager
def caddy(folder: Path, text: str, port: int) -> Iterator[None]:
    """Run Caddy with a configuration in a folder."""
    conf = folder / "Caddyfile"
    conf.write_text(f"{{\n    admin off\n    auto_https off\n    storage file_system {folder}/caddy\n}}\n{text}")
    with running(["caddy", "run", "--adapter", "caddyfile", "--config", str(conf)], port, folder / "caddy.out"):
        yield


@contextlib.contextmanager
def running(command: list[str], port: int, *logs: Path) -> Iterator[None]:
    """Run a program of the system until the block ends; wait first until it listens."""
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin")
    assert program is not None, f"{command[0]} is not installed: on Debian, apt-get install {command[0]}"
    with logs[0].open("w") as printed:
        process = subprocess.Popen([program, *command[1:]], stdin=subprocess.DEVNULL, stdout=printed, stderr=printed)
    try:
        wait_for_port(port, process, lambda: "\n".join(log.read_text() for log in logs if log.exists()))
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE)
