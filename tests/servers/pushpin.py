"""A real Pushpin in front of a site, on free ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from configparser import ConfigParser
from pathlib import Path
from typing import Any

from tests.docs_blocks import ROOT, blocks
from tests.patience import PATIENCE, wait_until
from tests.servers.nginx import wait_for_port
from tests.servers.processes import free_port

KEY = "a-key-of-the-tests-with-32-bytes-or-more"
BY_MANUALS_KEY = "the-same-secret-as-the-sig_key-of-Pushpin"
DEBIANS = Path("/usr/share/pushpin/pushpin.conf.condure")
"""What Debian's package has as ``/etc/pushpin/pushpin.conf`` at first."""
BY_MANUAL, ROUTES = (block.text for block in blocks(ROOT / "docs" / "grip.md") if block.language in ("conf", "routes"))
ZURL = {
    "zurl_out_specs": "ipc://{rundir}/{ipc_prefix}zurl-in",
    "zurl_out_stream_specs": "ipc://{rundir}/{ipc_prefix}zurl-in-stream",
    "zurl_in_specs": "ipc://{rundir}/{ipc_prefix}zurl-out",
}
"""A zurl of its own, which Debian runs as a service."""


class Pushpin:
    """A Pushpin, which can be killed and started again."""

    def __init__(self, origin_port: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="pushpin"))
        self._origin = origin_port
        self.port, self.control = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.control_uri = f"http://127.0.0.1:{self.control}"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What the site's ``LIVEPUSH["GRIP"]`` is to be."""
        return {"CONTROL_URI": self.control_uri, "KEY": KEY, "SUBSCRIPTIONS": 103}

    def start(self) -> None:
        """Start, and return when it listens."""
        assert shutil.which("pushpin"), "Pushpin is not installed: on Debian, apt-get install pushpin"
        with (self._folder / "pushpin.conf").open("w") as file:
            self._configuration().write(file)
        routes = ROUTES.replace("127.0.0.1:8000", f"127.0.0.1:{self._origin}").replace(BY_MANUALS_KEY, KEY)
        (self._folder / "routes").write_text(routes)
        with (self._folder / "printed").open("ab") as printed:
            self._process = subprocess.Popen(
                ["pushpin", f"--config={self._folder}/pushpin.conf"],
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=printed,
                start_new_session=True,
            )
        for port in (self.control, self.port):
            wait_for_port(port, self._process, self.log)

    def _configuration(self) -> ConfigParser:
        """Return Debian's configuration with what the manual changes, and with ports, folders and a key of its own."""
        found = ConfigParser(interpolation=None, delimiters=("=",))
        found.read(DEBIANS)
        found.read_string(BY_MANUAL)
        places = {"rundir": str(self._folder), "ipc_prefix": f"{self._folder.name}-"}
        services = "condure,zurl,pushpin-proxy,pushpin-handler"
        runner = {"services": services, "http_port": str(self.port), "logdir": str(self._folder), "log_level": "3"}
        pull, sub, command = (f"tcp://127.0.0.1:{free_port()}" for _ in range(3))
        handler = {"push_in_spec": pull, "push_in_sub_specs": sub, "command_spec": command}
        found["global"].update(places)
        found["runner"].update(runner)
        found["proxy"].update({**ZURL, "sig_key": KEY})
        found["handler"].update({**handler, "push_in_http_port": str(self.control)})
        return found

    def kill(self) -> None:
        """End it with all its processes at once."""
        if self._process is not None:
            for pid in (self._process.pid, *_children(self._process.pid)):
                os.kill(pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None
            wait_until(lambda: not any(map(_is_taken, (self.port, self.control))))

    def stop(self) -> None:
        """End it, and forget its files."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return what it has written."""
        return "\n".join(file.read_text(errors="replace") for file in sorted(self._folder.glob("*log"))) + (
            self._folder / "printed"
        ).read_text(errors="replace")


def _children(pid: int) -> list[int]:
    """Return the processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _is_taken(port: int) -> bool:
    """Return whether anything still listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
