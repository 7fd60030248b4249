"""Signs webhooks as Standard Webhooks says (https://www.standardwebhooks.com, version 1)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable

PREFIX = "whsec_"
KEY_BYTES = range(24, 65)


def key(secret: str) -> bytes:
    """Return the key in a secret, ``whsec_`` and base64. Raises ValueError: it is malformed, without telling it."""
    try:
        found = base64.b64decode(secret.removeprefix(PREFIX), validate=True) if secret.startswith(PREFIX) else b""
    except (binascii.Error, ValueError):
        found = b""
    if len(found) not in KEY_BYTES:
        raise ValueError(f"expected {PREFIX} and the base64 of {KEY_BYTES[0]} to {KEY_BYTES[-1]} random bytes.")
    return found


def headers(id: str, timestamp: int, body: bytes, keys: Iterable[bytes]) -> dict[str, str]:
    """Return the headers of a webhook. It has one signature for each key, so that keys can be rotated."""
    signed = b".".join((id.encode(), str(timestamp).encode(), body))
    digests = (hmac.new(each, signed, hashlib.sha256).digest() for each in keys)
    signatures = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-id": id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}
