"""Checks the addresses to which livepush sends requests."""

from __future__ import annotations

from urllib.parse import urlsplit


def is_good_address(url: str) -> bool:
    """Return whether it has a host and a possible port, no user or password, and nothing but printable ASCII."""
    try:
        found = urlsplit(url)
        is_good = bool(found.hostname) and found.port != 0 and found.username is None and url.isascii()
    except ValueError:
        return False
    return is_good and not any(mark <= " " for mark in url)
