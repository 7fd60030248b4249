"""HTTP/1.1 and WebSocket clients for the doctor, which note when data arrives. They need only the standard library."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
"""Kinds of frames (RFC 6455, section 5.2)."""


class Root(NamedTuple):
    """The root of a site."""

    scheme: str
    host: str
    port: int
    netloc: str
    """The host as a browser sends it."""
    path: str
    """The prefix of every path, e.g. ``""`` or ``/app``."""
    login: str = ""
    """The ``Authorization`` header of a name and password in the address, which a proxy may ask for (RFC 7617)."""

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def headers(self) -> dict[str, str]:
        """The headers of every request."""
        return {"Host": self.netloc} | ({"Authorization": self.login} if self.login else {})


class Answer(NamedTuple):
    """A whole response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Stream(NamedTuple):
    """A response that was read to its end, or until it broke."""

    status: int
    headers: http.client.HTTPMessage
    pieces: list[tuple[float, bytes]]
    """Each piece of the body: its time of arrival (``time.monotonic()``) and its decompressed bytes."""
    broken: str
    """The error that ended it early, ``""`` if there was none."""
    readable: bool
    """Whether the body is uncompressed, or the doctor can decompress it."""


def parse_root(url: str) -> Root:
    """Return the root of a site.

    Raises ValueError: not an http or https address.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the address of a site: expected something like https://example.com/.")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    host = parts.hostname.encode("idna").decode() if not parts.hostname.isascii() else parts.hostname
    shown = f"[{host}]" if ":" in host else host
    netloc = f"{shown}:{port}" if parts.port not in (None, 80 if parts.scheme == "http" else 443) else shown
    return Root(parts.scheme, host, port, netloc, parts.path.rstrip("/"), _login(parts))


def _login(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def get(root: Root, path: str, timeout: float, **headers: str) -> Answer:
    """Ask for a path, and read the whole answer.

    Raises OSError, http.client.HTTPException.
    """
    with closing(_connection(root, timeout)) as connection:
        connection.request("GET", root.path + path, headers=root.headers | headers)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read(1_000_000))


def stream(root: Root, path: str, timeout: float, **headers: str) -> Stream:
    """Ask for a path, and note when each piece of the answer comes.

    Raises OSError, http.client.HTTPException: no answer at all. A later error is noted in ``broken``.
    """
    with closing(_connection(root, timeout)) as connection:
        connection.request("GET", root.path + path, headers=root.headers | headers)
        response = connection.getresponse()
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        unpack = zlib.decompressobj(31).decompress if encoding == "gzip" else bytes
        pieces, broken = [], ""
        try:
            while piece := response.read1(65_536):
                pieces.append((time.monotonic(), unpack(piece)))
        except (OSError, http.client.HTTPException, zlib.error) as error:
            broken = f"{type(error).__name__}: {error}".rstrip(": ")
        return Stream(response.status, response.headers, pieces, broken, encoding in ("identity", "gzip"))


def speaks_http2(root: Root, timeout: float) -> bool:
    """Return whether a server chooses HTTP/2 if ALPN offers it (RFC 7301).

    Raises OSError.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((root.host, root.port), timeout) as plain,
        context.wrap_socket(plain, server_hostname=root.host) as secured,
    ):
        return secured.selected_alpn_protocol() == "h2"


def _connection(root: Root, timeout: float) -> http.client.HTTPConnection:
    if root.scheme == "https":
        return http.client.HTTPSConnection(root.host, root.port, timeout=timeout)
    return http.client.HTTPConnection(root.host, root.port, timeout=timeout)


class WebSocket:
    """The client's side of a WebSocket; ``status`` is 101 if it opened."""

    def __init__(self, sock: socket.socket, file: BinaryIO, status: int, body: bytes, packs: bool) -> None:
        self.status = status
        self.packs = packs
        """Whether the server may compress messages, and takes compressed ones."""
        self.body = body
        """The answer's body if it did not open."""
        self._sock = sock
        self._file = file

    def send(self, text: str) -> None:
        """Send a text frame, masked as a client must (RFC 6455, section 5.3)."""
        self._send(TEXT, text.encode())

    def receive(self) -> str:
        """Return the next text.

        Raises EOFError: the other side closed.
        """
        while True:
            kind, payload = self._frame()
            if kind == TEXT:
                return payload.decode()
            if kind == PING:
                self._send(PONG, payload)
            elif kind == CLOSE:
                raise EOFError(f"closed with {int.from_bytes(payload[:2])}")

    def _send(self, kind: int, payload: bytes) -> None:
        mask = os.urandom(4)
        body = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
        size = len(payload)
        code, more = (
            (size, b"") if size < 126 else (126, size.to_bytes(2)) if size < 65_536 else (127, size.to_bytes(8))
        )
        self._sock.sendall(bytes([128 | kind, 128 | code]) + more + mask + body)

    def _frame(self) -> tuple[int, bytes]:
        first, length = self._read(2)
        if length & 127 > 125:
            length = int.from_bytes(self._read(2 if length & 127 == 126 else 8))
        return first & 15, self._read(length)

    def _read(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise EOFError("the connection ended")
        return found


@contextmanager
def websocket(root: Root, path: str, timeout: float, **headers: str) -> Iterator[WebSocket]:
    """Open a WebSocket (RFC 6455, section 4.1), with the headers that a browser sends.

    Raises OSError, http.client.HTTPException: no answer.
    """
    plain = socket.create_connection((root.host, root.port), timeout)
    with _secured(root, plain) as sock, sock.makefile("rb") as file:
        fields = {
            **root.headers,
            "Origin": root.origin,
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **headers,
        }
        lines = [f"GET {root.path}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        sock.sendall("\r\n".join([*lines, "", ""]).encode())
        response = http.client.HTTPResponse(_Read(file), method="GET")  # type: ignore[arg-type]
        response.begin()
        body = b"" if response.status == 101 else response.read(100_000)
        response.fp = None  # type: ignore[assignment]  # the file is ours; Python 3.13 would flush it when it is closed
        packs = "permessage-deflate" in response.headers.get("Sec-WebSocket-Extensions", "")
        opened = WebSocket(sock, file, response.status, body, packs)
        yield opened
        if opened.status == 101:
            with suppress(OSError):
                opened._send(CLOSE, (1000).to_bytes(2))


class _Read:
    """Stands in for the socket, so that ``HTTPResponse`` reads the head from our own file.

    The frames after the head thus stay in the same buffer.
    """

    def __init__(self, file: Any) -> None:
        self._file = file

    def makefile(self, mode: str) -> Any:
        return self._file


def _secured(root: Root, plain: socket.socket) -> socket.socket:
    if root.scheme == "http":
        return plain
    return ssl.create_default_context().wrap_socket(plain, server_hostname=root.host)
