"""Chromium over the DevTools protocol alone: Playwright keeps every tab awake and turns the back/forward cache off."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.browser.chromium import FLAGS
from tests.patience import PATIENCE


class Devtools:
    """A browser of its own."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def call(self, method: str, session: str | None = None, wait: float = PATIENCE, **params: Any) -> dict[str, Any]:
        """Return the result of a command. Raises RuntimeError where it failed, TimeoutError where nobody answers."""
        number = next(self._numbers)
        to = {"sessionId": session} if session else {}
        self._socket.send(json.dumps({"id": number, "method": method, "params": params, **to}))
        end = time.monotonic() + wait
        while True:
            answer = json.loads(self._socket.recv(max(0.0, end - time.monotonic())))
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])

    def tab(self, url: str, before: str = "") -> Tab:
        """Open a tab in front of the others; ``before`` runs in each of its pages before any other script."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        found = Tab(self, target, self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        found.call("Page.enable")
        found.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        found.go(url)
        return found


class Tab:
    """One tab."""

    def __init__(self, browser: Devtools, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the result of a command to this tab."""
        return self._browser.call(method, self._session, **params)

    def go(self, url: str) -> None:
        """Go to a page."""
        self.call("Page.navigate", url=url)
        self.until(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def back(self) -> None:
        """Go back to the page before."""
        history = self.call("Page.getNavigationHistory")
        entry = history["entries"][history["currentIndex"] - 1]
        self.call("Page.navigateToHistoryEntry", entryId=entry["id"])
        self.until(f"location.href === {json.dumps(entry['url'])}")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression, or of what it promises."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while True:
            with contextlib.suppress(RuntimeError):  # between two pages there is none
                if self.evaluate(expression):
                    return
            assert time.monotonic() < end, f"{expression} did not come true"
            time.sleep(0.02)

    def freeze(self) -> None:
        """Freeze the tab, as browsers do with those that nobody looks at."""
        self.call("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        """Wake the tab, and show it."""
        self.call("Page.setWebLifecycleState", state="active")
        self._browser.call("Target.activateTarget", targetId=self._target)

    def crash(self) -> None:
        """Kill the process behind the tab."""
        with contextlib.suppress(TimeoutError, RuntimeError):
            self._browser.call("Page.crash", self._session, wait=0.5)

    def close(self) -> None:
        """Close the tab."""
        self._browser.call("Target.closeTarget", targetId=self._target)


@contextlib.contextmanager
def devtools(folder: Path) -> Iterator[Devtools]:
    """Run a Chromium with a new profile in a folder."""
    program = shutil.which("chromium")
    assert program is not None, "Chromium is not installed: on Debian, apt-get install chromium."
    more = ["--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}", "--hide-scrollbars"]
    process = subprocess.Popen(
        [program, *FLAGS, *more, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        port, path = _address(folder / "DevToolsActivePort", process)
        with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as socket:
            yield Devtools(socket)
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _address(file: Path, process: subprocess.Popen[bytes]) -> tuple[str, str]:
    end = time.monotonic() + PATIENCE
    while True:
        lines = file.read_text().split() if file.exists() else []
        if len(lines) == 2:
            return lines[0], lines[1]
        assert process.poll() is None, "Chromium did not start"
        assert time.monotonic() < end, "Chromium opens no port"
        time.sleep(0.02)
