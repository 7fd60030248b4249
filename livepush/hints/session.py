"""A session of PostgreSQL that nobody else uses, for LISTEN and NOTIFY."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from selectors import EVENT_READ, BaseSelector, DefaultSelector
from typing import Any

from django.db import connections

from livepush.borrowing import borrowed
from livepush.wire import dumps

CONNECT_TIMEOUT = 5
"""How long (seconds) connecting may take, unless the project's ``OPTIONS`` say otherwise."""
NEVER_IDLE = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
"""Keeps the server from ending a session that only listens. Before PostgreSQL 14 no session is ended for that."""
_SEND = "SELECT pg_notify(%s, payload) FROM json_array_elements_text(%s::json) AS payload"


def sending(channel: str, payloads: Sequence[str]) -> tuple[str, list[str]]:
    """Return the statement, and its parameters, that sends notifications to a channel.

    The payloads are one text, as JSON: a driver takes several times as long to write an array of texts.
    """
    return _SEND, [channel, dumps(payloads)]


class Session:
    """A session with the parameters of one of Django's databases. Only the thread that opened it may use it."""

    def __init__(self, using: str) -> None:
        self._wrapper: Any = connections[using].copy()
        options = self._wrapper.settings_dict["OPTIONS"]
        options.pop("pool", None)  # a pool's sessions come from others, and go on to others
        options.setdefault("connect_timeout", CONNECT_TIMEOUT)
        self._wrapper.settings_dict["AUTOCOMMIT"] = True
        self._driver: Any = None
        self._selector: BaseSelector | None = None
        self._heard: list[str] = []

    def open(self) -> None:
        """Connect. Raises the database's error."""
        self._wrapper.connect()
        self._driver = self._wrapper.connection
        if self._is_psycopg3:
            self._driver.add_notify_handler(lambda found: self._heard.append(found.payload))

    def close(self) -> None:
        """End the session, whatever state it is in."""
        with suppress(Exception):
            self._wrapper.close()
        if self._selector is not None:
            with suppress(OSError):
                self._selector.close()

    def cut(self) -> None:
        """Shut the socket, so that whoever waits for the server gets an error. Any thread may call this."""
        with suppress(Exception), borrowed(self._driver.fileno()) as end:
            end.shutdown(socket.SHUT_RDWR)

    def run(self, sql: str, params: Sequence[Any] | None = None) -> list[tuple[Any, ...]]:
        """Run a statement; return its rows. Raises the driver's error."""
        with self._driver.cursor() as cursor:  # the driver's own: a wrapper's may set a search path before
            cursor.execute(sql, params)
            return list(cursor.fetchall()) if cursor.description else []

    def listen(self, channels: Iterable[str]) -> None:
        """Listen to some channels for as long as the session lives."""
        self.run(NEVER_IDLE)
        for channel in channels:
            self.run(f'LISTEN "{channel}"')

    def send(self, channel: str, payloads: Sequence[str]) -> None:
        """Send notifications to a channel, in one transaction."""
        self.run(*sending(channel, payloads))

    @property
    def is_direct(self) -> bool:
        """Whether the server itself is at the other end. A pooler gives its clients made-up process ids."""
        ((pid,),) = self.run("SELECT pg_backend_pid()")
        return bool(self._driver.info.backend_pid == pid)

    def wait(self, seconds: float, wake: socket.socket | None = None) -> list[str]:
        """Wait for notifications, or until ``wake`` can be read; return the payloads that came.

        ``wake`` is the same in all calls. Raises the driver's error if the connection is lost.
        """
        came = self._heard if self._is_psycopg3 else self._driver.notifies  # with a statement's answer
        if not came:
            self._selector = self._selector or self._watching(wake)
            self._selector.select(max(0.0, seconds))
        self._heard += self._arrived()
        found, self._heard = self._heard, []
        return found

    def _watching(self, wake: socket.socket | None) -> BaseSelector:
        found = DefaultSelector()  # select() takes no descriptor above 1023
        found.register(self._driver.fileno(), EVENT_READ)
        if wake is not None:
            found.register(wake, EVENT_READ)
        return found

    def _arrived(self) -> Iterator[str]:
        """Yield the payloads that the driver has received, without waiting."""
        if not self._is_psycopg3:
            self._driver.poll()
            while self._driver.notifies:
                yield self._driver.notifies.pop(0).payload
            return
        self._driver.pgconn.consume_input()
        while (found := self._driver.pgconn.notifies()) is not None:
            yield found.extra.decode(errors="replace")

    @property
    def _is_psycopg3(self) -> bool:
        return bool(self._wrapper.Database.__name__ == "psycopg")


@contextmanager
def session(using: str) -> Iterator[Session]:
    """Open a session of one's own, and end it after the block. Raises the database's error."""
    found = Session(using)
    try:
        found.open()
        yield found
    finally:
        found.close()
