"""Publishes to the proxies after each settle, in a thread of its own: senders of events do not wait for them.

An item that could not be published is left out. The next item shows the proxy that it has missed one, and without a
next one it asks after ``CHECK`` seconds.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from livepush import log
from livepush.bridges.grip.config import edge
from livepush.bridges.grip.items import Item, items_of
from livepush.conf import get_settings
from livepush.forking import renewed
from livepush.notes import Rarely, one_line
from livepush.wire import Batch

logger = logging.getLogger("livepush")

PATIENCE = 3.0
"""How long (seconds) a proxy may take to answer."""
MAX_WAITING = 16 * 1_048_576
"""How many bytes may wait for a proxy. Items above that are left out."""
MAX_REQUEST = 524_288
"""How many bytes one request holds, unless a single item is larger."""


class Proxy:
    """One proxy, and what waits to be published to it."""

    def __init__(self, control_uri: str) -> None:
        self._uri = urlsplit(f"{control_uri}/publish/")
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._lock = threading.RLock()  # a signal's handler may send too
        self._is_working = False
        self._connection: HTTPConnection | None = None
        self._failures = Rarely(every=10.0)

    def publish(self, items: list[Item]) -> None:
        """Publish items soon, in order, and after all that waits."""
        encoded = [json.dumps(item, separators=(",", ":")).encode() for item in items]
        size = sum(map(len, encoded))
        with self._lock:
            if self._bytes + size > MAX_WAITING:
                return
            self._waiting += encoded
            self._bytes += size
            if self._is_working:
                return
            self._is_working = True
        self._start()

    def _start(self) -> None:
        """Work in a thread, for which the process waits as it ends; in this one if it is ending by now."""
        if threading.main_thread().is_alive():
            with suppress(RuntimeError):  # it has too many threads
                threading.Thread(target=self._work, name="livepush-grip", daemon=False).start()
                return
        self._work()

    def _work(self) -> None:
        while part := self._part():
            body = b'{"items":[' + b",".join(part) + b"]}"
            try:
                self._post(body)
            except Exception as error:
                self._close()
                if times := self._failures.times():
                    what = "Publishing to %s failed %d times. The last time: %s"
                    logger.warning(what, self._uri.netloc, times, one_line(error))

    def _part(self) -> list[bytes]:
        """Take what fits into one request; if that is nothing, the work is done."""
        found: list[bytes] = []
        size = 0
        with self._lock:
            while self._waiting and (not found or size + len(self._waiting[0]) <= MAX_REQUEST):
                found.append(self._waiting.popleft())
                size += len(found[-1])
            self._bytes -= size
            self._is_working = bool(found)
        return found

    def _post(self, body: bytes) -> None:
        """Make a request, anew if the kept connection was closed meanwhile. Raises an error if the proxy refuses."""
        if self._connection is not None:
            try:
                return self._request(body)
            except (OSError, HTTPException):
                self._close()
        return self._request(body)

    def _request(self, body: bytes) -> None:
        if self._connection is None:
            kind = HTTPSConnection if self._uri.scheme == "https" else HTTPConnection
            self._connection = kind(self._uri.hostname or "", self._uri.port, timeout=PATIENCE)
        self._connection.request("POST", self._uri.path, body, {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        said = response.read()
        if response.status != 200:
            raise ValueError(f"the proxy answered {response.status}: {said[:200].decode(errors='replace').strip()}")

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_proxies: dict[str, Proxy] = renewed(globals(), "_proxies", dict)
"""The proxies by their addresses. The parent's threads do not run in a forked child."""


def follow(using: str, batch: Batch) -> None:
    """Publish a settled batch to all proxies."""
    if using != get_settings().DATABASE:
        return
    found = edge()
    groups = {group for event in batch.events for group in event.groups}
    first = batch.events[0].number or 0
    items = items_of(batch, log.last_numbers(using, groups, first - 1), found.prefix)
    for uri in found.control_uris:
        if uri not in _proxies:
            _proxies[uri] = Proxy(uri)
        _proxies[uri].publish(items)
