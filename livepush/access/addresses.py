"""From which address a client comes."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from livepush.conf import get_settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
WITH_PORT = re.compile(r"(?:([\d.]+)|\[([^\]]+)\])(?::\d+)?", re.ASCII)
"""An address with a port, as some proxies write it; one of IPv6 stands in brackets then."""
UNIX = "unix"
"""In ``TRUSTED_PROXIES``: whoever connects through a Unix socket, and so has no address."""


def address_of(scope: Mapping[str, Any]) -> str | None:
    """Return a client's address; ``None`` without ``TRUSTED_PROXIES``, since it may be a proxy's, which all share.

    Only a trusted proxy's ``X-Forwarded-For`` counts, from its end: what a client writes stands before what they add.
    Of an IPv6 address the first 64 bits are returned, which one client can have for itself (RFC 6177).
    """
    return nearest_address(scope) if get_settings().TRUSTED_PROXIES else None


def nearest_address(scope: Mapping[str, Any]) -> str | None:
    """Return what ``address_of`` does; without ``TRUSTED_PROXIES`` that of the server's peer, which may be a proxy."""
    found = _client_address_of(scope)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return None if found is None else str(found)


def shown_address(scope: Mapping[str, Any]) -> str | None:
    """Return a client's address as an audit shows it. Without ``TRUSTED_PROXIES`` it may be a proxy's."""
    found = _client_address_of(scope)
    return None if found is None else str(found)


def _client_address_of(scope: Mapping[str, Any]) -> Address | None:
    client, trusted = scope.get("client"), get_settings().TRUSTED_PROXIES
    found = _parsed(client[0]) if client else None
    if found is None and UNIX not in trusted:
        return None
    proxies = networks(trusted)
    headers = b",".join(value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for")
    for text in reversed(headers.decode("latin-1").split(",")):
        if found is not None and not any(found in each for each in proxies):
            break
        told = _parsed(text)
        if told is None:  # what stands before it may be what a client has made up
            break
        found = told
    return found


@lru_cache(maxsize=4)
def networks(texts: tuple[str, ...]) -> list[Network]:
    """Return the networks that a setting names."""
    return [ipaddress.ip_network(each, strict=False) for each in texts if each != UNIX]


def _parsed(text: str) -> Address | None:
    with_port = WITH_PORT.fullmatch(text.strip())
    host = (with_port[1] or with_port[2]) if with_port else text.strip()
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a Unix socket, or a header that makes no sense
        return None
    return getattr(found, "ipv4_mapped", None) or found
