"""Hides bytes in a text that a client carries and must not be able to read, such as a session's key.

A page can read the text, and its scripts must not learn what an HttpOnly cookie holds. Django signs, and encrypts
nothing. So the bytes are mixed with a stream that only ``SECRET_KEY`` gives: HMAC-SHA256 of a counter, with random
bytes that are used once. The text must be signed besides, since this alone would let somebody change bits.
"""

from __future__ import annotations

import secrets
import zlib
from operator import xor

from django.core.signing import b64_decode, b64_encode
from django.utils.crypto import salted_hmac

SALT = "livepush.pusher.hidden"
NONCE_BYTES = 16
BLOCK = 32
"""How many bytes a SHA-256 has."""


def hidden(content: bytes) -> str:
    """Return a text that holds some bytes, and looks different each time."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    return b64_encode(nonce + _mixed(zlib.compress(content), nonce)).decode()


def shown(text: str) -> bytes:
    """Return the bytes in such a text. Raises ValueError: they were hidden with another ``SECRET_KEY``."""
    found = b64_decode(text.encode())
    try:
        return zlib.decompress(_mixed(found[NONCE_BYTES:], found[:NONCE_BYTES]))
    except zlib.error as error:
        raise ValueError("hidden with another key") from error


def _mixed(content: bytes, nonce: bytes) -> bytes:
    """Return bytes mixed with the stream. Mixed twice, they are as they were."""
    numbers = range(-(-len(content) // BLOCK))
    stream = b"".join(salted_hmac(SALT, nonce + bytes(str(n), "ascii"), algorithm="sha256").digest() for n in numbers)
    return bytes(map(xor, content, stream))
