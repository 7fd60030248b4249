"""What docs/deploying.md shows runs: the servers' commands, the unit, the image's command, and each proxy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from livepush.conf import Settings
from livepush.hub import FAREWELL
from livepush.streams.gathering import END_TIMEOUT
from tests.docs_blocks import PAGES, ROOT, Block, blocks
from tests.integration import clients
from tests.integration.test_doctor import GRACE, certificate, ids, look, own
from tests.patience import PATIENCE, eventually
from tests.scale import some
from tests.servers import processes
from tests.servers.fresh import Database
from tests.servers.nginx import nginx
from tests.servers.processes import Publisher, free_port
from tests.servers.proxies import apache, caddy, haproxy, varnish

__all__ = ["certificate", "own"]
(PAGE,) = [page for page in PAGES if page.name == "deploying.md"]
BLOCKS = list(blocks(PAGE))


def written(language: str) -> list[Block]:
    """Return the page's blocks in a language."""
    return [block for block in BLOCKS if block.language == language]


def edited(text: str, **places: str) -> str:
    """Return a configuration with each place, which it names once, replaced."""
    for before, after in places.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    return text


# Commands


def unit() -> ConfigParser:
    (block,) = written("ini")
    found = ConfigParser(interpolation=None)
    found.read_string(block.text)
    return found


def commands() -> list[list[str]]:
    """Return the commands that start a server."""
    lines = [line for block in written("bash") for line in block.text.splitlines()]
    found = [shlex.split(line) for line in lines if line.endswith("mysite.asgi:application")]
    service = shlex.split(unit()["Service"]["ExecStart"])
    (image,) = written("dockerfile")
    return [*found, [Path(service[0]).name, *service[1:]], json.loads(image.text.rpartition("CMD ")[2])]


def here(words: list[str], port: int) -> list[str]:
    """Return a command for the tests' project on a port, with two workers at most."""
    text = (
        shlex.join(words).replace("mysite.asgi:application", "tests.asgi:application").replace("0.0.0.0", "127.0.0.1")
    )
    text = re.sub(r"\b8000\b", str(port), text).replace("--workers 4", "--workers 2")
    name, *rest = shlex.split(text)
    if not any(str(port) in word for word in rest):
        option = {"hypercorn": "--bind", "gunicorn": "--bind"}.get(name, "--port")
        rest = [option, f"127.0.0.1:{port}" if option == "--bind" else str(port), *rest]
    return [sys.executable, "-m", name, *rest]


@pytest.mark.long
@pytest.mark.parametrize("words", some(commands()), ids=shlex.join)
async def test_a_documented_command_serves_and_takes_leave(words: list[str], database: Database, elsewhere: Publisher):
    port = free_port()
    prefix = "/shop" if "/shop" in words else ""
    env = processes.settings_env(database, {"DRAIN": 0.2})
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(here(words, port), env=env, cwd=ROOT, stdout=said, stderr=said)
        try:
            url = f"http://127.0.0.1:{port}"
            await eventually(lambda: answers(f"{url}/ready/", f"{url}{prefix}/ready/"))
            stripped = url if words[0] == "uvicorn" or not prefix else f"{url}{prefix}"
            async with clients.sse(stripped, "board") as stream, clients.websocket(stripped, "board") as socket:
                await stream.until(event="livepush.hello")
                await clients.frame(socket)
                elsewhere.send("board", "status", 1)
                assert (await stream.until(event="status"))["data"] == "1"
                assert (await clients.frame(socket))["data"] == 1
                process.send_signal(signal.SIGTERM)
                assert b"event: livepush.bye\n" in await stream.rest()
            await asyncio.to_thread(process.wait, PATIENCE)
        finally:
            process.kill()
            process.wait()
        assert "Traceback" not in processes.whole(said), processes.whole(said)


async def answers(*urls: str) -> bool:
    with contextlib.suppress(Exception):
        async with clients.http() as client:
            return any([(await client.get(url)).status_code == 200 for url in urls])
    return False


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    (block,) = written("ini")
    path = tmp_path / Path(block.file).name
    path.write_text(edited(block.text, **{"/srv/mysite/.venv/bin/uvicorn": sys.executable}))
    done = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=PATIENCE)
    assert path.name not in done.stderr, done.stderr


def after(words: list[str], option: str) -> float:
    return float(words[words.index(option) + 1])


def test_what_kills_a_server_leaves_it_time_to_store_its_streams() -> None:
    drain, service = Settings().DRAIN_STREAMS + FAREWELL + END_TIMEOUT, unit()["Service"]
    grace = after(shlex.split(service["ExecStart"]), "--timeout-graceful-shutdown")
    assert float(service["TimeoutStopSec"]) > drain + grace
    limits = [after(words, "--graceful-timeout") for words in commands() if "--graceful-timeout" in words]
    (docker,) = re.findall(r"`docker stop -t (\d+)`", PAGE.read_text())
    (compose,) = re.findall(r"`stop_grace_period: (\d+)s`", PAGE.read_text())
    (killed,) = re.findall(r"`DRAIN_STREAMS` and five\s+seconds: (\d+) or more", PAGE.read_text())
    assert limits
    assert min([*limits, float(killed)]) > drain
    assert min(float(docker), float(compose)) > drain + grace


# Proxies


@pytest.fixture(scope="module")
def uvicorn(own: Database) -> Iterator[processes.Server]:
    with processes.server("uvicorn", own, {"HEARTBEAT": 2}, env=GRACE) as found:
        yield found


def pem(folder: Path, certificate: str) -> dict[str, str]:
    """Return the paths of a certificate and its key, and of one file with both."""
    both = folder / "both.pem"
    both.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return {"cert": f"{folder}/cert.pem", "key": f"{folder}/key.pem", "both": str(both)}


@pytest.mark.long
def test_apache(uvicorn: processes.Server, certificate: str, tmp_path: Path) -> None:
    (block,), port, paths = written("apache"), free_port(), pem(tmp_path, certificate)
    text = edited(
        block.text,
        **{
            "*:443": f"127.0.0.1:{port}",
            "/etc/ssl/example.com.pem": paths["cert"],
            "/etc/ssl/example.com.key": paths["key"],
            "127.0.0.1:8000": f"127.0.0.1:{uvicorn.port}",
        },
    )
    with apache(tmp_path, f"Listen 127.0.0.1:{port} https\n{text}", port):
        assert ids(look(f"https://127.0.0.1:{port}/", idle=True)) == []


@pytest.mark.long
def test_apache_that_upgrades_the_websockets_address_alone(uvicorn: processes.Server, tmp_path: Path) -> None:
    port, there = free_port(), f"http://127.0.0.1:{uvicorn.port}"
    text = (
        f"Listen 127.0.0.1:{port}\nProxyPreserveHost On\n"
        f"ProxyPass /livepush/ws/ {there}/livepush/ws/ upgrade=websocket\nProxyPass / {there}/\n"
    )
    with apache(tmp_path, text, port):
        assert ids(look(f"http://127.0.0.1:{port}/")) == []


@pytest.mark.long
def test_haproxy(uvicorn: processes.Server, certificate: str, tmp_path: Path) -> None:
    (block,), port, paths = written("haproxy"), free_port(), pem(tmp_path, certificate)
    text = edited(
        block.text,
        **{
            ":443": f"127.0.0.1:{port}",
            "/etc/ssl/example.com.pem": paths["both"],
            "127.0.0.1:8000": f"127.0.0.1:{uvicorn.port}",
        },
    )
    with haproxy(tmp_path, text, port):
        assert ids(look(f"https://127.0.0.1:{port}/", idle=True)) == []


@pytest.mark.long
def test_varnish(uvicorn: processes.Server, tmp_path: Path) -> None:
    (block,), port = written("vcl"), free_port()
    with varnish(tmp_path, edited(block.text, **{'"8000"': f'"{uvicorn.port}"'}), port):
        assert ids(look(f"http://127.0.0.1:{port}/", idle=True)) == []


@pytest.mark.long
def test_caddy(uvicorn: processes.Server, certificate: str, tmp_path: Path) -> None:
    (block,), port, paths = written("caddy"), free_port(), pem(tmp_path, certificate)
    text = edited(
        block.text,
        **{
            "example.com {": f"https://127.0.0.1:{port} {{\n    tls {paths['cert']} {paths['key']}",
            "127.0.0.1:8000": f"127.0.0.1:{uvicorn.port}",
        },
    )
    with caddy(tmp_path, text, port):
        assert ids(look(f"https://127.0.0.1:{port}/", idle=True)) == []


@pytest.mark.long
def test_nginx_under_a_sub_path(own: Database, tmp_path: Path) -> None:
    main, _, location = (block.text for block in written("nginx"))
    port = free_port()
    with processes.server("uvicorn", own, env={**GRACE, "UVICORN_ROOT_PATH": "/shop"}) as there:
        where = edited(location, **{"127.0.0.1:8000": f"127.0.0.1:{there.port}"})
        text = f"{main.partition('server {')[0]} server {{ listen 127.0.0.1:{port}; {where} }}"
        with nginx(tmp_path, text, [port]):
            assert ids(look(f"http://127.0.0.1:{port}/shop/")) == []
