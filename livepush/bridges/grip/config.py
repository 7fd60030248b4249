"""``LIVEPUSH["GRIP"]``: the proxies that hold clients."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from livepush.conf import get_settings

WHERE = "LIVEPUSH['GRIP']"
FIELDS = {"CONTROL_URI", "KEY", "PREFIX", "CHECK", "SUBSCRIPTIONS"}
BASE64 = "base64:"
SHORTEST_KEY = 32
"""As RFC 7518, section 3.2, has it for HS256."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The proxies and how they are used."""

    control_uris: tuple[str, ...]
    """Where each proxy takes what is published."""
    key: bytes = field(repr=False)
    """The key with which the proxies sign their requests."""
    prefix: str = "livepush-"
    """The beginning of all channels' names."""
    check: float = 30.0
    """After how long (seconds) a proxy asks for what it may have missed, for each stream."""
    subscriptions: int = 20
    """To how many channels a proxy lets a client listen; Pushpin ignores those above without a word."""


def edge() -> Edge:
    """Return the project's proxies. Raises ImproperlyConfigured: the setting is malformed."""
    given: Mapping[str, Any] = get_settings().GRIP
    unknown = sorted(set(given) - FIELDS)
    if unknown:
        raise ImproperlyConfigured(f"{WHERE} has {unknown[0]!r}, which nothing reads: expected {sorted(FIELDS)}.")
    for name, least in (("CHECK", 1), ("SUBSCRIPTIONS", 4)):
        value = given.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < least:
            raise ImproperlyConfigured(f"{WHERE}[{name!r}] is {value!r}: expected a number, {least} or more.")
    if not isinstance(given.get("PREFIX", ""), str):
        raise ImproperlyConfigured(f"{WHERE}['PREFIX'] is {given['PREFIX']!r}: expected a text.")
    plain = {name.lower(): given[name] for name in ("PREFIX", "CHECK", "SUBSCRIPTIONS") if name in given}
    return Edge(control_uris=_uris(given.get("CONTROL_URI")), key=_key(given.get("KEY")), **plain)


def check_edge() -> None:
    """Raise ImproperlyConfigured if the proxies can't be used."""
    edge()
    if find_spec("jwt") is None:
        raise ImproperlyConfigured('GRIP needs PyJWT: pip install "django-livepush[grip]".')


def _uris(given: Any) -> tuple[str, ...]:
    listed = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, list | tuple) else ()
    if not listed or not all(isinstance(each, str) and _is_http(each) for each in listed):
        raise ImproperlyConfigured(
            f"{WHERE}['CONTROL_URI'] is {given!r}: expected an address such as 'http://127.0.0.1:5561', or several."
        )
    return tuple(each.rstrip("/") for each in listed)


def _is_http(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _key(given: Any) -> bytes:
    if not isinstance(given, str) or not given:
        raise ImproperlyConfigured(f"{WHERE}['KEY'] is missing: expected the text that Pushpin has as its sig_key.")
    try:
        found = base64.b64decode(given[7:], validate=True) if given.startswith(BASE64) else given.encode()
    except binascii.Error as error:
        raise ImproperlyConfigured(f"{WHERE}['KEY'] begins with {BASE64!r} and is not base64: {error}.") from error
    if len(found) < SHORTEST_KEY:
        raise ImproperlyConfigured(f"{WHERE}['KEY'] has {len(found)} bytes: expected {SHORTEST_KEY} or more.")
    return found
