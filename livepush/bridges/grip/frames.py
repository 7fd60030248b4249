"""WebSocket over HTTP: what has happened on a WebSocket is a request's body, and its answer's is what is to happen.

The format: https://pushpin.org/docs/protocols/websocket-over-http/
"""

from __future__ import annotations

from typing import NamedTuple

from livepush.wire import WireError

CONTENT_TYPE = "application/websocket-events"
"""The content type of both bodies."""
OPEN, TEXT, BINARY, PING, PONG, CLOSE, DISCONNECT = (
    "OPEN", "TEXT", "BINARY", "PING", "PONG", "CLOSE", "DISCONNECT",
)  # fmt: skip
KINDS = frozenset({OPEN, TEXT, BINARY, PING, PONG, CLOSE, DISCONNECT})


class Frame(NamedTuple):
    """One thing that happens on a WebSocket."""

    kind: str
    content: bytes = b""

    def encoded(self) -> bytes:
        """Return it as a part of a body: for example ``TEXT 5`` (a hexadecimal number), CRLF, five bytes, CRLF."""
        if not self.content:
            return b"%b\r\n" % self.kind.encode()
        return b"%b %x\r\n%b\r\n" % (self.kind.encode(), len(self.content), self.content)


def parse(body: bytes) -> list[Frame]:
    """Return what a body tells, in order. Raises WireError: it is malformed."""
    found, start = [], 0
    while start < len(body):
        end = body.find(b"\r\n", start)
        kind, _, size = body[start:end].decode("latin-1").partition(" ")
        if end < 0 or kind not in KINDS:
            raise _malformed()
        start, content = end + 2, b""
        if size:
            content, start = _content(body, start, size)
        found.append(Frame(kind, content))
    return found


def _content(body: bytes, start: int, size: str) -> tuple[bytes, int]:
    """Return an event's content and where the next one begins. Raises WireError."""
    try:
        end = start + int(size, 16)
    except ValueError:
        raise _malformed() from None
    if end < start or body[end : end + 2] != b"\r\n":
        raise _malformed()
    return body[start:end], end + 2


def _malformed() -> WireError:
    return WireError("bad_frames", f"The body is malformed: expected {CONTENT_TYPE}, as Pushpin sends it.")
