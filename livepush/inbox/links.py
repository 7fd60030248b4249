"""Which texts and addresses a notification may hold."""

from __future__ import annotations

import re
from typing import Any

from django.utils.functional import Promise

from livepush import wire
from livepush.exceptions import InvalidNotification

_SAFE = re.compile(r"(?:https?://|mailto:|/(?!/|\\)|[?#]|\./)[^\x00-\x20\x7f\\]*|", re.ASCII | re.IGNORECASE)


def is_safe(url: str) -> bool:
    """Return whether an address is a web address, a path or none: ``javascript:`` and its like run in the page."""
    return _SAFE.fullmatch(url) is not None


def safe(url: str) -> str:
    """Return an address if it is safe, else none."""
    return url if is_safe(url) else ""


def check_text(name: str, value: Any, max_length: int | None = None) -> str:
    """Return a value of a notification as text.

    Raises InvalidNotification: it is no text, too long, or holds what databases can't store.
    """
    if not isinstance(value, str | Promise):
        raise InvalidNotification(f"{name} is {value!r}: expected a text.")
    text = str(value)
    if max_length is not None and len(text) > max_length:
        raise InvalidNotification(f"{name} is {len(text)} characters long: expected {max_length} at most.")
    if "\0" in text or wire.SURROGATE.search(text):
        raise InvalidNotification(f"{name} holds a character that databases can't store in text: take it out.")
    return text


def check_link(name: str, value: Any) -> str:
    """Return a value of a notification as an address. Raises InvalidNotification: it is no text, or not safe."""
    link = check_text(name, value)
    if not is_safe(link):
        raise InvalidNotification(
            f"{name} is {link!r}: expected a path that begins with '/' (not '//'), './', '?' or '#', or http://, "
            f"https:// or mailto:, without spaces (write %20), backslashes and control characters."
        )
    return link
