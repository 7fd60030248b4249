"""The steps of docs/deploying.md make a live site: real PostgreSQL, Valkey, uvicorn and nginx, from an empty folder."""

from __future__ import annotations

import os
import re
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.docs_blocks import ROOT, Block, apply_diff, blocks, section
from tests.integration.test_doctor import certificate
from tests.patience import PATIENCE, wait_until
from tests.servers import processes
from tests.servers.fresh import Database, Databases, options_of
from tests.servers.nginx import nginx
from tests.servers.processes import free_port

__all__ = ["certificate"]
pytestmark = pytest.mark.long
PAGE = ROOT / "docs" / "deploying.md"
AS_ROOT = ("apt-get", "useradd", "chmod", "sudo", "systemctl", "nginx")
"""What the fixtures do here: a machine that runs tests keeps its own services and users."""


def steps() -> list[Block]:
    """Return the blocks of the steps."""
    first, last = section(PAGE, "## From a blank server")
    return [block for block in blocks(PAGE) if first <= block.line <= last]


def shown(language: str) -> list[str]:
    """Return the blocks in a language of the page."""
    return [block.text for block in blocks(PAGE) if block.language == language]


class Server:
    """The new server: a folder in the place of ``/srv/mysite``, and other ports than a server's own."""

    def __init__(self, folder: Path, database: Database, redis: str, env: dict[str, str]) -> None:
        self.folder, self.env = folder, env
        self.port, self.plain_port, self.secure_port = free_port(), free_port(), free_port()
        options = options_of(database.kind)
        self.places = {
            "/srv/mysite": str(folder),
            "https://example.com/": f"https://127.0.0.1:{self.secure_port}/",
            '"example.com"': '"127.0.0.1"',
            "what the command has printed, which only this server knows": secrets.token_urlsafe(50),
            "redis://127.0.0.1:6379/0": redis,
            '"NAME": "mysite", "USER": "mysite"': f'"NAME": "{database.name}", "USER": "{options["USER"]}", '
            f'"HOST": "{options["HOST"]}"',
        }
        self.took: dict[str, float] = {}

    def here(self, text: str) -> str:
        for before, after in self.places.items():
            text = text.replace(before, after)
        return text

    def follow(self, block: Block) -> str:
        """Do what a block says; return what the commands printed."""
        if block.language == "bash":
            return "".join(self.type(line) for line in block.text.splitlines() if line.split()[0] not in AS_ROOT)
        path = self.folder / block.file
        if block.language == "diff":
            path.write_text(apply_diff(block.text, path.read_text())[0])
        else:
            before = path.read_text() if path.exists() else ""
            path.write_text(before + self.here(block.text))
        return ""

    def type(self, line: str) -> str:
        """Type a command as the user; pip takes this checkout in place of the index's livepush."""
        words = shlex.split(self.here(line))
        words[0] = sys.executable if words[0] == "python3" else words[0]
        if words[0].endswith("pip"):
            words = [word.replace("django-livepush", str(ROOT)) for word in words]
        began = time.monotonic()
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        self.took[line] = time.monotonic() - began
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def unit(self) -> list[str]:
        """Return the command of the unit that the page shows."""
        found = ConfigParser(interpolation=None)
        found.read_string(shown("ini")[0])
        return shlex.split(self.here(found["Service"]["ExecStart"]).replace("8000", str(self.port)))

    def proxy(self, certificate: str) -> str:
        """Return the two configurations of nginx that the page shows."""
        secure, plain, *_ = shown("nginx")
        text = self.here(f"{secure}{plain}").replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        text = text.replace("listen 80;", f"listen 127.0.0.1:{self.plain_port};")
        text = re.sub(r"ssl_certificate(_key)? /etc/.*;", "", text)
        return text.replace("listen 443 ssl http2;", f"listen 127.0.0.1:{self.secure_port} ssl http2; {certificate}")


@pytest.fixture
def server(databases: Databases, tmp_path: Path) -> Iterator[Server]:
    hidden = ("LIVEPUSH", "PYTEST", "DJANGO", "PYTHONPATH", "VIRTUAL_ENV")
    folder = tmp_path / "mysite"
    folder.mkdir()
    with databases.fresh("postgresql") as database, processes.valkey() as redis:
        database.query("DROP SCHEMA public CASCADE")
        database.query("CREATE SCHEMA public")
        env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        yield Server(folder, database, redis, env)


def test_the_steps_make_a_live_site(server: Server, certificate: str, tmp_path: Path) -> None:
    *before, examine = steps()
    printed = "".join(server.follow(block) for block in before)
    assert set(re.findall(r"^\?: \((\S+)\)", printed, re.MULTILINE)) == {"security.W005", "security.W021"}
    with (tmp_path / "server.log").open("w+") as said:
        running = subprocess.Popen(server.unit(), cwd=server.folder, env=server.env, stdout=said, stderr=said)
        try:
            wait_until(lambda: "Application startup complete" in processes.whole(said), lambda: processes.whole(said))
            with nginx(tmp_path, server.proxy(certificate), [server.secure_port, server.plain_port]):
                assert redirected(f"http://127.0.0.1:{server.plain_port}/admin/?q=1") == "https://127.0.0.1/admin/?q=1"
                server.env["SSL_CERT_FILE"] = os.environ["SSL_CERT_FILE"]
                result = server.follow(examine)
        finally:
            running.terminate()
            running.wait(PATIENCE)
        assert "Traceback" not in processes.whole(said), processes.whole(said)
    print(result, *(f"{seconds:6.1f} s  {line}" for line, seconds in server.took.items()), sep="\n")
    lines = [line for line in result.splitlines() if line]
    assert lines
    assert [line for line in lines if not line.startswith("ok ")] == []


def redirected(url: str) -> str:
    """Return where a permanent redirect leads."""
    parts = urlsplit(url)
    with closing(HTTPConnection(parts.netloc, timeout=PATIENCE)) as connection:
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        assert answer.status == 301
        return str(answer.getheader("Location"))
