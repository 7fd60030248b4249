"""Pusher's signatures: HMAC-SHA256 with the app's secret, in hexadecimal. Pure functions."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping

from livepush.bridges.pusher.config import App
from livepush.wire import WireError

MAX_AGE = 600
"""How far (seconds) a request's time may be from the server's."""
_SOCKET = re.compile(r"[0-9]{1,20}\.[0-9]{1,20}", re.ASCII)
_TIME = re.compile(r"[0-9]{1,12}", re.ASCII)


def check_socket(text: object) -> str:
    """Return the id of a connection, if it is one. Raises WireError: it is malformed."""
    if not isinstance(text, str) or not _SOCKET.fullmatch(text):
        raise WireError("bad_socket", "socket_id is missing or malformed: expected that of the open connection.")
    return text


def sign(app: App, text: str) -> str:
    """Return the signature of a text."""
    return hmac.digest(app.secret.encode(), text.encode(), "sha256").hex()


def is_signed(app: App, text: str, signature: str) -> bool:
    """Return whether a signature is that of a text."""
    return hmac.compare_digest(sign(app, text).encode(), signature.encode(errors="replace"))


def of_channel(socket: str, channel: str, data: str | None) -> str:
    """Return what is signed for a subscription."""
    return f"{socket}:{channel}" if data is None else f"{socket}:{channel}:{data}"


def of_user(socket: str, data: str) -> str:
    """Return what is signed for a sign-in."""
    return f"{socket}::user::{data}"


def check_request(app: App, method: str, path: str, query: Mapping[str, str], body: bytes, now: float) -> None:
    """Check the signature of an HTTP request. Raises WireError: it is not the app's, or not of now."""
    if query.get("auth_key") != app.key:
        raise _refusal("auth_key is not LIVEPUSH['PUSHER']['KEY'].")
    if query.get("auth_version") != "1.0":
        raise _refusal("auth_version is not 1.0.")
    if body and not _same(query.get("body_md5", ""), hashlib.md5(body, usedforsecurity=False).hexdigest()):
        raise _refusal("body_md5 is not the MD5 of the body, in hexadecimal.")
    if not _same(query.get("auth_signature", ""), sign(app, _text(method, path, query))):
        raise _refusal("auth_signature is wrong: compare the secret, and the path as it arrives.")
    given = query.get("auth_timestamp", "")
    if not _TIME.fullmatch(given) or abs(int(given) - now) > MAX_AGE:
        raise _refusal(f"auth_timestamp is not within {MAX_AGE} s of the server's time.")


def _text(method: str, path: str, query: Mapping[str, str]) -> str:
    pairs = sorted((name.lower(), value) for name, value in query.items() if name != "auth_signature")
    return "\n".join((method, path, "&".join(f"{name}={value}" for name, value in pairs)))


def _same(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), wanted.encode())


def _refusal(message: str) -> WireError:
    return WireError("bad_signature", message, 401)
