"""The demo, as a stranger starts it, and people who visit it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect

from tests.browser.chromium import complaints
from tests.docs_blocks import ROOT
from tests.patience import PATIENCE
from tests.servers.processes import free_port

NOTE_MOVEMENTS = """
    window.moved = [];
    document.addEventListener("livepush:event", ({ detail: { type, data } }) => {
        if (type === "parcel.created" || type === "parcel.updated") moved.push(data.movement);
    });
"""
Visit = Callable[[str], Page]


def command(port: int | str) -> list[str]:
    return [sys.executable, "-m", "demo_project", str(port)]


def heed_ctrl_c() -> None:
    """Undo what a shell does to its background jobs: a terminal's foreground process heeds SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Demo:
    """The demo's process, as its own process group, as a terminal would have it; its parcels may stand still."""

    def __init__(self, folder: Path, quiet: bool = False) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.browser.demo_settings",
            "DEMO_DATABASE": str(folder / "demo.sqlite3"),
            **({"DEMO_SECONDS_BETWEEN_MOVES": "36000"} if quiet else {}),
        }
        self._process = subprocess.Popen(
            command(self.port), cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
            preexec_fn=heed_ctrl_c,
        )  # fmt: skip
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def printed(self) -> str:
        return "".join(self._lines)

    def wait(self) -> None:
        """Wait until it says that it is open."""
        end = time.monotonic() + PATIENCE
        while not self.printed().endswith("Ctrl-C stops the demo.\n\n"):
            assert self._process.poll() is None, self.printed()
            assert time.monotonic() < end, self.printed()
            time.sleep(0.05)

    def interrupt(self) -> int:
        """Press Ctrl-C, which the terminal hands to the whole group; return the exit code once nobody can print."""
        os.killpg(self._process.pid, signal.SIGINT)
        code = self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "a process of the demo goes on"
        return code

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive(), "a process of the killed demo goes on"

    def _read(self) -> None:
        with self._process.stdout as lines:
            self._lines.extend(lines)


@contextlib.contextmanager
def running(folder: Path, quiet: bool = False) -> Iterator[Demo]:
    found = Demo(folder, quiet)
    try:
        found.wait()
        yield found
    finally:
        found.kill()


@contextlib.contextmanager
def visitors(demo: Demo, browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Makes visitors with cookies of their own, or a login's, who open the demo's pages; no console may say a thing."""
    contexts = []
    said: list[list[str]] = []

    def visitor(login: Any = None) -> Visit:
        context = browser.new_context(viewport={"width": 1440, "height": 900}, storage_state=login)
        context.add_init_script(NOTE_MOVEMENTS)
        contexts.append(context)

        def visit(path: str) -> Page:
            page = context.new_page()
            said.append(complaints(page))
            page.goto(demo.url + path)
            return page

        return visit

    visitor.said = said
    yield visitor
    for context in contexts:
        context.close()
    complained = [line for lines in visitor.said for line in lines]
    assert complained == [], complained


def origin(page: Page) -> str:
    """Return the address of the demo that a page is of."""
    return "{0.scheme}://{0.netloc}".format(urlsplit(page.url))


def speak(page: Page, language: str) -> None:
    """Have a visitor choose a language on the bell's page, and go on here."""
    page.context.add_cookies([{"name": "livepush_demo_language", "value": language, "url": origin(page)}])
    page.reload()


def log_in(visit: Visit, name: str) -> Page:
    """Press the login page's button for a user; return the page that follows."""
    page = visit("/login/")
    page.click(f"main form:has([name=username][value={name}]) button")
    expect(page.locator(f".who-name[data-user={name}]")).to_be_visible()
    return page
