"""Firefox over WebDriver BiDi (W3C), as Debian's package brings it."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.patience import PATIENCE

LISTENS = re.compile(r"WebDriver BiDi listening on (ws://\S+)")


class Firefox:
    """A browser of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self.said: list[str] = []
        """What consoles said, and errors that nobody caught."""
        self._socket = socket
        self._numbers = itertools.count(1)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a command; raises RuntimeError where it failed."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(PATIENCE))
            if answer.get("method") == "log.entryAdded":
                self.said.append(f"{answer['params']['level']}: {answer['params']['text']}")
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise RuntimeError(f"{method}: {answer['message']}")
                return dict(answer["result"])

    def tab(self, url: str) -> Tab:
        """Open a tab on a page."""
        found = Tab(self, self.call("browsingContext.create", type="tab")["context"])
        found.go(url)
        return found


class Tab:
    """One tab."""

    def __init__(self, browser: Firefox, context: str) -> None:
        self._browser = browser
        self._context = context

    def go(self, url: str) -> None:
        """Go to a page."""
        self._browser.call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def back(self) -> None:
        """Go back to the page before."""
        self._browser.call("browsingContext.traverseHistory", context=self._context, delta=-1)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, by way of JSON."""
        found = self._browser.call(
            "script.evaluate",
            expression=f"JSON.stringify({expression})",
            target={"context": self._context},
            awaitPromise=True,
        )
        if found["type"] == "exception":
            raise RuntimeError(f"{expression}: {found['exceptionDetails']['text']}")
        return json.loads(found["result"].get("value", "null"))

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(RuntimeError):  # between two pages there is none
                if self.evaluate(f"!!({expression})"):
                    return
            assert time.monotonic() < end, f"{expression} did not come true"
            time.sleep(0.02)

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("browsingContext.close", context=self._context)


@contextlib.contextmanager
def firefox(folder: Path, before: str = "") -> Iterator[Firefox]:
    """Run a Firefox with a new profile in a folder; ``before`` runs in each page before any other script."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    assert program is not None, "Firefox is not installed: on Debian, apt-get install firefox-esr."
    log = folder.with_suffix(".log")
    with log.open("w") as printed:
        process = subprocess.Popen(
            [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port", "0"],
            stdout=subprocess.DEVNULL,
            stderr=printed,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "MOZ_HEADLESS": "1"},
        )
    try:
        with connect(f"{_address(log, process)}/session", max_size=None) as socket:
            found = Firefox(socket)
            found.call("session.new", capabilities={})
            found.call("session.subscribe", events=["log.entryAdded"])
            if before:
                found.call("script.addPreloadScript", functionDeclaration=f"() => {{ {before} }}")
            yield found
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + PATIENCE
    while True:
        found = LISTENS.search(log.read_text())
        if found:
            return found[1]
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
