"""A real nginx with a test's own server blocks, on free ports."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.patience import PATIENCE

FOLDERS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextlib.contextmanager
def nginx(folder: Path, servers: str, ports: list[int]) -> Iterator[Path]:
    """Run nginx with some server blocks in a folder; yield its error log."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    assert program is not None, "nginx is not installed: on Debian, apt-get install nginx-light"
    temporary = "\n".join(f"{name}_temp_path {folder}/{name};" for name in FOLDERS)
    user = "user root;" if os.geteuid() == 0 else ""
    conf = folder / "nginx.conf"
    conf.write_text(
        f"{user} worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{ access_log off; types {{ application/javascript js; }} {temporary}\n{servers}\n}}\n"
    )
    with (folder / "stderr").open("w") as printed:
        process = subprocess.Popen(
            [program, "-p", str(folder), "-c", str(conf), "-g", "daemon off;"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=printed,
        )
    try:
        for port in ports:
            wait_for_port(port, process, (folder / "stderr").read_text)
        yield folder / "error.log"
    finally:
        process.terminate()
        process.wait(PATIENCE)


def wait_for_port(port: int, process: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
    """Wait until a process listens; ``said`` tells what it printed."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 5).close()
            return
        except OSError:
            assert process.poll() is None, said()
            assert time.monotonic() < end, f"nothing listens: {said()}"
            time.sleep(0.02)
