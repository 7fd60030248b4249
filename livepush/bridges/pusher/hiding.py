"""Hides bytes in a text that a client carries and must not be able to read, such as a session's key.

A page can read the text, and its scripts must not learn what an HttpOnly cookie holds. Django signs, and encrypts
nothing; so this is a Fernet token of ``cryptography`` (AES in CBC mode, and an HMAC), under a key of ``SECRET_KEY``'s.
Those in ``SECRET_KEY_FALLBACKS`` open it too.
"""

from __future__ import annotations

import zlib
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.crypto import salted_hmac

SALT = "livepush.pusher.hidden"


def hidden(content: bytes) -> str:
    """Return a text that holds some bytes, and looks different each time."""
    return _box().encrypt(zlib.compress(content)).decode()


def shown(text: str) -> bytes:
    """Return the bytes in such a text. Raises ValueError: it was made with another ``SECRET_KEY``, or changed."""
    try:
        return zlib.decompress(_box().decrypt(text.encode()))
    except InvalidToken as error:
        raise ValueError("hidden with another key") from error


def _box() -> MultiFernet:
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    digests = (salted_hmac(SALT, b"", secret=key, algorithm="sha256").digest() for key in keys)
    return MultiFernet([Fernet(urlsafe_b64encode(digest)) for digest in digests])
