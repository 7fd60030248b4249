"""Sends events to a webhook, as Standard Webhooks says: signed requests, repeated until they are answered with 2xx."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import livepush
from livepush.bridges.relays import signing
from livepush.bridges.relays.config import OutwardRelay
from livepush.bridges.relays.outwards.reading import Outbound
from livepush.bridges.relays.outwards.targets import Later, Rejected
from livepush.notes import one_line

MAX_ANSWER = 65_536
"""How many bytes of an answer are read; with a longer one the connection is closed."""


class Webhook:
    """Posts each event by itself, with its position as ``webhook-id``. Follows no redirects."""

    at_once = 1
    longest_pause = 600.0

    def __init__(self, relay: OutwardRelay) -> None:
        self._relay = relay
        self._address = urlsplit(relay.url)
        self._connection: http.client.HTTPConnection | None = None

    async def open(self) -> None:
        """Do nothing: a request connects if there is no connection."""

    async def send(self, messages: Sequence[Outbound]) -> None:
        for message in messages:
            await self._send(message)

    async def close(self) -> None:
        if self._connection is not None:
            if self._connection.sock is not None:
                with suppress(OSError):  # whatever thread reads from it ends
                    self._connection.sock.shutdown(socket.SHUT_RDWR)
            self._connection.close()
        self._connection = None

    async def _send(self, message: Outbound) -> None:
        kept = self._connection is not None
        try:
            status, wait = await self._post(message)
        except (OSError, http.client.HTTPException) as error:
            await self.close()
            if kept and not isinstance(error, TimeoutError):  # the server may have closed it since the last request
                return await self._send(message)
            return self._not_taken(message, one_line(error))
        if 200 <= status < 300:
            return None
        if status == HTTPStatus.GONE:
            raise Rejected(message, "The answer was 410: the target is gone.")
        return self._not_taken(message, f"The answer was {status}.", wait)

    def _not_taken(self, message: Outbound, reason: str, wait: float = 0.0) -> None:
        """Raise what is to be done with a message that was not taken."""
        age = time.time() - datetime.fromisoformat(message.time).timestamp()
        if age > self._relay.give_up:
            raise Rejected(message, f"{reason} The event is {age / 86_400:.1f} days old, so it was given up.")
        raise Later(reason, wait)

    async def _post(self, message: Outbound) -> tuple[int, float]:
        """Return the status of the answer, and for how long (seconds) it asks to wait."""
        body = message.body.encode()
        headers = signing.headers(message.id, int(time.time()), body, self._relay.secret)
        headers |= {"Content-Type": "application/json", "User-Agent": f"django-livepush/{livepush.__version__}"}
        posting = asyncio.create_task(asyncio.to_thread(self._post_now, body, headers))
        done, _ = await asyncio.wait([posting], timeout=self._relay.timeout)
        if not done:
            await self.close()
            with suppress(OSError, http.client.HTTPException):
                return await posting
            raise TimeoutError(f"There was no whole answer within {self._relay.timeout} s.")
        return posting.result()

    def _post_now(self, body: bytes, headers: Mapping[str, str]) -> tuple[int, float]:
        connection = self._connection = self._connection or self._connected()
        path = self._address.path or "/"
        if self._address.query:
            path += f"?{self._address.query}"
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read(MAX_ANSWER)
        if not answer.isclosed():
            connection.close()
        return answer.status, _seconds(answer.headers.get("Retry-After"))

    def _connected(self) -> http.client.HTTPConnection:
        host, port, timeout = self._address.hostname or "", self._address.port, self._relay.timeout
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=timeout)
        return http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())


def _seconds(text: str | None) -> float:
    """Return the seconds of ``Retry-After``; 0 for a date, which few servers send."""
    return float(text) if text and text.isdecimal() else 0.0
