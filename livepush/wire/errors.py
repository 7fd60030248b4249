"""The refusal of a request: a WebSocket close code, an HTTP status, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

from livepush.wire.encoding import dumps


class Close(int, Enum):
    """A WebSocket close code and the reason for its use.

    The codes are those for private use (RFC 6455, section 7.4.2), since daphne sends no others. Each code is 4000 plus
    the HTTP status with the same meaning.
    """

    reason: str

    def __new__(cls, code: int, reason: str) -> Close:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member

    BAD_REQUEST = 4400, "the query is malformed: do not retry"
    UNAUTHENTICATED = 4401, "no group is granted and nobody is logged in: do not retry"
    FORBIDDEN = 4403, "no group is granted, or the origin is foreign: do not retry"
    TOO_SLOW = 4408, "the client reads too slowly: connect again"
    TOO_BIG = 4413, "an event is too large for this WebSocket: take another transport"
    TOO_MANY = 4429, "the client is over a limit: connect again later"
    FAILED = 4500, "the server failed: connect again"
    GOING_AWAY = 4503, "the server is going away: connect again"


class WireError(ValueError):
    """A request that livepush can't answer: a stable ``code``, a sentence, an HTTP status and a close code."""

    def __init__(self, code: str, message: str, status: int = 400, close: Close = Close.BAD_REQUEST) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.close = close
        self.headers: Mapping[str, str] = {}
        """Further headers of an HTTP answer."""
        self.retry: float | None = None
        """After how long (seconds) to try again, if that is known."""
        self.limit = ""
        """Of what there was too much, if it is over a limit."""
        self.errors: Mapping[str, Sequence[str]] | None = None
        """The errors of each field of a message's data."""
        self.ref: str | int | None = None
        """The ``ref`` of the WebSocket command that it answers."""

    def body(self) -> bytes:
        """Return the JSON that an HTTP client gets."""
        return dumps(self.fields()).encode()

    def answer_headers(self, allow: str = "GET") -> dict[str, str]:
        """Return the headers of an HTTP answer; ``allow`` names the address's methods (RFC 9110, 10.2.1, 11.6.1).

        The error's own headers come first: a check of the project's may ask for another kind of login.
        """
        usual = {401: ("WWW-Authenticate", "Bearer"), 405: ("Allow", allow), 503: ("Retry-After", "2")}
        name, value = usual.get(self.status, ("", ""))
        if not name or name.lower() in map(str.lower, self.headers):
            return dict(self.headers)
        return {**self.headers, name: value}

    def fields(self) -> dict[str, Any]:
        """Return what a client is told: the code, the sentence, and what is wrong with each field."""
        errors = {} if self.errors is None else {"errors": self.errors}
        return {"code": self.code, "message": self.message, **errors}


def bad_query(most: int | None = None) -> WireError:
    """Return the refusal of a query string that is none or, with ``most``, has more fields than that."""
    if most is None:
        return WireError("bad_query", "The query string is malformed: expected percent-encoded UTF-8.")
    problem = f"The query string is malformed, is not percent-encoded UTF-8, or has over {most} fields."
    return WireError("bad_query", problem)


def unavailable() -> WireError:
    """Return the refusal that says: the server can't serve now, come back later."""
    return WireError("unavailable", "The server can't serve now: try again in a moment.", 503)
