"""The README's quickstart and the tutorial work to the letter: from the built wheel, in a new project, in Chromium."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.chromium import chromium, complaints
from tests.docs_blocks import PAGES, ROOT, Block, apply_diff, blocks, section
from tests.patience import PATIENCE
from tests.servers.processes import free_port

MAX_LINES = 15
ADDRESS = "http://127.0.0.1:8000"
INSTALLED_NAME = "django-livepush"
USER = "admin"
HAS_UV = importlib.util.find_spec("uv") is not None
"""uv is quicker, and does what pip does."""


def quickstart() -> list[Block]:
    """Return the blocks of the README's quickstart up to the last one that is a command."""
    first, last = section(ROOT / "README.md", "## Quickstart")
    found = [block for block in blocks(ROOT / "README.md") if first <= block.line <= last]
    while found[-1].language != "bash":
        found.pop()
    return found


def installer(python: Path) -> list[str]:
    """Return the command that installs for a Python what comes behind it."""
    if HAS_UV:
        return [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python)]
    return [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]


class Reader:
    """Somebody who follows the quickstart to the letter, in a folder of their own."""

    def __init__(self, folder: Path, python: Path, wheel: Path) -> None:
        self.folder = folder
        self.wheel = wheel
        self.bin = python
        self.port = free_port()
        self.lines = 0
        self.server: subprocess.Popen[bytes] | None = None
        self.log = folder / "server.log"
        hidden = ("VIRTUAL_ENV", "PYTHONPATH", "DJANGO_SETTINGS_MODULE")
        self.env = {name: value for name, value in os.environ.items() if name not in hidden}
        self.env = {name: value for name, value in self.env.items() if not name.startswith(("LIVEPUSH_", "PYTEST_"))}
        for name, value in (("USERNAME", USER), ("PASSWORD", USER), ("EMAIL", "admin@example.com")):
            self.env[f"DJANGO_SUPERUSER_{name}"] = value
        self.env["PATH"] = f"{self.bin}{os.pathsep}{self.env['PATH']}"

    def follow(self, block: Block) -> None:
        """Do what a block says."""
        if block.language == "bash":
            for line in block.text.strip().split("\n"):
                self.type(line)
        else:
            self.edit(block)

    def type(self, line: str) -> str:
        """Type a command; the server goes to a free port and to the background, and is waited for."""
        words = shlex.split(line)
        if words[0] == "cd":
            self.folder /= words[1]
            return ""
        if words[-1] == "runserver":
            return self.serve([*words, f"127.0.0.1:{self.port}"])
        if words[-1] == "createsuperuser":
            words.append("--noinput")
        if words[:2] == ["pip", "install"]:
            name, _, extras = words[2].partition("[")
            assert (len(words), name) == (3, INSTALLED_NAME), line
            words = [*installer(self.bin / "python"), f"{self.wheel}[{extras}" if extras else str(self.wheel)]
        done = subprocess.run(words, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def edit(self, block: Block) -> None:
        """Edit a file, or make it."""
        path = self.folder / block.file
        assert block.file, f"{block}: no file is named"
        if block.language == "diff":
            text, count = apply_diff(block.text, path.read_text())
        else:
            assert not path.exists() or block.file.startswith("shop/"), path  # made by startapp, to be overwritten
            path.parent.mkdir(parents=True, exist_ok=True)
            text, count = block.text, sum(bool(line.strip()) for line in block.text.split("\n"))
        path.write_text(text)
        self.lines += count

    def serve(self, words: list[str]) -> str:
        with self.log.open("wb") as log:
            self.server = subprocess.Popen(
                words, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 30
        while not self.answers():
            assert self.server.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)
        return ""

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.url("/"), timeout=5):
                return True
        except urllib.error.HTTPError as error:
            return error.code < 500
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def stop(self) -> None:
        if self.server is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.server.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.server.wait(10)
                return


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    words = [sys.executable, "-m", "build", "--wheel", "--outdir", str(folder), str(ROOT)]
    words += ["--installer", "uv"] if HAS_UV else []
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh Python's folder of programs; the second reader finds livepush installed, and installs it again."""
    folder = tmp_path_factory.mktemp("python") / "venv"
    words = [sys.executable, "-m", "venv", *(["--without-pip"] if HAS_UV else []), str(folder)]
    subprocess.run(words, check=True, timeout=PATIENCE)
    return folder / "bin"


@pytest.fixture
def reader(tmp_path: Path, python: Path, wheel: Path) -> Iterator[Reader]:
    found = Reader(tmp_path, python, wheel)
    yield found
    found.stop()


@pytest.mark.long
def test_the_quickstart_works_to_the_letter(reader: Reader) -> None:
    *before, send = quickstart()
    for block in before:
        reader.follow(block)
    assert reader.lines <= MAX_LINES
    assert "no issues" in reader.type("python manage.py check --fail-level WARNING")
    with chromium() as browser:
        page = browser.new_page()
        said = complaints(page)
        page.goto(reader.url("/"))
        assert page.text_content("#news") == "Nothing yet"
        page.wait_for_function("window.livepush?.state === 'open'")
        assert page.evaluate("window.livepush.transport") == "sse"
        reader.follow(send)
        page.wait_for_function("document.querySelector('#news').textContent === 'Hello, world'")
        assert said == []
    for line in curl_lines():
        check_curl(reader, line)
    reader.stop()
    assert "Traceback" not in reader.log.read_text(), reader.log.read_text()


@pytest.mark.long
def test_the_tutorial_works_to_the_letter(reader: Reader) -> None:
    for block in blocks(ROOT / "docs" / "quickstart.md"):
        reader.follow(block)
    with chromium() as browser:
        context = browser.new_context()
        admin, customer = context.new_page(), context.new_page()
        admin.goto(reader.url("/admin/"))
        admin.fill("#id_username", USER)
        admin.fill("#id_password", USER)
        admin.click("[type=submit]")
        admin.goto(reader.url("/admin/shop/order/add/"))
        admin.select_option("#id_customer", label=USER)
        admin.click("[name=_continue]")
        said = complaints(customer)
        customer.goto(reader.url("/orders/1/"))
        assert customer.text_content("#status") == "new"
        customer.wait_for_function("document.querySelector('#connection').textContent === 'open'")
        change_status(admin, "packed")
        customer.wait_for_function("document.querySelector('#status').textContent === 'packed'")
        assert said == []
        reader.stop()
        customer.wait_for_function("document.querySelector('#connection').textContent !== 'open'")
        reader.type("python manage.py shell -c 'from shop.models import Order; o = Order.objects.get(); "
                    "o.status = \"shipped\"; o.save()'")  # fmt: skip
        reader.type("python manage.py runserver")
        customer.wait_for_function("document.querySelector('#status').textContent === 'shipped'")
    reader.stop()
    assert "Traceback" not in reader.log.read_text(), reader.log.read_text()


def change_status(admin: Page, status: str) -> None:
    admin.fill("#id_status", status)
    admin.click("[name=_continue]")


def test_the_extras_that_the_quickstart_installs_are_there() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (line,) = [line for block in quickstart() for line in block.text.split("\n") if line.startswith("pip install")]
    name, extras = shlex.split(line)[2].rstrip("]").split("[")
    assert name == project["name"] == INSTALLED_NAME
    assert set(extras.split(",")) <= set(project["optional-dependencies"])


def curl_lines() -> list[str]:
    """Return the manual's ``curl`` commands that go to the quickstart's site."""
    found = [
        line
        for page in PAGES
        for block in blocks(page)
        if block.language == "bash" and not block.text.startswith("TOKEN=")  # tests/bridges/test_mercure.py runs it
        for line in block.text.split("\n")
        if line.startswith("curl ") and ADDRESS in line
    ]
    assert found, "the manual shows no curl"
    return found


def check_curl(reader: Reader, line: str) -> None:
    """Run a curl command up to the first line that says that it works."""
    words = shlex.split(line.replace(ADDRESS, reader.url("")))
    expected = b'"position"' if "/poll/" in line else b"event: livepush.hello"
    with subprocess.Popen([*words, "--silent", "--max-time", "20"], stdout=subprocess.PIPE, env=reader.env) as process:
        assert process.stdout is not None
        got = b""
        while expected not in got:
            chunk = process.stdout.read1(65_536)
            assert chunk, f"{line}\n{got!r}"
            got += chunk
        process.kill()
